package source_test

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/source"
)

var (
	alice = strings.Repeat("A", 40)
	bob   = strings.Repeat("B", 40)
)

// says is an engine that finds proofs by the signers given, at a time.
func says(when *time.Time, signers ...string) source.Verifier {
	return verifierFunc(func(s source.Subject) ([]source.Proof, error) {
		var out []source.Proof
		for _, f := range signers {
			out = append(out, source.Proof{Grade: source.Signed, Mechanism: source.OpenPGP, Signer: f, Digest: s.Digest, SignedAt: when})
		}
		return out, nil
	})
}

// noSignature is an engine that finds nothing of its kind.
var noSignature = verifierFunc(func(source.Subject) ([]source.Proof, error) { return nil, source.ErrNoSignature })

func key(fingerprint string, change ...func(*source.Key)) source.Key {
	k := source.Key{Fingerprint: fingerprint, File: "k.asc"}
	for _, f := range change {
		f(&k)
	}
	return k
}

// TestSigners: who counts is for the core to say, whatever an engine found.
func TestSigners(t *testing.T) {
	archive := simple(t)
	on := func(s string) *time.Time { d, _ := time.Parse(time.DateOnly, s); return &d }
	for name, c := range map[string]struct {
		keys      []source.Key
		threshold int
		version   string
		verifiers []source.Verifier
		want      error // nil: accepted
		text      string
	}{
		"one of one":                    {[]source.Key{key(alice)}, 0, "1.0", []source.Verifier{says(nil, alice)}, nil, ""},
		"one of two suffices":           {[]source.Key{key(alice), key(bob)}, 0, "1.0", []source.Verifier{says(nil, bob)}, nil, ""},
		"two of two":                    {[]source.Key{key(alice), key(bob)}, 2, "1.0", []source.Verifier{says(nil, bob, alice)}, nil, ""},
		"two of two by two engines":     {[]source.Key{key(alice), key(bob)}, 2, "1.0", []source.Verifier{says(nil, bob), says(nil, alice)}, nil, ""},
		"one where two are needed":      {[]source.Key{key(alice), key(bob)}, 2, "1.0", []source.Verifier{says(nil, bob)}, source.ErrPolicy, "2 of 2 keys"},
		"one twice where two":           {[]source.Key{key(alice), key(bob)}, 2, "1.0", []source.Verifier{says(nil, bob), says(nil, bob)}, source.ErrPolicy, "2 of 2"},
		"a signer who is not pinned":    {[]source.Key{key(alice)}, 0, "1.0", []source.Verifier{says(nil, bob)}, source.ErrPolicy, bob},
		"pinned and not pinned":         {[]source.Key{key(alice)}, 0, "1.0", []source.Verifier{says(nil, bob, alice)}, nil, ""},
		"no signature":                  {[]source.Key{key(alice)}, 0, "1.0", []source.Verifier{noSignature}, source.ErrNoSignature, ""},
		"one engine silent, other good": {[]source.Key{key(alice), {Kind: source.SSH, Fingerprint: "SHA256:" + strings.Repeat("A", 43)}}, 0, "1.0", []source.Verifier{noSignature, says(nil, alice)}, nil, ""},
		"no engine for the kind":        {[]source.Key{{Kind: source.SSH, Fingerprint: "SHA256:" + strings.Repeat("A", 43)}}, 0, "1.0", []source.Verifier{says(nil)}, source.ErrPolicy, ""},
		"key of another kind":           {[]source.Key{{Kind: "x-kms", Fingerprint: alice}}, 0, "1.0", []source.Verifier{says(nil, alice)}, source.ErrPolicy, ""},

		"series":                       {[]source.Key{key(alice, func(k *source.Key) { k.Series = []string{"1.0"} })}, 0, "1.0.3", []source.Verifier{says(nil, alice)}, nil, ""},
		"series itself":                {[]source.Key{key(alice, func(k *source.Key) { k.Series = []string{"0.9", "1.0"} })}, 0, "1.0", []source.Verifier{says(nil, alice)}, nil, ""},
		"another series":               {[]source.Key{key(alice, func(k *source.Key) { k.Series = []string{"1.1"} })}, 0, "1.10", []source.Verifier{says(nil, alice)}, source.ErrPolicy, "1.1"},
		"inside the window":            {[]source.Key{key(alice, window("2026-01-01", "2026-12-31"))}, 0, "1.0", []source.Verifier{says(on("2026-12-31"), alice)}, nil, ""},
		"before the window":            {[]source.Key{key(alice, window("2026-01-01", "2026-12-31"))}, 0, "1.0", []source.Verifier{says(on("2025-12-31"), alice)}, source.ErrPolicy, "counts from"},
		"after the window":             {[]source.Key{key(alice, window("2026-01-01", "2026-12-31"))}, 0, "1.0", []source.Verifier{says(on("2027-01-01"), alice)}, source.ErrPolicy, "counts until"},
		"window and no time":           {[]source.Key{key(alice, window("2026-01-01", ""))}, 0, "1.0", []source.Verifier{says(nil, alice)}, source.ErrPolicy, "states none"},
		"before the revocation":        {[]source.Key{key(alice, revoked)}, 0, "1.0", []source.Verifier{says(on("2026-05-31"), alice)}, nil, ""},
		"since the revocation":         {[]source.Key{key(alice, revoked)}, 0, "1.0", []source.Verifier{says(on("2026-06-01"), alice)}, source.ErrPolicy, "revoked"},
		"revocation and no time":       {[]source.Key{key(alice, revoked)}, 0, "1.0", []source.Verifier{says(nil, alice)}, source.ErrPolicy, "states none"},
		"one key twice, one may count": {[]source.Key{key(alice, revoked), key(alice)}, 0, "1.0", []source.Verifier{says(nil, alice)}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			comp := pinnedTo(archive, "mem:a")
			comp.Version = c.version
			comp.Policy = source.Policy{Least: source.Signed, Keys: c.keys, Threshold: c.threshold}
			o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
			o.Verifiers = c.verifiers
			_, err := source.Verify(t.Context(), comp, o)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("Verify = %v, want %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("Verify = %v, does not say %q", err, c.text)
			}
		})
	}
}

