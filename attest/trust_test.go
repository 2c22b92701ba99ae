package attest_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
	"github.com/cleanstart/cleanstart/attest/timestamp"
)

func publicKey(t testing.TB, s attest.Signer) crypto.PublicKey {
	t.Helper()
	key, err := s.Key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestKeyWindows is a rotation: what the old key signed in its time stays
// good, and what it signs afterwards does not count.
func TestKeyWindows(t *testing.T) {
	s, now := clocked(t)
	turn := now.Add(time.Hour)
	before, after := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")
	write(t, before, attesttest.Input(t, "1.0"), s)
	*now = turn
	write(t, after, attesttest.Input(t, "1.0"), s)
	next := attesttest.Signer(t, time.Now())
	old := attest.TrustedKey{Key: publicKey(t, s), Until: turn}
	keys := []attest.TrustedKey{old, {Key: publicKey(t, next), From: turn}}
	early := []attest.TrustedKey{{Key: publicKey(t, s), From: turn}}
	for _, c := range []struct {
		name, dir string
		keys      []attest.TrustedKey
		ok        bool
	}{
		{"signed in the old key's time", before, keys, true},
		{"signed when the old key had ended", after, keys, false},
		{"signed before the key began", before, early, false},
		{"signed when the key began", after, early, true},
	} {
		v := verify(t, c.dir, attest.Options{Keys: c.keys})
		if v.OK != c.ok {
			t.Errorf("%s: OK = %v, want %v: %v", c.name, v.OK, c.ok, v.Problems)
		}
		if !c.ok && (!has(v, "manifest", attest.Stale) || v.Artifact(attest.Provenance).State != attest.Stale) {
			t.Errorf("%s: not called stale: %v", c.name, v.Problems)
		}
	}
	// the new key signs what the old one's holders can still verify
	dir := filepath.Join(t.TempDir(), "out")
	next.Time = s.Time
	write(t, dir, attesttest.Input(t, "1.0"), next)
	if v := verify(t, dir, attest.Options{Keys: keys}); !v.OK || v.KeySource != "caller" {
		t.Errorf("by the new key: %v", v.Problems)
	}
}

func TestCoSign(t *testing.T) {
	ctx := context.Background()
	dir, first := attesttest.Write(t)
	second, third, stranger := first, first, first
	second.Key, third.Key, stranger.Key = attesttest.Signer(t, time.Now()).Key, attesttest.Signer(t, time.Now()).Key, attesttest.Signer(t, time.Now()).Key
	keys := func(s ...attest.Signer) (out []attest.TrustedKey) {
		for _, x := range s {
			out = append(out, attest.TrustedKey{Key: publicKey(t, x)})
		}
		return out
	}
	three := keys(first, second, third)
	if v := verify(t, dir, attest.Options{Keys: three, Threshold: 2}); v.OK || !has(v, "manifest", attest.Missing) {
		t.Errorf("one of two signatures: OK = %v, %v", v.OK, v.Problems)
	}
	if err := attest.CoSign(ctx, dir, second, attest.Options{Keys: three, Threshold: 2}); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, dir, attest.Options{Keys: three, Threshold: 2}); !v.OK || len(v.CoSigners) != 1 {
		t.Errorf("two of three: %v, %v", v.CoSigners, v.Problems)
	}
	if v := verify(t, dir, attest.Options{Keys: three, Threshold: 3}); v.OK {
		t.Error("two signatures pass for three")
	}
	if err := attest.CoSign(ctx, dir, second, attest.Options{Keys: three}); err == nil {
		t.Error("the same key signs twice")
	}
	if err := attest.CoSign(ctx, dir, first, attest.Options{Keys: three}); err == nil {
		t.Error("the signer co-signs")
	}
	if err := attest.CoSign(ctx, dir, third, attest.Options{Keys: three}); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, dir, attest.Options{Keys: three, Threshold: 3}); !v.OK {
		t.Errorf("three of three: %v", v.Problems)
	}
	if v := verify(t, dir, attest.Options{Keys: keys(first, second)}); v.OK || !has(v, "manifest", attest.Forged) {
		t.Errorf("a co-signature by a key that is not trusted: %v", v.Problems)
	}
	if v := verify(t, dir, attest.Options{Keys: three, Threshold: 4}); v.OK || !has(v, "key", attest.Missing) {
		t.Errorf("four of three: %v", v.Problems)
	}
	// a key that is listed twice is one key
	if v := verify(t, dir, attest.Options{Keys: append(three, three...), Threshold: 4}); v.OK {
		t.Error("a key counts twice")
	}
	expired := slices.Clone(three)
	expired[1].Until = time.Now().Add(-time.Hour)
	if v := verify(t, dir, attest.Options{Keys: expired}); v.OK || !has(v, "manifest", attest.Stale) {
		t.Errorf("a co-signature outside its key's window: %v", v.Problems)
	}
	// the suite holds for a co-signed directory, too: each of its cases refused
	attesttest.Graft(t, dir, dir, func(role string) bool { return role == "manifest" })
	if v := verify(t, dir, attest.Options{Keys: three}); v.OK {
		t.Error("co-signatures listed twice pass")
	}
	damaged, _ := attesttest.Write(t)
	if err := attest.CoSign(ctx, damaged, stranger, attest.Options{Keys: three}); err == nil {
		t.Error("what does not verify is co-signed")
	}
}

