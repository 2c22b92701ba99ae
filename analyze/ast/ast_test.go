package ast

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/analyzetest"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
)

// fixture is one component "c" whose units are given by source file.
type fixture struct {
	record *compile.Record
	tree   fstest.MapFS
	debug  fstest.MapFS
}

// preamble is how gcc -E -dD begins the text of a unit.
func preamble(file string, defines ...string) string {
	s := "# 0 \"" + file + "\"\n# 0 \"<built-in>\"\n#define __STDC__ 1\n# 0 \"<command-line>\"\n"
	for _, d := range defines {
		s += "#define " + d + "\n"
	}
	return s + "# 1 \"" + file + "\"\n"
}

func pack(s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	z.Close()
	return b.Bytes()
}

func newFixture() *fixture {
	rec := &compile.Record{Components: []compile.ComponentRecord{{
		Component: compile.Component{Component: source.Component{Name: "c", Version: "1.0.0"}},
		Action:    compile.Action{Platform: "linux/amd64"},
		Key:       "sha256:key", Tree: "sha256:tree",
	}, {Component: compile.Component{Component: source.Component{Name: "app"}}}}}
	rec.Components[1].Result.Links = []compile.Link{{Output: "bin/app"}}
	return &fixture{rec, fstest.MapFS{}, fstest.MapFS{}}
}

// unit adds a unit; it is linked into app unless its text says otherwise.
func (f *fixture) unit(file, text string, link bool) *compile.Unit {
	res := &f.record.Components[0].Result
	id := strconv.Itoa(len(res.Units))
	f.tree[file] = &fstest.MapFile{}
	f.debug[id+".i.gz"] = &fstest.MapFile{Data: pack(text)}
	res.Units = append(res.Units, compile.Unit{Source: file, Dir: ".", Language: "c", Digest: "sha256:" + id, Preprocessed: id + ".i.gz"})
	if link {
		l := &f.record.Components[1].Result.Links[0]
		l.Inputs = append(l.Inputs, compile.Input{Origin: "c", Digest: "sha256:" + id})
	}
	return &res.Units[len(res.Units)-1]
}

func (f *fixture) examine(t *testing.T, m advisory.Map) analyze.Evidence {
	t.Helper()
	cands := []analyze.Candidate{{Advisory: &advisory.Advisory{ID: "CVE-1-1", Map: m}, Component: "c"}}
	ev, err := examine(t.Context(), build{f.record,
		func(string, string) (fs.FS, error) { return f.debug, nil },
		func(string) fs.FS { return f.tree },
	}, cands)
	if err != nil {
		t.Fatal(err)
	}
	if err := analyze.CheckEvidence(analyze.LayerAST, cands, ev); err != nil {
		t.Fatal(err)
	}
	return ev[0]
}

func functions(names ...string) advisory.Map {
	m := advisory.Map{Completeness: advisory.Reviewed}
	for _, n := range names {
		m.Functions = append(m.Functions, advisory.Function{File: "a.c", Name: n})
	}
	return m
}

func TestFunction(t *testing.T) {
	f := newFixture()
	f.unit("a.c", preamble("a.c")+"int f(int x) { return x; }\nint declared(int) __attribute__((pure));\n", true)
	f.unit("b.c", preamble("b.c")+"static int old(a, b) int a; char *b; { return f(a) + declared(1); }\nint (paren)(void) { return 0; }\n"+
		"int (*returns(int x))(int) { return f; }\n", true)
	for name, want := range map[string]analyze.Verdict{
		"f": analyze.Present, "old": analyze.Present, "paren": analyze.Present, "returns": analyze.Present,
		"declared": analyze.Absent, "gone": analyze.Absent,
	} {
		if e := f.examine(t, functions(name)); e.Verdict != want || e.Functions[0].Verdict != want {
			t.Errorf("%s is %s, want %s: %s", name, e.Verdict, want, e.Reason)
		}
	}
	if e := f.examine(t, functions("gone", "f")); e.Verdict != analyze.Present {
		t.Errorf("one of two is there: %s", e.Verdict)
	}
}

