package git_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/git"
	"github.com/cleanstart/cleanstart/source/openpgp"
	"github.com/cleanstart/cleanstart/source/sourcetest"
	"github.com/cleanstart/cleanstart/source/sshsig"
)

type transportFunc func(context.Context, *url.URL) (io.ReadCloser, error)

func (f transportFunc) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
	return f(ctx, ref)
}

func location(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func fetch(t testing.TB, tr source.Transport, where string) []byte {
	t.Helper()
	r, err := tr.Open(t.Context(), location(t, where))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d entries left behind, %v", len(left), err)
	}
}

func TestTransport(t *testing.T) {
	u := newUpstream(t)
	r := u.repository("sha1")
	r.git("tag", "v1")
	r.git("branch", "only-a-branch")
	dir := filepath.Join(t.TempDir(), "work")
	tr := &git.Transport{Dir: dir}
	at := "git+file://" + r.dir
	sourcetest.TestTransport(t, tr, sourcetest.Place{Ref: location(t, at+"#tag=v1"), Content: fetch(t, tr, at+"#tag=v1"), Missing: location(t, at+"#tag=v2")})
	for _, missing := range []string{"#tag=main", "#tag=only-a-branch", "#commit=sha1:" + strings.Repeat("0", 40),
		"#commit=sha256:" + strings.Repeat("0", 64), "", "#branch=main", "#tag=", "#tag=-v1", "#tag=../heads/main", "#tag=v*"} {
		if _, err := tr.Open(t.Context(), location(t, at+missing)); err == nil {
			t.Errorf("%s: opened", missing)
		}
	}
	if _, err := tr.Open(t.Context(), location(t, at+"#tag=v2")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such tag: %v", err)
	}
	empty(t, dir)
	for _, bad := range []string{"git+ext://h/x#tag=v1", "git+file://host/x#tag=v1", "git+file:x#tag=v1", "git+ssh://-oProxyCommand=x/y#tag=v1",
		"git+ssh://-l@h/y#tag=v1", "git+https://u:secret@h/y#tag=v1", "git+https:///y#tag=v1", "https://h/y#tag=v1"} {
		if _, err := tr.Open(t.Context(), location(t, bad)); !errors.Is(err, git.ErrLocation) {
			t.Errorf("%s: %v", bad, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func TestSettings(t *testing.T) {
	u := newUpstream(t)
	r := u.repository("sha1")
	r.git("tag", "v1")
	at := location(t, "git+file://"+r.dir+"#tag=v1")
	dir := filepath.Join(t.TempDir(), "work")
	if _, err := (&git.Transport{Dir: dir, Path: t.TempDir()}).Open(t.Context(), at); !errors.Is(err, git.ErrNoGit) {
		t.Errorf("no git: %v", err)
	}
	if _, err := (&git.Transport{}).Open(t.Context(), at); err == nil {
		t.Error("no directory: opened")
	}
	for _, v := range []string{"GIT_CONFIG_GLOBAL=/x", "LD_PRELOAD=/x", "PATH=/x", "HOME"} {
		if _, err := (&git.Transport{Dir: dir, Env: []string{v}}).Open(t.Context(), at); err == nil {
			t.Errorf("%s: passed on", v)
		}
	}
	if _, err := (&git.Transport{Dir: dir, Timeout: 1}).Open(t.Context(), at); !errors.Is(err, git.ErrTimeout) {
		t.Errorf("timeout: %v", err)
	}
	if _, err := (&git.Transport{Dir: dir, Limits: source.Limits{Archive: 100}}).Open(t.Context(), at); !errors.Is(err, source.ErrTooLarge) {
		t.Errorf("size of what is fetched: %v", err)
	}
	rd, err := (&git.Transport{Dir: dir, Limits: source.Limits{Tree: 10}}).Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, rd); !errors.Is(err, source.ErrTooLarge) {
		t.Errorf("size of the tree: %v", err)
	}
	rd.Close()
	empty(t, dir)
}

func TestSignedTag(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		u := newUpstream(t)
		k := u.key("maintainer")
		r := u.repository(format)
		r.tag("v1", k)
		tree, files := r.setup(source.Policy{Tag: "v1"}, k).accepted()
		if d := cmp.Diff(plain(nil), files); d != "" {
			t.Errorf("%s: files (-want +got):\n%s", format, d)
		}
		info, err := fs.Stat(tree.FS(), "src/run.sh")
		if err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s: the script's mode is %v, %v", format, info, err)
		}
		p := tree.Proofs()[0]
		if p.Grade != source.Signed || p.Over != source.OverTag || p.Signer != k.Fingerprint || p.Git == nil ||
			p.Git.Format+":"+p.Git.Commit != r.head() || p.Git.Tag != "v1" {
			t.Errorf("%s: %+v", format, p)
		}
		if got, want := fmt.Sprint(tree.Epoch().Unix()), r.git("log", "-1", "--format=%ct"); got != want {
			t.Errorf("%s: epoch is %s, the commit's time %s", format, got, want)
		}
		// With the commit pinned too.
		tree, _ = r.setup(source.Policy{Tag: "v1", Commit: r.head()}, k).accepted()
		if n := len(tree.Proofs()); n != 2 {
			t.Errorf("%s: %d proofs of a tag signed and a commit pinned", format, n)
		}
	}
}

func TestCommit(t *testing.T) {
	u := newUpstream(t)
	k := u.key("maintainer")
	for _, format := range []string{"sha1", "sha256"} {
		r := u.repository(format)
		signed := r.commit("signed", "--gpg-sign="+k.Fingerprint)
		r.write("later", "")
		unsigned := r.commit("later")
		tree, files := r.setup(source.Policy{Commit: signed}, k).accepted()
		if d := cmp.Diff(plain(nil), files); d != "" || tree.Proofs()[0].Over != source.OverCommit {
			t.Errorf("%s: %+v\n%s", format, tree.Proofs()[0], d)
		}
		if _, err := r.setup(source.Policy{Commit: unsigned}, k).verify(); !errors.Is(err, source.ErrNoSignature) {
			t.Errorf("%s: unsigned commit: %v", format, err)
		}
		// The same, believed on the author's word.
		r.setup(source.Policy{Commit: unsigned, Least: source.Pinned}).accepted()
	}
}

func TestBundle(t *testing.T) {
	u := newUpstream(t)
	k := u.key("maintainer")
	for _, format := range []string{"sha1", "sha256"} {
		r := u.repository(format)
		r.tag("v1", k)
		first := r.head()
		r.commit("second")
		bundle := filepath.Join(r.dir, "..", "all.bundle")
		r.git("bundle", "create", "--quiet", bundle, "--all")
		s := r.setup(source.Policy{Tag: "v1"}, k)
		s.place = "git+file://" + filepath.Clean(bundle)
		if _, files := s.accepted(); !cmp.Equal(files, plain(nil)) {
			t.Errorf("%s: %v", format, files)
		}
		if a, b := fetch(t, s.transport, s.place+"#tag=v1"), fetch(t, s.transport, "git+file://"+r.dir+"#tag=v1"); !bytes.Equal(a, b) {
			t.Errorf("%s: a bundle and a directory give different snapshots", format)
		}
		s = r.setup(source.Policy{Commit: first, Least: source.Pinned})
		s.place = "git+file://" + filepath.Clean(bundle)
		s.accepted()
	}
	not := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(not, []byte("no bundle\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := (&git.Transport{Dir: t.TempDir()}).Open(t.Context(), location(t, "git+file://"+not+"#tag=v1")); !errors.Is(err, git.ErrLocation) {
		t.Errorf("no bundle: %v", err)
	}
}

// serve is the directory over git's smart protocol.
func serve(t *testing.T, u *upstream, dir string) *httptest.Server {
	t.Helper()
	backend := filepath.Join(u.run("", nil, "git", "--exec-path"), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		need.Skip(t, "git http-backend", err.Error())
	}
	s := httptest.NewServer(&cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}, InheritEnv: []string{"PATH"},
		Root: "/", Stderr: io.Discard})
	t.Cleanup(s.Close)
	return s
}