func TestCoSignRefusesAnUnknownAuthority(t *testing.T) {
	dir, s := attesttest.Write(t)
	other := attesttest.Signer(t, time.Now())
	if err := attest.CoSign(context.Background(), dir, other, attest.Options{Key: publicKey(t, s)}); err == nil {
		t.Error("a co-signature with a timestamp that nobody can check")
	}
	opts := attest.Options{Keys: []attest.TrustedKey{{Key: publicKey(t, s)}, {Key: publicKey(t, other)}}, Threshold: 2,
		Authorities: [][]*x509.Certificate{s.Time.Chain(), other.Time.Chain()}}
	if err := attest.CoSign(context.Background(), dir, other, opts); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, dir, opts); !v.OK {
		t.Errorf("co-signed with an authority of its own: %v", v.Problems)
	}
}

func TestSeveralAuthorities(t *testing.T) {
	s, now := clocked(t)
	second, err := timestamp.New(timestamp.Config{Clock: func() time.Time { return now.Add(2 * time.Second) }, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	third, err := timestamp.New(timestamp.Config{Clock: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	first := s.Time
	s.More = []timestamp.Stamper{second}
	dir := filepath.Join(t.TempDir(), "out")
	write(t, dir, attesttest.Input(t, "1.0"), s)
	key := publicKey(t, s)
	for _, c := range []struct {
		name string
		opts attest.Options
		ok   bool
	}{
		{"the directory's own two", attest.Options{TimeThreshold: 2}, true},
		{"two of two", attest.Options{Key: key, Authorities: [][]*x509.Certificate{first.Chain(), second.Chain()}, TimeThreshold: 2}, true},
		{"one of the two", attest.Options{Key: key, Authority: second.Chain()}, true},
		{"one trusted, two wanted", attest.Options{Key: key, Authority: second.Chain(), TimeThreshold: 2}, false},
		{"one of them twice", attest.Options{Key: key, Authorities: [][]*x509.Certificate{first.Chain(), first.Chain()}, TimeThreshold: 2}, false},
		{"one of them and another", attest.Options{Key: key, Authorities: [][]*x509.Certificate{first.Chain(), third.Chain()}, TimeThreshold: 2}, false},
		{"another", attest.Options{Key: key, Authority: third.Chain()}, false},
		{"the key ended between the two times", attest.Options{Keys: []attest.TrustedKey{{Key: key, Until: now.Add(time.Second)}}}, false},
		{"the key ended for the authority that counts", attest.Options{Keys: []attest.TrustedKey{{Key: key, Until: now.Add(time.Second)}}, Authority: first.Chain()}, true},
	} {
		if v := verify(t, dir, c.opts); v.OK != c.ok {
			t.Errorf("%s: OK = %v, want %v: %v", c.name, v.OK, c.ok, v.Problems)
		}
	}
}

// TestRollback: who accepted one set takes only it and its successors.
func TestRollback(t *testing.T) {
	s, now := clocked(t)
	var dirs, digests []string
	var chain []string
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		in := attesttest.Input(t, version)
		in.Supersedes = chain
		dir := filepath.Join(t.TempDir(), "out")
		write(t, dir, in, s)
		v := verify(t, dir, attest.Options{})
		chain = v.Chain()
		dirs, digests = append(dirs, dir), append(digests, v.ManifestDigest)
		*now = now.Add(time.Minute)
	}
	aside := filepath.Join(t.TempDir(), "out")
	write(t, aside, attesttest.Input(t, "1.2"), s) // newer, and supersedes nothing
	for _, c := range []struct {
		name, dir, last string
		ok              bool
	}{
		{"the first", dirs[0], digests[0], true},
		{"its successor", dirs[1], digests[0], true},
		{"its successor's successor", dirs[2], digests[0], true},
		{"one step back", dirs[1], digests[2], false},
		{"two steps back", dirs[0], digests[2], false},
		{"another line", aside, digests[1], false},
	} {
		v := verify(t, c.dir, attest.Options{Last: c.last})
		if v.OK != c.ok || !c.ok && !has(v, "manifest", attest.Stale) {
			t.Errorf("%s: OK = %v, want %v: %v", c.name, v.OK, c.ok, v.Problems)
		}
	}
	last := verify(t, dirs[2], attest.Options{})
	if v := verify(t, dirs[1], attest.Options{NotBefore: *last.SignedAt}); v.OK || !has(v, "manifest", attest.Stale) {
		t.Errorf("older than the last accepted: %v", v.Problems)
	}
	in := attesttest.Input(t, "1.0")
	for name, bad := range map[string][]string{"no digest": {"yesterday"}, "twice": {digests[0], digests[0]}} {
		if in.Supersedes = bad; tryBuild(in) == nil {
			t.Errorf("superseding %s is accepted", name)
		}
	}
}

func tryBuild(in attest.Input) error {
	_, err := attest.Build(context.Background(), in)
	return err
}
