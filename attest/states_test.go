package attest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
	"github.com/cleanstart/cleanstart/attest/timestamp"
)

// has says whether v names an artifact in a state.
func has(v *attest.Verification, artifact string, s attest.State) bool {
	return slices.ContainsFunc(v.Problems, func(p attest.Problem) bool { return p.Artifact == artifact && p.State == s })
}

func build(t testing.TB, in attest.Input) *attest.Evidence {
	t.Helper()
	ev, err := attest.Build(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func write(t testing.TB, dir string, in attest.Input, s attest.Signer) *attest.Manifest {
	t.Helper()
	m, err := attest.Write(context.Background(), dir, build(t, in), s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestVerifyRefusesWhatWasNotAskedFor(t *testing.T) {
	dir, s := attesttest.Write(t)
	other := attesttest.Signer(t, time.Now())
	otherKey, err := other.Key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	image := verify(t, dir, attest.Options{}).Image
	for _, c := range []struct {
		name     string
		opts     attest.Options
		artifact string
		state    attest.State
	}{
		{"another key", attest.Options{Key: otherKey}, "key", attest.Forged},
		{"another key, by artifact", attest.Options{Key: otherKey}, attest.Provenance, attest.Forged},
		{"another authority", attest.Options{Authority: other.Time.Chain()}, "trust", attest.Forged},
		{"another authority, by artifact", attest.Options{Authority: other.Time.Chain()}, attest.VEX, attest.Forged},
		{"another image", attest.Options{Image: "sha256:" + strings.Repeat("0", 64)}, "image", attest.Foreign},
		{"newer evidence", attest.Options{NotBefore: time.Now().Add(time.Hour)}, "manifest", attest.Stale},
		{"another manifest", attest.Options{ManifestSum: image}, "manifest", attest.Stale},
	} {
		if v := verify(t, dir, c.opts); v.OK || !has(v, c.artifact, c.state) {
			t.Errorf("%s: OK = %v, want %s %s in %v", c.name, v.OK, c.artifact, c.state, v.Problems)
		}
	}
	if v := verify(t, dir, attest.Options{Authority: s.Time.Chain(), Image: image, NotBefore: time.Now().Add(-time.Hour)}); !v.OK {
		t.Errorf("what was asked for: %v", v.Problems)
	}
}

// clocked gives an authority whose clock the test moves.
func clocked(t testing.TB) (attest.Signer, *time.Time) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	s := attesttest.Signer(t, now)
	a, err := timestamp.New(timestamp.Config{Clock: func() time.Time { return now }, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	s.Time = a
	return s, &now
}

func TestVerifyRefusesTimeOutsideTheAuthority(t *testing.T) {
	s, now := clocked(t)
	*now = now.Add(11 * 365 * 24 * time.Hour) // the certificate has ended
	dir := filepath.Join(t.TempDir(), "out")
	write(t, dir, attesttest.Input(t, "1.0"), s)
	v := verify(t, dir, attest.Options{})
	for _, k := range attest.Kinds() {
		if v.Artifact(k.Name).State == attest.Present {
			t.Errorf("%s is present with a timestamp of an expired authority", k.Name)
		}
	}
}

func TestVerifyRefusesReplayedManifest(t *testing.T) {
	s, now := clocked(t)
	tmp := t.TempDir()
	older, newer, another := filepath.Join(tmp, "older"), filepath.Join(tmp, "newer"), filepath.Join(tmp, "another")
	in := attesttest.Input(t, "1.0")
	write(t, older, in, s)
	*now = now.Add(time.Minute)
	in.Time = in.Time.Add(time.Minute)
	in.Supersedes = verify(t, older, attest.Options{}).Chain()
	m := write(t, newer, in, s)
	write(t, another, attesttest.Input(t, "2.0"), s)
	if len(m.Supersedes) != 1 {
		t.Error("the newer manifest supersedes nothing")
	}

	attesttest.Graft(t, newer, older, func(role string) bool { return role == "manifest" })
	if v := verify(t, newer, attest.Options{}); v.OK || !has(v, "manifest", attest.Stale) {
		t.Errorf("an older manifest beside: %v", v.Problems)
	}
	write(t, newer, in, s)
	attesttest.Graft(t, newer, another, func(role string) bool { return role == "manifest" })
	if v := verify(t, newer, attest.Options{}); v.OK || !has(v, "manifest", attest.Stale) {
		t.Errorf("a manifest of another image beside: %v", v.Problems)
	}
	write(t, newer, in, s)
	attesttest.Graft(t, newer, older, func(role string) bool { return role == attest.VEX })
	if v := verify(t, newer, attest.Options{}); v.OK || !has(v, attest.VEX, attest.Stale) {
		t.Errorf("the signer's own older VEX beside: %v", v.Problems)
	}
	write(t, newer, in, s)
	if v := verify(t, newer, attest.Options{}); !v.OK {
		t.Errorf("written again: %v", v.Problems)
	}
}

func TestStatementsAreDeterministic(t *testing.T) {
	a, b := build(t, attesttest.Input(t, "1.0")), build(t, attesttest.Input(t, "1.0"))
	if d := cmp.Diff(a.Statements, b.Statements); d != "" {
		t.Errorf("statements differ (-first +second):\n%s", d)
	}
	if d := cmp.Diff(a.Documents, b.Documents); d != "" {
		t.Errorf("documents differ (-first +second):\n%s", d)
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, breakIt := range map[string]func(*attest.Input){
		"no image":            func(in *attest.Input) { in.Image = nil },
		"no report":           func(in *attest.Input) { in.Report = nil },
		"no time":             func(in *attest.Input) { in.Time = time.Time{} },
		"another image":       func(in *attest.Input) { in.Report.Image = "sha256:00" },
		"a finding undecided": func(in *attest.Input) { in.Decisions = in.Decisions[1:] },
		"a decision twice":    func(in *attest.Input) { in.Decisions[1] = in.Decisions[2] },
		"a statement missing": func(in *attest.Input) { in.VEX.Statements = in.VEX.Statements[1:] },
		"a document differs": func(in *attest.Input) {
			in.Each[1].Statements[0].Status = "fixed"
			in.Each[1].Statements[0].ActionStatement = ""
		},
		"a test twice": func(in *attest.Input) { in.Report.Tests[0].ID = in.Report.Tests[1].ID },
		"level four":   func(in *attest.Input) { in.Builder.Level = 4 },
		"an unexplained file": func(in *attest.Input) {
			in.Image.Record.Image.Layers[0].Files = in.Image.Record.Image.Layers[0].Files[1:]
		},
		"a file that differs":   func(in *attest.Input) { in.Image.Record.Image.Layers[0].Files[0].Digest = "sha256:00" },
		"a wrong manifest":      func(in *attest.Input) { in.Image.Record.Image.Manifest = in.Image.Record.Image.Config },
		"an impossible licence": func(in *attest.Input) { in.Image.Record.Components[0].Component.License = "MIT OR" },
		"no package URL":        func(in *attest.Input) { in.Image.Record.Components[0].Component.PURL = "" },
		"one URL twice": func(in *attest.Input) {
			in.Image.Record.Components[0].Component.PURL = in.Image.Record.Components[1].Component.PURL
		},
	} {
		in := attesttest.Input(t, "1.0")
		breakIt(&in)
		if _, err := attest.Build(context.Background(), in); err == nil {
			t.Errorf("%s: Build succeeds", name)
		}
	}
}

func TestWriteKeepsWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(name, []byte("years"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := attest.Write(context.Background(), dir, build(t, attesttest.Input(t, "1.0")), attesttest.Signer(t, time.Now()))
	if err == nil {
		t.Fatal("Write replaces a directory that is not ours")
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "years" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

type broken struct{ signature.Signer }

func (broken) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return nil, errors.New("no key service")
}

func TestWriteFailsWhole(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "out")
	s := attesttest.Signer(t, time.Now())
	m := write(t, dir, attesttest.Input(t, "1.0"), s)
	ev := build(t, attesttest.Input(t, "2.0"))
	for name, f := range map[string]func() error{
		"no key": func() error {
			_, err := attest.Write(context.Background(), dir, ev, attest.Signer{Key: broken{}, Time: s.Time})
			return err
		},
		"cancelled": func() error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := attest.Write(ctx, dir, ev, s)
			return err
		},
		"extra file in the way": func() error {
			_, err := attest.Write(context.Background(), dir, ev, s, attest.File{Path: "oci/index.json"})
			return err
		},
		"extra file outside": func() error {
			_, err := attest.Write(context.Background(), dir, ev, s, attest.File{Path: "../x"})
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s: Write succeeds", name)
		}
	}
	if v := verify(t, dir, attest.Options{}); !v.OK || v.Image != m.Image {
		t.Errorf("after failures the old output: %v", v.Problems)
	}
	if es, _ := os.ReadDir(parent); len(es) != 1 {
		t.Errorf("%d entries beside the output, want none", len(es)-1)
	}
	if _, err := attest.Write(context.Background(), dir, ev, s); err != nil {
		t.Errorf("Write over an output of ours: %v", err)
	}
	if v := verify(t, dir, attest.Options{}); !v.OK || v.Image != ev.Image {
		t.Errorf("after replacement: %v", v.Problems)
	}
}

func TestOtherKeys(t *testing.T) {
	for name, curve := range map[string]elliptic.Curve{"P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k, err := signature.LoadSigner(key, crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		s := attesttest.Signer(t, time.Now())
		s.Key = k
		dir := filepath.Join(t.TempDir(), "out")
		write(t, dir, attesttest.Input(t, "1.0"), s)
		if v := verify(t, dir, attest.Options{}); !v.OK {
			t.Errorf("%s: %v", name, v.Problems)
		}
	}
}

func TestSecretsDoNotReachTheLog(t *testing.T) {
	dir, _ := attesttest.Write(t)
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if bytes.Contains(b, []byte("hunter22")) || bytes.Contains(b, []byte("abcdef123456")) {
			t.Errorf("%s holds a secret of the build log", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkBuild(b *testing.B) {
	in := attesttest.Input(b, "1.0")
	for b.Loop() {
		build(b, in)
	}
}
