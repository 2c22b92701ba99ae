package usage

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/internal/objfile"
)

// host is a directory to compile in, and the compiler.
type host struct {
	testing.TB
	dir, gcc string
}

func newHost(t testing.TB) *host {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		need.Skip(t, "gcc", err.Error())
	}
	return &host{t, t.TempDir(), gcc}
}

func (h *host) run(args ...string) []byte {
	h.Helper()
	cmd := exec.Command(h.gcc, args...)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.Fatalf("gcc %v: %v\n%s", args, err, out)
	}
	return out
}

// compile compiles sources to objects of their names.
func (h *host) compile(sources map[string]string) []string {
	h.Helper()
	var names []string
	for name, body := range sources {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(body), 0o600); err != nil {
			h.Fatal(err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	h.run(append([]string{"-O1", "-fno-inline", "-ffunction-sections", "-fdata-sections", "-fno-ipa-icf", "-fPIE", "-c"}, names...)...)
	objects := make([]string, len(names))
	for i, n := range names {
		objects[i] = strings.TrimSuffix(n, filepath.Ext(n)) + ".o"
	}
	return objects
}

// loaded reads what a link loaded, by its map.
func (h *host) loaded(mapFile string) []Input {
	h.Helper()
	text, err := os.ReadFile(mapFile)
	if err != nil {
		h.Fatal(err)
	}
	head, body, _ := strings.Cut(string(text), "\nLinker script and memory map\n")
	members := map[string][]string{}
	for _, line := range strings.Split(head, "\n") {
		word, _, _ := strings.Cut(line, " ")
		if lib, m, ok := strings.Cut(word, ".a("); ok {
			members[lib+".a"] = append(members[lib+".a"], strings.TrimSuffix(m, ")"))
		}
	}
	var out []Input
	seen := map[string]bool{}
	for _, line := range strings.Split(body, "\n") {
		p, ok := strings.CutPrefix(line, "LOAD ")
		if !ok || seen[p] {
			continue
		}
		seen[p] = true
		name := p
		if !filepath.IsAbs(p) {
			name = filepath.Join(h.dir, p)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			h.Fatal(err)
		}
		list := []objfile.Member{{Data: b}}
		if objfile.IsArchive(b) {
			if list, err = objfile.Members(b); err != nil {
				h.Fatal(err)
			}
			list = slices.DeleteFunc(list, func(m objfile.Member) bool { return !slices.Contains(members[p], m.Name) })
		} else if b[16] != 1 { // shared
			out = append(out, Input{Name: p})
			continue
		}
		for _, m := range list {
			o, err := objfile.ReadObject(m.Data)
			if err != nil {
				h.Fatalf("%s(%s): %v", p, m.Name, err)
			}
			label := p
			if m.Name != "" {
				label += "(" + m.Name + ")"
			}
			out = append(out, Input{Name: label, Object: o})
		}
	}
	return out
}

// removed is what GNU ld --gc-sections removes, as "SECTION OBJECT".
func removed(out []byte) map[string]int {
	set := map[string]int{}
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		// …: removing unused section '.text.f' in file 'a.o'
		if _, rest, ok := strings.Cut(sc.Text(), "removing unused section '"); ok {
			section, rest, _ := strings.Cut(rest, "' in file '")
			set[section+" "+strings.TrimSuffix(rest, "'")]++
		}
	}
	return set
}

// compare links, builds the graph of the same link and returns what differs:
// kept by one side only.
func (h *host) compare(args []string, o Options) (unsound, imprecise []string, dead int) {
	h.Helper()
	out := h.run(append(slices.Clone(args), "-Wl,--gc-sections,--print-gc-sections,-Map=out.map", "-o", "out")...)
	g, err := New(h.loaded(filepath.Join(h.dir, "out.map")), o)
	if err != nil {
		h.Fatal(err)
	}
	gone := removed(out)
	for n, s := range g.Nodes {
		if s.Size == 0 || g.Dropped(n) || s.Name == ".eh_frame" {
			continue
		}
		key := s.Name + " " + g.inputs[n.Object].Name
		switch {
		case !g.Live(n) && gone[key] == 0:
			unsound = append(unsound, key)
		case !g.Live(n):
			gone[key]--
			dead++
		}
	}
	for n, s := range g.Nodes {
		key := s.Name + " " + g.inputs[n.Object].Name
		if s.Size != 0 && !g.Dropped(n) && g.Live(n) && gone[key] > 0 {
			gone[key]--
			imprecise = append(imprecise, key)
		}
	}
	return unsound, imprecise, dead
}

// TestEqualsLinker compares the dead set with GNU ld's on programs made of
// what C objects can hold.
func TestEqualsLinker(t *testing.T) {
	h := newHost(t)
	objects := h.compile(map[string]string{
		"a.c": `
extern int (*table[])(int); extern int weakly(int) __attribute__((weak)); extern int shared_name(int);
extern const char __start_probes[], __stop_probes[];
int unused_data[10] = {1}; static int counter;
int one(int x) { return table[x](x) + shared_name(x); }
int two(int x) { return weakly ? weakly(x) : x; }
int three(int x) { return (int)(__stop_probes - __start_probes) + counter++; }
int dead_caller(int x) { return one(x) + two(x) + three(x); }
void _start(void) { for (;;) ; }
__attribute__((constructor)) static void built(void) { counter = two(3); }
`,
		"b.c": `
static int f(int x) { return x + 1; } static int g(int x) { return x + 2; } int h(int x) { return x + 3; }
int (*table[])(int) = {f, g, h};
int weakly(int x) { return h(x) * 2; }
__attribute__((weak)) int shared_name(int x) { return x; }
int alone(int x) { static const char *const words[] = {"a", "b"}; return words[x][0]; }
`,
		"c.c": `
int helper(int x) { return x * 9; }
int shared_name(int x) { return helper(x); }
static int probed(void) { return helper(1); }
__attribute__((section("probes"), used)) static int (*const probe)(void) = probed;
__attribute__((section("other"), used)) static int (*const nobody)(void) = probed;
static void cold_path(void) { helper(3); }
__attribute__((section("keepme,\"awR\"#"))) void (*retained)(void) = cold_path;
`,
		"e.c": `
__attribute__((destructor)) static void down(void) { extern int alone(int); alone(0); }
int tls_user(void) { extern __thread int slot; return slot; }
__thread int slot = 4; __thread int dead_slot = 5;
`,
	})
	for _, c := range []struct {
		entry string
		keep  []string
	}{
		{"_start", nil}, {"one", nil}, {"two", nil}, {"three", nil}, {"dead_caller", nil},
		{"_start", []string{"tls_user"}}, {"_start", []string{"alone", "h"}},
	} {
		args := slices.Concat(objects, []string{"-nostdlib", "-static-pie", "-Wl,-e," + c.entry})
		for _, k := range c.keep {
			args = append(args, "-Wl,-u,"+k)
		}
		unsound, imprecise, dead := h.compare(args, Options{Entry: c.entry, Undefined: c.keep})
		if len(unsound)+len(imprecise) > 0 || dead == 0 {
			t.Errorf("entry %s, keep %v: kept by the linker only %q, by the graph only %q, dead %d", c.entry, c.keep, unsound, imprecise, dead)
		}
	}
}

// TestEqualsLinkerStatic does so on a whole static program with the host's C
// library, whose objects use most of what ELF has.
func TestEqualsLinkerStatic(t *testing.T) {
	h := newHost(t)
	objects := h.compile(map[string]string{"m.c": `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
static void *body(void *p) { return p; }
int main(int n, char **v) {
	pthread_t t;
	pthread_create(&t, 0, body, v);
	printf("%s %f\n", strstr(v[0], "x"), strtod(v[0], 0));
	return n;
}`})
	for _, flags := range [][]string{{"-static"}, {"-static-pie"}, {"-pie"}} {
		unsound, imprecise, dead := h.compare(append(slices.Clone(objects), flags...), Options{Entry: "_start", Undefined: []string{"_init", "_fini"}})
		t.Logf("%v: %d dead, %d called live by the graph only", flags, dead, len(imprecise))
		if len(unsound) > 0 {
			t.Errorf("%v: %d sections kept by the linker only: %q", flags, len(unsound), unsound[:min(len(unsound), 10)])
		}
		if len(imprecise) > 0 {
			t.Logf("%q", imprecise[:min(len(imprecise), 10)])
		}
	}
}

// program is n functions in files of per, each with calls and addresses of
// random others.
func program(r *rand.Rand, n, per int) map[string]string {
	out := map[string]string{}
	for from := 0; from < n; from += per {
		var b strings.Builder
		fmt.Fprintf(&b, "typedef int (*fn)(int);\n")
		for i := range n {
			fmt.Fprintf(&b, "int f%d(int);\n", i)
		}
		for i := from; i < min(from+per, n); i++ {
			fmt.Fprintf(&b, "static const fn t%d[] = {f%d, f%d};\n", i, r.IntN(n), r.IntN(n))
			fmt.Fprintf(&b, "int f%d(int x) { if (x <= 0) return 0; ", i)
			for range r.IntN(2) {
				fmt.Fprintf(&b, "if (x & %d) x += f%d(x / 2 - 1); ", 1<<r.IntN(4), r.IntN(n))
			}
			if r.IntN(3) == 0 {
				fmt.Fprintf(&b, "x += t%d[x & 1](x / 3 - 1); ", i)
			}
			b.WriteString("return x; }\n")
		}
		out[fmt.Sprintf("p%04d.c", from)] = b.String()
	}
	return out
}

func TestEqualsLinkerRandom(t *testing.T) {
	for seed := range uint64(3) {
		h := newHost(t)
		r := rand.New(rand.NewPCG(seed, 1))
		sources := program(r, 200, 20)
		sources["z.c"] = "int f0(int), f1(int); void _start(void) { f0(9); f1(100); for (;;) ; }\n"
		unsound, imprecise, dead := h.compare(append(h.compile(sources), "-nostdlib", "-static-pie"), Options{Entry: "_start"})
		if len(unsound)+len(imprecise) > 0 {
			t.Errorf("seed %d: kept by the linker only %q, by the graph only %q", seed, unsound, imprecise)
		}
		t.Logf("seed %d: %d dead", seed, dead)
	}
}

// An object that may not be linked at all must not stand in for another's
// definition, and nothing of it is dead.
func TestDoubtfulHidesNothing(t *testing.T) {
	h := newHost(t)
	objects := h.compile(map[string]string{
		"m.c": "int f(void); void _start(void) { f(); for (;;) ; }",
		"a.c": "int f(void) { return 1; } int g(void) { return 2; }",
		"b.c": "__attribute__((weak)) int f(void) { return 3; }",
	})
	var inputs []Input
	for _, name := range objects {
		b, err := os.ReadFile(filepath.Join(h.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		o, err := objfile.ReadObject(b)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, Input{Name: name, Object: o})
	}
	live := func(doubtful bool) map[string]bool {
		for i := range inputs {
			inputs[i].Doubtful = doubtful && strings.HasPrefix(inputs[i].Name, "a.")
		}
		g, err := New(inputs, Options{Entry: "_start"})
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{}
		for n, s := range g.Nodes {
			if s.Size != 0 {
				out[inputs[n.Object].Name+" "+s.Name] = g.Live(n)
			}
		}
		return out
	}
	if l := live(false); l["b.o .text.f"] || l["a.o .text.g"] {
		t.Errorf("without doubt, what nobody calls is live: %v", l)
	}
	if l := live(true); !l["b.o .text.f"] || !l["a.o .text.g"] || !l["a.o .text.f"] {
		t.Errorf("in doubt, something is dead: %v", l)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(nil, Options{Entry: "_start"}); err == nil {
		t.Error("a program without its entry is accepted")
	}
	for _, args := range [][]string{
		{"-T", "script.ld"}, {"-Wl,--wrap=malloc"}, {"-Wl,--wrap,malloc"}, {"-Wl,--defsym=a=b"}, {"-flto"}, {"-flto=auto"},
		{"-fuse-ld=gold"}, {"-r"}, {"-Xlinker", "--just-symbols=x"},
	} {
		if o, err := options(args); err == nil {
			t.Errorf("options(%q) = %+v, want an error", args, o)
		}
	}
	o, err := options([]string{"-Wl,-e,main", "-ufoo", "-Wl,--undefined=bar", "-o", "prog", "-Wl,-export-dynamic", "-fuse-ld=bfd"})
	if err != nil || o.Entry != "main" || !slices.Equal(o.Undefined, []string{"foo", "bar", "_init", "_fini"}) {
		t.Errorf("options = %+v, %v", o, err)
	}
}

func BenchmarkNew(b *testing.B) {
	h := newHost(b)
	r := rand.New(rand.NewPCG(1, 1))
	sources := program(r, 2000, 100)
	sources["z.c"] = "int f0(int); void _start(void) { f0(9); for (;;) ; }\n"
	objects := h.compile(sources)
	args := append(objects, "-nostdlib", "-static-pie", "-Wl,--gc-sections,-Map=out.map", "-o", "out")
	h.run(args...)
	inputs := h.loaded(filepath.Join(h.dir, "out.map"))
	b.Run("graph", func(b *testing.B) {
		for b.Loop() {
			if _, err := New(inputs, Options{Entry: "_start"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ld", func(b *testing.B) {
		for b.Loop() {
			h.run(args...)
		}
	})
}
