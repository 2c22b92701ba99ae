package compiletest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/compile"
)

// Checks lists the requirements.
func Checks() []Check {
	return []Check{
		{"network-denied", "a build that can fetch is not built from its verified source", networkDenied},
		{"host-unreadable", "a build that reads the host depends on it", hostUnreadable},
		{"env-exact", "a variable that leaks in changes bytes that no key covers", envExact},
		{"identity-fixed", "user, host name, umask and directory reach outputs", identityFixed},
		{"deterministic", "equal actions must give equal outputs", deterministic},
		{"jobs-substituted", "parallelism is the machine's, not the action's", jobsSubstituted},
		{"source-private", "a build must not change the verified tree", sourcePrivate},
		{"needs-read-only", "a build must not change what others are built against", needsReadOnly},
		{"failure-is-build-error", "a caller must tell a broken recipe from a broken machine", failureIsBuildError},
		{"failure-leaves-nothing", "half an output must not be taken for one", failureLeavesNothing},
		{"cancel-kills-the-tree", "a build that goes on after its end writes into the next", cancelKillsTheTree},
		{"output-described", "the store and the image trust the record of the files", outputDescribed},
		{"units-traced", "nothing is linked that the record does not name", unitsTraced},
		{"unexplained-refused", "bytes that no recorded compiler made cannot be shipped", unexplainedRefused},
		{"hermetic-measured", "a claim without a measurement is worth nothing", hermeticMeasured},
	}
}

func networkDenied(ctx context.Context, s Subject, dir string) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	var calls atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	got, err := execute(ctx, s, dir, action(sh(fmt.Sprintf(
		`perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0) or exit 0; exit(connect(S, pack_sockaddr_in(%s, inet_aton("127.0.0.1"))) ? 1 : 0)' || echo reached`, port))), nil, nil)
	if err != nil {
		return err
	}
	if calls.Load() != 0 || got.stdout() != "" {
		return errors.New("a command reached a listener of the host")
	}
	return nil
}

func hostUnreadable(ctx context.Context, s Subject, dir string) error {
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("of the host"), 0o644); err != nil {
		return err
	}
	got, err := execute(ctx, s, dir, action(sh("cat '"+secret+"' 2>/dev/null || :; ls /proc/1/cwd/ 2>/dev/null || :; cat /proc/1/environ 2>/dev/null || :")), nil, nil)
	if err != nil {
		return err
	}
	if out := got.stdout(); out != "" {
		return fmt.Errorf("a command read %q", out)
	}
	return nil
}

func envExact(ctx context.Context, s Subject, dir string) error {
	a := action(compile.Command{Args: []string{"env"}, Dir: compile.SourceDir})
	got, err := execute(ctx, s, dir, a, nil, nil)
	if err != nil {
		return err
	}
	var want []string
	for k, v := range a.Env {
		want = append(want, k+"="+v)
	}
	slices.Sort(want)
	have := strings.Split(strings.TrimSuffix(got.stdout(), "\n"), "\n")
	slices.Sort(have)
	if d := cmp.Diff(want, have); d != "" {
		return fmt.Errorf("environment (-action +seen):\n%s", d)
	}
	return nil
}

func identityFixed(ctx context.Context, s Subject, dir string) error {
	got, err := execute(ctx, s, dir, action(sh("id -u; id -g; id -un; uname -n; umask; pwd")), nil, nil)
	if err != nil {
		return err
	}
	if want := "1000\n1000\nbuilder\ncleanstart\n0022\n/build/src\n"; got.stdout() != want {
		return fmt.Errorf("identity = %q, want %q", got.stdout(), want)
	}
	return nil
}

// helloFiles is a program with what tempts a compiler to differ.
func helloFiles() map[string]string {
	return map[string]string{
		"sub/hello.c": `#include <stdio.h>
#include <assert.h>
int answer(int);
int main(int c, char **v) { (void)v; assert(c); printf("%s %s %s %d\n", __FILE__, __DATE__, __TIME__, answer(c)); return 0; }
`,
		"answer.c": "int answer(int x) { return 41 + x; }\n",
		"answer.h": "int answer(int);\n",
	}
}

