package source_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/checksum"
)

func TestVerify(t *testing.T) {
	archive := simple(t)
	m := &memory{files: map[string][]byte{"mem:b": archive}}
	o := options(t, m)
	c := pinnedTo(archive, "mem:a", "mem:b")
	tree, err := source.Verify(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := tree.ArchiveDigest(); got != digest(archive) {
		t.Errorf("ArchiveDigest() = %s, want %s", got, digest(archive))
	}
	if got := tree.Place().Archive; got != "mem:b" {
		t.Errorf("Place() = %s, want the second", got)
	}
	if !tree.Epoch().Equal(day) {
		t.Errorf("Epoch() = %v, want %v", tree.Epoch(), day)
	}
	if err := fstest.TestFS(tree.FS(), "README", "configure", "src/main.c", "COPY"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]fs.FileMode{"README": 0o444, "COPY": 0o444, "configure": 0o555, "src": fs.ModeDir | 0o555, ".": fs.ModeDir | 0o555} {
		info, err := os.Lstat(filepath.Join(tree.Dir(), name))
		if err != nil || info.Mode() != want {
			t.Errorf("mode of %s = %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	info, err := os.Stat(filepath.Join(tree.Dir(), "README"))
	if err != nil || !info.ModTime().Equal(day.Add(-time.Hour)) {
		t.Errorf("time of README = %v, %v: not the archive's", info.ModTime(), err)
	}
	if err := tree.Check(t.Context()); err != nil {
		t.Error(err)
	}

	opened := len(m.opened)
	for name, get := range map[string]func(context.Context, source.Component, source.Options) (*source.Tree, error){
		"Verify": source.Verify, "Load": source.Load,
	} {
		again, err := get(t.Context(), c, o)
		if err != nil {
			t.Fatalf("%s again: %v", name, err)
		}
		if again.Digest() != tree.Digest() || len(m.opened) != opened {
			t.Errorf("%s again = %s over %v, want %s without transport", name, again.Digest(), m.opened[opened:], tree.Digest())
		}
	}
}

// The digest is part of what gets signed: it must not change unnoticed.
func TestTreeDigest(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	archive := simple(t)
	o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
	tree, err := source.Verify(t.Context(), pinnedTo(archive, "mem:a"), o)
	if err != nil {
		t.Fatal(err)
	}
	// What the documented text hashes to, by hand.
	line := func(kind, name, body string) string {
		return fmt.Sprintf("%s %x %d %q\n", kind, sha256.Sum256([]byte(body)), len(body), name)
	}
	text := "cleanstart tree v1\n" +
		line("f", "COPY", "read me\n") +
		line("f", "README", "read me\n") +
		line("x", "configure", "#!/bin/sh\n") +
		"l \"src/../README\" \"doc\"\n" +
		"d \"src\"\n" +
		line("f", "src/main.c", "int main(void){return 0;}\n")
	want := digest([]byte(text))
	if tree.Digest() != want {
		t.Errorf("Digest() = %s, want %s", tree.Digest(), want)
	}
}

func TestVerifyCollectsEveryFailure(t *testing.T) {
	archive := simple(t)
	o := options(t, &memory{files: map[string][]byte{"mem:c": []byte("something else")}})
	c := pinnedTo(archive, "mem:a", "gopher:b", "mem:c")
	_, err := source.Verify(t.Context(), c, o)
	var d *source.DigestError
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &d) || d.Want != digest(archive) {
		t.Errorf("Verify = %v, want the missing file and the wrong digest", err)
	}
	for _, s := range []string{"demo 1.0", "mem:a", "gopher", "mem:c"} {
		if !strings.Contains(fmt.Sprint(err), s) {
			t.Errorf("Verify = %v, does not name %s", err, s)
		}
	}
	if blobs, _ := filepath.Glob(o.Cache + "/archives/sha256/*"); len(blobs) != 0 {
		t.Errorf("rejected content was kept: %v", blobs)
	}
	if _, err := source.Load(t.Context(), c, o); !errors.Is(err, source.ErrNotCached) {
		t.Errorf("Load = %v, want ErrNotCached", err)
	}
}

func TestVerifyFailsClosed(t *testing.T) {
	archive := simple(t)
	good := pinnedTo(archive, "mem:a")
	for name, c := range map[string]struct {
		component func(*source.Component)
		options   func(*source.Options)
		want      error
	}{
		"no verifier":          {nil, func(o *source.Options) { o.Verifiers = nil }, source.ErrOptions},
		"nil verifier":         {nil, func(o *source.Options) { o.Verifiers = []source.Verifier{nil} }, source.ErrOptions},
		"no time":              {nil, func(o *source.Options) { o.Now = time.Time{} }, source.ErrOptions},
		"no cache":             {nil, func(o *source.Options) { o.Cache = "" }, source.ErrOptions},
		"no grade":             {func(c *source.Component) { c.Policy.Least = source.Ungraded }, nil, source.ErrComponent},
		"grade out of range":   {func(c *source.Component) { c.Policy.Least = source.Signed + 1 }, nil, source.ErrComponent},
		"signed without keys":  {func(c *source.Component) { c.Policy.Least = source.Signed }, nil, source.ErrComponent},
		"nothing to prove by":  {func(c *source.Component) { c.Policy.Digest = "" }, nil, source.ErrComponent},
		"digest in upper case": {func(c *source.Component) { c.Policy.Digest = "sha256:" + strings.Repeat("A", 64) }, nil, source.ErrComponent},
		"key ID for a key": {func(c *source.Component) {
			c.Policy.Keys = []source.Key{{Fingerprint: "5CC908FDB71E12C2", File: "k"}}
		}, nil, source.ErrComponent},
		"key file outside": {func(c *source.Component) {
			c.Policy.Keys = []source.Key{{Fingerprint: strings.Repeat("A", 40), File: "../k"}}
		}, nil, source.ErrComponent},
		"unknown exception": {func(c *source.Component) {
			c.Policy.Exceptions = []source.Exception{{Allow: "md5", Reason: "r", Until: "2030-01-01"}}
		}, nil, source.ErrComponent},
		"exception without reason": {func(c *source.Component) {
			c.Policy.Exceptions = []source.Exception{{Allow: "sha1", Until: "2030-01-01"}}
		}, nil, source.ErrComponent},
		"exception without end": {func(c *source.Component) {
			c.Policy.Exceptions = []source.Exception{{Allow: "sha1", Reason: "r"}}
		}, nil, source.ErrComponent},
		"no place":          {func(c *source.Component) { c.Places = nil }, nil, source.ErrComponent},
		"no version":        {func(c *source.Component) { c.Version = "" }, nil, source.ErrComponent},
		"weaker than asked": {func(c *source.Component) { c.Policy.Least = source.Logged }, nil, source.ErrPolicy},
		"verifier that proves nothing": {nil, func(o *source.Options) {
			o.Verifiers = []source.Verifier{verifierFunc(func(source.Subject) ([]source.Proof, error) { return nil, nil })}
		}, source.ErrPolicy},
		"proof of other bytes": {nil, func(o *source.Options) {
			o.Verifiers = []source.Verifier{verifierFunc(func(source.Subject) ([]source.Proof, error) {
				return []source.Proof{{Grade: source.Signed, Digest: digest(nil)}}, nil
			})}
		}, source.ErrPolicy},
		"proof above the scale": {nil, func(o *source.Options) {
			o.Verifiers = []source.Verifier{verifierFunc(func(s source.Subject) ([]source.Proof, error) {
				return []source.Proof{{Grade: 99, Digest: s.Digest}}, nil
			})}
		}, source.ErrPolicy},
		"second verifier objects": {nil, func(o *source.Options) {
			o.Verifiers = append(o.Verifiers, verifierFunc(func(source.Subject) ([]source.Proof, error) { return nil, errObjection }))
		}, errObjection},
		"archive over the limit": {nil, func(o *source.Options) { o.Limits.Archive = 100 }, source.ErrTooLarge},
		"tree over the limit":    {nil, func(o *source.Options) { o.Limits.Tree = 20 }, source.ErrTooLarge},
		"files over the limit":   {nil, func(o *source.Options) { o.Limits.Files = 3 }, source.ErrTooLarge},
		"depth over the limit":   {nil, func(o *source.Options) { o.Limits.Depth = 2 }, source.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
			comp := good
			if c.component != nil {
				c.component(&comp)
			}
			if c.options != nil {
				c.options(&o)
			}
			tree, err := source.Verify(t.Context(), comp, o)
			if tree != nil || !errors.Is(err, c.want) {
				t.Errorf("Verify = %v, %v, want %v", tree, err, c.want)
			}
			if trees, _ := filepath.Glob(o.Cache + "/trees/sha256/*"); o.Cache != "" && len(trees) != 0 {
				t.Errorf("left %v", trees)
			}
			if work, _ := filepath.Glob(o.Cache + "/tmp/work-*"); o.Cache != "" && len(work) != 0 {
				t.Errorf("left %v", work)
			}
		})
	}
}

var errObjection = errors.New("objection")

type verifierFunc func(source.Subject) ([]source.Proof, error)

func (f verifierFunc) Verify(_ context.Context, s source.Subject) ([]source.Proof, error) {
	return f(s)
}

// A digest is checked whenever it is set, even if no verifier looks at it.
func TestDigestIsAlwaysChecked(t *testing.T) {
	archive := simple(t)
	c := pinnedTo([]byte("other"), "mem:a")
	o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
	o.Verifiers = []source.Verifier{verifierFunc(func(s source.Subject) ([]source.Proof, error) {
		return []source.Proof{{Grade: source.Signed, Digest: s.Digest}}, nil
	})}
	_, err := source.Verify(t.Context(), c, o)
	var d *source.DigestError
	if !errors.As(err, &d) {
		t.Errorf("Verify = %v, want a DigestError", err)
	}
}

func TestDamagedCacheHeals(t *testing.T) {
	archive := simple(t)
	m := &memory{files: map[string][]byte{"mem:a": archive}}
	o := options(t, m)
	c := pinnedTo(archive, "mem:a")
	tree, err := source.Verify(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(o.Cache, "archives", "sha256", strings.TrimPrefix(digest(archive), "sha256:"))
	readme := filepath.Join(tree.Dir(), "README")
	for name, damage := range map[string]func() error{
		"archive":   func() error { return rewrite(blob, append([]byte{0}, archive[1:]...)) },
		"file":      func() error { return rewrite(readme, []byte("read ME\n")) },
		"directory": func() error { return os.Chmod(filepath.Join(tree.Dir(), "src"), 0o755) },
		"top":       func() error { return os.Chmod(tree.Dir(), 0o755) },
		"manifest": func() error {
			return rewrite(tree.Dir()+".manifest", []byte("nonsense"))
		},
		"added": func() error {
			os.Chmod(tree.Dir(), 0o755)
			return os.WriteFile(filepath.Join(tree.Dir(), "extra"), nil, 0o444)
		},
		"mode": func() error { return os.Chmod(readme, 0o555) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			again, err := source.Verify(t.Context(), c, o)
			if err != nil {
				t.Fatal(err)
			}
			if again.Digest() != tree.Digest() {
				t.Errorf("Digest() = %s, want %s", again.Digest(), tree.Digest())
			}
			if err := again.Check(t.Context()); err != nil {
				t.Error(err)
			}
			for _, name := range []string{".", "src"} {
				if info, err := os.Stat(filepath.Join(tree.Dir(), name)); err != nil || info.Mode().Perm() != 0o555 {
					t.Errorf("%s is %v, %v", name, info.Mode(), err)
				}
			}
			if _, err := os.Stat(filepath.Join(tree.Dir(), "extra")); err == nil {
				t.Error("the added file is still there")
			}
		})
	}
}

// A change that keeps size and time escapes the quick look, not Check.
func TestCheckReadsContent(t *testing.T) {
	archive := simple(t)
	o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
	tree, err := source.Verify(t.Context(), pinnedTo(archive, "mem:a"), o)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(tree.Dir(), "README")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := rewrite(name, []byte("read ME\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := tree.Check(t.Context()); !errors.Is(err, source.ErrModified) {
		t.Errorf("Check = %v, want ErrModified", err)
	}
}

// rewrite changes a read-only file in place, keeping its mode.
func rewrite(name string, b []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if err := os.Chmod(name, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		return err
	}
	return os.Chmod(name, info.Mode())
}

// half yields half of an archive, then does what it is told.
type half struct {
	body []byte
	then func() error
}

func (h *half) Open(context.Context, *url.URL) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(bytes.NewReader(h.body[:len(h.body)/2]), h)), nil
}
func (h *half) Read([]byte) (int, error) { return 0, h.then() }

func TestInterruptedFetchLeavesNothing(t *testing.T) {
	archive := simple(t)
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		then func() error
		want error
	}{
		"cancelled": {func() error { cancel(); return nil }, context.Canceled},
		"broken":    {func() error { return syscall.ECONNRESET }, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{files: map[string][]byte{"mem:a": archive}}
			o := options(t, m)
			o.Transports = map[string]source.Transport{"mem": &half{archive, c.then}}
			comp := pinnedTo(archive, "mem:a")
			use := t.Context()
			if name == "cancelled" {
				use = ctx
			}
			if _, err := source.Verify(use, comp, o); !errors.Is(err, c.want) {
				t.Fatalf("Verify = %v, want %v", err, c.want)
			}
			filepath.WalkDir(o.Cache, func(name string, d fs.DirEntry, err error) error {
				if !d.IsDir() && d.Name() != "gate" {
					t.Errorf("left %s", name)
				}
				return err
			})
			o.Transports = map[string]source.Transport{"mem": m}
			if _, err := source.Verify(t.Context(), comp, o); err != nil {
				t.Errorf("the same again: %v", err)
			}
		})
	}
}

