package main

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"io/fs"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/examples/internal/pipeline"
)

// TestE2EExcision compiles a function of curl out that its workload never
// runs: it is nowhere in the program, and the image passes all its tests,
// fetching over HTTP among them.
func TestE2EExcision(t *testing.T) {
	endToEnd(t)
	const function = "do_SOCKS5"
	spec, err := compile.LoadSpec(builtin, "quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i := range spec.Components {
		if spec.Components[i].Name == "curl" {
			spec.Components[i].Recipe.Excise = []string{function}
		}
	}
	w := open(t)
	built, err := w.Build(t.Context(), spec, builtin)
	if err != nil {
		t.Fatal(pipeline.Explain(err))
	}
	for i := range built.Image.Record.Components {
		c := &built.Image.Record.Components[i]
		if c.Component.Name != "curl" {
			continue
		}
		if len(c.Result.Excised) == 0 || c.Result.Excised[0].Function != function || c.Result.Excised[0].Source != "lib/socks.c" {
			t.Errorf("excised: %+v", c.Result.Excised)
		}
		debug, err := built.Image.Part("curl", compile.PartDebug)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range c.Result.Links {
			for _, found := range traces(t, debug, l.Unstripped, function) {
				t.Errorf("%s: %s", l.Output, found)
			}
		}
	}
	osv, err := fs.Sub(builtin, "advisories")
	if err != nil {
		t.Fatal(err)
	}
	j := w.judge(t, built.Image, osv)
	if err := j.Err(); err != nil {
		t.Errorf("the suite: %v", err)
	}
}

// traces are a symbol, a function and inlined copies of that name.
func traces(t *testing.T, files fs.FS, name, function string) []string {
	t.Helper()
	b, err := fs.ReadFile(files, name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if base, _, _ := strings.Cut(s.Name, "."); base == function {
			out = append(out, "symbol "+s.Name)
		}
	}
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return out
		}
		if e.Tag == dwarf.TagSubprogram && e.Val(dwarf.AttrName) == function {
			out = append(out, "function in the debug information")
		}
	}
}