func TestHTTP(t *testing.T) {
	u := newUpstream(t)
	k := u.key("maintainer")
	for _, format := range []string{"sha1", "sha256"} {
		r := u.repository(format)
		r.tag("v1", k)
		first := r.head()
		r.commit("second")
		server := serve(t, u, filepath.Dir(r.dir))
		for _, p := range []source.Policy{{Tag: "v1"}, {Commit: first}} {
			s := r.setup(p, k)
			if p.Tag == "" {
				s.policy.Keys, s.policy.Least = nil, source.Pinned
			}
			s.place = "git+" + server.URL + "/project/.git"
			if _, files := s.accepted(); !cmp.Equal(files, plain(nil)) {
				t.Errorf("%s: %v", format, files)
			}
		}
		tr := &git.Transport{Dir: t.TempDir()}
		if _, err := tr.Open(t.Context(), location(t, "git+"+server.URL+"/project/.git#tag=v2")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: no such tag: %v", format, err)
		}
		if _, err := tr.Open(t.Context(), location(t, "git+"+server.URL+"/none#tag=v1")); err == nil {
			t.Errorf("%s: no such repository: opened", format)
		}
	}
	// A server that needs a password gets none, and nobody is asked.
	locked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Basic realm=x")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer locked.Close()
	if _, err := (&git.Transport{Dir: t.TempDir()}).Open(t.Context(), location(t, "git+"+locked.URL+"/x#tag=v1")); err == nil {
		t.Error("locked repository: opened")
	}
}

