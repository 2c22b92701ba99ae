package source_test

import (
	"context"
	"errors"
	"io/fs"
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

// repacked is a release that the archive carries without a signature that
// covers it.
func repacked(pkg, version, sum string) source.Component {
	c := upstream(pkg, version, "")
	c.Places[0].Signature = ""
	c.Policy = source.Policy{Least: source.Pinned, Digest: "sha256:" + sum}
	return c
}

// unsigned are releases whose upstream signature is not within reach, or does
// not cover the bytes that the archive carries.
var unsigned = []source.Component{
	repacked("libxml2", "2.9.14+dfsg", "4fe913dec8b1ab89d13b489b419a8203176ea39e931eaa0d25b17eafb9c279e9"),
	repacked("libzstd", "1.5.4+dfsg2", "8cf4bbb65e77ec348d052c8d6230eba66d435bddf64c8b5be2fcb16880c19953"),
	repacked("expat", "2.5.0", "ab00ee05c7067fd10a35c5d2a4922ebba746ddd50ff83b79c828da17bbdf1757"),
	repacked("busybox", "1.35.0", "faeeb244c35a348a334f4a59e44626ee870fb07b6884d68c10ae8bc19f83a694"),
	repacked("lua5.4", "5.4.4", "164c7849653b80ae67bec4b7473b884bf5cc8d2dca05653475ec2ed27b9ebf61"),
	repacked("nginx", "1.22.1", "9ebb333a9e82b952acd3e2b4aeb1d4ff6406f72491bab6cd9fe69f0dea737f31"),
	repacked("redis", "7.0.15", "4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982"),
	repacked("sqlite3", "3.40.1", "aaa776260ab4dc976db34aa7891819484c8676b5b2783123ebc6301e2ca5d655"),
	repacked("libpng1.6", "1.6.39", "a00e9d2f2f664186e4202db9299397f851aea71b36a35e74910b8820e380d441"),
	repacked("pcre2", "10.42", "c33b418e3b936ee3153de2c61cc638e7e4fe3156022a5c77d0711bcbb9d64f1f"),
	repacked("xz-utils", "5.4.1", "5d9827aa1875b21c288f78864bb26d2650b436ea8d2cad364e4921eb6266a5a5"),
	repacked("python3.11", "3.11.2", "2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849"),
	repacked("git", "2.39.5", "c58da92c378df4a986ca33266897a7397e86c22ee266a284d8c2432c39066b59"),
	repacked("bash", "5.2.15", "7a315bc0e9d90713159e4390ec1096a41e4f33cd8cc3d1a749a8e5ad56600f51"),
}

// errSigner stands for an openpgp.SignerError in a table.
var errSigner = errors.New("another signer")

// testKeys are the built-in specifications' keys, and those of tests below
// testdata.
type testKeys struct{}

func (testKeys) Open(name string) (fs.File, error) {
	if rest, ok := strings.CutPrefix(name, "testdata/"); ok {
		return os.DirFS("testdata/keys").Open(rest)
	}
	return os.DirFS("../examples/quickstart/keys").Open(name)
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
		Keys:       testKeys{},
		Transports: map[string]source.Transport{"debian": archive},
		Verifiers:  []source.Verifier{openpgp.Verifier{}, checksum.Verifier{}},
		Now:        now,
	}

	musl := upstream("musl", "1.2.3", muslKey)
	muslAllowed := musl
	muslAllowed.Policy.Exceptions = []source.Exception{{Allow: source.AllowSHA1, Reason: "signed in 2022", Until: "2027-12-31"}}
	muslLapsed := musl
	muslLapsed.Policy.Exceptions = []source.Exception{{Allow: source.AllowSHA1, Reason: "signed in 2022", Until: "2026-11-23"}}
	zlib := repacked("zlib", "1.2.13.dfsg", "71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1")
	swapped := upstream("curl", "7.88.1", muslKey)
	wrongFile := upstream("curl", "7.88.1", muslKey)
	wrongFile.Policy.Keys[0].File = "musl.asc"

	signed := func(pkg, version, key string) source.Component {
		c := upstream(pkg, version, key)
		c.Policy.Keys[0].File = "testdata/" + pkg + ".asc"
		return c
	}
	for _, c := range []struct {
		name string
		c    source.Component
		want error // nil: accepted
	}{
		{"openssh", signed("openssh", "9.2p1", "7168B983815A5EEF59A4ADFD2A3F414E736060BA"), nil},
		{"gnupg by EdDSA", signed("gnupg2", "2.2.40", "6DAA6E64A76D2840571B4902528897B826403ADA"), nil},
		{"gnupg by the other key of its file", signed("gnupg2", "2.2.40", "AC8E115BF73E2D8D47FA9908E98E9B2D19C6C8BD"), errSigner},
		{"dropbear", signed("dropbear", "2022.83", "F7347EF2EE2E07A267628CA944931494F29C6773"), nil},
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
			var signer *openpgp.SignerError
			if c.want == errSigner && errors.As(err, &signer) {
				return
			}
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

	// Pinned must be asked for by name, and then all come at once.
	for i, c := range unsigned {
		c.Policy.Least = source.Signed
		if _, err := source.Verify(context.Background(), c, opts); !errors.Is(err, source.ErrComponent) {
			t.Errorf("Verify(%s) with grade signed = %v, want ErrComponent", c.Name, err)
		}
		c.Policy.Least = source.Logged
		if i == 0 {
			if _, err := source.Verify(context.Background(), c, opts); !errors.Is(err, source.ErrPolicy) {
				t.Errorf("Verify(%s) with grade logged = %v, want ErrPolicy", c.Name, err)
			}
		}
	}
	trees, err := source.VerifyAll(context.Background(), unsigned, opts, 4)
	if err != nil {
		t.Error(err)
	}
	for i, tree := range trees {
		if tree == nil {
			continue
		}
		if p := tree.Proofs(); len(p) != 1 || p[0].Grade != source.Pinned {
			t.Errorf("proofs of %s = %+v, want one, pinned", unsigned[i].Name, p)
		}
	}
	lock, err := source.NewLock(trees...)
	if err != nil {
		t.Fatal(err)
	}
	opts.Lock = lock
	if _, err := source.VerifyAll(context.Background(), unsigned, opts, 4); err != nil {
		t.Errorf("with the lock: %v", err)
	}
}
