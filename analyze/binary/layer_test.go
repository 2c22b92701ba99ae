package binary_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/analyze/binary/binarytest"
	"github.com/cleanstart/cleanstart/compile"
)

const start = `void _start(void) { extern int run(int); run(1); for (;;) ; }
`

func library() binarytest.Project {
	return binarytest.Project{Name: "lib", Archive: true, Units: []string{"src/a.c", "src/b.c", "src/gone.c", "src/asm.s"}, Files: map[string]string{
		"src/a.c": `
#include "lib/src/inline.h"
#define MACRO(x) ((x) + 41)
static int only_inlined(int x) { return x * 7 + 3; }
int called(int x);
int called(int x) { return only_inlined(x) + MACRO(x); }
int discarded(int x) { return x - 99; }
#ifdef NEVER
int never_compiled(int x) { return x; }
#endif
__attribute__((noinline)) static int big(volatile int *p) { for (int i = 0; i < 100; i++) *p += i; return *p; }
int uses(int x) { volatile int y = x; return big(&y) + from_header(x); }
int (parenthesised)(int x)
{
	return x + 1;
}
int old_style(x, y)
	int x, y;
{
	return x / y;
}
`,
		"src/b.c":    "int asm_function(int);\nint other(int x) { return asm_function(x); }\n",
		"src/gone.c": "int gone(int x) { return x; }\n",
		"src/inline.h": `
static inline int from_header(int x) { return x ^ 0x5a5a; }
static inline int unused_in_header(int x) { return x ^ 0x77; }
`,
		"src/asm.s":          ".globl asm_function\n.type asm_function, @function\n.text\nasm_function:\n mov %edi, %eax\n ret\n.size asm_function, .-asm_function\n",
		"src/uncompiled.c":   "int uncompiled(int x) { return x; }\nint called(int x) { return x; }\nstatic int local(void) { return 1; }\n",
		"src/redirected.c":   "#line 7 \"else.c\"\nint redirected(int x) { return x; }\n",
		"src/generated.c.in": "int generated(void) { return 1; }\n",
	}}
}

func program() binarytest.Project {
	return binarytest.Project{Name: "prog", Files: map[string]string{
		"main.c": start + "int called(int), uses(int), other(int), parenthesised(int), old_style();\n" +
			"int run(int x) { return called(x) + uses(x) + other(x) + parenthesised(x) + old_style(x, x); }\n",
	}}
}

func unused() binarytest.Project {
	return binarytest.Project{Name: "unused", Units: []string{}, Files: map[string]string{"u.c": "int u(void) { return 0; }\n"}}
}