// TestOverSSH puts a program in ssh's place that runs here what it is to run
// there.
func TestOverSSH(t *testing.T) {
	u := newUpstream(t)
	k := u.key("maintainer")
	r := u.repository("sha1")
	r.tag("v1", k)
	fake := filepath.Join(u.home, "ssh")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho \"$@\" >> \"$0.log\"\nfor last; do :; done\nexec sh -c \"$last\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := r.setup(source.Policy{Tag: "v1"}, k)
	s.place = "git+ssh://git@example.invalid" + r.dir
	s.transport = &git.Transport{Dir: t.TempDir(), Env: []string{"GIT_SSH_COMMAND=" + fake}}
	s.accepted()
	log, err := os.ReadFile(fake + ".log")
	if err != nil || !strings.Contains(string(log), "git@example.invalid git-upload-pack") {
		t.Errorf("ssh was asked for %q, %v", log, err)
	}
}

// TestDumbHTTP fetches from a server of files, which can give no part of a
// history.
func TestDumbHTTP(t *testing.T) {
	u := newUpstream(t)
	k := u.key("maintainer")
	r := u.repository("sha1")
	r.tag("v1", k)
	first := r.head()
	r.commit("second")
	r.git("update-server-info")
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(r.dir))))
	defer server.Close()
	for _, p := range []source.Policy{{Tag: "v1"}, {Commit: first, Least: source.Pinned}} {
		s := r.setup(p)
		if p.Tag != "" {
			s = r.setup(p, k)
		}
		s.place = "git+" + server.URL + "/project/.git"
		s.accepted()
	}
}

