package debian_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/cleanstart/cleanstart/source/debian"
	"github.com/cleanstart/cleanstart/source/debian/debiantest"
)

// client reads a test archive.
func client(t testing.TB, a *debiantest.Archive, cache string, change ...func(*debian.Config, *debian.Options)) *debian.Archive {
	t.Helper()
	c, err := debian.ReadConfig(a.Etc())
	if err != nil {
		t.Fatal(err)
	}
	opts := debian.Options{Now: debiantest.Now.Add(time.Hour), Backoff: time.Millisecond}
	for _, f := range change {
		f(c, &opts)
	}
	r, err := debian.New(c, cache, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func offline(_ *debian.Config, o *debian.Options) { o.Offline = true }

func open(t testing.TB, a *debian.Archive, ref string) (string, error) {
	t.Helper()
	u, err := url.Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Open(context.Background(), u)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), nil
}

// example carries upstream 1.2 in three revisions, two with epochs.
func example(t testing.TB) *debiantest.Archive {
	a := debiantest.New(t)
	files := func(what string) map[string]string {
		return map[string]string{
			"curl_1.2.orig.tar.gz": "tar of " + what, "curl_1.2.orig.tar.gz.asc": "signature of " + what,
			"curl_1.2.debian.tar.xz": "debian", "curl_1.2.orig-extra.tar.gz": "extra",
		}
	}
	a.AddSource("stable", "curl", "1:1.2-1", files("stable"))
	a.AddSource("stable", "libcurl", "9-1", nil)
	a.AddSource("updates", "curl", "1:1.2-1+u1", files("updates"))
	a.AddSource("security", "curl", "1:1.2-1+u2", files("security"))
	a.AddSource("security", "curl", "1:1.3-1", map[string]string{"curl_1.3.orig.tar.xz": "newer, unsigned"})
	a.Publish()
	return a
}

func TestOpenTakesNewestRevisionThatIsThere(t *testing.T) {
	a := example(t)
	want := func(cache, content string) {
		t.Helper()
		c := client(t, a, cache)
		for ref, want := range map[string]string{
			"debian:curl@1.2/orig.tar": "tar of " + content, "debian:curl@1.2/orig.tar.asc": "signature of " + content,
		} {
			if got, err := open(t, c, ref); err != nil || got != want {
				t.Errorf("Open(%s) = %q, %v, want %q", ref, got, err, want)
			}
		}
	}
	want(t.TempDir(), "security")
	// Only the signature is lost: the tarball must not come from another
	// revision than its signature.
	a.Put("pool/security/curl/curl_1.2.orig.tar.gz.asc", nil)
	want(t.TempDir(), "updates")
	a.Put("pool/updates/curl/curl_1.2.orig.tar.gz", nil)
	want(t.TempDir(), "stable")
	a.Put("pool/stable/curl/curl_1.2.orig.tar.gz", nil)
	_, err := open(t, client(t, a, t.TempDir()), "debian:curl@1.2/orig.tar")
	if !errors.Is(err, debian.ErrMissing) || !strings.Contains(err.Error(), "curl_1.2.orig.tar.gz") {
		t.Errorf("Open with every file lost = %v, want ErrMissing with the files' names", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	a := example(t)
	c := client(t, a, t.TempDir())
	for ref, want := range map[string]error{
		"debian:curl@9.9/orig.tar":     debian.ErrNotFound,
		"debian:none@1/orig.tar":       debian.ErrNotFound,
		"debian:curl@1.3/orig.tar.asc": debian.ErrNotFound,
		"debian:libcurl@9/orig.tar":    debian.ErrNotFound, // native
	} {
		if _, err := open(t, c, ref); !errors.Is(err, want) {
			t.Errorf("Open(%s) = %v, want %v", ref, err, want)
		}
	}
	for _, ref := range []string{
		"debian:curl/orig.tar", "debian:curl@1.2", "debian:curl@1.2/dsc", "debian:../x@1/orig.tar",
		"debian:curl@/orig.tar", "debian:curl@1%092/orig.tar", "file:curl@1.2/orig.tar",
	} {
		if _, err := open(t, c, ref); err == nil || errors.Is(err, debian.ErrNotFound) {
			t.Errorf("Open(%s) = %v, want it to refuse the reference", ref, err)
		}
	}
}

func TestSecondOpenNeedsNoNetwork(t *testing.T) {
	a, cache := example(t), t.TempDir()
	if _, err := open(t, client(t, a, cache, offline), "debian:curl@1.2/orig.tar"); !errors.Is(err, debian.ErrOffline) {
		t.Errorf("offline Open on an empty cache = %v, want ErrOffline", err)
	}
	if _, err := open(t, client(t, a, cache), "debian:curl@1.2/orig.tar"); err != nil {
		t.Fatal(err)
	}
	before := a.Hits("")
	for _, ref := range []string{"debian:curl@1.2/orig.tar", "debian:curl@1.2/orig.tar.asc"} {
		if _, err := open(t, client(t, a, cache), ref); err != nil {
			t.Errorf("second Open(%s) = %v", ref, err)
		}
	}
	if n := a.Hits("") - before; n != 0 {
		t.Errorf("second run made %d requests, want 0", n)
	}
	// Another version needs the indexes: they are in the cache too, the file
	// is not.
	_, err := open(t, client(t, a, cache, offline), "debian:curl@1.3/orig.tar")
	if !errors.Is(err, debian.ErrOffline) {
		t.Errorf("offline Open of a file that is not cached = %v, want ErrOffline", err)
	}
}

func TestDamagedCacheIsMended(t *testing.T) {
	a, cache := example(t), t.TempDir()
	if _, err := open(t, client(t, a, cache), "debian:curl@1.2/orig.tar"); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(cache, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 1
		return os.WriteFile(name, b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, client(t, a, cache), "debian:curl@1.2/orig.tar"); err != nil || got != "tar of security" {
		t.Errorf("Open over a damaged cache = %q, %v", got, err)
	}
}

func TestFilesMustBeWhatTheIndexSays(t *testing.T) {
	const name = "pool/security/curl/curl_1.2.orig.tar.gz"
	for what, content := range map[string]string{
		"flipped": "tar of securitz", "truncated": "tar of sec", "longer": "tar of security and more", "empty": "",
	} {
		a, cache := example(t), t.TempDir()
		a.Put(name, []byte(content))
		if got, err := open(t, client(t, a, cache), "debian:curl@1.2/orig.tar"); err == nil {
			t.Errorf("Open of a %s file = %q, want an error", what, got)
		}
		if left, _ := filepath.Glob(filepath.Join(cache, "files/sha256/*")); len(left) != 0 {
			t.Errorf("a %s file was left in the cache: %v", what, left)
		}
	}
	a := example(t)
	b := a.File("dists/stable/main/source/Sources.gz")
	for _, name := range []string{"dists/stable/main/source/Sources.gz", "dists/stable/main/source/by-hash/SHA256/" + sumOf(b)} {
		a.Put(name, append(bytes.Clone(b), 0))
	}
	if _, err := open(t, client(t, a, t.TempDir()), "debian:curl@1.2/orig.tar"); err == nil {
		t.Error("Open accepts an index that is not what the release says")
	}
}

func TestFetchTriesAgain(t *testing.T) {
	a := example(t)
	const name = "pool/security/curl/curl_1.2.orig.tar.gz"
	a.Fail(name, 3)
	retries := 0
	c := client(t, a, t.TempDir(), func(_ *debian.Config, o *debian.Options) {
		o.Progress.Retry = func(string, int, error) { retries++ }
	})
	if _, err := open(t, c, "debian:curl@1.2/orig.tar"); err != nil || retries != 3 || a.Hits(name) != 4 {
		t.Errorf("Open = %v after %d retries and %d requests, want success after 3 and 4", err, retries, a.Hits(name))
	}
	a.Fail(name, 100)
	if _, err := open(t, client(t, a, t.TempDir()), "debian:curl@1.2/orig.tar"); err == nil || errors.Is(err, debian.ErrMissing) {
		t.Errorf("Open of a broken server = %v, want its error", err)
	}
	if n := a.Hits(name); n != 4+5 {
		t.Errorf("%d requests, want the bound of 5 more than 4", n)
	}
}

func TestReleaseSignature(t *testing.T) {
	stranger := debiantest.NewKey(t, "stranger", 0)
	short := debiantest.NewKey(t, "short", 400*24*time.Hour) // expires 35 days after Now
	for _, c := range []struct {
		name string
		make func(a *debiantest.Archive)
		conf func(c *debian.Config, o *debian.Options)
		want error // nil: accepted
		text string
	}{
		{name: "good"},
		{name: "signed by a stranger", make: func(a *debiantest.Archive) { resign(a, stranger) }, want: debian.ErrSignature},
		{name: "signed by a stranger too", make: func(a *debiantest.Archive) { a.Extra = []*openpgp.Entity{stranger}; a.Publish() }},
		{name: "narrowed to another key", conf: func(c *debian.Config, _ *debian.Options) {
			c.Entries[0].Signers = []string{strings.Repeat("AB", 20)}
		}, want: debian.ErrSignature},
		{name: "flipped bit", make: func(a *debiantest.Archive) {
			edit(a, func(s string) string { return strings.Replace(s, "Origin: Test", "Origin: Tesu", 1) })
		}, want: debian.ErrSignature},
		{name: "unsigned", make: func(a *debiantest.Archive) {
			edit(a, func(s string) string {
				_, s, _ = strings.Cut(s, "\n\n")
				s, _, _ = strings.Cut(s, "-----BEGIN")
				return s
			})
		}, want: debian.ErrSignature},
		{name: "text before", make: func(a *debiantest.Archive) {
			edit(a, func(s string) string { return "Suite: stable\n" + s })
		}, want: debian.ErrSignature},
		{name: "text after", make: func(a *debiantest.Archive) {
			edit(a, func(s string) string { return s + "SHA256:\n" })
		}, want: debian.ErrSignature},
		{name: "truncated", make: func(a *debiantest.Archive) {
			edit(a, func(s string) string { return s[:len(s)/2] })
		}, want: debian.ErrSignature},
		{name: "key expired since", make: func(a *debiantest.Archive) { a.Key = short; a.Publish() },
			conf: func(_ *debian.Config, o *debian.Options) { o.Now = debiantest.Now.AddDate(0, 6, 0) }},
		{name: "signed after expiry", make: func(a *debiantest.Archive) {
			a.Key = short
			a.Signed = debiantest.Now.AddDate(0, 3, 0)
			a.Publish()
		}, conf: func(_ *debian.Config, o *debian.Options) { o.Now = debiantest.Now.AddDate(0, 6, 0) }, want: debian.ErrSignature},
		{name: "weak hash", make: func(a *debiantest.Archive) { weaken(t, a) }, want: debian.ErrSignature, text: "insecure message hash"},
		{name: "still valid", make: func(a *debiantest.Archive) { until(a, debiantest.Now.AddDate(0, 0, 7)) }},
		{name: "no longer valid", make: func(a *debiantest.Archive) { until(a, debiantest.Now.Add(time.Minute)) }, want: debian.ErrExpired},
		{name: "no longer valid, frozen mirror", make: func(a *debiantest.Archive) { until(a, debiantest.Now.Add(time.Minute)) },
			conf: func(c *debian.Config, _ *debian.Options) { c.IgnoreValidUntil = true }},
		{name: "from the future", conf: func(_ *debian.Config, o *debian.Options) { o.Now = debiantest.Now.AddDate(0, -1, 0) }, want: debian.ErrExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := debiantest.New(t)
			a.AddSource("stable", "x", "1-1", map[string]string{"x_1.orig.tar.gz": "x"})
			a.Publish()
			if c.make != nil {
				c.make(a)
			}
			conf := c.conf
			if conf == nil {
				conf = func(*debian.Config, *debian.Options) {}
			}
			_, err := open(t, client(t, a, t.TempDir(), conf), "debian:x@1/orig.tar")
			if !errors.Is(err, c.want) {
				t.Errorf("Open = %v, want %v", err, c.want)
			}
			if c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
				t.Errorf("Open = %v, want %q in it", err, c.text)
			}
		})
	}
}

func resign(a *debiantest.Archive, key *openpgp.Entity) {
	own := a.Key
	a.Key = key
	a.Publish()
	a.Key = own
}

// weaken replaces the release's signature by one over SHA-1, which signers of
// today no longer make.
func weaken(t *testing.T, a *debiantest.Archive) {
	t.Helper()
	key := a.Key.PrivateKey
	sig := &packet.Signature{
		Version: key.Version, SigType: packet.SigTypeText, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA1,
		CreationTime: a.Signed, IssuerKeyId: &key.KeyId, IssuerFingerprint: key.Fingerprint,
	}
	text, _, _ := strings.Cut(string(a.File("dists/stable/InRelease")), "-----BEGIN PGP SIGNATURE-----")
	block, _ := clearsign.Decode(a.File("dists/stable/InRelease"))
	h := crypto.SHA1.New()
	h.Write(block.Bytes)
	if err := sig.Sign(h, key, &packet.Config{NonDeterministicSignaturesViaNotation: packet.BoolPointer(false)}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString(strings.Replace(text, "Hash: SHA256", "Hash: SHA1", 1))
	w, err := armor.Encode(&b, openpgp.SignatureType, nil)
	if err == nil {
		err = errors.Join(sig.Serialize(w), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	a.Put("dists/stable/InRelease", b.Bytes())
}

func until(a *debiantest.Archive, t time.Time) {
	a.Fields["Valid-Until"] = t.Format(time.RFC1123)
	a.Publish()
}

func edit(a *debiantest.Archive, f func(string) string) {
	const name = "dists/stable/InRelease"
	a.Put(name, []byte(f(string(a.File(name)))))
}

func TestReleaseOfAnotherSuiteIsRefused(t *testing.T) {
	a := example(t)
	a.Put("dists/security/InRelease", a.File("dists/stable/InRelease"))
	if _, err := open(t, client(t, a, t.TempDir()), "debian:curl@1.2/orig.tar"); err == nil {
		t.Error("Open accepts the release of stable for security")
	}
}

func TestArchiveNeverGoesBack(t *testing.T) {
	a, cache := example(t), t.TempDir()
	old := map[string][]byte{}
	for _, s := range []string{"stable", "security", "updates"} {
		old[s] = a.File("dists/" + s + "/InRelease")
	}
	a.Signed = debiantest.Now.Add(time.Minute)
	a.AddSource("security", "curl", "1:1.2-1+u3", map[string]string{"curl_1.2.orig.tar.gz": "the fix"})
	a.Publish()
	later := func(_ *debian.Config, o *debian.Options) { o.Now = debiantest.Now.Add(2 * time.Hour) }
	if _, err := open(t, client(t, a, cache, later), "debian:curl@1.3/orig.tar"); err != nil {
		t.Fatal(err)
	}
	for s, b := range old {
		a.Put("dists/"+s+"/InRelease", b)
	}
	if got, err := open(t, client(t, a, cache, later), "debian:curl@1.2/orig.tar"); err != nil || got != "the fix" {
		t.Errorf("Open from a mirror that went back = %q, %v, want what was seen before", got, err)
	}
}

func TestSuiteThatCannotBeHadIsAnError(t *testing.T) {
	a := example(t)
	a.Put("dists/security/InRelease", nil)
	if got, err := open(t, client(t, a, t.TempDir()), "debian:curl@1.2/orig.tar"); !errors.Is(err, debian.ErrMissing) {
		t.Errorf("Open without the security suite = %q, %v, want ErrMissing", got, err)
	}
}

func TestNewRefuses(t *testing.T) {
	good := &debian.Config{Entries: []debian.Entry{{URIs: []string{"http://archive.invalid"}, Suite: "s", Components: []string{"main"}}}}
	if _, err := debian.New(&debian.Config{}, t.TempDir(), debian.Options{Now: debiantest.Now}); !errors.Is(err, debian.ErrNoSources) {
		t.Errorf("New without entries = %v, want ErrNoSources", err)
	}
	if _, err := debian.New(good, t.TempDir(), debian.Options{}); err == nil {
		t.Error("New accepts the zero time")
	}
	if _, err := debian.New(good, "", debian.Options{Now: debiantest.Now}); err == nil {
		t.Error("New accepts no cache directory")
	}
}