func TestLayer(t *testing.T) {
	s := binarytest.Build(t, binarytest.Bare(), unused(), library(), program())
	for _, c := range []struct {
		file, name string
		want       analyze.Verdict
		how        string
	}{
		{"src/a.c", "called", analyze.Present, "symbol"},
		{"src/a.c", "only_inlined", analyze.Present, "inlined"},
		{"src/a.c", "big", analyze.Present, "symbol"},
		{"src/a.c", "parenthesised", analyze.Present, "symbol"},
		{"src/a.c", "old_style", analyze.Present, "symbol"},
		{"src/inline.h", "from_header", analyze.Present, "inlined"},
		{"src/b.c", "asm_function", analyze.Present, "symbol"}, // wrong file, right component
		{"src/a.c", "discarded", analyze.Absent, "no-code"},
		{"src/a.c", "never_compiled", analyze.Absent, "no-code"},
		{"src/inline.h", "unused_in_header", analyze.Absent, "no-code"},
		{"src/gone.c", "gone", analyze.Absent, "not-compiled"},
		{"src/uncompiled.c", "uncompiled", analyze.Absent, "not-compiled"},
		{"src/uncompiled.c", "local", analyze.Absent, "not-compiled"},
		{"src/uncompiled.c", "called", analyze.Unknown, ""}, // linked from another file
		{"src/a.c", "MACRO", analyze.Unknown, ""},
		{"src/a.c", "misspelt", analyze.Unknown, ""},
		{"src/missing.c", "missing", analyze.Unknown, ""},
		{"src/redirected.c", "redirected", analyze.Unknown, ""},
		{"src/generated.c.in", "generated", analyze.Unknown, ""},
		{"../escape.c", "escape", analyze.Unknown, ""},
	} {
		e := examine(t, s, "lib", advisory.Function{File: c.file, Name: c.name})
		if f := e.Functions[0]; f.Verdict != c.want || f.How != c.how || e.Verdict != c.want {
			t.Errorf("%s in %s = %v %q (%v, %v), want %v %q", c.name, c.file, f.Verdict, f.How, e.Verdict, e.Facts, c.want, c.how)
		}
	}
	for component, want := range map[string]analyze.Verdict{"lib": analyze.Present, "prog": analyze.Present, "unused": analyze.Absent, "nowhere": analyze.Unknown} {
		if e := examine(t, s, component); e.Linked != want {
			t.Errorf("Linked(%s) = %v (%s), want %v", component, e.Linked, e.Facts["linked"], want)
		}
	}
	for file, want := range map[string]analyze.Verdict{
		"src/a.c": analyze.Present, "src/gone.c": analyze.Absent, "src/uncompiled.c": analyze.Absent,
		"src/inline.h": analyze.Present, "src/none.c": analyze.Unknown, "src/generated.c.in": analyze.Unknown,
	} {
		adv := &advisory.Advisory{Map: advisory.Map{Conditions: []advisory.Condition{{Not: &advisory.Condition{File: file}}}}}
		ev, err := binary.Layer(nil).Examine(t.Context(), s, []analyze.Candidate{{Advisory: adv, Component: "lib"}})
		if err != nil {
			t.Fatal(err)
		}
		if c := ev[0].Conditions; len(c) != 1 || c[0].Verdict != want {
			t.Errorf("condition on %s = %+v, want %v", file, c, want)
		}
	}
}

func examine(t *testing.T, s *analyze.Subject, component string, fns ...advisory.Function) analyze.Evidence {
	t.Helper()
	cands := []analyze.Candidate{{Advisory: &advisory.Advisory{ID: "X", Map: advisory.Map{Completeness: advisory.Reviewed, Functions: fns}}, Component: component}}
	ev, err := binary.Layer(nil).Examine(context.Background(), s, cands)
	if err != nil {
		t.Fatal(err)
	}
	if err := analyze.CheckEvidence(analyze.LayerBinary, cands, ev); err != nil {
		t.Fatal(err)
	}
	return ev[0]
}