func window(from, until string) func(*source.Key) {
	return func(k *source.Key) { k.From, k.Until = from, until }
}

func revoked(k *source.Key) { k.Revoked = "2026-06-01" }

// TestSuccession: release 1.0, which alice signed, names bob; 1.1 is bob's.
func TestSuccession(t *testing.T) {
	spaced := func(f string) string {
		var b strings.Builder
		for i := 0; i < len(f); i += 4 {
			b.WriteString(f[i:i+4] + " ")
		}
		return b.String()
	}
	next := strings.Repeat("0123456789ABCDEF", 3)[:40]
	old := tarball(t, file("demo-1.0/doc/fingerprints.txt", "OMC:\n    "+spaced(next)+"\n"), file("demo-1.0/doc/partial.txt", next+"0\n"))
	release := simple(t)
	m := &memory{files: map[string][]byte{"mem:old": old, "mem:new": release}}
	o := options(t, m)
	o.Verifiers = []source.Verifier{says(nil, alice)}
	first := pinnedTo(old, "mem:old")
	first.Policy = source.Policy{Least: source.Signed, Keys: []source.Key{key(alice)}}
	tree, err := source.Verify(t.Context(), first, o)
	if err != nil {
		t.Fatal(err)
	}

	second := pinnedTo(release, "mem:new")
	second.Version = "1.1"
	second.Policy = source.Policy{Least: source.Signed, Keys: []source.Key{key(alice), key(next, func(k *source.Key) {
		k.AuthorizedBy = &source.Authority{Version: "1.0", File: "doc/fingerprints.txt"}
	})}}
	o.Verifiers = []source.Verifier{says(nil, next)}
	for name, c := range map[string]struct {
		edit func(*source.Component, *source.Options)
		text string // of the refusal; none: accepted
	}{
		"authorised":              {func(*source.Component, *source.Options) {}, ""},
		"no predecessor":          {func(_ *source.Component, o *source.Options) { o.Predecessors = nil }, "was not given"},
		"another file":            {func(c *source.Component, _ *source.Options) { c.Policy.Keys[1].AuthorizedBy.File = "doc/none.txt" }, "doc/none.txt"},
		"part of a longer number": {func(c *source.Component, _ *source.Options) { c.Policy.Keys[1].AuthorizedBy.File = "doc/partial.txt" }, "does not name it"},
		"another version":         {func(c *source.Component, _ *source.Options) { c.Policy.Keys[1].AuthorizedBy.Version = "0.9" }, "was not given"},
		"another component":       {func(c *source.Component, _ *source.Options) { c.Name = "other" }, "was not given"},
		"predecessor's key is not of this policy": {func(c *source.Component, _ *source.Options) {
			c.Policy.Keys[0] = key(bob)
		}, "not signed by another key"},
	} {
		t.Run(name, func(t *testing.T) {
			release, o := second, o
			a := *second.Policy.Keys[1].AuthorizedBy
			release.Policy.Keys = []source.Key{second.Policy.Keys[0], second.Policy.Keys[1]}
			release.Policy.Keys[1].AuthorizedBy = &a
			o.Predecessors = []*source.Tree{tree}
			c.edit(&release, &o)
			got, err := source.Verify(t.Context(), release, o)
			if c.text == "" {
				if err != nil {
					t.Fatal(err)
				}
				s := got.Proofs()[0].Succession
				if s == nil || s.Tree != tree.Digest() || s.Signer != alice || s.Version != "1.0" {
					t.Errorf("Succession = %+v", s)
				}
				if text := source.Explain(got); !strings.Contains(text, "named by doc/fingerprints.txt of release 1.0, which "+alice+" signed") {
					t.Errorf("Explain does not tell the succession:\n%s", text)
				}
				return
			}
			if !errors.Is(err, source.ErrPolicy) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("Verify = %v, want ErrPolicy and %q", err, c.text)
			}
		})
	}

	// The same, verified when it is needed, and locked with the release.
	whole := second
	whole.Policy.Keys = []source.Key{second.Policy.Keys[0], second.Policy.Keys[1]}
	whole.Policy.Keys[1].AuthorizedBy = &source.Authority{Version: "1.0", File: "doc/fingerprints.txt", Places: []source.Place{{Archive: "mem:old"}}}
	asked := o
	asked.Verifiers = []source.Verifier{verifierFunc(func(s source.Subject) ([]source.Proof, error) {
		signer := map[string]string{"1.0": alice, "1.1": next}[s.Version]
		return []source.Proof{{Grade: source.Signed, Mechanism: source.OpenPGP, Signer: signer, Digest: s.Digest}}, nil
	})}
	got, err := source.Verify(t.Context(), whole, asked)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := source.NewLock(got)
	if err != nil || len(lock.Components[0].Predecessors) != 1 || lock.Components[0].Predecessors[0].Tree != tree.Digest() {
		t.Errorf("lock = %+v, %v", lock, err)
	}
	asked.Lock = lock
	if _, err := source.Verify(t.Context(), whole, asked); err != nil {
		t.Errorf("with the lock: %v", err)
	}
	lock.Components[0].Predecessors = nil
	if _, err := source.Verify(t.Context(), whole, asked); !errors.Is(err, source.ErrPolicy) {
		t.Errorf("with a lock that lacks the predecessor: %v, want ErrPolicy", err)
	}
	whole.Version = "1.0"
	if err := whole.Validate(); !errors.Is(err, source.ErrComponent) {
		t.Errorf("a release that vouches for itself: %v, want ErrComponent", err)
	}

	// The file that authorises must be the one that was verified.
	name := tree.Dir() + "/doc/fingerprints.txt"
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.Repeat("F", 40)+"\n"+next+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Predecessors = []*source.Tree{tree}
	if _, err = source.Verify(t.Context(), second, o); !errors.Is(err, source.ErrPolicy) || !strings.Contains(err.Error(), "modified") {
		t.Errorf("Verify with a touched predecessor = %v, want it refused as modified", err)
	}
}