func TestSubmodules(t *testing.T) {
	u := newUpstream(t)
	k := u.key("maintainer")
	inner, middle, outer := u.repository("sha1"), u.repository("sha1"), u.repository("sha1")
	inner.write("deep", "deep\n")
	pinned := inner.commit("deep")
	middle.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "file://"+inner.dir, "lib/inner")
	middle.commit("with a submodule")
	// A relative URL, and a commit that is no tip of the submodule's any more.
	if err := os.Rename(middle.dir, filepath.Join(filepath.Dir(outer.dir), "middle")); err != nil {
		t.Fatal(err)
	}
	middle.dir = filepath.Join(filepath.Dir(outer.dir), "middle")
	outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "file://"+middle.dir, "third party")
	outer.git("config", "-f", ".gitmodules", "submodule.third party.url", "../middle")
	outer.commit("with submodules")
	outer.tag("v1", k)
	inner.write("deep", "changed\n")
	inner.commit("later")

	s := outer.setup(source.Policy{Tag: "v1"}, k)
	_, files := s.accepted()
	if files["third party/lib/inner/deep"] != "deep\n" || files["third party/src/a.c"] == "" || files["README"] == "" {
		t.Errorf("%v", files)
	}

	s = outer.setup(source.Policy{Tag: "v1"}, k)
	s.transport = &git.Transport{Dir: t.TempDir(), NoSubmodules: true}
	if _, err := s.verify(); !errors.Is(err, git.ErrSubmodule) {
		t.Errorf("submodules that are not wanted: %v", err)
	}

	// Over http a repository may not name files of the machine that fetches.
	server := serve(t, u, filepath.Dir(outer.dir))
	s = outer.setup(source.Policy{Tag: "v1"}, k)
	s.place = "git+" + server.URL + "/project/.git"
	if _, err := s.verify(); !errors.Is(err, git.ErrSubmodule) {
		t.Errorf("a file from afar: %v", err)
	}

	// A transport that forges a submodule.
	good := fetch(t, &git.Transport{Dir: t.TempDir()}, "git+file://"+outer.dir+"#tag=v1")
	commit := []byte(inner.git("cat-file", "commit", strings.TrimPrefix(pinned, "sha1:")) + "\n")
	for name, bad := range map[string][]byte{
		"content": bytes.Replace(good, []byte("deep\n\x00"), []byte("evil\n\x00"), 1),
		"commit":  bytes.Replace(good, commit, bytes.ToUpper(commit), 1),
		"message": bytes.Replace(good, []byte("\ndeep\n"), []byte("\nevil\n"), 1),
	} {
		if bytes.Equal(bad, good) {
			t.Fatalf("%s: nothing was forged", name)
		}
		s := outer.setup(source.Policy{Tag: "v1"}, k)
		s.transport = transportFunc(func(context.Context, *url.URL) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(bad)), nil
		})
		if _, err := s.verify(); err == nil {
			t.Errorf("submodule's %s forged: accepted", name)
		}
	}
}

func TestHostileSubmodules(t *testing.T) {
	u := newUpstream(t)
	r := u.repository("sha1")
	dir := t.TempDir()
	for name, config := range map[string]string{
		"no .gitmodules":    "",
		"another path":      "[submodule \"m\"]\n\tpath = other\n\turl = https://example.invalid/x\n",
		"external helper":   "[submodule \"m\"]\n\tpath = m\n\turl = ext::sh -c true\n",
		"scp-like":          "[submodule \"m\"]\n\tpath = m\n\turl = git@example.invalid:x\n",
		"option":            "[submodule \"m\"]\n\tpath = m\n\turl = --upload-pack=true\n",
		"option as host":    "[submodule \"m\"]\n\tpath = m\n\turl = ssh://-oProxyCommand=true/x\n",
		"git protocol":      "[submodule \"m\"]\n\tpath = m\n\turl = git://example.invalid/x\n",
		"absolute path":     "[submodule \"m\"]\n\tpath = m\n\turl = /etc\n",
		"named twice":       "[submodule \"m\"]\n\tpath = m\n\turl = https://a.invalid/x\n[submodule \"n\"]\n\tpath = m\n\turl = https://b.invalid/x\n",
		"path is an option": "[submodule \"m\"]\n\tpath = m\n\turl = ../x\n[submodule \"n\"]\n\tpath = -x\n\turl = https://b.invalid/x\n",
		"not configuration": "[submodule \"m\n",
	} {
		if config != "" {
			r.write(".gitmodules", config)
		} else {
			r.git("rm", "--quiet", "--force", "--ignore-unmatch", ".gitmodules")
		}
		r.git("add", "--all")
		r.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",m")
		r.git("commit", "--quiet", "-m", "hostile")
		r.git("tag", "--force", "v1")
		if _, err := (&git.Transport{Dir: dir}).Open(t.Context(), location(t, "git+file://"+r.dir+"#tag=v1")); err == nil {
			t.Errorf("%s: opened", name)
		}
		empty(t, dir)
	}
}