// What is not read, not parsed, or hidden behind a macro is never Absent.
func TestNeverAbsentWithoutReading(t *testing.T) {
	whole := func() *fixture {
		f := newFixture()
		f.unit("a.c", preamble("a.c")+"int g(void) { return 0; }\n", true)
		return f
	}
	for name, spoil := range map[string]func(f *fixture){
		"does not parse":  func(f *fixture) { f.unit("b.c", preamble("b.c")+"int f(int x) { return @; }\n", true) },
		"half a unit":     func(f *fixture) { f.unit("b.c", preamble("b.c")+"int f(int x", true) },
		"no text":         func(f *fixture) { f.unit("b.c", "x", true).Preprocessed = "" },
		"missing text":    func(f *fixture) { f.unit("b.c", "x", true).Preprocessed = "nowhere" },
		"empty text":      func(f *fixture) { f.unit("b.c", "", true) },
		"text of another": func(f *fixture) { f.unit("b.c", preamble("z.c")+"int h;\n", true) },
		"not gzip":        func(f *fixture) { f.debug["0.i.gz"] = &fstest.MapFile{Data: []byte("plain")} },
		"truncated gzip": func(f *fixture) {
			d := f.debug["0.i.gz"].Data
			f.debug["0.i.gz"] = &fstest.MapFile{Data: d[:len(d)-6]}
		},
		"assembly":      func(f *fixture) { f.unit("b.s", "", true).Language = "asm" },
		"C++":           func(f *fixture) { f.unit("b.cc", "", true).Language = "c++" },
		"a macro":       func(f *fixture) { f.unit("b.c", preamble("b.c", "f(x) (x)")+"int y = (1);\n", true) },
		"nothing built": func(f *fixture) { f.record.Components[0].Result.Units = nil },
	} {
		f := whole()
		if e := f.examine(t, functions("f")); e.Verdict != analyze.Absent {
			t.Fatalf("before: %s: %s", e.Verdict, e.Reason)
		}
		spoil(f)
		if e := f.examine(t, functions("f")); e.Verdict != analyze.Unknown || e.Functions[0].Verdict != analyze.Unknown {
			t.Errorf("%s: %s: %s", name, e.Verdict, e.Reason)
		}
	}
}

