package usage

import (
	"debug/elf"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/internal/trace"
)

// randomProgram is n functions f0, f1, … in files of per, that come to each
// other in every way that C has for it: calls, tables of pointers, pointers in
// structures that are filled at run time, constructors and destructors, weak
// definitions, weak references, sections that are walked from __start_ to
// __stop_, and names that are looked up at run time, which are given back with
// the functions that look them up.
// Every call makes its argument smaller, so that the program ends.
func randomProgram(r *rand.Rand, n, per int) (sources map[string]string, looked, lookers []string) {
	sources = map[string]string{}
	other := func() int { return r.IntN(n) }
	overridden := map[int]bool{} // have a weak definition in another file
	for from := 0; from < n; from += per {
		var b strings.Builder
		b.WriteString("#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stddef.h>\ntypedef int (*fn)(int);\n")
		for i := range n {
			fmt.Fprintf(&b, "int f%d(int);\n", i)
		}
		fmt.Fprintf(&b, "extern int nowhere%d(int) __attribute__((weak));\n", from)
		fmt.Fprintf(&b, "static struct { fn a; int pad; fn b; } ops%d;\n", from)
		if k := other(); r.IntN(2) == 0 && (k < from || k >= from+per) && !overridden[k] {
			overridden[k] = true
			fmt.Fprintf(&b, "__attribute__((weak)) int f%d(int x) { return f%d(x - 3); }\n", k, other())
		}
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "__attribute__((constructor)) static void up%d(void) { ops%d.a = f%d; f%d(%d); }\n", from, from, other(), other(), r.IntN(5))
		}
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "__attribute__((destructor)) static void down%d(void) { f%d(%d); }\n", from, other(), r.IntN(5))
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "__attribute__((section(\"probes\"), used)) static fn probe%d = f%d;\n", from, other())
		}
		for i := from; i < min(from+per, n); i++ {
			fmt.Fprintf(&b, "static const fn t%d[] = {f%d, f%d, f%d};\n", i, other(), other(), other())
			fmt.Fprintf(&b, "int f%d(int x) { if (x <= 0) return 1; int y = x;\n", i)
			for range r.IntN(3) {
				fmt.Fprintf(&b, "\tif (x & %d) y += f%d(x / 2 - 1);\n", 1<<r.IntN(4), other())
			}
			switch r.IntN(8) {
			case 0, 1:
				fmt.Fprintf(&b, "\ty += t%d[(unsigned)x %% 3](x / 3 - 1);\n", i)
			case 2:
				fmt.Fprintf(&b, "\tif (x == 1) ops%d.b = f%d; if (ops%d.a) y += ops%d.a(x / 2 - 1); if (ops%d.b) y += ops%d.b(x / 4 - 1);\n", from, other(), from, from, from, from)
			case 3:
				fmt.Fprintf(&b, "\tif (nowhere%d) y += nowhere%d(x - 1);\n", from, from)
			case 4:
				name := fmt.Sprintf("f%d", other())
				looked, lookers = append(looked, name), append(lookers, fmt.Sprintf("f%d", i))
				fmt.Fprintf(&b, "\tfn p = (fn)dlsym(RTLD_DEFAULT, %q); if (p) y += p(x / 2 - 1);\n", name)
			}
			b.WriteString("\treturn y; }\n")
		}
		sources[fmt.Sprintf("p%04d.c", from)] = b.String()
	}
	walk := ""
	if r.IntN(2) == 0 {
		walk = "for (fn *p = __start_probes; p != __stop_probes; p++) y += (*p)(3);"
	}
	sources["z.c"] = fmt.Sprintf(`typedef int (*fn)(int);
extern fn __start_probes[] __attribute__((weak)), __stop_probes[] __attribute__((weak));
int f%d(int), f%d(int), f%d(int);
int main(int n, char **v) { int y = f%[1]d(9) + f%[2]d(100) + f%[3]d(30 + n); %[4]s return y & 1; }
`, other(), other(), other(), walk)
	return sources, looked, lookers
}

// TestObservedIsLive runs random programs under breakpoints on every function
// that an ungarbaged link kept: what was observed must be live in the graph.
// The whole 200 are for the end-to-end run, or for CLEANSTART_RANDOM_PROGRAMS=200.
func TestObservedIsLive(t *testing.T) {
	programs := 4
	if os.Getenv("CLEANSTART_E2E") == "1" {
		programs = 200
	}
	if s := os.Getenv("CLEANSTART_RANDOM_PROGRAMS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		programs = n
	}
	ran, armed, dead, names := 0, 0, 0, 0
	for seed := range uint64(programs) {
		h := newHost(t)
		r := rand.New(rand.NewPCG(seed, 2))
		sources, looked, lookers := randomProgram(r, 60, 15)
		args := append(h.compile(sources), "-pie", "-Wl,-Map=out.map", "-o", "out")
		if len(looked) > 0 {
			list := "{ " + strings.Join(looked, "; ") + "; };\n"
			if err := os.WriteFile(filepath.Join(h.dir, "exports"), []byte(list), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "-Wl,--dynamic-list=exports")
		}
		h.run(args...)
		g, err := New(h.loaded(filepath.Join(h.dir, "out.map")), Options{Entry: "_start", Undefined: []string{"_init", "_fini"}, Exports: looked})
		if err != nil {
			t.Fatal(err)
		}
		_, open := g.Refers("dlsym")
		live := map[string]bool{}
		for n, s := range g.Nodes {
			if g.Live(n) {
				live[s.Name] = true
			}
		}
		hits, at := observe(t, filepath.Join(h.dir, "out"))
		for _, fn := range hits {
			if !live[".text."+fn] {
				t.Errorf("seed %d: %s ran and is dead in the graph", seed, fn)
			}
			if !open && slices.Contains(lookers, fn) {
				t.Errorf("seed %d: %s ran, which looks a name up, and the graph calls the world closed", seed, fn)
			}
		}
		for fn := range at {
			if !live[".text."+fn] {
				dead++
			}
		}
		ran, armed, names = ran+len(hits), armed+len(at), names+len(looked)
	}
	t.Logf("%d programs: %d of %d functions ran, %d are dead in the graph, %d names are looked up", programs, ran, armed, dead, names)
	if ran < 5*programs || dead < programs || names == 0 {
		t.Errorf("the programs show too little")
	}
}

// observe runs a program to its end and gives which of its functions ran, and
// all that were armed.
func observe(t *testing.T, name string) (hits []string, armed map[string]bool) {
	t.Helper()
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	plan, at := trace.File{Path: name}, map[uint64]string{}
	armed = map[string]bool{}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Value == 0 {
			continue
		}
		for _, prefix := range []string{"f", "up", "down"} {
			if n, err := strconv.Atoi(strings.TrimPrefix(s.Name, prefix)); err == nil && n >= 0 && s.Name != strconv.Itoa(n) {
				plan.Addresses = append(plan.Addresses, s.Value)
				at[s.Value], armed[s.Name] = s.Name, true
			}
		}
	}
	res, err := trace.Run(&trace.Plan{Files: []trace.File{plan}}, []string{name}, nil, "/", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, hit := range res.Hits {
		hits = append(hits, at[hit.Address])
	}
	return hits, armed
}
