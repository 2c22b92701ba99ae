package local

import (
	"debug/dwarf"
	"debug/elf"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/compile"
)

var excisable = map[string]string{
	"main.c": `#include <stdio.h>
#include <string.h>
#include "part.h"
struct handler { const char *name; int (*hole)(const char *); };
static const struct handler table[] = { { "hole", hole }, { 0, 0 } };
/* small enough to be inlined everywhere */
static inline int small_hole(int x)
{
	return x * 3 + '}';
}
int main(int argc, char **argv) {
	if (argc > 1 && !strcmp(argv[1], "hole")) return table[0].hole("x");
	if (argc > 1 && !strcmp(argv[1], "small")) return small_hole(argc);
	puts("hole small_hole old_hole"); /* a string is no name */
	return old_hole_not(argc);
}
`,
	"part.c": `#include "part.h"
int hole(const char *s) { int n = 0; while (*s) { n += *s++ == '{'; } return n; }
int old_hole(a, b) int a; char *b; { return a + *b; }
int old_hole_not(int n) { return n - 1; }
`,
	"part.h": "int hole(const char *);\nint old_hole(int, char *);\nint old_hole_not(int);\n",
}

// TestExcision: what is excised is nowhere, what calls it dies, and all else
// is as it was.
func TestExcision(t *testing.T) {
	a := testAction("holes")
	a.Commands = []compile.Command{sh("gcc -c main.c\ngcc -c part.c -MD -MF part.d\ntest -s part.d\nmkdir -p ../out/usr/bin\ngcc -o ../out/usr/bin/holes main.o part.o")}
	a.Runtime = []string{"usr/bin/holes"}
	src := tree(t, excisable)
	whole, wholeOut, err := execute(t, New(), a, src, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(whole.Excised) != 0 {
		t.Errorf("nothing was to be excised: %+v", whole.Excised)
	}
	a.Excise = []string{"hole", "old_hole", "small_hole"}
	cut, out, err := execute(t, New(), a, src, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []compile.Excision{
		{Function: "hole", Source: "part.c", Line: 2, Object: "part.o"},
		{Function: "old_hole", Source: "part.c", Line: 3, Object: "part.o"},
		{Function: "small_hole", Source: "main.c", Line: 7, Object: "main.o"},
	}
	if d := cmp.Diff(want, cut.Excised); d != "" {
		t.Errorf("excised (-want +got):\n%s", d)
	}
	if !mentions(t, filepath.Join(wholeOut, "debug", whole.Links[0].Unstripped), "small_hole") {
		t.Error("the whole program does not show what is looked for")
	}
	for _, n := range a.Excise {
		if mentions(t, filepath.Join(out, "debug", cut.Links[0].Unstripped), n) {
			t.Errorf("%s is still in the program", n)
		}
	}
	run := func(arg ...string) (string, error) {
		b, err := exec.Command(filepath.Join(out, "runtime/usr/bin/holes"), arg...).Output()
		return string(b), err
	}
	if got, err := run(); err != nil || got != "hole small_hole old_hole\n" {
		t.Errorf("without the excised functions: %q, %v", got, err)
	}
	for _, arg := range []string{"hole", "small"} {
		_, err := run(arg)
		var exit *exec.ExitError
		if !asExit(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
			t.Errorf("calling %s: %v, want a trap", arg, err)
		}
	}

	for name, functions := range map[string][]string{
		"no unit defines puts_not": {"puts_not"},
		"no unit defines a macro":  {"NULL"},
		"one of two":               {"hole", "hole_not"},
	} {
		a.Excise = functions
		if _, _, err := execute(t, New(), a, src, nil); err == nil || !strings.Contains(err.Error(), functions[len(functions)-1]) {
			t.Errorf("%s: %v, want an error that names it", name, err)
		}
	}
}

func asExit(err error, to **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*to = e
	return ok
}

// mentions says whether a program has a symbol, a function or an inlined copy
// of that name.
func mentions(t *testing.T, name, function string) bool {
	t.Helper()
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if base, _, _ := strings.Cut(s.Name, "."); base == function {
			return true
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
			return false
		}
		if e.Tag == dwarf.TagSubprogram && e.Val(dwarf.AttrName) == function {
			return true
		}
	}
}

// TestExciseAssembly: what the wrapper cannot read it does not claim to have
// cut out.
func TestExciseAssembly(t *testing.T) {
	a := testAction("holes")
	a.Commands = []compile.Command{sh("gcc -c main.c\ngcc -c part.S\nmkdir -p ../out/usr/bin\ngcc -o ../out/usr/bin/holes main.o part.o")}
	a.Runtime = []string{"usr/bin/holes"}
	a.Excise = []string{"hole"}
	src := tree(t, map[string]string{
		"main.c": "int hole(void);\nint main(void) { return hole(); }\n",
		"part.S": ".text\n.globl hole\n.type hole, @function\nhole: xor %eax, %eax\n ret\n.section .note.GNU-stack,\"\",@progbits\n",
	})
	if _, _, err := execute(t, New(), a, src, nil); err == nil {
		t.Error("a function in assembly counts as excised")
	}
}