const helloBuild = `
gcc -c "$PWD/answer.c" -o answer.o
ar rcU libanswer.a answer.o
gcc -o hello sub/hello.c -L. -lanswer
mkdir -p /build/out/usr/bin /build/out/usr/lib /build/out/usr/include
cp hello /build/out/usr/bin/
cp libanswer.a /build/out/usr/lib/
cp answer.h /build/out/usr/include/
ln -s hello /build/out/usr/bin/hi
date > /dev/null
`

func hello() compile.Action {
	a := action(sh(helloBuild))
	a.Runtime = []string{"/usr/bin"}
	a.Licenses = []string{"COPYING"}
	return a
}

func deterministic(ctx context.Context, s Subject, dir string) error {
	first, err := execute(ctx, s, dir, hello(), helloFiles(), nil)
	if err != nil {
		return err
	}
	other := filepath.Join(dir, "another", "place")
	if err := os.MkdirAll(other, 0o700); err != nil {
		return err
	}
	time.Sleep(1100 * time.Millisecond) // the second that some formats count in
	second, err := execute(ctx, s, other, hello(), helloFiles(), nil)
	if err != nil {
		return err
	}
	for part, p := range first.result.Output.Parts {
		if d := cmp.Diff(p, second.result.Output.Parts[part]); d != "" {
			return fmt.Errorf("part %s (-first +second):\n%s", part, d)
		}
	}
	if d := cmp.Diff(first.result.Units, second.result.Units); d != "" {
		return fmt.Errorf("units (-first +second):\n%s", d)
	}
	if d := cmp.Diff(first.result.Links, second.result.Links); d != "" {
		return fmt.Errorf("links (-first +second):\n%s", d)
	}
	if first.result.Output.Digest != second.result.Output.Digest || first.result.Output.Digest == "" {
		return fmt.Errorf("output digests %q and %q", first.result.Output.Digest, second.result.Output.Digest)
	}
	return nil
}

func jobsSubstituted(ctx context.Context, s Subject, dir string) error {
	a := action(compile.Command{Args: []string{"echo", "-j{jobs}"}, Dir: compile.SourceDir})
	got, err := execute(ctx, s, dir, a, nil, nil)
	if err != nil {
		return err
	}
	if got.stdout() != "-j2\n" {
		return fmt.Errorf("printed %q, want -j2", got.stdout())
	}
	if d := cmp.Diff(a.Commands[0], got.result.Commands[0].Command); d != "" {
		return fmt.Errorf("the recorded command is not the action's:\n%s", d)
	}
	return nil
}

