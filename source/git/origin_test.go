package git_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/archive"
	"github.com/cleanstart/cleanstart/source/git"
	"github.com/cleanstart/cleanstart/source/openpgp"
	"github.com/cleanstart/cleanstart/source/tagmatch"
)

// release makes the project's tarball as `make dist` would, changed by edit,
// and signs it. Its signature is good whatever it holds: that is the point.
func (r *repository) release(k source.Key, edit func(dir string)) (tarball string) {
	r.t.Helper()
	top := r.t.TempDir()
	dir := filepath.Join(top, "project-1")
	r.run("", nil, "git", "clone", "--quiet", r.dir, dir)
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		r.t.Fatal(err)
	}
	put(r.t, dir, "configure", "#!/bin/sh\n# made by autoconf\n")
	put(r.t, dir, "Makefile.in", "# made by automake\n")
	for _, n := range []string{".gitignore", ".github/ci.yml"} {
		if err := os.Remove(filepath.Join(dir, n)); err != nil {
			r.t.Fatal(err)
		}
	}
	if edit != nil {
		edit(dir)
	}
	tarball = filepath.Join(top, "project-1.tar.gz")
	r.run(top, nil, "tar", "--create", "--gzip", "--file="+tarball, "--sort=name", "--owner=0", "--group=0", "project-1")
	r.run(top, nil, "gpg", "--batch", "--quiet", "--armor", "--local-user="+k.Fingerprint, "--detach-sign", tarball)
	return tarball
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestOrigin rebuilds what was done to xz 5.6.0: a release, well signed by the
// maintainer, that holds one m4 file which the repository does not.
func TestOrigin(t *testing.T) {
	u := newUpstream(t)
	maintainer, other := u.key("maintainer"), u.key("other")
	r := u.repository("sha1")
	r.write("configure.ac", "AC_INIT\n")
	r.write("m4/host.m4", "dnl m4\n")
	r.write(".gitignore", "configure\n")
	r.write(".github/ci.yml", "on: push\n")
	r.commit("build system")
	r.tag("v1", maintainer)
	r.write("src/a.c", "int a, b;\n")
	r.commit("later")
	r.tag("v2", maintainer)
	r.tag("v3", other)

	because := func(names ...string) []tagmatch.Explained {
		var out []tagmatch.Explained
		for _, n := range names {
			out = append(out, tagmatch.Explained{Path: n, Reason: "made by autoreconf"})
		}
		return out
	}
	cache := t.TempDir()
	t.Cleanup(func() { source.RemoveCache(cache) })
	options := source.Options{
		Cache: cache,
		Keys:  fstest.MapFS{"maintainer.asc": {Data: r.certificate(maintainer)}},
		Transports: map[string]source.Transport{"file": &archive.Transport{},
			"git+file": &git.Transport{Dir: filepath.Join(r.home, "work")}},
		Verifiers: []source.Verifier{openpgp.Verifier{}},
		Now:       time.Now().Add(time.Minute),
	}
	component := func(tarball string) source.Component {
		return source.Component{Name: "project", Version: "1",
			Places: []source.Place{{Archive: "file://" + tarball, Signature: "file://" + tarball + ".asc"}},
			Policy: source.Policy{Least: source.Signed, Directory: "project-1", Keys: []source.Key{maintainer}},
			Origin: &source.Origin{
				Places: []source.Place{{Archive: "git+file://" + r.dir}},
				Policy: source.Policy{Least: source.Signed, Tag: "v1", Keys: []source.Key{maintainer}},
				Rules: tagmatch.Rules{Generated: because("configure", "Makefile.in"),
					Omitted: because(".gitignore", ".github/**")},
			}}
	}
	// The release is of v1; the clone is of what came after.
	atV1 := func(edit func(string)) func(string) {
		return func(dir string) {
			put(t, dir, "src/a.c", "int a;\n")
			if edit != nil {
				edit(dir)
			}
		}
	}

	clean := component(r.release(maintainer, atV1(nil)))
	tree, err := source.Verify(t.Context(), clean, options)
	if err != nil {
		t.Fatal(err)
	}
	origin, report := tree.Origin()
	if origin == nil || origin.Proofs()[0].Git.Tag != "v1" || report.Same != 6 || len(report.Generated) != 2 || len(report.Omitted) != 2 {
		t.Errorf("origin = %v, report %+v", origin, report)
	}
	text := source.Explain(tree)
	for _, want := range []string{"signed by tagmatch", "generated configure: made by autoreconf", "origin", "tag v1"} {
		if !strings.Contains(text, want) {
			t.Errorf("Explain lacks %q:\n%s", want, text)
		}
	}
	lock, err := source.NewLock(tree)
	if err != nil {
		t.Fatal(err)
	}

	for name, c := range map[string]struct {
		edit   func(dir string)
		change func(*source.Component)
		want   string
	}{
		"one m4 file more":         {edit: func(dir string) { put(t, dir, "m4/build-to-host.m4", "dnl eval the test file\n") }, want: "added m4/build-to-host.m4"},
		"a test file that changed": {edit: func(dir string) { put(t, dir, "src/a.c", "int a; /* and a back door */\n") }, want: "changed src/a.c"},
		"a script that may be run": {edit: func(dir string) { os.Chmod(filepath.Join(dir, "m4/host.m4"), 0o755) }, want: "mode of m4/host.m4"},
		"a file left out":          {edit: func(dir string) { os.Remove(filepath.Join(dir, "src/run.sh")) }, want: "omitted src/run.sh"},
		"a pattern for m4 files": {change: func(c *source.Component) {
			c.Origin.Generated = append(c.Origin.Generated, because("m4/*.m4")...)
		}, want: "is a pattern"},
		"another tag":                {change: func(c *source.Component) { c.Origin.Policy.Tag = "v2" }, want: "changed src/a.c"},
		"a tag by another signer":    {change: func(c *source.Component) { c.Origin.Policy.Tag = "v3" }, want: other.Fingerprint},
		"an origin without its tag":  {change: func(c *source.Component) { c.Origin.Policy.Tag = "" }, want: "tag"},
		"content that is not pinned": {change: func(c *source.Component) { c.Origin.Generated[0].Digest = "sha256:" + strings.Repeat("0", 64) }, want: "added configure"},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := component(r.release(maintainer, atV1(c.edit)))
			if c.change != nil {
				c.change(&c2)
			}
			_, err := source.Verify(t.Context(), c2, options)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Verify = %v, want an error that names %q", err, c.want)
			}
			if c.change == nil && !errors.Is(err, tagmatch.ErrDiffers) {
				t.Errorf("Verify = %v, want ErrDiffers", err)
			}
		})
	}

	// The lock holds the tag object too: a tag that was moved is refused,
	// though its signer is the right one.
	options.Lock = lock
	if _, err := source.Verify(t.Context(), clean, options); err != nil {
		t.Errorf("with the lock: %v", err)
	}
	r.git("tag", "--delete", "v1")
	r.git("checkout", "--quiet", "HEAD~1")
	r.tag("v1", maintainer)
	if err := source.RemoveCache(options.Cache); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Verify(t.Context(), clean, options); !errors.Is(err, source.ErrLocked) {
		t.Errorf("a moved tag: %v, want ErrLocked", err)
	}
}