func TestConditions(t *testing.T) {
	f := newFixture()
	f.unit("a.c", preamble("a.c", "CLI 1")+"#define LATE_IS_EARLY\nint f(void) { return 0; }\n#define LATE 1\n", true)
	f.unit("dead.c", preamble("dead.c", "CLI 1")+"int d;\n", false)
	f.unit("gone.c", preamble("gone.c", "TEMP", "AGAIN 1")+"#undef TEMP\n#undef NEVER\n#define AGAIN 2\nint g;\n", true)
	f.unit("twice.c", preamble("twice.c", "BOTH", "ONE")+"int t1;\n", true)
	f.unit("twice.c", preamble("twice.c", "BOTH")+"int t2;\n", true)
	f.unit("includes.c", preamble("includes.c")+"# 1 \"./part.c\" 1\nint p;\n# 2 \"includes.c\" 2\n", true)
	f.unit("pragma.c", preamble("pragma.c", "X")+"#pragma push_macro(\"X\")\n#undef X\n#pragma pop_macro(\"X\")\nint x;\n", true)
	f.unit("nobuiltin.c", "# 1 \"nobuiltin.c\"\nint x;\n", true)
	for _, n := range []string{"part.c", "unbuilt.c"} {
		f.tree[n] = &fstest.MapFile{}
	}
	m := func(file, name, value string) advisory.Condition {
		return advisory.Condition{Macro: &advisory.Macro{File: file, Name: name, Value: value}}
	}
	file := func(s string) advisory.Condition { return advisory.Condition{File: s} }
	for _, c := range []struct {
		leaf advisory.Condition
		want analyze.Verdict
	}{
		{file("a.c"), analyze.Present},
		{file("dead.c"), analyze.Absent},
		{file("unbuilt.c"), analyze.Absent},
		{file("part.c"), analyze.Unknown},
		{file("mispelt.c"), analyze.Unknown},
		{m("a.c", "CLI", ""), analyze.Present},
		{m("a.c", "CLI", "1"), analyze.Present},
		{m("a.c", "CLI", "2"), analyze.Absent},
		{m("a.c", "LATE_IS_EARLY", ""), analyze.Present},
		{m("a.c", "LATE", ""), analyze.Unknown}, // not throughout
		{m("a.c", "NONE", ""), analyze.Absent},
		{m("gone.c", "TEMP", ""), analyze.Unknown},
		{m("gone.c", "NEVER", ""), analyze.Absent},
		{m("gone.c", "AGAIN", ""), analyze.Present},
		{m("gone.c", "AGAIN", "2"), analyze.Unknown},
		{m("gone.c", "AGAIN", "3"), analyze.Absent},
		{m("twice.c", "BOTH", ""), analyze.Present},
		{m("twice.c", "ONE", ""), analyze.Unknown},
		{m("unbuilt.c", "CLI", ""), analyze.Absent},
		{m("mispelt.c", "CLI", ""), analyze.Unknown},
		{m("pragma.c", "X", ""), analyze.Unknown},
		{m("nobuiltin.c", "__linux__", ""), analyze.Unknown},
		{advisory.Condition{Platform: "linux/amd64"}, analyze.Present},
		{advisory.Condition{Platform: "windows/amd64"}, analyze.Absent},
	} {
		mp := functions()
		mp.Conditions = []advisory.Condition{c.leaf}
		e := f.examine(t, mp)
		if len(e.Conditions) != 1 || e.Conditions[0].Verdict != c.want {
			t.Errorf("%s: %+v, want %s", analyze.Describe(c.leaf), e.Conditions, c.want)
		}
	}
	// In this order: the second leaves nothing for the first to spoil.
	for _, c := range []struct {
		name  string
		spoil func()
	}{
		{"an object without unit", func() {
			l := &f.record.Components[1].Result.Links[0]
			l.Inputs = append(l.Inputs, compile.Input{Origin: "c", Digest: "sha256:stray"})
		}},
		{"no link at all", func() { f.record.Components[1].Result.Links = nil }},
	} {
		c.spoil()
		mp := functions()
		mp.Conditions = []advisory.Condition{file("dead.c")}
		if e := f.examine(t, mp); e.Conditions[0].Verdict != analyze.Unknown {
			t.Errorf("%s: %+v", c.name, e.Conditions)
		}
	}
}

func TestBodies(t *testing.T) {
	hash := func(src string) string {
		bs := Bodies([]byte(src))
		if len(bs) != 1 {
			t.Fatalf("%q has %d bodies", src, len(bs))
		}
		return bs[0].Hash
	}
	base := hash("int f(int a) { return a + 1; }")
	for _, same := range []string{
		"static inline int\nf(int a)\n{\n\treturn a+1;\n}\n",
		"# 1 \"x.c\"\nint f(int a) { /* why */ return a + 1; // because\n}",
		"__attribute__((noinline)) int f(int a) { return a +\n# 7 \"x.c\"\n1; }",
	} {
		if hash(same) != base {
			t.Errorf("%q hashes otherwise", same)
		}
	}
	for _, other := range []string{
		"int g(int a) { return a + 1; }", "int f(long a) { return a + 1; }", "int f(int a) { return a + 2; }",
		"int f(int a) { return a++ 1; }", "int f(int a) { return a + +1; }",
	} {
		if hash(other) == base {
			t.Errorf("%q hashes alike", other)
		}
	}
	got := []string{}
	for _, b := range Bodies([]byte(`
struct s { int (*cb)(int); } v = { 0 };
static const char x[sizeof(v) / 2] = { 1, 2 };
enum e { A, B } pick(void) { return A; }
int old(a, b) int a; char *b; { return a; }
typedef int (*fn)(int);
extern int proto(int) __asm__("other");
int (*returns(int q))(int) { return 0; }
int array[] = { 1 };
extern "C" { int inner(void) { return 1; } }
int last(void) { if(1) { } return 0; }`)) {
		got = append(got, b.Name)
	}
	if d := cmp.Diff([]string{"pick", "old", "returns", "inner", "last"}, got); d != "" {
		t.Error(d)
	}
}

