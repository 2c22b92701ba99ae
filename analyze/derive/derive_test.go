package derive

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/internal/need"
)

// fixture is a repository that a test makes.
type fixture struct {
	t   *testing.T
	dir string
}

func newFixture(t *testing.T) *fixture {
	if _, err := exec.LookPath("git"); err != nil {
		need.Skip(t, "git", err.Error())
	}
	f := &fixture{t, t.TempDir()}
	f.git("init", "-q", "-b", "main")
	return f
}

func (f *fixture) git(args ...string) string {
	f.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example", "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files, those that are "" away, and gives the commit's id.
func (f *fixture) commit(message string, files map[string]string) string {
	f.t.Helper()
	for name, body := range files {
		p := filepath.Join(f.dir, name)
		if body == "" {
			if err := os.Remove(p); err != nil {
				f.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(body), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	f.git("add", "-A")
	f.git("commit", "-q", "-m", message)
	return f.git("rev-parse", "HEAD")
}

func (f *fixture) derive(q Request) (*Result, error) {
	return Derive(f.t.Context(), &Repository{Dir: f.dir, Path: os.Getenv("PATH")}, q)
}

// saver is a file that opens what it writes with fopen, or with the helper that
// the fix introduces.
func saver(function, open string) string {
	return fmt.Sprintf(`#include <stdio.h>
#include "setup.h"

static int unrelated_%[1]s(int x)
{
  return x * 2;
}

int %[1]s(const char *name)
{
  FILE *out = %[2]s(name, "w");
  if(!out)
    return 1;
  fprintf(out, "%%d", unrelated_%[1]s(1));
  fclose(out);
  return 0;
}
`, function, open)
}

const helper = `#include <stdio.h>
FILE *safe_open(const char *name, const char *mode)
{
  return fopen(name, mode);
}
`

// saving is the history of CVE-2022-32207: the commit that is cited introduces
// a helper and repairs one file, the next two repair what did the same.
func saving(t *testing.T) (f *fixture, cited string, files map[string]string) {
	f = newFixture(t)
	files = map[string]string{
		"lib/cookie.c": saver("cookie_output", "fopen"), "lib/altsvc.c": saver("altsvc_save", "fopen"),
		"lib/hsts.c": saver("hsts_save", "fopen"), "lib/other.c": saver("other_save", "fopen"),
		"lib/setup.h": "#define SETUP 1\n", "docs/cookie.md": "old\n",
	}
	f.commit("release", files)
	f.git("tag", "v1")
	cited = f.commit("cookie: keep the mode", map[string]string{
		"lib/cookie.c": saver("cookie_output", "safe_open"), "lib/fopen.c": helper, "docs/cookie.md": "new\n",
	})
	f.commit("other: something else", map[string]string{"lib/other.c": saver("other_save", "fopen64")})
	f.commit("altsvc: use it too", map[string]string{"lib/altsvc.c": saver("altsvc_save", "safe_open")})
	f.commit("hsts: use it too", map[string]string{"lib/hsts.c": saver("hsts_save", "safe_open")})
	f.git("tag", "v2")
	f.commit("after the release", map[string]string{"lib/other.c": saver("other_save", "safe_open")})
	return f, cited, files
}

func names(fs []advisory.Function) string {
	var out []string
	for _, f := range fs {
		out = append(out, f.File+":"+f.Name)
	}
	return strings.Join(out, " ")
}

// The cited commit changes cookie.c alone; a set that leaves out altsvc.c and
// hsts.c would call a build without cookies safe.
func TestUnionOfCVE202232207(t *testing.T) {
	f, cited, _ := saving(t)
	r, err := f.derive(Request{Fixes: []string{cited}, Until: "v2", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(r.Functions), "lib/altsvc.c:altsvc_save lib/cookie.c:cookie_output lib/hsts.c:hsts_save"; got != want {
		t.Errorf("functions %s, want %s", got, want)
	}
	if len(r.Commits) != 3 || r.Commits[0] != (Commit{cited, "cited"}) || r.Commits[1].Why != "uses safe_open" || len(r.Files)+len(r.Missing) != 0 {
		t.Errorf("%+v", r)
	}
	if m := r.Map(); m.Completeness != advisory.Derived || len(m.Functions) != 3 {
		t.Errorf("map %+v: want a derived one, which proves nothing", m)
	}
	again, err := f.derive(Request{Fixes: []string{cited}, Until: "v2", Version: "v1"})
	if err != nil || fmt.Sprint(again) != fmt.Sprint(r) {
		t.Errorf("another answer: %+v, %v", again, err)
	}
}

// A tree is fixed when every hunk of the whole fix is in it, and not before:
// back-ported to a release whose lines moved, and whatever its layout.
func TestCheckBackPort(t *testing.T) {
	f, cited, old := saving(t)
	r, err := f.derive(Request{Fixes: []string{cited}, Until: "v2", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	check := func(change map[string]string) (State, string) {
		t.Helper()
		tree := fstest.MapFS{}
		for name, body := range old {
			if c, ok := change[name]; ok {
				body = c
			}
			tree[name] = &fstest.MapFile{Data: []byte(body)}
		}
		state, why, err := Check(tree, r)
		if err != nil {
			t.Fatal(err)
		}
		return state, why
	}
	moved := func(s string) string {
		return "/* moved */\n\n" + strings.ReplaceAll(s, "  return 0;", "\treturn 0; /* fine */")
	}
	whole := map[string]string{
		"lib/cookie.c": moved(saver("cookie_output", "safe_open")), "lib/altsvc.c": moved(saver("altsvc_save", "safe_open")), "lib/hsts.c": saver("hsts_save", "safe_open"),
	}
	if s, why := check(whole); s != Fixed {
		t.Errorf("the whole back-port is %s: %s", s, why)
	}
	if s, why := check(nil); s != Vulnerable {
		t.Errorf("the release is %s: %s", s, why)
	}
	for name := range whole {
		part := map[string]string{}
		for n, b := range whole {
			part[n] = b
		}
		delete(part, name)
		if s, why := check(part); s != Vulnerable {
			t.Errorf("without the fix of %s it is %s: %s", name, s, why)
		}
		part[name] = strings.Replace(whole[name], "if(!out)", "if(!out || 0)", 1)
		if s, why := check(part); s != Unknown {
			t.Errorf("with %s in another form it is %s: %s", name, s, why)
		}
		part[name] = "int gone;\n"
		if s, why := check(part); s != Unknown {
			t.Errorf("with %s gone it is %s: %s", name, s, why)
		}
	}
}

// What is changed outside of functions, what the release does not have and
// where it has it are said, and keep a tree from being called fixed.
func TestOutsideFunctions(t *testing.T) {
	f := newFixture(t)
	f.commit("release", map[string]string{"a.c": "#include \"a.h\"\nint f(int x)\n{\n  return x;\n}\n", "a.h": "#define MAX 10\n", "moved.c": "int g(int x)\n{\n  return x;\n}\n", "Makefile.am": "x\n"})
	f.git("tag", "v1")
	f.commit("move, and more", map[string]string{"moved.c": "", "b.c": "int g(int x)\n{\n  return x;\n}\nint h(int x)\n{\n  return x;\n}\n"})
	fix := f.commit("fix", map[string]string{
		"a.c": "#include \"a.h\"\nint f(int x)\n{\n  return x > MAX ? MAX : x;\n}\n", "a.h": "#define MAX 11\n", "Makefile.am": "y\n",
		"b.c":          "int g(int x)\n{\n  return x + 1;\n}\nint h(int x)\n{\n  return x + 1;\n}\n",
		"tests/test.c": "int main(void) { return 0; }\n",
	})
	f.git("tag", "v2")
	r, err := f.derive(Request{Fixes: []string{fix[:12]}, Until: "v2", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(r.Functions); got != "a.c:f moved.c:g" {
		t.Errorf("functions %s", got)
	}
	if !slices.Equal(r.Files, []string{"Makefile.am", "a.h"}) || names(r.Missing) != "b.c:h" {
		t.Errorf("files %v, missing %s", r.Files, names(r.Missing))
	}
	if s, why, err := Check(fstest.MapFS{"a.c": {Data: []byte("#include \"a.h\"\nint f(int x)\n{\n  return x > MAX ? MAX : x;\n}\n")}}, r); err != nil || s == Fixed {
		t.Errorf("%s: %s, %v", s, why, err)
	}
}

func TestDeriveRefuses(t *testing.T) {
	f, cited, _ := saving(t)
	after := f.git("rev-parse", "main")
	f.git("checkout", "-q", "-b", "side", "v1")
	f.commit("side", map[string]string{"side.c": "int s;\n"})
	f.git("checkout", "-q", "main")
	f.git("merge", "-q", "--no-ff", "-m", "merge", "side")
	merge := f.git("rev-parse", "HEAD")
	for name, q := range map[string]Request{
		"nothing cited":        {Until: "v2", Version: "v1"},
		"no such commit":       {Fixes: []string{strings.Repeat("0", 40)}, Until: "v2", Version: "v1"},
		"after the release":    {Fixes: []string{after}, Until: "v2", Version: "v1"},
		"a merge":              {Fixes: []string{merge}, Until: "main", Version: "v1"},
		"no such release":      {Fixes: []string{cited}, Until: "v9", Version: "v1"},
		"an option":            {Fixes: []string{"--all"}, Until: "v2", Version: "v1"},
		"an expression":        {Fixes: []string{"v1..v2"}, Until: "v2", Version: "v1"},
		"no version":           {Fixes: []string{cited}, Until: "v2"},
		"a version too clever": {Fixes: []string{cited}, Until: "v2", Version: "v1^{tree}"},
	} {
		if r, err := f.derive(q); err == nil {
			t.Errorf("%s: %+v, want an error", name, r)
		}
	}
	if _, err := Derive(t.Context(), &Repository{Dir: "relative"}, Request{Fixes: []string{cited}, Until: "v2", Version: "v1"}); err == nil {
		t.Error("a relative folder is accepted")
	}
	if s, _, err := Check(fstest.MapFS{}, &Result{}); s != Unknown || err != nil {
		t.Errorf("without signatures: %s, %v", s, err)
	}
}

func FuzzParseDiff(f *testing.F) {
	f.Add([]byte("diff --git a/x.c b/x.c\n--- a/x.c\n+++ b/x.c\n@@ -1,2 +1 @@ f\n-a\n-b\n+c\n"))
	f.Add([]byte("diff --git a/x.c b/x.c\n--- /dev/null\n+++ b/x.c\n@@ -0,0 +1,1 @@\n+--- a/y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		hunks, err := parseDiff(b)
		if err != nil {
			return
		}
		for _, h := range hunks {
			if h.old[0] > h.old[1] || h.new[0] > h.new[1] {
				t.Errorf("%+v", h)
			}
		}
	})
}

// A later commit on the same function counts with all that it changes; one on
// another function of the same file does not.
func TestUnionOfSameFunction(t *testing.T) {
	one := func(name string, n int) string {
		return fmt.Sprintf("int %s(int x)\n{\n  return x + %d;\n}\n", name, n)
	}
	f := newFixture(t)
	f.commit("release", map[string]string{"a.c": one("f", 0) + "\n\n\n" + one("near", 0), "b.c": one("g", 0)})
	f.git("tag", "v1")
	cited := f.commit("fix", map[string]string{"a.c": one("f", 1) + "\n\n\n" + one("near", 0)})
	f.commit("unrelated", map[string]string{"a.c": one("f", 1) + "\n\n\n" + one("near", 1)})
	f.commit("the fix was too little", map[string]string{"a.c": one("f", 2) + "\n\n\n" + one("near", 1), "b.c": one("g", 1)})
	f.git("tag", "v2")
	r, err := f.derive(Request{Fixes: []string{cited}, Until: "v2", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(r.Functions); got != "a.c:f b.c:g" || len(r.Commits) != 2 || r.Commits[1].Why != "changes f of a.c" {
		t.Errorf("%s by %+v", got, r.Commits)
	}
}
