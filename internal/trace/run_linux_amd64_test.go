package trace

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleanstart/cleanstart/internal/need"
)

// cc compiles one C program and returns its path.
func cc(t testing.TB, source string, flags ...string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		need.Skip(t, "gcc", err.Error())
	}
	dir := t.TempDir()
	src, out := filepath.Join(dir, "main.c"), filepath.Join(dir, "main")
	if err := os.WriteFile(src, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-O1", "-fno-inline", "-fno-ipa-icf", "-o", out, src}, flags...)
	if b, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, b)
	}
	return out
}

// functions maps the names of a file's functions to their addresses.
func functions(t testing.TB, name string) map[string]uint64 {
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
	out := map[string]uint64{}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value != 0 {
			out[s.Name] = s.Value
		}
	}
	return out
}

// planFor arms the functions whose names begin with f_.
func planFor(t testing.TB, name string) (File, map[uint64]string) {
	t.Helper()
	file, names := File{Path: name}, map[uint64]string{}
	for fn, a := range functions(t, name) {
		if strings.HasPrefix(fn, "f_") {
			file.Addresses = append(file.Addresses, a)
			names[a] = fn
		}
	}
	return file, names
}

// observe runs a program with every f_ function of the files armed.
func observe(t testing.TB, argv []string, files ...string) ([]string, *Result) {
	t.Helper()
	plan, names := &Plan{}, map[string]map[uint64]string{}
	for _, name := range files {
		f, n := planFor(t, name)
		plan.Files = append(plan.Files, f)
		names[name] = n
	}
	r, err := Run(plan, argv, nil, "/", []uintptr{0, 1, 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var hits []string
	for _, h := range r.Hits {
		hits = append(hits, names[h.Path][h.Address])
	}
	slices.Sort(hits)
	return hits, r
}

func TestRun(t *testing.T) {
	const threads = `
#include <pthread.h>
#include <stdlib.h>
void f_idle(void) { __asm__ volatile(""); }
void f_many(void) { __asm__ volatile(""); }
void f_one(void) { __asm__ volatile(""); }
static void *body(void *p) { for (int i = 0; i < 1000; i++) f_many(); if (p) f_one(); return 0; }
int main(void) {
	pthread_t t[16];
	for (long i = 0; i < 16; i++) pthread_create(&t[i], 0, body, (void *)(i == 7 ? 1L : 0L));
	for (int i = 0; i < 16; i++) pthread_join(t[i], 0);
	return 3;
}`
	const forks = `
#include <unistd.h>
#include <sys/wait.h>
#include <signal.h>
void f_parent(void) { __asm__ volatile(""); }
void f_child(void) { __asm__ volatile(""); }
void f_both(void) { __asm__ volatile(""); }
void f_vfork(void) { __asm__ volatile(""); }
void f_idle(void) { __asm__ volatile(""); }
void f_handler(int s) { __asm__ volatile(""); }
int main(void) {
	int st;
	for (int i = 0; i < 20; i++) {
		pid_t p = fork();
		if (p == 0) { f_child(); f_both(); _exit(5); }
		if (i == 0) f_parent();
		f_both();
		if (waitpid(p, &st, 0) != p || WEXITSTATUS(st) != 5) return 1;
	}
	pid_t p = vfork();
	if (p == 0) { f_vfork(); _exit(0); }
	waitpid(p, &st, 0);
	signal(SIGUSR1, f_handler);
	raise(SIGUSR1);
	signal(SIGTRAP, SIG_IGN);
	return 0;
}`
	for _, c := range []struct {
		name, source string
		flags        []string
		want         []string
		exit, armed  int
	}{
		{"threads pie", threads, []string{"-pthread"}, []string{"f_many", "f_one"}, 3, 3},
		{"threads static-pie", threads, []string{"-pthread", "-fPIE", "-static-pie"}, []string{"f_many", "f_one"}, 3, 3},
		{"threads no-pie", threads, []string{"-pthread", "-no-pie"}, []string{"f_many", "f_one"}, 3, 3},
		{"forks", forks, nil, []string{"f_both", "f_child", "f_handler", "f_parent", "f_vfork"}, 0, 6},
		{"killed", `#include <stdlib.h>
void f_last(void) { abort(); }
int main(void) { f_last(); }`, nil, []string{"f_last"}, 128 + int(unix.SIGABRT), 1},
		{"own trap", `#include <signal.h>
static volatile int seen;
static void handler(int s) { seen++; }
void f_after(void) { __asm__ volatile(""); }
int main(void) { signal(SIGTRAP, handler); __asm__ volatile("int3"); raise(SIGTRAP); f_after(); return seen; }`,
			nil, []string{"f_after"}, 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin := cc(t, c.source, c.flags...)
			hits, r := observe(t, []string{bin}, bin)
			if !slices.Equal(hits, c.want) {
				t.Errorf("Run hits %v, want %v", hits, c.want)
			}
			if r.Exit != c.exit || r.Armed != c.armed {
				t.Errorf("Run = exit %d, %d armed, want %d, %d", r.Exit, r.Armed, c.exit, c.armed)
			}
		})
	}
}

func TestRunExec(t *testing.T) {
	second := cc(t, `void f_second(void) { __asm__ volatile(""); }
void f_never(void) { __asm__ volatile(""); }
int main(void) { f_second(); return 7; }`, "-fPIE", "-static-pie")
	first := cc(t, `#include <unistd.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>
void f_first(void) { __asm__ volatile(""); }
void f_failed(void) { __asm__ volatile(""); }
static void *go(void *p) { f_first(); execl(p, p, (char *)0); f_failed(); return 0; }
int main(int n, char **v) {
	char *a[] = {v[1], 0};
	pid_t p; int st;
	if (posix_spawn(&p, v[1], 0, 0, a, a)) return 1;
	if (waitpid(p, &st, 0) != p || WEXITSTATUS(st) != 7) return 2;
	pthread_t t;
	pthread_create(&t, 0, go, v[1]);
	pthread_join(t, 0);
	return 1;
}`, "-pthread")
	hits, r := observe(t, []string{first, second}, first, second)
	if want := []string{"f_first", "f_second"}; !slices.Equal(hits, want) || r.Exit != 7 {
		t.Errorf("Run hits %v with exit %d, want %v with 7", hits, r.Exit, want)
	}
}

func TestRunDlopen(t *testing.T) {
	lib := cc(t, `void f_lib(void) { __asm__ volatile(""); }
void f_idle(void) { __asm__ volatile(""); }
__attribute__((constructor)) void f_constructor(void) { __asm__ volatile(""); }`, "-shared", "-fPIC")
	bin := cc(t, `#include <dlfcn.h>
int main(int n, char **v) {
	for (int i = 0; i < 3; i++) {
		void *h = dlopen(v[1], RTLD_NOW);
		if (!h) return 1;
		if (i == 2) ((void (*)(void))dlsym(h, "f_lib"))();
		dlclose(h);
	}
	return 0;
}`)
	hits, r := observe(t, []string{bin, lib}, lib)
	if want := []string{"f_constructor", "f_lib"}; !slices.Equal(hits, want) || r.Exit != 0 {
		t.Errorf("Run hits %v with exit %d, want %v with 0", hits, r.Exit, want)
	}
}

func TestRunOutlived(t *testing.T) {
	bin := cc(t, `#include <unistd.h>
int main(void) { if (fork() == 0) for (;;) pause(); return 0; }`)
	if _, r := observe(t, []string{bin}); r.Exit != 0 {
		t.Errorf("exit %d", r.Exit)
	}
}

func TestRunManyPoints(t *testing.T) {
	bin := cc(t, many(2000))
	hits, r := observe(t, []string{bin}, bin)
	if len(hits) != 1000 || r.Armed != 2000 || r.Exit != 0 {
		t.Errorf("Run = %d hits, %d armed, exit %d; want 1000, 2000, 0", len(hits), r.Armed, r.Exit)
	}
}

// many is a program of n functions that calls every other one.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "void f_%d(void) { __asm__ volatile(\"\"); }\n", i)
	}
	b.WriteString("int main(void) {\n")
	for i := 0; i < n; i += 2 {
		fmt.Fprintf(&b, "f_%d();\n", i)
	}
	return b.String() + "return 0; }\n"
}