func TestFixed(t *testing.T) {
	const old, fixed = "int f(int a) { return a; }\n", "int f(int a) { if(a < 0) return 0; return a; }\n"
	fix := func(name, body string) advisory.Fix {
		return advisory.Fix{Function: advisory.Function{File: "a.c", Name: name}, Body: Bodies([]byte(body))[0].Hash}
	}
	for name, c := range map[string]struct {
		text  string
		fixes []advisory.Fix
		want  analyze.Verdict
	}{
		"fixed":          {fixed, []advisory.Fix{fix("f", fixed)}, analyze.Present},
		"not fixed":      {old, []advisory.Fix{fix("f", fixed)}, analyze.Absent},
		"half fixed":     {fixed + "int g(void) { return 1; }\n", []advisory.Fix{fix("f", fixed), fix("g", "int g(void) { return 2; }")}, analyze.Absent},
		"not there":      {"int h;\n", []advisory.Fix{fix("f", fixed)}, analyze.Unknown},
		"second missing": {fixed, []advisory.Fix{fix("f", fixed), fix("g", "int g(void) { return 2; }")}, analyze.Unknown},
		"does not parse": {fixed + "int h = @;\n", []advisory.Fix{fix("f", fixed)}, analyze.Unknown},
		"another file's": {"# 1 \"b.h\" 1\n" + fixed, []advisory.Fix{fix("f", fixed)}, analyze.Unknown},
		"two of a name":  {"# 1 \"b.h\" 1\nstatic int f(int a) { return 9; }\n# 2 \"a.c\" 2\n" + fixed, []advisory.Fix{fix("f", fixed)}, analyze.Present},
	} {
		f := newFixture()
		f.unit("a.c", preamble("a.c")+c.text, true)
		m := functions("f")
		m.Fixes = c.fixes
		if e := f.examine(t, m); e.Fixed != c.want {
			t.Errorf("%s: fixed %s, want %s: %s", name, e.Fixed, c.want, e.Reason)
		}
	}
}

