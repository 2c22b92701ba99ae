package git_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/checksum"
	"github.com/cleanstart/cleanstart/source/git"
	"github.com/cleanstart/cleanstart/source/openpgp"
	"github.com/cleanstart/cleanstart/source/sshsig"
)

// upstream is a developer's machine: git, gpg and keys in a directory.
type upstream struct {
	t    *testing.T
	home string
	env  []string
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	for _, tool := range []string{"git", "gpg", "gpgconf", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			need.Skip(t, tool, err.Error())
		}
	}
	// Sockets have short names.
	home, err := os.MkdirTemp("", "up")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{t: t, home: home, env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GNUPGHOME=" + home, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Author", "GIT_AUTHOR_EMAIL=author@example.org",
		"GIT_COMMITTER_NAME=Committer", "GIT_COMMITTER_EMAIL=committer@example.org"}}
	t.Cleanup(func() {
		u.run("", nil, "gpgconf", "--kill", "all")
		os.RemoveAll(home)
	})
	return u
}

// run gives what a tool says.
func (u *upstream) run(dir string, in []byte, tool string, args ...string) string {
	u.t.Helper()
	cmd := exec.Command(tool, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, u.env, bytes.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		u.t.Fatalf("%s %q: %v\n%s", tool, args, err, errs.String())
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// key makes an OpenPGP key, and gives its fingerprint and certificate.
func (u *upstream) key(name string, flags ...string) source.Key {
	u.t.Helper()
	args := append(flags, "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", name+" <"+name+"@example.org>", "ed25519", "sign")
	if len(flags) > 0 {
		args = append(args, "1d")
	} else {
		args = append(args, "never")
	}
	u.run("", nil, "gpg", args...)
	for line := range strings.Lines(u.run("", nil, "gpg", "--with-colons", "--list-keys", name+"@example.org")) {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			return source.Key{Fingerprint: f[9], File: name + ".asc"}
		}
	}
	u.t.Fatal("gpg made no key")
	return source.Key{}
}

func (u *upstream) certificate(k source.Key) []byte {
	return []byte(u.run("", nil, "gpg", "--armor", "--export", k.Fingerprint))
}

// sshKey makes an SSH key, and gives the file of its private half.
func (u *upstream) sshKey(name string) (source.Key, string) {
	u.t.Helper()
	file := filepath.Join(u.home, name)
	u.run("", nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file)
	return source.Key{Kind: source.SSH, Fingerprint: strings.Fields(u.run("", nil, "ssh-keygen", "-l", "-f", file+".pub"))[1]}, file
}

// repository is one of the developer's.
type repository struct {
	*upstream
	dir string
}

func (u *upstream) repository(format string) *repository {
	u.t.Helper()
	r := &repository{u, filepath.Join(u.t.TempDir(), "project")}
	u.run("", nil, "git", "init", "--quiet", "--initial-branch=main", "--object-format="+format, r.dir)
	r.write("README", "hello\n")
	r.write("src/a.c", "int a;\n")
	r.write("src/run.sh", "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(r.dir, "src/run.sh"), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Symlink("src/a.c", filepath.Join(r.dir, "link")); err != nil {
		u.t.Fatal(err)
	}
	r.commit("first")
	return r
}

func (r *repository) git(args ...string) string {
	r.t.Helper()
	return r.run(r.dir, nil, "git", args...)
}

func (r *repository) write(name, content string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
		r.t.Fatal(err)
	}
}

// commit commits everything, and gives the policy's name for it.
func (r *repository) commit(message string, flags ...string) string {
	r.t.Helper()
	r.git("add", "--all")
	r.git(append([]string{"commit", "--quiet", "--allow-empty", "-m", message}, flags...)...)
	return r.head()
}

func (r *repository) head() string {
	id := r.git("rev-parse", "HEAD")
	return map[int]string{40: "sha1:", 64: "sha256:"}[len(id)] + id
}

// tag signs a tag with an OpenPGP key.
func (r *repository) tag(name string, k source.Key) {
	r.t.Helper()
	r.git("tag", "--sign", "--local-user="+k.Fingerprint, "-m", "release "+name, name)
}

// rawTag stores a tag object under a name, whatever it says.
func (r *repository) rawTag(ref string, object []byte) {
	r.t.Helper()
	id := r.run(r.dir, object, "git", "hash-object", "-t", "tag", "-w", "--literally", "--stdin")
	r.git("update-ref", "refs/tags/"+ref, id)
}

// setup is a component and all that is needed to verify it.
type setup struct {
	t         *testing.T
	place     string
	policy    source.Policy
	keys      fstest.MapFS
	cache     string
	transport source.Transport
}

func (r *repository) setup(policy source.Policy, keys ...source.Key) *setup {
	s := &setup{t: r.t, place: "git+file://" + r.dir, policy: policy, keys: fstest.MapFS{}, cache: filepath.Join(r.home, fmt.Sprint("cache", time.Now().UnixNano())),
		transport: &git.Transport{Dir: filepath.Join(r.home, "work")}}
	s.policy.Keys = keys
	for _, k := range keys {
		if k.File != "" {
			s.keys[k.File] = &fstest.MapFile{Data: r.certificate(k)}
		}
	}
	if s.policy.Least == source.Ungraded {
		s.policy.Least = source.Signed
	}
	r.t.Cleanup(func() { source.RemoveCache(s.cache) })
	return s
}

func (s *setup) verify() (*source.Tree, error) {
	transports := map[string]source.Transport{}
	for _, scheme := range []string{"git+file", "git+http", "git+https", "git+ssh"} {
		transports[scheme] = s.transport
	}
	c := source.Component{Name: "project", Version: "1", PURL: "pkg:generic/project@1", License: "MIT",
		Places: []source.Place{{Archive: s.place}}, Policy: s.policy}
	return source.Verify(s.t.Context(), c, source.Options{Cache: s.cache, Keys: s.keys, Transports: transports,
		Verifiers: []source.Verifier{openpgp.Verifier{}, sshsig.Verifier{}, checksum.Verifier{}}, Now: time.Now().Add(time.Minute)})
}

// accepted verifies, and gives the files of the tree.
func (s *setup) accepted() (*source.Tree, map[string]string) {
	s.t.Helper()
	tree, err := s.verify()
	if err != nil {
		s.t.Fatalf("%+v", err)
	}
	files := map[string]string{}
	err = fs.WalkDir(tree.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var b []byte
			b, err = fs.ReadFile(tree.FS(), name)
			files[name] = string(b)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return tree, files
}

// plain is what every repository holds.
func plain(more map[string]string) map[string]string {
	files := map[string]string{"README": "hello\n", "src/a.c": "int a;\n", "src/run.sh": "#!/bin/sh\n"}
	maps.Copy(files, more)
	return files
}