func TestRunRefuses(t *testing.T) {
	bin := cc(t, `int main(void) { return 0; }`)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		plan *Plan
		argv []string
	}{
		{"no plan", nil, []string{bin}},
		{"no program", &Plan{}, nil},
		{"missing program", &Plan{}, []string{"/nonexistent/program"}},
		{"missing file", &Plan{Files: []File{{Path: "/nonexistent/file"}}}, []string{bin}},
		{"not ELF", &Plan{Files: []File{{Path: text}}}, []string{bin}},
		{"address in no text", &Plan{Files: []File{{Path: bin, Addresses: []uint64{0x10}}}}, []string{bin}},
	} {
		if r, err := Run(c.plan, c.argv, nil, "/", nil, &syscall.SysProcAttr{}); err == nil {
			t.Errorf("%s: Run = %+v, want an error", c.name, r)
		}
	}
}

func FuzzParseMaps(f *testing.F) {
	f.Add("55d0c0a00000-55d0c0a01000 r-xp 00001000 fe:00 123   /usr/bin/cat\n")
	f.Add("7fff0000-7fff1000 r-xp 0 00:00 0 [vdso]\nx\n- - - - - /\n")
	f.Fuzz(func(t *testing.T, s string) {
		maps, err := parseMaps(strings.NewReader(s))
		if err != nil && maps != nil {
			t.Error("mappings beside an error")
		}
	})
}

func BenchmarkRun(b *testing.B) {
	bin := cc(b, many(2000))
	all, _ := planFor(b, bin)
	for _, c := range []struct {
		name string
		plan *Plan
	}{{"bare", &Plan{}}, {"armed2000hit1000", &Plan{Files: []File{all}}}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Run(c.plan, []string{bin}, nil, "/", nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
