package source_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/checksum"
	"github.com/cleanstart/cleanstart/source/debian"
	"github.com/cleanstart/cleanstart/source/openpgp"
)

const (
	curlKey    = "27EDEAF22F3ABCEB50DB9A125CC908FDB71E12C2"
	muslKey    = "836489290BB6B70F99FFDA0556BCDB593020450F"
	opensslKey = "BA5473A2B0587B07FB27CF2D216094DFD0CB81EF"
)

// upstream is a release in Debian's archive, signed by one pinned key.
func upstream(pkg, version, key string) source.Component {
	at := "debian:" + pkg + "@" + version + "/orig.tar"
	c := source.Component{Name: pkg, Version: version, PURL: "pkg:generic/" + pkg + "@" + version, License: "NOASSERTION",
		Places: []source.Place{{Archive: at, Signature: at + ".asc"}}, Policy: source.Policy{Least: source.Signed}}
	c.Policy.Keys = []source.Key{{Fingerprint: key, File: pkg + ".asc"}}
	return c
}

// TestUpstreamReleases verifies real releases by the keys that their projects
// really use.
func TestUpstreamReleases(t *testing.T) {
	if testing.Short() {
		t.Skip("short: reads the system's Debian archive")
	}
	config, err := debian.ReadConfig(os.DirFS("/"))
	if err != nil {
		need.Skip(t, "debian-archive", err.Error())
	}
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	cache := writableTempDir(t)
	archive, err := debian.New(config, cache+"/debian", debian.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Resolve(context.Background(), []string{"dash"}); err != nil {
		need.Skip(t, "debian-archive", err.Error())
	}
	opts := source.Options{
		Cache:      cache + "/source",
		Keys:       os.DirFS("../examples/quickstart/keys"),
		Transports: map[string]source.Transport{"debian": archive},
		Verifiers:  []source.Verifier{openpgp.Verifier{}, checksum.Verifier{}},
		Now:        now,
	}

	musl := upstream("musl", "1.2.3", muslKey)
	muslAllowed := musl
	muslAllowed.Policy.Exceptions = []source.Exception{{Allow: source.AllowSHA1, Reason: "signed in 2022", Until: "2027-12-31"}}
	muslLapsed := musl
	muslLapsed.Policy.Exceptions = []source.Exception{{Allow: source.AllowSHA1, Reason: "signed in 2022", Until: "2026-11-23"}}
	zlib := upstream("zlib", "1.2.13.dfsg", "")
	zlib.Places[0].Signature = ""
	zlib.Policy = source.Policy{Least: source.Pinned,
		Digest: "sha256:71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1"}
	swapped := upstream("curl", "7.88.1", muslKey)
	wrongFile := upstream("curl", "7.88.1", muslKey)
	wrongFile.Policy.Keys[0].File = "musl.asc"

	for _, c := range []struct {
		name string
		c    source.Component
		want error // nil: accepted
	}{
		{"musl by exception", muslAllowed, nil},
		{"zlib pinned", zlib, nil},
		{"curl", upstream("curl", "7.88.1", curlKey), nil},
		{"openssl signed long before the key expired", upstream("openssl", "3.0.17", opensslKey), nil},
		{"openssl signed the day before the key expired", upstream("openssl", "3.0.20", opensslKey), nil},
		{"musl without exception", musl, openpgp.ErrWeak},
		{"musl with a lapsed exception", muslLapsed, openpgp.ErrWeak},
		{"key file holds another key", swapped, openpgp.ErrKeyFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			tree, err := source.Verify(context.Background(), c.c, opts)
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify(%s) = %v, want %v", c.c.Name, err, c.want)
			}
			if err != nil {
				return
			}
			fresh := time.Since(start)
			if err := tree.Check(context.Background()); err != nil {
				t.Error(err)
			}
			start = time.Now()
			again, err := source.Load(context.Background(), c.c, opts)
			if err != nil {
				t.Fatal(err)
			}
			if again.Digest() != tree.Digest() || !again.Epoch().Equal(tree.Epoch()) {
				t.Errorf("Load = %s, %v, want %s, %v", again.Digest(), again.Epoch(), tree.Digest(), tree.Epoch())
			}
			t.Logf("verified in %v, loaded in %v\n%s", fresh, time.Since(start), source.Explain(tree))
		})
	}

	for _, c := range []struct {
		name   string
		c      source.Component
		signer string
	}{
		{"wrong signer", wrongFile, curlKey},
		{"openssl by a successor key", upstream("openssl", "3.0.22", opensslKey), "C46ED3F2CBEFDA1FDAADA44264ED7B1DCCE71CB2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := source.Verify(context.Background(), c.c, opts)
			var signer *openpgp.SignerError
			if !errors.As(err, &signer) || signer.Issuer != c.signer || !strings.Contains(err.Error(), c.signer) {
				t.Errorf("Verify(%s) = %v, want a SignerError that names %s", c.c.Name, err, c.signer)
			}
		})
	}
}
