package local

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

// tinyLibc is a C library of two functions: enough to see that a program is
// linked static-pie against the need and against nothing of the toolchain's.
var tinyLibc = map[string]string{
	"rcrt1.S": `.globl _start
_start: xor %ebp,%ebp
	andq $-16,%rsp
	call main
	mov %eax,%edi
	mov $60,%eax
	syscall
`,
	"crti.S":          "",
	"crtn.S":          "",
	"puts.c":          `long puts(const char *s) { long n = 0, r; while (s[n]) n++; __asm__ volatile ("syscall" : "=a"(r) : "a"(1L), "D"(1L), "S"(s), "d"(n) : "rcx", "r11", "memory"); return r; }`,
	"include/stdio.h": "long puts(const char *);\n",
	"COPYING":         "",
}

func libcNeed(t *testing.T) string {
	t.Helper()
	a := testAction("libc")
	a.Commands = []compile.Command{sh(`
		mkdir -p /build/out/usr/lib /build/out/usr/include
		for f in rcrt1 crti crtn; do gcc -c $f.S -o /build/out/usr/lib/$f.o; done
		gcc -ffreestanding -c puts.c
		ar rc /build/out/usr/lib/libc.a puts.o
		cp include/stdio.h /build/out/usr/include`)}
	r, out, err := execute(t, New(), a, tree(t, tinyLibc), nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if len(r.Units) != 4 {
		t.Errorf("units of the library = %d, want 4", len(r.Units))
	}
	return filepath.Join(out, compile.PartDev)
}

func TestLibc(t *testing.T) {
	needs := map[string]string{"libc": libcNeed(t)}
	a := testAction("program")
	a.Flags.Libc = "libc"
	a.Runtime = []string{"usr/bin/*"}
	a.Commands = []compile.Command{sh(`
		gcc -o hello hello.c
		mkdir -p /build/out/usr/bin
		install -s hello /build/out/usr/bin/hello`)}
	source := tree(t, map[string]string{"hello.c": "#include <stdio.h>\n#include <stddef.h>\n#include <linux/types.h>\nint main(void) { return puts(\"hi\\n\") != 3; }\n"})
	r, out, err := execute(t, New(), a, source, needs)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	for _, in := range r.Links[0].Inputs {
		if strings.HasPrefix(in.Path, "/usr/lib/x86_64-linux-gnu") || strings.HasPrefix(in.Path, "/lib") {
			t.Errorf("%s of the toolchain's C library was linked", in.Path)
		}
		if (in.Origin == "libc") != strings.HasPrefix(in.Path, "/build/needs/libc/") {
			t.Errorf("input %+v", in)
		}
	}
	if len(r.Units) != 1 || r.Units[0].Source != "hello.c" || r.Units[0].Preprocessed == "" {
		t.Errorf("units = %+v", r.Units)
	}
	f, err := os.Open(filepath.Join(out, "runtime/usr/bin/hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if e, err := readELF(f); err != nil || e == nil || !e.linked {
		t.Errorf("readELF = %+v, %v", e, err)
	}
	var said bytes.Buffer
	o, err := sandbox.Run(t.Context(), sandbox.Config{
		Mounts: []sandbox.Mount{{Kind: sandbox.Overlay, Target: "/", Lower: []string{filepath.Join(out, "runtime")}},
			{Kind: sandbox.Proc, Target: "/proc"}},
		UID: 65532, GID: 65532, Hostname: "x", Seccomp: sandbox.SeccompRun,
	}, sandbox.Process{Args: []string{"/usr/bin/hello"}, Dir: "/"}, &said, &said)
	if err != nil || o.Exit != 0 || said.String() != "hi\n" {
		t.Errorf("hello = %+v, %v, %q", o, err, said.String())
	}
}

// The ways in which build systems call a compiler.
func TestWrapper(t *testing.T) {
	a := testAction("forms")
	a.Runtime = []string{"usr/bin/*"}
	source := tree(t, map[string]string{
		"a.c": "int a(void) { return 1; }\n", "b.c": "int b(void) { return 2; }\n",
		"with blank.c": "int c(void) { return 3; }\n", "m.c": "int a(void), b(void), c(void), d(void); int main(void) { return a() + b() + c() + d() - 10; }\n",
		"d.cc": "extern \"C\" int d(void) { return 4; }\n", "conftest.c": "int main(void) { return 0; }\n",
	})
	a.Commands = []compile.Command{sh(`
		gcc -v 2>/dev/null; gcc -dumpversion; gcc -print-prog-name=ld
		test "$(echo X | gcc -DX=42 -E -P -)" = 42
		gcc conftest.c -o conftest && ./conftest
		cc -c a.c b.c
		/usr/bin/x86_64-linux-gnu-gcc-12 -MMD -MF dep -c "with blank.c"
		test -s dep
		g++ -c d.cc
		gcc -o "the program" a.o -I. b.o "with blank.o" m.c d.o
		"./the program"
		mkdir -p /build/out/usr/bin; cp "the program" /build/out/usr/bin/p`)}
	r, out, err := execute(t, New(), a, source, nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	var sources []string
	for _, u := range r.Units {
		sources = append(sources, u.Language+" "+u.Source)
		if !slices.Contains(u.Args, "-fstack-clash-protection") {
			t.Errorf("%s did not get the flags: %q", u.Source, u.Args)
		}
	}
	if want := []string{"c a.c", "c b.c", "c++ d.cc", "c m.c", "c with blank.c"}; !slices.Equal(sources, want) {
		t.Errorf("units = %q, want %q", sources, want)
	}
	text, err := exec.Command("gzip", "-dc", filepath.Join(out, compile.PartDebug, r.Units[0].Preprocessed)).Output()
	if err == nil && (!bytes.Contains(text, []byte(`# 1 "/usr/src/debug/forms-1.0/a.c"`)) && !bytes.Contains(text, []byte(`# 1 "a.c"`)) || !bytes.Contains(text, []byte("#define __GNUC__"))) {
		t.Errorf("preprocessed text = %.400q", text)
	}
}

func TestRefusesOutputs(t *testing.T) {
	for name, c := range map[string]struct {
		script, want string
		change       func(*compile.Action)
	}{
		"pipe":             {script: "mkfifo /build/out/p", want: "neither a file nor"},
		"staging link":     {script: "ln -s /build/out/x /build/out/y", want: "staging directory"},
		"pattern":          {script: ":", want: "matches no installed file", change: func(a *compile.Action) { a.Runtime = []string{"usr/bin/absent"} }},
		"licence":          {script: ":", want: "licence file", change: func(a *compile.Action) { a.Licenses = []string{"ABSENT"} }},
		"damaged program":  {script: `mkdir -p /build/out/b; printf '\177ELF\2\1\1' > /build/out/b/x`, want: "b/x"},
		"damaged archive":  {script: `mkdir -p /build/out/usr/lib; printf '!<arch>\nxx' > /build/out/usr/lib/x.a`, want: "damaged header"},
		"unexplained code": {script: `mkdir -p /build/out/usr/lib; printf 'x: ret\n' | as -o x.o -; ar rc /build/out/usr/lib/x.a x.o`, want: "nothing explains"},
	} {
		t.Run(name, func(t *testing.T) {
			a := testAction("bad")
			a.Commands = []compile.Command{sh(c.script)}
			if c.change != nil {
				c.change(&a)
			}
			_, out, err := execute(t, New(), a, tree(t, map[string]string{"x": ""}), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want something about %q", err, c.want)
			}
			if list, _ := os.ReadDir(out); len(list) != 0 {
				t.Errorf("the output holds %v", list)
			}
		})
	}
}

func TestRelocatePC(t *testing.T) {
	w := &work{job: &compile.Job{Action: compile.Action{Component: "z"}}}
	got := string(w.relocatePC([]byte("prefix=/usr\nlibdir=${prefix}/lib\nother=prefix=/usr\n")))
	if want := "prefix=/build/needs/z/usr\nlibdir=${prefix}/lib\nother=prefix=/usr\n"; got != want {
		t.Errorf("relocatePC = %q, want %q", got, want)
	}
}

func TestCopySource(t *testing.T) {
	from := tree(t, map[string]string{"run": "#!/bin/sh\n", "d/data": "x"})
	if err := os.Chmod(filepath.Join(from, "d/data"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../outside", filepath.Join(from, "d/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(from, "d"), 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(from, "d"), 0o755) })
	to := filepath.Join(t.TempDir(), "to")
	if err := copySource(from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"run": 0o755, "d/data": 0o644, "d": 0o755 | fs.ModeDir} {
		is, err := os.Stat(filepath.Join(to, name))
		if err != nil || is.Mode() != want {
			t.Errorf("%s: %v, %v", name, is, err)
			continue
		}
		was, _ := os.Stat(filepath.Join(from, name))
		if !is.ModTime().Equal(was.ModTime()) {
			t.Errorf("%s: time %v, was %v", name, is.ModTime(), was.ModTime())
		}
	}
	if l, err := os.Readlink(filepath.Join(to, "d/link")); l != "../../outside" {
		t.Errorf("link = %q, %v", l, err)
	}
}

func TestCheckJob(t *testing.T) {
	for name, change := range map[string]func(*compile.Job){
		"component":    func(j *compile.Job) { j.Action.Component = "../x" },
		"platform":     func(j *compile.Job) { j.Action.Platform = "linux/arm64" },
		"no commands":  func(j *compile.Job) { j.Action.Commands = nil },
		"libc unnamed": func(j *compile.Job) { j.Action.Flags.Libc = "musl" },
		"need missing": func(j *compile.Job) { j.Action.Needs = []compile.Need{{Name: "z"}} },
		"need extra":   func(j *compile.Job) { j.Needs = map[string]string{"z": "/"} },
		"no epoch":     func(j *compile.Job) { j.Action.Epoch = 0 },
		"out full":     func(j *compile.Job) { j.Out = "/" },
		"out missing":  func(j *compile.Job) { j.Out = "/does/not/exist" },
	} {
		j := &compile.Job{Action: testAction("x"), Out: t.TempDir()}
		j.Action.Commands = []compile.Command{sh(":")}
		if err := checkJob(j); err != nil {
			t.Fatalf("good job: %v", err)
		}
		change(j)
		if checkJob(j) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNotHermetic(t *testing.T) {
	good := sandbox.Probe{Interfaces: []string{"lo down"}, Namespaces: []string{"net"}, Seccomp: true, NoNewPrivs: true}
	if _, err := hermetic(&good); err != nil {
		t.Errorf("good probe: %v", err)
	}
	for name, change := range map[string]func(*sandbox.Probe){
		"reached":    func(p *sandbox.Probe) { p.Reached = true },
		"route":      func(p *sandbox.Probe) { p.Routes = 1 },
		"interface":  func(p *sandbox.Probe) { p.Interfaces = append(p.Interfaces, "eth0 up") },
		"namespace":  func(p *sandbox.Probe) { p.Namespaces = nil },
		"no seccomp": func(p *sandbox.Probe) { p.Seccomp = false },
	} {
		p := good
		change(&p)
		if _, err := hermetic(&p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkExecute(b *testing.B) {
	a := testAction("empty")
	a.Commands = []compile.Command{sh(":")}
	source, tc := b.TempDir(), toolchainDir(b)
	for b.Loop() {
		if _, err := New().Execute(context.Background(), &compile.Job{
			Action: a, Source: os.DirFS(source), SourceDir: source, Toolchain: tc, Out: b.TempDir()}); err != nil {
			b.Fatal(err)
		}
	}
}