// Whatever is damaged or missing, nothing may be absent.
func TestLayerFailsClosed(t *testing.T) {
	absent := advisory.Function{File: "src/a.c", Name: "discarded"}
	link := func(s *analyze.Subject) *compile.Link {
		c := s.Image.Record.Components
		return &c[len(c)-1].Result.Links[0]
	}
	debug := func(t *testing.T, s *analyze.Subject, name string) string {
		part, err := s.Part("prog", compile.PartDebug)
		if err != nil {
			t.Fatal(err)
		}
		f, err := part.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return f.(*os.File).Name()
	}
	edit := func(name string) func(*testing.T, *analyze.Subject) {
		return func(t *testing.T, s *analyze.Subject) {
			p := debug(t, s, name)
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, b[:len(b)/2], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(*testing.T, *analyze.Subject)
		flags []string
	}{
		{name: "no link", spoil: func(_ *testing.T, s *analyze.Subject) { s.Image.Record.Components[1].Result.Links = nil }},
		{name: "no inputs", spoil: func(_ *testing.T, s *analyze.Subject) { link(s).Inputs = nil }},
		{name: "wrong digest", spoil: func(_ *testing.T, s *analyze.Subject) { link(s).Inputs[0].Digest = "sha256:00" }},
		{name: "no twin", spoil: func(_ *testing.T, s *analyze.Subject) { link(s).Unstripped = "nothing" }},
		{name: "no map", spoil: func(_ *testing.T, s *analyze.Subject) { link(s).Map = "nothing" }},
		{name: "damaged twin", spoil: edit("prog")},
		{name: "damaged map", spoil: func(t *testing.T, s *analyze.Subject) {
			if err := os.WriteFile(debug(t, s, "prog.map"), []byte("Discarded input sections\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "other twin", spoil: func(t *testing.T, s *analyze.Subject) {
			p := debug(t, s, "prog")
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			b[bytes.Index(b, []byte{0x5a, 0x5a})] ^= 1 // the constant in from_header
			if err := os.WriteFile(p, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "second ELF file", spoil: func(t *testing.T, s *analyze.Subject) {
			b, err := os.ReadFile(filepath.Join(s.Rootfs, "usr/bin/prog"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(s.Rootfs, "other"), b, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "no debug information", flags: []string{"-g0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lib, prog := library(), program()
			lib.Flags = c.flags
			s := binarytest.Build(t, binarytest.Bare(), lib, prog)
			if c.spoil != nil {
				c.spoil(t, s)
			}
			e := examine(t, s, "lib", absent)
			if e.Verdict != analyze.Unknown || e.Linked == analyze.Absent {
				t.Errorf("%v, linked %v: a gap did not show (%v)", e.Verdict, e.Linked, e.Facts)
			}
			if e.Facts["first-gap"] == "" {
				t.Error("the gap is not named")
			}
		})
	}
}

// Where the instructions of an inlined copy were merged with those around it,
// GCC leaves a mark only with statement frontiers, and no mark at all where
// everything was computed in advance. Absent is only what no live function
// can have swallowed.
func TestLayerMergedCopy(t *testing.T) {
	source := `
static int in_both(int x) { return x * 7; }
static int merged(int x) { return x * 7 + 3; }
static int in_dead(int x) { return x * 7 + 5; }
static int outer(int x) { return in_both(x) + 1; }
static int folded(int x) { return x * 3; }
int run(int x) { return merged(x) + x + 41 + outer(x) + folded(4); }
int dead(int x) { return in_dead(x) + x + 41; }
`
	for _, flag := range []string{"-gstatement-frontiers", "-gno-statement-frontiers"} {
		s := binarytest.Build(t, binarytest.Bare(), binarytest.Project{Name: "prog", Flags: []string{flag}, Files: map[string]string{"main.c": start, "lib.c": source}})
		for name, want := range map[string]analyze.Verdict{"in_dead": analyze.Absent, "dead": analyze.Absent} {
			if e := examine(t, s, "prog", advisory.Function{File: "lib.c", Name: name}); e.Verdict != want {
				t.Errorf("%s: %s is %v (%v), want %v", flag, name, e.Verdict, e.Facts, want)
			}
		}
		for _, name := range []string{"merged", "in_both", "outer", "folded"} {
			if e := examine(t, s, "prog", advisory.Function{File: "lib.c", Name: name}); e.Verdict == analyze.Absent {
				t.Errorf("%s: %s is absent, but a live function used it", flag, name)
			}
		}
		for i := range s.Image.Record.Components[0].Result.Units {
			s.Image.Record.Components[0].Result.Units[i].Preprocessed = ""
		}
		if e := examine(t, s, "prog", advisory.Function{File: "lib.c", Name: "in_dead"}); e.Verdict != analyze.Unknown {
			t.Errorf("%s: without the unit's text in_dead is %v", flag, e.Verdict)
		}
	}
}

func TestLayerNoMark(t *testing.T) {
	lib := library()
	lib.Flags = []string{"-gno-statement-frontiers"}
	s := binarytest.Build(t, binarytest.Bare(), lib, program())
	if e := examine(t, s, "lib", advisory.Function{File: "src/a.c", Name: "only_inlined"}); e.Verdict != analyze.Unknown {
		t.Errorf("only_inlined, of which no mark is left, is %v", e.Verdict)
	}
}

func TestLayerClones(t *testing.T) {
	s := binarytest.Build(t, binarytest.Bare(), binarytest.Project{Name: "prog", Files: map[string]string{
		"main.c": start + `
extern __attribute__((noreturn, cold)) void die(int);
void die(int x) { for (;;) ; }
static __attribute__((noinline)) int cloned(int x, int y) { volatile int z = x; if (__builtin_expect(z == 12345, 0)) { z++; die(z); } return z + y; }
int run(int x) { return cloned(x, 5) + cloned(x + 1, 5); }
`}})
	e := examine(t, s, "prog", advisory.Function{File: "main.c", Name: "cloned"})
	if e.Verdict != analyze.Present || strings.Join(e.Functions[0].Where, " ") != "/usr/bin/prog" {
		t.Errorf("a clone is not found: %+v", e.Functions)
	}
}
