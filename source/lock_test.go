package source_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/mirror"
)

// signedRelease is a release with a signature beside it, and its options.
func signedRelease(t testing.TB) (source.Component, source.Options, *memory) {
	archive := simple(t)
	m := &memory{files: map[string][]byte{"mem:a": archive, "mem:a.sig": []byte("signature")}}
	c := pinnedTo(archive, "mem:a")
	c.Places[0].Signature = "mem:a.sig"
	c.Policy = source.Policy{Least: source.Signed, Keys: []source.Key{key(alice), key(bob)}}
	o := options(t, m)
	o.Verifiers = []source.Verifier{says(nil, alice)}
	return c, o, m
}

// TestLock: what a lock holds is accepted from anywhere, and nothing else is.
func TestLock(t *testing.T) {
	c, o, m := signedRelease(t)
	tree, err := source.Verify(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := source.NewLock(tree)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := lock.Write(filepath.Join(dir, "cleanstart.lock")); err != nil {
		t.Fatal(err)
	}
	read, err := source.ReadLock(os.DirFS(dir), "cleanstart.lock")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(lock, read); d != "" {
		t.Errorf("written and read (-wrote +read):\n%s", d)
	}

	// A mirror filled from the lock serves a machine without a network.
	store := filepath.Join(dir, "mirror")
	if err := mirror.Fill(t.Context(), store, lock, mirror.Transport{Files: os.DirFS(filepath.Join(o.Cache, "archives"))}); err != nil {
		t.Fatal(err)
	}
	offline := o
	offline.Cache, offline.Lock = writableTempDir(t), read
	offline.Transports = map[string]source.Transport{"mirror": mirror.Transport{Files: os.DirFS(store)}}
	again, err := source.Verify(t.Context(), c, offline)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest() != tree.Digest() {
		t.Errorf("from the mirror: %s, want %s", again.Digest(), tree.Digest())
	}

	other := tarball(t, file("demo-1.0/README", "another\n"))
	for name, edit := range map[string]func(*source.Component, *source.Options){
		"another archive":   func(*source.Component, *source.Options) { m.files["mem:a"] = other },
		"another signature": func(*source.Component, *source.Options) { m.files["mem:a.sig"] = []byte("new signature") },
		"another signer":    func(_ *source.Component, o *source.Options) { o.Verifiers = []source.Verifier{says(nil, bob)} },
		"one signer more":   func(_ *source.Component, o *source.Options) { o.Verifiers = []source.Verifier{says(nil, alice, bob)} },
		"another version":   func(c *source.Component, _ *source.Options) { c.Version = "1.1" },
		"another tree":      func(_ *source.Component, o *source.Options) { o.Lock.Components[0].Tree = digest(nil) },
		"a rolled-back version": func(c *source.Component, _ *source.Options) {
			c.Places = []source.Place{{Archive: "mem:old", Signature: "mem:a.sig"}}
			m.files["mem:old"] = other
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, o, fresh := signedRelease(t)
			m = fresh
			locked, err := source.ReadLock(os.DirFS(dir), "cleanstart.lock")
			if err != nil {
				t.Fatal(err)
			}
			o.Lock = locked
			if _, err := source.Verify(t.Context(), c, o); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			if err := source.RemoveCache(o.Cache); err != nil {
				t.Fatal(err)
			}
			c.Places = append([]source.Place(nil), c.Places...)
			edit(&c, &o)
			if _, err := source.Verify(t.Context(), c, o); !errors.Is(err, source.ErrLocked) {
				t.Errorf("Verify = %v, want ErrLocked", err)
			}
		})
	}
}

func TestLockFiles(t *testing.T) {
	zero := digest(nil)
	good := `{"format":1,"components":[{"name":"a","version":"1","archive":"` + zero + `","tree":"` + zero + `","files":[]}]}`
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"good":             {good, true},
		"another format":   {strings.Replace(good, "1", "2", 1), false},
		"unknown field":    {strings.Replace(good, `"name"`, `"nam"`, 1), false},
		"no digest":        {strings.Replace(good, zero, "sha256:0", 1), false},
		"something behind": {good + "{}", false},
		"truncated":        {good[:len(good)-2], false},
		"twice":            {strings.Replace(good, `]}`, `]},`, 1), false},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "l"), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := source.ReadLock(os.DirFS(dir), "l"); (err == nil) != c.ok || err != nil && !errors.Is(err, source.ErrLocked) {
			t.Errorf("%s: ReadLock = %v, want ok %v", name, err, c.ok)
		}
	}
}

// The lock and the evidence are bytes that get signed or committed.
func TestGolden(t *testing.T) {
	c, o, _ := signedRelease(t)
	c.PURL = "pkg:generic/demo@1.0"
	tree, err := source.Verify(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := source.NewLock(tree)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	statement, err := tree.Statement()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/lock.json", append(text, '\n'))
	golden(t, "testdata/statement.json", append(statement, '\n'))
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}