// TestValidate: what a policy cannot mean is refused before anything is read.
func TestValidate(t *testing.T) {
	b64 := func(n int, first string) string {
		return base64.StdEncoding.EncodeToString(append([]byte(first), make([]byte, n-len(first))...))
	}
	ssh := "SHA256:" + strings.Repeat("A", 43)
	signed := func(k source.Key) source.Policy { return source.Policy{Least: source.Signed, Keys: []source.Key{k}} }
	pinned := func(change func(*source.Policy)) source.Policy {
		p := source.Policy{Least: source.Pinned, Digest: "sha256:" + strings.Repeat("0", 64)}
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		policy source.Policy
		ok     bool
	}{
		"ssh":                        {signed(source.Key{Kind: source.SSH, Fingerprint: ssh}), true},
		"ssh by MD5 fingerprint":     {signed(source.Key{Kind: source.SSH, Fingerprint: "MD5:00:11"}), false},
		"minisign":                   {signed(source.Key{Kind: source.Minisign, Fingerprint: b64(42, "Ed")}), true},
		"signify":                    {signed(source.Key{Kind: source.Signify, Fingerprint: b64(42, "Ed")}), true},
		"minisign, short":            {signed(source.Key{Kind: source.Minisign, Fingerprint: b64(40, "Ed")}), false},
		"minisign, other algorithm":  {signed(source.Key{Kind: source.Minisign, Fingerprint: b64(42, "Xx")}), false},
		"sigstore":                   {signed(source.Key{Kind: source.Sigstore, Identity: "a@b", Issuer: "https://i", File: "root.json"}), true},
		"sigstore, no issuer":        {signed(source.Key{Kind: source.Sigstore, Identity: "a@b", File: "root.json"}), false},
		"sigstore, no root":          {signed(source.Key{Kind: source.Sigstore, Identity: "a@b", Issuer: "https://i"}), false},
		"sigstore by fingerprint":    {signed(source.Key{Kind: source.Sigstore, Identity: "a@b", Issuer: "https://i", File: "r", Fingerprint: "x"}), false},
		"x509":                       {signed(source.Key{Kind: source.X509, Identity: "a@b", File: "roots.pem"}), true},
		"own kind":                   {signed(source.Key{Kind: "x-kms", Fingerprint: "f"}), true},
		"unknown kind":               {signed(source.Key{Kind: "kms", Fingerprint: "f"}), false},
		"identity of an openpgp key": {signed(source.Key{Fingerprint: alice, File: "k", Identity: "a@b"}), false},
		"key ID":                     {signed(source.Key{Fingerprint: "5CC908FDB71E12C2", File: "k"}), false},
		"no key file":                {signed(source.Key{Fingerprint: alice}), false},
		"key file outside":           {signed(source.Key{Fingerprint: alice, File: "../k"}), false},
		"bad date":                   {signed(source.Key{Fingerprint: alice, File: "k", From: "2026-13-01"}), false},
		"empty series":               {signed(source.Key{Fingerprint: alice, File: "k", Series: []string{""}}), false},
		"authority without a file":   {signed(source.Key{Fingerprint: alice, File: "k", AuthorizedBy: &source.Authority{Version: "1"}}), false},
		"threshold above the keys":   {source.Policy{Least: source.Signed, Threshold: 2, Keys: []source.Key{key(alice)}}, false},
		"commit":                     {pinned(func(p *source.Policy) { p.Commit = "sha1:" + strings.Repeat("a", 40) }), true},
		"short commit":               {pinned(func(p *source.Policy) { p.Commit = "sha1:aaaaaaa" }), false},
		"tag with a space":           {pinned(func(p *source.Policy) { p.Tag = "v1 0" }), false},
		"tag as a range":             {pinned(func(p *source.Policy) { p.Tag = "v1..v2^{}" }), false},
		"module without a log":       {pinned(func(p *source.Policy) { p.Module = "a@v1.0.0" }), false},
		"directory outside":          {pinned(func(p *source.Policy) { p.Directory = "../x" }), false},
		"unknown exception": {pinned(func(p *source.Policy) {
			p.Exceptions = []source.Exception{{Allow: "md5", Reason: "r", Until: "2030-01-01"}}
		}), false},
		"nothing to prove": {source.Policy{Least: source.Pinned}, false},
		"no grade":         {source.Policy{Digest: "sha256:" + strings.Repeat("0", 64)}, false},
	} {
		comp := source.Component{Name: "demo", Version: "1.0", Places: []source.Place{{Archive: "mem:a"}}, Policy: c.policy}
		if err := comp.Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, source.ErrComponent) {
			t.Errorf("%s: Validate = %v, want ok %v", name, err, c.ok)
		}
	}
	for name, c := range map[string]struct {
		place  source.Place
		policy func(*source.Policy)
	}{
		"cosignatures alone":        {source.Place{Archive: "mem:a", Cosignatures: []string{"mem:b"}}, nil},
		"over a word":               {source.Place{Archive: "mem:a", Over: "everything"}, nil},
		"over with a list":          {source.Place{Archive: "mem:a", Over: source.OverDecompressed, Checksums: "mem:l"}, nil},
		"file without a list":       {source.Place{Archive: "mem:a", File: "a"}, nil},
		"repository without a tag":  {source.Place{Archive: "git+https://example.org/a"}, nil},
		"repository and a fragment": {source.Place{Archive: "git+https://example.org/a#tag=v1"}, func(p *source.Policy) { p.Tag = "v1" }},
		"repository and signature":  {source.Place{Archive: "git+https://example.org/a", Signature: "mem:s"}, func(p *source.Policy) { p.Tag = "v1" }},
		"no scheme":                 {source.Place{Archive: "a.tar"}, nil},
	} {
		comp := source.Component{Name: "demo", Version: "1.0", Places: []source.Place{c.place}, Policy: pinned(func(*source.Policy) {})}
		if c.policy != nil {
			c.policy(&comp.Policy)
		}
		if err := comp.Validate(); !errors.Is(err, source.ErrComponent) {
			t.Errorf("%s: Validate = %v, want ErrComponent", name, err)
		}
	}
}