// What a killed process left in tmp is swept by the next.
func TestSweep(t *testing.T) {
	archive := simple(t)
	o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
	dead := filepath.Join(o.Cache, "tmp", "work-dead", "tree", "sub")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dead, 0o555); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Verify(t.Context(), pinnedTo(archive, "mem:a"), o); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(o.Cache + "/tmp/*"); len(left) != 1 {
		t.Errorf("left %v, want the gate alone", left)
	}
}

func TestConcurrentVerify(t *testing.T) {
	archive := simple(t)
	o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
	c := pinnedTo(archive, "mem:a")
	errs := make(chan error)
	for range 8 {
		go func() {
			tree, err := source.Verify(context.Background(), c, o)
			if err == nil {
				err = tree.Check(context.Background())
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// A file is read again each time, since it changes under its name; an
// unverified change is refused though the cache holds the old.
func TestFilePlacesAreNotRecalled(t *testing.T) {
	archive := simple(t)
	m := &memory{files: map[string][]byte{"file:///a": archive}}
	o := options(t, m)
	o.Transports["file"] = m
	c := pinnedTo(archive, "file:///a")
	c.Policy.Digest = ""
	c.Policy.Keys = []source.Key{{Fingerprint: strings.Repeat("A", 40), File: "k"}}
	o.Verifiers = []source.Verifier{verifierFunc(func(s source.Subject) ([]source.Proof, error) {
		return []source.Proof{{Grade: source.Signed, Mechanism: source.OpenPGP, Signer: strings.Repeat("A", 40), Digest: s.Digest}}, nil
	})}
	one, err := source.Verify(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	m.files["file:///a"] = tarball(t, file("demo/x", "x"))
	two, err := source.Verify(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	if one.Digest() == two.Digest() {
		t.Error("the changed file was not read")
	}
}

func TestExplain(t *testing.T) {
	archive := simple(t)
	o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
	o.Verifiers = []source.Verifier{checksum.Verifier{}}
	tree, err := source.Verify(t.Context(), pinnedTo(archive, "mem:a"), o)
	if err != nil {
		t.Fatal(err)
	}
	got := source.Explain(tree)
	for _, want := range []string{"demo 1.0", "pinned by digest", "mem:a", tree.Digest(), tree.ArchiveDigest()} {
		if !strings.Contains(got, want) {
			t.Errorf("Explain lacks %q:\n%s", want, got)
		}
	}
}