// TestNegatives refuses what is nearly a signed release.
func TestNegatives(t *testing.T) {
	u := newUpstream(t)
	k, other := u.key("maintainer"), u.key("stranger")
	r := u.repository("sha1")
	r.tag("v1", k)
	old := r.head()
	r.git("tag", "lightweight")
	r.git("tag", "-m", "nobody says so", "unsigned")
	r.tag("strange", other)
	v1 := []byte(r.git("cat-file", "tag", "v1") + "\n")
	r.rawTag("v2", v1)
	r.rawTag("edited", bytes.Replace(v1, []byte("release v1"), []byte("release v2"), 1))
	r.rawTag("renamed", bytes.Replace(v1, []byte("tag v1\n"), []byte("tag renamed\n"), 1))
	r.rawTag("of-a-tag", []byte(strings.NewReplacer("type commit", "type tag", "object "+strings.TrimPrefix(old, "sha1:"), "object "+r.git("rev-parse", "v1")).Replace(string(v1))))
	r.rawTag("of-a-tree", []byte(strings.NewReplacer("type commit", "type tree", "object "+strings.TrimPrefix(old, "sha1:"), "object "+r.git("rev-parse", "v1^{tree}")).Replace(string(v1))))
	r.write("new", "new\n")
	moved := r.commit("second")

	both := func(s *setup) *setup { // the stranger's key is at hand, and not pinned
		s.keys["maintainer.asc"] = &fstest.MapFile{Data: append(append([]byte{}, u.certificate(k)...), append([]byte("\n"), u.certificate(other)...)...)}
		return s
	}
	var signer *openpgp.SignerError
	for _, c := range []struct {
		name string
		s    *setup
		want func(error) bool
	}{
		{"unsigned tag", r.setup(source.Policy{Tag: "unsigned"}, k), is(source.ErrNoSignature)},
		{"lightweight tag", r.setup(source.Policy{Tag: "lightweight"}, k), is(source.ErrNoSignature)},
		{"tag of another name", r.setup(source.Policy{Tag: "v2"}, k), is(source.ErrPolicy)},
		{"edited tag", r.setup(source.Policy{Tag: "edited"}, k), any},
		{"renamed tag", r.setup(source.Policy{Tag: "renamed"}, k), is(openpgp.ErrBad)},
		{"tag of a tag", r.setup(source.Policy{Tag: "of-a-tag"}, k), any},
		{"tag of a tree", r.setup(source.Policy{Tag: "of-a-tree"}, k), any},
		{"wrong signer", r.setup(source.Policy{Tag: "strange"}, k), func(err error) bool { return errors.As(err, &signer) }},
		{"signer not pinned", both(r.setup(source.Policy{Tag: "strange"}, k)), any},
		{"no such tag", r.setup(source.Policy{Tag: "v3"}, k), is(fs.ErrNotExist)},
		{"branch for a tag", r.setup(source.Policy{Tag: "main"}, k), is(fs.ErrNotExist)},
		{"commit that is not the tag's", r.setup(source.Policy{Tag: "v1", Commit: moved}, k), digest},
	} {
		if _, err := c.s.verify(); err == nil || !c.want(err) {
			t.Errorf("%s: %+v", c.name, err)
		}
	}
	empty(t, filepath.Join(u.home, "work"))

	// The tag is moved: same name, good signature, other commit.
	r.git("tag", "--delete", "v1")
	r.tag("v1", k)
	if _, err := r.setup(source.Policy{Tag: "v1", Commit: old}, k).verify(); !digest(err) {
		t.Errorf("tag moved: %v", err)
	}

	// A place that serves what was asked for at another time or by another name.
	good := fetch(t, &git.Transport{Dir: t.TempDir()}, "git+file://"+r.dir+"#tag=v1")
	bare := fetch(t, &git.Transport{Dir: t.TempDir()}, "git+file://"+r.dir+"#commit="+moved)
	served := func(s *setup, b []byte) *setup {
		s.transport = transportFunc(func(context.Context, *url.URL) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b)), nil
		})
		return s
	}
	served(r.setup(source.Policy{Tag: "v1"}, k), good).accepted()
	if _, err := served(r.setup(source.Policy{Tag: "v2"}, k), good).verify(); !errors.Is(err, source.ErrPolicy) {
		t.Errorf("an older version served for a newer: %v", err)
	}
	if _, err := served(r.setup(source.Policy{Commit: old}, k), good).verify(); !digest(err) {
		t.Errorf("snapshot of another commit: %v", err)
	}
	if _, err := served(r.setup(source.Policy{Tag: "v1"}, k), bare).verify(); !errors.Is(err, source.ErrNoSignature) {
		t.Errorf("snapshot without its tag: %v", err)
	}
	// All but the signature's own wrapping and hints.
	begin, end := bytes.Index(good, []byte("-----BEGIN PGP")), bytes.Index(good, []byte("-----END PGP"))+32
	for i := 0; i < len(good); i += 211 {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := served(r.setup(source.Policy{Tag: "v1"}, k), bad).verify(); err == nil && (i < begin || i > end) {
			t.Errorf("byte %d of the snapshot flipped: accepted", i)
		}
	}
	for _, bad := range [][]byte{nil, good[:len(good)/2], good[:len(good)-512], append(bytes.Clone(good), 0)} {
		if _, err := served(r.setup(source.Policy{Tag: "v1"}, k), bad).verify(); !errors.Is(err, source.ErrFormat) {
			t.Errorf("%d of %d bytes: %v", len(bad), len(good), err)
		}
	}
}

