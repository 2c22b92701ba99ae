package compile

import (
	"errors"
	"strings"
	"testing"
)

func TestVerifyOriginsRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		want string
		edit func(r *Record)
	}{
		"a file more":        {"no such file", func(r *Record) { l := &r.Image.Layers[0]; l.Files = append(l.Files, File{Path: "etc/extra"}) }},
		"other bytes":        {"differs from", func(r *Record) { r.Image.Layers[0].Files = []File{{Path: "usr/bin/app", Digest: hexDigest(nil)}} }},
		"unknown component":  {"no such component", func(r *Record) { r.Image.Layers[0].Component = "stranger" }},
		"no input":           {"names no input", func(r *Record) { r.Components[2].Result.Links[0].Inputs = nil }},
		"no digest":          {"no digest", func(r *Record) { r.Components[2].Result.Links[0].Inputs[1].Digest = "" }},
		"foreign origin":     {"neither the component nor a need", func(r *Record) { r.Components[2].Result.Links[0].Inputs[2].Origin = "stranger" }},
		"no origin":          {"neither the component nor a need", func(r *Record) { r.Components[2].Result.Links[0].Inputs[2].Origin = "" }},
		"unit without bytes": {"no translation unit", func(r *Record) { r.Components[1].Result.Units[0].Digest = "" }},
		"toolchain's libc":   {"runtime objects", func(r *Record) { r.Components[2].Result.Links[0].Inputs[2].Origin = OriginToolchain }},
		"layer twice":        {"also a file of", func(r *Record) { r.Image.Layers = append(r.Image.Layers, r.Image.Layers[0]) }},
	} {
		img, _ := newBench(t).build(t)
		if err := VerifyOrigins(img.Record); err != nil {
			t.Fatal(err)
		}
		c.edit(img.Record)
		err := VerifyOrigins(img.Record)
		var ue *UnexplainedError
		if !errors.As(err, &ue) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func BenchmarkVerifyOrigins(b *testing.B) {
	img, _ := newBench(b).build(b)
	r := img.Record
	u, in := r.Components[2].Result.Units[0], r.Components[2].Result.Links[0].Inputs[1]
	for range 2000 {
		r.Components[2].Result.Units = append(r.Components[2].Result.Units, u)
		r.Components[2].Result.Links[0].Inputs = append(r.Components[2].Result.Links[0].Inputs, in)
	}
	for b.Loop() {
		if err := VerifyOrigins(r); err != nil {
			b.Fatal(err)
		}
	}
}