func TestConformance(t *testing.T) {
	f := newFixture()
	f.unit("a.c", preamble("a.c")+"int f(void) { return 0; }\n", true)
	dir := t.TempDir()
	for name, file := range f.debug {
		p := filepath.Join(dir, compile.PartDebug, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, file.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := compile.NewImage(nil, f.record, nil, map[string]*compile.Item{"c": {Dir: dir}})
	a, b := functions("f", "g"), functions("g")
	b.Conditions = []advisory.Condition{{Quote: "q", File: "a.c"}}
	analyzetest.TestLayer(t, Layer(), &analyze.Subject{Image: img}, []analyze.Candidate{
		{Advisory: &advisory.Advisory{ID: "CVE-1-1", Map: a}, Component: "c"},
		{Advisory: &advisory.Advisory{ID: "CVE-1-2", Map: b}, Component: "c"},
		{Advisory: &advisory.Advisory{ID: "CVE-1-3", Map: b}, Component: "not recorded"},
	})
}

// The preprocessor of the host: system headers, builtins and extensions.
func TestRealPreprocessor(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		need.Skip(t, "gcc", err.Error())
	}
	const src = `
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <pthread.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <setjmp.h>
typedef __int128 wide;
static __thread int counter;
struct s { int a; _Float128 q; } __attribute__((packed));
static inline __attribute__((always_inline)) wide mul(wide a) { return a * 2; }
int variadic(const char *fmt, ...) { va_list ap, aq; va_start(ap, fmt); va_copy(aq, ap);
	int n = va_arg(ap, int) + (int)offsetof(struct s, q); va_end(ap); va_end(aq); return n + (int)mul(3) + counter; }
int assembly(int x) { __asm__ volatile ("nop" : "+r"(x) : : "memory"); return __builtin_expect(x, 0); }
int expression(int x) { return ({ int y = x; y ?: 2; }) + __extension__ ({ typeof(x) z = x; z; }); }
int jumps(int x) { void *t[] = { &&a, &&b }; goto *t[x & 1]; a: return 1; b: switch(x) { case 1 ... 3: return 2; } return 3; }
_Static_assert(sizeof(int) == 4, "int");
int nested(int n) { int v[n]; return sizeof v + _Generic(n, int: 1, default: 2) + __builtin_types_compatible_p(int, long); }
#ifdef WITH_X
int only_with_x(void) { return 1; }
#endif
`
	preprocess := func(args ...string) string {
		cmd := exec.Command(gcc, append(args, "-E", "-dD", "-x", "c", "-")...)
		cmd.Stdin = strings.NewReader(src)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(out), `"<stdin>"`, `"a.c"`)
	}
	names := []string{"mul", "variadic", "assembly", "expression", "jumps", "nested"}
	for _, std := range []string{"-std=gnu99", "-std=gnu17"} {
		f := newFixture()
		f.unit("a.c", preprocess(std, "-O2", "-D_FORTIFY_SOURCE=2"), true)
		e := f.examine(t, functions(append(names, "only_with_x")...))
		for i, fn := range e.Functions {
			want := analyze.Present
			if i == len(names) {
				want = analyze.Absent
			}
			if fn.Verdict != want {
				t.Errorf("%s %s: %s, want %s: %s", std, fn.Name, fn.Verdict, want, e.Reason)
			}
		}
		m := functions("f")
		m.Conditions = []advisory.Condition{
			{Macro: &advisory.Macro{File: "a.c", Name: "WITH_X"}},
			{Macro: &advisory.Macro{File: "a.c", Name: "_FORTIFY_SOURCE", Value: "2"}},
			{Macro: &advisory.Macro{File: "a.c", Name: "__linux__"}},
		}
		var got []analyze.Verdict
		for _, c := range f.examine(t, m).Conditions {
			got = append(got, c.Verdict)
		}
		if !slices.Equal(got, []analyze.Verdict{analyze.Absent, analyze.Present, analyze.Present}) {
			t.Errorf("macros: %v", got)
		}
		// the scanner, which hashes, and the parser, which decides, agree
		u := lex([]byte(preprocess(std, "-DWITH_X")), nil, nil)
		parsed, err := u.defined()
		if err != nil {
			t.Fatal(err)
		}
		scanned := map[string]int{}
		for _, b := range u.bodies() {
			scanned[b.Name]++
		}
		if d := cmp.Diff(parsed, scanned); d != "" {
			t.Errorf("parser - scanner +\n%s", d)
		}
	}
}

func FuzzLex(f *testing.F) {
	f.Add([]byte(preamble("a.c", "X 1") + "int f(a) int a; { return \"x\\\"\"[0] + 'c' + 1e+5; }\n#pragma pop_macro\n/* open"))
	f.Add([]byte("# 1 \"a\\nb\"\nint (*f(void))(int) {"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := lex(b, map[string]bool{"X": true}, map[string]bool{"f": true})
		if len(u.code()) != len(b) || bytes.Count(u.code(), []byte("\n")) != bytes.Count(b, []byte("\n")) {
			t.Fatal("the code is not the text line for line")
		}
		for _, body := range u.bodies() {
			if body.Name == "f" && !u.mayDefine("f") {
				t.Fatal("f is defined, but could not be")
			}
		}
		u.mayDefine("f")
		u.macro("X")
	})
}

func BenchmarkLex(b *testing.B) {
	src := []byte(preamble("a.c") + strings.Repeat("#define SOME_MACRO_NAME(x) ((x) + 1)\n", 4000) +
		strings.Repeat("static int function(int a, char *b) { if(a > 1 && b[0] == 'x') return a << 2; return 0; }\n", 3000))
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if u := lex(src, nil, nil); len(u.tokens) == 0 {
			b.Fatal("no tokens")
		}
	}
}