func any(error) bool { return true }

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func digest(err error) bool {
	var d *source.DigestError
	return errors.As(err, &d)
}

// TestExpired signs with a key whose certificate, as the policy's author holds
// it, had expired by then.
func TestExpired(t *testing.T) {
	u := newUpstream(t)
	k := u.key("maintainer", "--faked-system-time=20200101T000000")
	certificate := u.certificate(k)
	r := u.repository("sha1")
	payload := "object " + strings.TrimPrefix(r.head(), "sha1:") + "\ntype commit\ntag v1\ntagger A <a@example.org> 1577883600 +0000\n\nrelease\n"
	sign := func(when string) {
		signature := u.run("", []byte(payload), "gpg", "--faked-system-time="+when, "--batch", "--armor", "--detach-sign", "--local-user="+k.Fingerprint)
		r.rawTag("v1", []byte(payload+signature+"\n"))
	}
	verify := func() error {
		s := r.setup(source.Policy{Tag: "v1"}, k)
		s.keys[k.File] = &fstest.MapFile{Data: certificate}
		_, err := s.verify()
		return err
	}
	sign("20200101T120000")
	if err := verify(); err != nil {
		t.Errorf("signed while the key was valid: %v", err)
	}
	u.run("", nil, "gpg", "--faked-system-time=20200101T120000", "--batch", "--passphrase", "", "--quick-set-expire", k.Fingerprint, "10y")
	sign("20210101T000000")
	if err := verify(); !errors.Is(err, openpgp.ErrExpired) {
		t.Errorf("signed after the key had expired: %v", err)
	}
}

func TestSSH(t *testing.T) {
	u := newUpstream(t)
	k, file := u.sshKey("maintainer")
	other, otherFile := u.sshKey("stranger")
	r := u.repository("sha1")
	with := func(file string) []string {
		return []string{"-c", "gpg.format=ssh", "-c", "user.signingKey=" + file}
	}
	r.git(append(with(file), "tag", "--sign", "-m", "release", "v1")...)
	r.git(append(with(otherFile), "tag", "--sign", "-m", "release", "strange")...)
	r.git(append(with(file), "commit", "--quiet", "--allow-empty", "--gpg-sign", "-m", "signed")...)

	tree, _ := r.setup(source.Policy{Tag: "v1"}, k).accepted()
	if p := tree.Proofs()[0]; p.Mechanism != source.SSH || p.Signer != k.Fingerprint || p.Over != source.OverTag {
		t.Errorf("%+v", p)
	}
	r.setup(source.Policy{Commit: r.head()}, k).accepted()

	for name, s := range map[string]*setup{
		"wrong key":             r.setup(source.Policy{Tag: "strange"}, k),
		"key not pinned":        r.setup(source.Policy{Tag: "v1"}, other),
		"commit by another key": r.setup(source.Policy{Commit: r.head()}, other),
	} {
		if _, err := s.verify(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// The key signed the same bytes, but for another use.
	payload := "object " + strings.TrimPrefix(r.head(), "sha1:") + "\ntype commit\ntag v2\ntagger A <a@example.org> 1700000000 +0000\n\nrelease\n"
	for namespace, want := range map[string]error{"git": nil, "file": sshsig.ErrNamespace} {
		signature := u.run("", []byte(payload), "ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", file)
		r.rawTag("v2", []byte(payload+signature+"\n"))
		if _, err := r.setup(source.Policy{Tag: "v2"}, k).verify(); !errors.Is(err, want) {
			t.Errorf("namespace %s: %v", namespace, err)
		}
	}
}
