package compile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuild(t *testing.T) {
	b := newBench(t)
	var events []string
	note := func(kind string) func(string, string, string) {
		return func(c, v, key string) {
			if !strings.HasPrefix(key, "sha256:") {
				t.Errorf("event with key %q", key)
			}
			events = append(events, kind+" "+c+" "+v)
		}
	}
	img, built := b.build(t, WithEvents(Events{
		Start: note("start"), Hit: note("hit"), Done: note("done"),
		Command: func(c string, i int, cmd Command) { events = append(events, fmt.Sprint("command ", c, i)) },
		Line:    func(l LogLine) { events = append(events, "line "+l.Component+" "+l.Text) },
	}))
	if built != "[libc lib app]" {
		t.Errorf("built %s", built)
	}
	want := []string{
		"start libc 1", "command libc0", "line libc compiling", "done libc 1",
		"start lib 2.0", "command lib0", "line lib compiling", "done lib 2.0",
		"start app 1.10", "command app0", "line app compiling", "done app 1.10",
	}
	if d := cmp.Diff(want, events); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	r := img.Record
	if got := len(r.Image.Layers); got != 1 {
		t.Fatalf("%d layers, want one: only app ships files", got)
	}
	if r.Epoch.Format("2006-01-02") != "2023-02-03" {
		t.Errorf("epoch %s is not that of the newest tree", r.Epoch)
	}
	if err := VerifyOrigins(r); err != nil {
		t.Error(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Config.Labels[EvidenceLabel] != EvidencePolicy || cfg.Config.User != "1000:1000" || !cfg.Created.Equal(r.Epoch) {
		t.Errorf("config %+v created %s", cfg.Config, cfg.Created)
	}
	log, err := img.Log("app")
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	dir := t.TempDir()
	if err := img.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "usr/bin/app")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("unpacked program: %v, %v", fi, err)
	}
	left, err := filepath.Glob(filepath.Join(b.machine.Work, "build-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the work directory: %v", left)
	}
}

func TestBuildAgain(t *testing.T) {
	b := newBench(t)
	first, _ := b.build(t)
	again, built := b.build(t)
	if built != "[]" {
		t.Errorf("a second build built %s", built)
	}
	if d := cmp.Diff(first.Record, again.Record); d != "" {
		t.Errorf("record from the store (-built +stored):\n%s", d)
	}
	other, built := newBench(t).build(t)
	if built != "[libc lib app]" || other.Record.Image.Manifest != first.Record.Image.Manifest {
		t.Errorf("two builds on two machines give %s and %s", first.Record.Image.Manifest, other.Record.Image.Manifest)
	}
}

func TestBuildRebuildsWhatChanged(t *testing.T) {
	b := newBench(t)
	before, _ := b.build(t)

	edit(b.trees, "lib", "comment", "a comment: other source, same bytes")
	if _, built := b.build(t); built != "[lib]" {
		t.Errorf("after a comment in lib: built %s, want the early cutoff [lib]", built)
	}
	edit(b.trees, "lib", "output", "lib, fixed")
	if _, built := b.build(t); built != "[lib app]" {
		t.Errorf("after a change in lib: built %s, want [lib app]", built)
	}
	b = newBench(t)
	b.build(t)
	edit(b.trees, "app", "output", "app, fixed")
	after, built := b.build(t)
	if built != "[app]" {
		t.Errorf("after a change in app: built %s", built)
	}
	if before.Record.Image.Manifest == after.Record.Image.Manifest {
		t.Error("another program, the same image")
	}
}

func TestPlan(t *testing.T) {
	b := newBench(t)
	text := func(previous *Record) string {
		t.Helper()
		p, err := plan(context.Background(), b.spec, b.trees, b.machine, previous)
		if err != nil {
			t.Fatal(err)
		}
		return p.String()
	}
	want := "build    libc 1  (never built)\npending  lib 2.0  (waits for the output of libc)\npending  app 1.10  (waits for the output of lib, libc)\n"
	if d := cmp.Diff(want, text(nil)); d != "" {
		t.Errorf("first plan:\n%s", d)
	}
	img, _ := b.build(t)
	if got := text(img.Record); strings.Count(got, "hit ") != 3 || strings.Contains(got, "(") {
		t.Errorf("plan of nothing to do:\n%s", got)
	}
	edit(b.trees, "lib", "output", "lib, fixed")
	want = "hit      libc 1\nbuild    lib 2.0  (changed: lib source tree)\npending  app 1.10  (waits for the output of lib)\n"
	if d := cmp.Diff(want, text(img.Record)); d != "" {
		t.Errorf("plan after a change:\n%s", d)
	}
	b.spec.Profile = "none"
	if got := text(img.Record); !strings.Contains(got, "build    libc 1  (changed: hardening flags)") {
		t.Errorf("plan with another profile:\n%s", got)
	}
}