func sourcePrivate(ctx context.Context, s Subject, dir string) error {
	files := map[string]string{"a/file": "as released", "gone": "x"}
	got, err := execute(ctx, s, dir, action(sh("echo changed > a/file; rm gone; echo new > a/new; mkdir b; cat a/file")), files, nil)
	if err != nil {
		return fmt.Errorf("a build must be able to write in its source: %w", err)
	}
	source := filepath.Join(filepath.Dir(got.out), "source")
	for name, want := range files {
		if b, err := os.ReadFile(filepath.Join(source, name)); err != nil || string(b) != want {
			return fmt.Errorf("the verified file %s is now %q (%v)", name, b, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(source, "a/new")); !errors.Is(err, fs.ErrNotExist) {
		return errors.New("the verified tree has a new file")
	}
	return nil
}

func needsReadOnly(ctx context.Context, s Subject, dir string) error {
	need := filepath.Join(dir, "need")
	if err := os.MkdirAll(filepath.Join(need, "usr/include"), 0o755); err != nil {
		return err
	}
	header := filepath.Join(need, "usr/include/x.h")
	if err := os.WriteFile(header, []byte("ok\n"), 0o644); err != nil {
		return err
	}
	got, err := execute(ctx, s, dir, action(sh(`f=`+compile.NeedsDir+`/x/usr/include/x.h; cat $f; chmod u+w $f 2>/dev/null || :; { echo bad > $f; } 2>/dev/null && echo written || :`)), nil, map[string]string{"x": need})
	if err != nil {
		return err
	}
	if b, err := os.ReadFile(header); err != nil || string(b) != "ok\n" || got.stdout() != "ok\n" {
		return fmt.Errorf("the need holds %q (%v), the command printed %q", b, err, got.stdout())
	}
	return nil
}

func failureIsBuildError(ctx context.Context, s Subject, dir string) error {
	a := action(sh("echo fine"), sh("echo about to fail; echo why >&2; exit 3"), sh("echo never"))
	got, err := execute(ctx, s, dir, a, nil, nil)
	var be *compile.BuildError
	if !errors.As(err, &be) {
		return fmt.Errorf("error = %v, want a *compile.BuildError", err)
	}
	if be.Component != a.Component || be.Exit != 3 || !slices.Equal(be.Command.Args, a.Commands[1].Args) || !slices.Contains(be.Tail, "why") {
		return fmt.Errorf("build error = %+v", be)
	}
	if strings.Contains(be.Error(), "\n") || !strings.Contains(fmt.Sprintf("%+v", be), "why") {
		return errors.New("Error is one line, and %+v adds the tail")
	}
	for i, l := range got.log {
		if l.Seq != i || l.Component != a.Component || l.Command > 1 {
			return fmt.Errorf("log line %d = %+v", i, l)
		}
	}
	return nil
}

func failureLeavesNothing(ctx context.Context, s Subject, dir string) error {
	a := hello()
	a.Commands = append(a.Commands, sh("mkdir -m 0 closed; mkdir -p /build/out/usr/x; chmod 500 /build/out/usr/x; false"))
	got, err := execute(ctx, s, dir, a, helloFiles(), nil)
	if err == nil {
		return errors.New("false succeeded")
	}
	list, err := os.ReadDir(got.out)
	if err != nil || len(list) != 0 {
		return fmt.Errorf("the output directory holds %v (%v)", list, err)
	}
	around, err := os.ReadDir(filepath.Dir(got.out))
	if err != nil || len(around) != 2 {
		return fmt.Errorf("beside the output lies %v (%v)", around, err)
	}
	return nil
}

func cancelKillsTheTree(ctx context.Context, s Subject, dir string) error {
	if _, err := execute(ctx, s, dir, action(sh(":")), nil, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var w pulse
	work := filepath.Join(dir, "cancel")
	if err := errors.Join(write(filepath.Join(work, "source"), map[string]string{"f": ""}), os.Mkdir(filepath.Join(work, "out"), 0o755)); err != nil {
		return err
	}
	w.first = func() { cancel() }
	start := time.Now()
	_, err := s.Executor.Execute(ctx, &compile.Job{
		Action: action(sh("(trap '' HUP TERM; while :; do echo beat; sleep 0.02; done) & sleep 60")),
		Source: os.DirFS(filepath.Join(work, "source")), SourceDir: filepath.Join(work, "source"),
		Toolchain: s.Toolchain, Out: filepath.Join(work, "out"), Log: &w,
	})
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("error = %v, want context.Canceled", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		return fmt.Errorf("took %v", d)
	}
	before := w.count.Load()
	time.Sleep(300 * time.Millisecond)
	if after := w.count.Load(); after != before {
		return fmt.Errorf("%d lines came after Execute had returned", after-before)
	}
	return nil
}

// pulse counts writes and calls first on the first.
type pulse struct {
	count atomic.Int64
	first func()
}

func (p *pulse) Write(b []byte) (int, error) {
	if p.count.Add(1) == 1 {
		p.first()
	}
	return len(b), nil
}

func outputDescribed(ctx context.Context, s Subject, dir string) error {
	got, err := execute(ctx, s, dir, hello(), helloFiles(), nil)
	if err != nil {
		return err
	}
	o := &got.result.Output
	if err := o.VerifyOutput(got.out); err != nil {
		return err
	}
	for part, want := range map[string][]string{
		compile.PartRuntime:  {"usr/bin/hello", "usr/bin/hi", compile.LicenseDir + "/subject/COPYING"},
		compile.PartDev:      {"usr/include/answer.h", "usr/lib/libanswer.a"},
		compile.PartLicenses: {"COPYING"},
	} {
		var have []string
		for _, f := range o.Parts[part].Files {
			have = append(have, f.Path)
			if f.Link == "" && f.Mode != 0o644 && f.Mode != 0o755 {
				return fmt.Errorf("%s/%s has mode %o", part, f.Path, f.Mode)
			}
		}
		if d := cmp.Diff(want, have); d != "" {
			return fmt.Errorf("part %s (-want +have):\n%s", part, d)
		}
	}
	return filepath.WalkDir(got.out, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == got.out {
			return err
		}
		info, err := d.Info()
		if err == nil && !info.ModTime().Equal(time.Unix(epoch, 0)) {
			err = fmt.Errorf("%s has the time %v", p, info.ModTime())
		}
		return err
	})
}

func unitsTraced(ctx context.Context, s Subject, dir string) error {
	got, err := execute(ctx, s, dir, hello(), helloFiles(), nil)
	if err != nil {
		return err
	}
	r := got.result
	var sources []string
	for _, u := range r.Units {
		sources = append(sources, u.Source)
		if u.Language != "c" || u.Digest == "" || !slices.Contains(u.Args, "-O2") || !slices.Contains(u.Args, "-g1") {
			return fmt.Errorf("unit = %+v", u)
		}
	}
	if d := cmp.Diff([]string{"answer.c", "sub/hello.c"}, sources); d != "" {
		return fmt.Errorf("units (-want +have):\n%s", d)
	}
	if len(r.Links) != 1 || r.Links[0].Output != "usr/bin/hello" || !slices.Contains(r.Links[0].Args, "-Wl,-z,now") {
		return fmt.Errorf("links = %+v", r.Links)
	}
	own := map[string]string{}
	for _, in := range r.Links[0].Inputs {
		switch in.Origin {
		case "subject":
			own[in.Source] = in.Member
		case "toolchain":
		default:
			return fmt.Errorf("input %+v has the origin %q", in, in.Origin)
		}
		if _, err := os.Stat(filepath.Join(got.out, compile.PartDebug, in.Object)); err != nil {
			return fmt.Errorf("the object of input %s is not kept: %w", in.Path, err)
		}
	}
	if d := cmp.Diff(map[string]string{"answer.c": "answer.o", "sub/hello.c": ""}, own); d != "" {
		return fmt.Errorf("own inputs (-want +have):\n%s", d)
	}
	for _, f := range []string{r.Links[0].Unstripped, r.Links[0].Map} {
		if _, err := os.Stat(filepath.Join(got.out, compile.PartDebug, f)); err != nil {
			return err
		}
	}
	return nil
}

func unexplainedRefused(ctx context.Context, s Subject, dir string) error {
	for _, c := range []struct{ what, script string }{
		{"a program of the toolchain", "cp /usr/bin/env /build/out/usr/bin/hello"},
		{"a program changed after its link", `cp hello /build/out/usr/bin/hello
			perl -e 'open F, "+<", "/build/out/usr/bin/hello"; binmode F; local $/; $_ = <F>; s/answer is/ANSWER IS/ or die; seek F, 0, 0; print F $_'`},
		{"an object that no compiler made", `printf '.globl answer\nanswer: ret\n' | as -o answer.o -; rm -f libanswer.a; ar rc libanswer.a answer.o
			gcc -o hello sub/hello.c -L. -lanswer; cp hello libanswer.a /build/out/usr/bin/`},
	} {
		a := hello()
		a.Commands = []compile.Command{sh(helloBuild), sh(c.script)}
		files := withFile(helloFiles(), "answer.c", "const char *text = \"the answer is here\"; int answer(int x) { return text[x]; }\n")
		if _, err := execute(ctx, s, dir, a, files, nil); err == nil {
			return fmt.Errorf("%s was accepted", c.what)
		} else if be := (*compile.BuildError)(nil); errors.As(err, &be) {
			return fmt.Errorf("%s: the check itself failed: %w", c.what, err)
		}
	}
	return nil
}

func hermeticMeasured(ctx context.Context, s Subject, dir string) error {
	got, err := execute(ctx, s, dir, action(sh(":")), nil, nil)
	if err != nil {
		return err
	}
	h := got.result.Hermetic
	if !slices.Contains(h.Interfaces, "lo down") || h.Reached || !h.Seccomp || h.UID != 1000 || !slices.Contains(h.Namespaces, "net") {
		return fmt.Errorf("hermetic = %+v", h)
	}
	return nil
}
