package sigstore

import (
	"crypto"
	"encoding/hex"
	"errors"
	"os"
	"testing"

	"github.com/cleanstart/cleanstart/source"
)

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	published  = "npm-sigstore-2.0.0.sigstore.json" // both from sigstore-go's tests
	publicRoot = "trusted-root-public-good.json"
)

// The provenance of npm's sigstore 2.0.0, which the public instance logged,
// and whose certificate bears a timestamp of its certificate log.
func TestPublicInstance(t *testing.T) {
	b, err := parse(testdata(t, published))
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := readRoot(os.DirFS("testdata"), publicRoot)
	if err != nil {
		t.Fatal(err)
	}
	if len(trusted.CTLogs()) == 0 || len(trusted.RekorLogs()) == 0 {
		t.Fatal("the public root lists no logs")
	}
	digest, err := hex.DecodeString("46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c")
	if err != nil {
		t.Fatal(err)
	}
	k := source.Key{Kind: source.Sigstore, Issuer: "https://token.actions.githubusercontent.com",
		Identity: "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"}
	result, err := check(b, trusted, k, crypto.SHA512, digest)
	if err != nil {
		t.Fatal(err)
	}
	if at := earliest(result); at.Timestamp.IsZero() || log(b, trusted, result) != "https://rekor.sigstore.dev" || at.URI != "https://rekor.sigstore.dev" {
		t.Errorf("witness %+v, log %s", at, log(b, trusted, result))
	}
	digest[0] ^= 1
	if _, err := check(b, trusted, k, crypto.SHA512, digest); !errors.Is(err, ErrBad) {
		t.Errorf("another digest: %v, want ErrBad", err)
	}
}

// FuzzBundle: a file gives a bundle or a classified error, and never a panic.
func FuzzBundle(f *testing.F) {
	f.Add(testdata(f, published))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := parse(in)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		if h, err := hashOf(b); err != nil && !errors.Is(err, ErrWeak) || err == nil && h < crypto.SHA256 {
			t.Fatalf("hashOf = %v, %v", h, err)
		}
		cert, err := certificate(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		if _, err := strength(cert); err != nil && !errors.Is(err, ErrWeak) {
			t.Fatalf("unclassified error: %v", err)
		}
	})
}

// FuzzRoot: a trusted root is read by the caller, from a folder that may hold
// anything.
func FuzzRoot(f *testing.F) {
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	f.Add(testdata(f, publicRoot))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte) {
		if err := os.WriteFile(dir+"/root", in, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRoot(os.DirFS(dir), "root")
		if err != nil && !errors.Is(err, ErrKeyFile) || err == nil && len(r.FulcioCertificateAuthorities()) == 0 {
			t.Fatalf("readRoot = %v, %v", r, err)
		}
	})
}