func TestBuildRefuses(t *testing.T) {
	altered := func(f func(job *Job, r *Result) error) func(*bench) {
		return func(b *bench) {
			b.executor.alter = func(job *Job, r *Result) error {
				if job.Action.Component != "app" {
					return nil
				}
				return f(job, r)
			}
		}
	}
	for _, c := range []struct {
		name, want string
		edit       func(*bench)
	}{
		{"no tree", "no verified source of component lib", func(b *bench) { delete(b.trees, "lib") }},
		{"tree of another version", "is lib 2.0", func(b *bench) { b.spec.Components[1].Version = "2.1" }},
		{"order", "dependency order", func(b *bench) { slices.Reverse(b.spec.Components) }},
		{"no toolchain digest", "toolchain", func(b *bench) { b.machine.Toolchain.Digest = "" }},
		{"no compiler", "no package gcc-N", func(b *bench) { b.machine.Toolchain.Packages = nil }},
		{"cmake missing", "holds no cmake", func(b *bench) { b.spec.Components[2].Recipe = Recipe{System: "cmake"} }},
		{"go missing", "holds no go", func(b *bench) { b.spec.Components[2].Recipe = Recipe{System: "go"} }},
		{"entrypoint", "in no layer", func(b *bench) { b.spec.Image.Entrypoint = []string{"/usr/bin/other"} }},
		{"same file twice", "narrow one component's runtime", func(b *bench) { b.spec.Components[1].Runtime = []string{"usr/bin/app"} }},
		{"network", "not hermetic", altered(func(_ *Job, r *Result) error { r.Hermetic.Reached = true; return nil })},
		{"a flag cancelled", "cancelled by -fno-stack-protector", altered(func(_ *Job, r *Result) error {
			r.Units[0].Args = append(r.Units[0].Args, "-fno-stack-protector")
			return nil
		})},
		{"a unit without flags", "was not given", altered(func(_ *Job, r *Result) error { r.Units[0].Args = nil; return nil })},
		{"an unknown object", "no translation unit of app", altered(func(_ *Job, r *Result) error {
			r.Links[0].Inputs[1].Digest = hexDigest([]byte("from nowhere"))
			return nil
		})},
		{"the toolchain's libc", "only its compiler's runtime", altered(func(_ *Job, r *Result) error {
			r.Links[0].Inputs[0].Path = "/usr/lib/libc.a"
			return nil
		})},
		{"no link", "no recorded link", altered(func(_ *Job, r *Result) error { r.Links = nil; return nil })},
		{"command fails", "exit status 2", altered(func(job *Job, _ *Result) error {
			return &BuildError{Component: "app", Command: job.Action.Commands[0], Exit: 2, Tail: []string{"main.c:1: error"}}
		})},
	} {
		b := newBench(t)
		c.edit(b)
		_, err := build(context.Background(), b.spec, b.trees, b.machine, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		for _, it := range b.store.items {
			if it.Action.Component == "app" && b.executor.alter != nil && !strings.Contains(c.want, "link") && !strings.Contains(c.want, "unit of") && !strings.Contains(c.want, "runtime") {
				t.Errorf("%s: the bad result was stored", c.name)
			}
		}
	}
}

// The log of a failed build stays, and its error says where.
func TestBuildErrorNamesLog(t *testing.T) {
	b := newBench(t)
	b.executor.alter = func(job *Job, _ *Result) error {
		return &BuildError{Component: job.Action.Component, Command: job.Action.Commands[0], Exit: 1}
	}
	_, err := build(context.Background(), b.spec, b.trees, b.machine, nil)
	var be *BuildError
	if !errors.As(err, &be) {
		t.Fatalf("%v is no *BuildError", err)
	}
	if log, err := os.ReadFile(be.Log); err != nil || !bytes.Contains(log, []byte("compiling")) {
		t.Errorf("log %q: %q, %v", be.Log, log, err)
	}
}

func TestBuildCancelled(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	b.executor.alter = func(*Job, *Result) error { cancel(); return nil }
	if _, err := build(ctx, b.spec, b.trees, b.machine, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	b.executor.alter = nil
	b.build(t) // and carries on
}

func TestOpen(t *testing.T) {
	b := newBench(t)
	img, _ := b.build(t)
	var buf bytes.Buffer
	if err := WriteRecord(&buf, img.Record); err != nil {
		t.Fatal(err)
	}
	text := buf.String()
	r, err := ReadRecord(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(img.Record, r); d != "" {
		t.Errorf("record (-written +read):\n%s", d)
	}
	again, err := Open(context.Background(), r, b.store, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := again.Digest(); got.String() != r.Image.Manifest {
		t.Errorf("opened as %s, want %s", got, r.Image.Manifest)
	}
	r.Image.Manifest = hexDigest(nil)
	if _, err := Open(context.Background(), r, b.store, nil); err == nil {
		t.Error("a record of another image is opened")
	}
	key := r.Components[2].Key
	delete(b.store.items, key)
	if _, err := Open(context.Background(), r, b.store, nil); !errors.Is(err, ErrNotStored) {
		t.Errorf("error %v, want %v", err, ErrNotStored)
	}
	for name, bad := range map[string]string{
		"unknown field":  strings.Replace(text, `{"spec":`, `{"x":1,"spec":`, 1),
		"trailing bytes": text + "{}",
		"cut":            text[:len(text)/2],
		"other spec":     strings.Replace(text, `"name":"demo"`, `"name":"dem0"`, 1),
	} {
		if _, err := ReadRecord(strings.NewReader(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzReadRecord(f *testing.F) {
	b := newBench(f)
	img, _ := b.build(f)
	var buf bytes.Buffer
	if err := WriteRecord(&buf, img.Record); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add([]byte(`{"spec":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ReadRecord(bytes.NewReader(b)); err == nil {
			_ = VerifyOrigins(r)
		}
	})
}
