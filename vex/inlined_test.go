//go:build linux && amd64

package vex_test

import (
	"debug/elf"
	"fmt"
	"strings"
	"testing"

	govex "github.com/openvex/go-vex/pkg/vex"

	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/analyze/binary/binarytest"
	"github.com/cleanstart/cleanstart/compile"
)

func record(id, completeness string, functions ...string) string {
	var imports []string
	for _, f := range functions {
		file, name, _ := strings.Cut(f, ":")
		imports = append(imports, fmt.Sprintf(`{"path":%q,"symbols":[%q]}`, file, name))
	}
	return fmt.Sprintf(`{"id":%q,"modified":"2026-01-02T03:04:05Z","affected":[{"ecosystem_specific":{"component":"lib","map":%q,"imports":[%s]},
		"ranges":[{"type":"SEMVER","events":[{"introduced":"0.9"},{"fixed":"1.1"}]}]}]}`, id, completeness, strings.Join(imports, ","))
}

// small builds the library with a program that calls run() and ends.
func small(t *testing.T, lib map[string]string, records ...string) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), records: records, index: new(binary.Index)}
	w.subject = binarytest.Build(t, binarytest.Bare(), binarytest.Project{Name: "lib", Files: lib},
		binarytest.Project{Name: "prog", Files: map[string]string{"main.c": `
int run(int);
void _start(void) { int r = run(1); __asm__ volatile("syscall" : : "a"(231), "D"(r * 0)); for (;;) ; }
`}})
	w.workload(compile.Run{Name: "run", Args: []string{"/usr/bin/prog"}})
	return w
}

// TestInlineOnly has the seven shapes in which curl's functions with a CVE are
// in a program without a symbol: a test of the symbol table would silence all
// of them. None may be; those with a flaw that is not linked still are.
func TestInlineOnly(t *testing.T) {
	lib := map[string]string{
		"lib.h": "static inline int in_header(int x) { volatile int y = x; return y * 5 + 11; }\n",
		"lib.c": `
#include "lib/lib.h"
volatile int sink;
static int called_once(int x) { sink = x; return sink * 7 + 3; }
static inline int small_helper(int x) { sink = x ^ 0x55; return sink; }
static int innermost(int x) { sink = x + 31; return sink; }
static int between(int x) { return innermost(x) * 9; }
static int in_a_loop(int x) { for (int i = 0; i < 3; i++) sink += x; return sink; }
static __attribute__((always_inline)) inline int always(int x) { sink = x | 0x100; return sink; }
static int behind_a_test(int x) { if (x > 1000) return -1; sink = x; return sink - 1; }
static int never_used(int x) { sink = x - 77; return sink; }
int not_called(int x) { return never_used(x); }
int run(int x) { return called_once(x) + small_helper(x) + between(x) + in_a_loop(x) + always(x) + behind_a_test(x) + in_header(x); }
`,
	}
	names := []string{"lib.c:called_once", "lib.c:small_helper", "lib.c:innermost", "lib.c:in_a_loop", "lib.c:always", "lib.c:behind_a_test", "lib.h:in_header"}
	var records []string
	for i, n := range names {
		records = append(records, record(fmt.Sprint("CVE-1-", i), "reviewed", n))
	}
	records = append(records, record("CVE-2-0", "reviewed", "lib.c:never_used"))
	w := small(t, lib, records...)

	f, err := elf.Open(w.file("prog", "prog"))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		for _, n := range names {
			if _, name, _ := strings.Cut(n, ":"); s.Name == name || strings.HasPrefix(s.Name, name+".") {
				t.Errorf("%s has a symbol: the fixture shows nothing", s.Name)
			}
		}
	}
	got, err := w.judge()
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		if d := got[fmt.Sprint("CVE-1-", i)]; d.Status != govex.StatusAffected {
			t.Errorf("%s, which is inlined, is %s by %s: %s", n, d.Status, d.Rule, d.Reason)
		}
	}
	if d := got["CVE-2-0"]; d.Status != govex.StatusNotAffected {
		t.Errorf("never_used is %s: %s", d.Status, d.Reason)
	}
}

// TestCVE202232207 builds curl's case: three files save what they know, the
// cited commit repairs one of them, and that one is not compiled. The derived
// set alone must not silence, the whole reviewed set must find it, and a build
// without any of the three is not affected.
func TestCVE202232207(t *testing.T) {
	saver := func(feature, name string) string {
		return fmt.Sprintf("#ifndef NO_%s\nextern volatile int sink;\n__attribute__((noinline)) int %s(int x) { sink = x; return sink; }\n#else\nint no_%[2]s;\n#endif\n", feature, name)
	}
	build := func(off string, records ...string) map[string]govex.Status {
		t.Helper()
		run := "volatile int sink;\n" + off + "int run(int x) {\n"
		for feature, name := range map[string]string{"COOKIES": "cookie_output", "ALTSVC": "altsvc_save", "HSTS": "hsts_save"} {
			run += fmt.Sprintf("#ifndef NO_%s\n\t{ int %s(int); x += %[2]s(x); }\n#endif\n", feature, name)
		}
		w := small(t, map[string]string{
			"cookie.c": off + saver("COOKIES", "cookie_output"), "altsvc.c": off + saver("ALTSVC", "altsvc_save"),
			"hsts.c": off + saver("HSTS", "hsts_save"), "run.c": run + "\treturn x;\n}\n",
		}, records...)
		got, err := w.judge()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]govex.Status{}
		for id, d := range got {
			out[id] = d.Status
		}
		return out
	}
	cited := []string{"cookie.c:cookie_output"}
	union := []string{"altsvc.c:altsvc_save", "cookie.c:cookie_output", "hsts.c:hsts_save"} // as package derive has it
	const noCookies = "#define NO_COOKIES\n"
	for _, c := range []struct {
		name, off, completeness string
		functions               []string
		want                    govex.Status
	}{
		{"everything on", "", "reviewed", union, govex.StatusAffected},
		{"cookies off, the cited commit's set", noCookies, "derived", cited, govex.StatusUnderInvestigation},
		{"cookies off, the union", noCookies, "derived", union, govex.StatusAffected},
		{"cookies off, the union, reviewed", noCookies, "reviewed", union, govex.StatusAffected},
		{"hsts alone", noCookies + "#define NO_ALTSVC\n", "reviewed", union, govex.StatusAffected},
		{"all off, the union, reviewed", noCookies + "#define NO_ALTSVC\n#define NO_HSTS\n", "reviewed", union, govex.StatusNotAffected},
		{"all off, the union", noCookies + "#define NO_ALTSVC\n#define NO_HSTS\n", "derived", union, govex.StatusUnderInvestigation},
	} {
		if got := build(c.off, record("CVE-2022-32207", c.completeness, c.functions...)); got["CVE-2022-32207"] != c.want {
			t.Errorf("%s: %s, want %s", c.name, got["CVE-2022-32207"], c.want)
		}
	}
}
