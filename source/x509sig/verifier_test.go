package x509sig_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // the digest of weak cases
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/digitorus/timestamp"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/sourcetest"
	"github.com/cleanstart/cleanstart/source/x509sig"
)

var (
	born    = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	signed  = time.Date(2021, 6, 1, 12, 0, 0, 0, time.UTC)
	now     = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	archive = []byte("the bytes of a release\r\nwith lines\n")
)

const (
	identity = "rm@example.org"
	issuer   = "https://accounts.example.org"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// holder is a certificate and its key.
type holder struct {
	*x509.Certificate
	key crypto.Signer
}

func newP256(t testing.TB) crypto.Signer {
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

// issue makes a certificate for ten years by default; without an authority it
// signs itself.
func issue(t testing.TB, by *holder, key crypto.Signer, change ...func(*x509.Certificate)) *holder {
	t.Helper()
	c := &x509.Certificate{SerialNumber: must[*big.Int](t)(rand.Int(rand.Reader, big.NewInt(1<<60))), Subject: pkix.Name{CommonName: "test"},
		NotBefore: born, NotAfter: born.AddDate(10, 0, 0)}
	for _, f := range change {
		f(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.Certificate, by.key
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer))
	return &holder{must[*x509.Certificate](t)(x509.ParseCertificate(der)), key}
}

func authority(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.BasicConstraintsValid, c.KeyUsage = name, true, true, x509.KeyUsageCertSign
	}
}

func signer(c *x509.Certificate) {
	c.EmailAddresses = []string{identity}
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
}

func lasting(from time.Time, d time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, from.Add(d) }
}

// world is an authority, one below it, and a signer.
type world struct{ root, middle, signer *holder }

func newWorld(t testing.TB, key crypto.Signer, change ...func(*x509.Certificate)) world {
	t.Helper()
	root := issue(t, nil, newP256(t), authority("root"))
	middle := issue(t, root, newP256(t), authority("middle"))
	return world{root, middle, issue(t, middle, key, slices.Concat([]func(*x509.Certificate){signer}, change)...)}
}

func (w world) issuers() []*x509.Certificate { return []*x509.Certificate{w.middle.Certificate} }

var (
	oidSHA256      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidECDSASHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidRSA         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEd25519     = asn1.ObjectIdentifier{1, 3, 101, 112}
	oidData        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
)

// message is a CMS signature in the making; tests bend its parts.
type message struct {
	by          *holder
	others      []*x509.Certificate
	text        []byte
	hash        crypto.Hash
	digest, how asn1.ObjectIdentifier
	content     asn1.ObjectIdentifier
	at          time.Time // zero: not stated
	noDigest    bool
	twice       bool // the digest
	bare        bool // no signed attributes
	encapsulate bool
	byKey       bool
	stamps      func(signature []byte) [][]byte
	signers     int
	unsigned    func(*cryptobyte.Builder)
}

func (m message) sum(b []byte) []byte {
	if m.hash == 0 {
		m.hash = crypto.SHA256
	}
	h := m.hash.New()
	h.Write(b)
	return h.Sum(nil)
}

func ctx(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }

func attribute(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, value func(*cryptobyte.Builder)) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(cbasn1.SET, value)
	})
}

func (m message) attributes(b *cryptobyte.Builder) {
	pkcs9 := func(n ...int) asn1.ObjectIdentifier {
		return append(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9}, n...)
	}
	attribute(b, pkcs9(3), func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(m.content) })
	if !m.at.IsZero() {
		attribute(b, pkcs9(5), func(b *cryptobyte.Builder) { b.AddASN1UTCTime(m.at) })
	}
	if m.twice {
		attribute(b, pkcs9(4), func(b *cryptobyte.Builder) { b.AddASN1OctetString(m.sum([]byte("another"))) })
	}
	if !m.noDigest {
		attribute(b, pkcs9(4), func(b *cryptobyte.Builder) { b.AddASN1OctetString(m.sum(m.text)) })
	}
}

func (m message) sign(t testing.TB) []byte {
	t.Helper()
	if m.digest == nil {
		m.digest = oidSHA256
	}
	if m.content == nil {
		m.content = oidData
	}
	if m.how == nil {
		m.how = map[x509.PublicKeyAlgorithm]asn1.ObjectIdentifier{x509.RSA: oidRSA, x509.ECDSA: oidECDSASHA256, x509.Ed25519: oidEd25519}[m.by.PublicKeyAlgorithm]
	}
	var set cryptobyte.Builder
	set.AddASN1(cbasn1.SET, m.attributes)
	input := must[[]byte](t)(set.Bytes())
	if m.bare {
		input = m.text
	}
	options := crypto.SignerOpts(crypto.SHA256)
	if m.hash != 0 {
		options = m.hash
	}
	if m.by.PublicKeyAlgorithm == x509.Ed25519 {
		options = crypto.Hash(0)
	} else {
		input = m.sum(input)
	}
	sig := must[[]byte](t)(m.by.key.Sign(rand.Reader, input, options))
	identifier := func(oid asn1.ObjectIdentifier) func(*cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid) }
	}
	info := func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		if m.byKey {
			b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(m.by.SubjectKeyId) })
		} else {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(m.by.RawIssuer)
				b.AddASN1BigInt(m.by.SerialNumber)
			})
		}
		b.AddASN1(cbasn1.SEQUENCE, identifier(m.digest))
		if !m.bare {
			b.AddASN1(ctx(0), m.attributes)
		}
		b.AddASN1(cbasn1.SEQUENCE, identifier(m.how))
		b.AddASN1OctetString(sig)
		switch {
		case m.unsigned != nil:
			b.AddASN1(ctx(1), m.unsigned)
		case m.stamps != nil:
			b.AddASN1(ctx(1), func(b *cryptobyte.Builder) {
				attribute(b, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}, func(b *cryptobyte.Builder) {
					for _, s := range m.stamps(sig) {
						b.AddBytes(s)
					}
				})
			})
		}
	}
	var out cryptobyte.Builder
	out.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2})
		b.AddASN1(ctx(0), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddASN1(cbasn1.SEQUENCE, identifier(m.digest)) })
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidData)
					if m.encapsulate {
						b.AddASN1(ctx(0), func(b *cryptobyte.Builder) { b.AddASN1OctetString(m.text) })
					}
				})
				b.AddASN1(ctx(0), func(b *cryptobyte.Builder) {
					for _, c := range append([]*x509.Certificate{m.by.Certificate}, m.others...) {
						b.AddBytes(c.Raw)
					}
				})
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
					for range max(1, m.signers) {
						b.AddASN1(cbasn1.SEQUENCE, info)
					}
				})
			})
		})
	})
	return must[[]byte](t)(out.Bytes())
}

func armor(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func trusted(certificates ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certificates {
		out = append(out, armor("CERTIFICATE", c.Raw)...)
	}
	return out
}

// pinning accepts the signer's time unless a test takes that away.
func pinning(w world, signature []byte, change ...func(*source.Key)) sourcetest.Case {
	k := source.Key{Kind: source.X509, Identity: identity, File: "roots.pem"}
	for _, f := range change {
		f(&k)
	}
	return sourcetest.Case{
		Archive:   archive,
		Signature: signature,
		Policy: source.Policy{Least: source.Signed, Keys: []source.Key{k},
			Exceptions: []source.Exception{{Allow: source.AllowSignerTime, Reason: "no timestamp", Until: "2027-01-01"}}},
		Keys: fstest.MapFS{"roots.pem": {Data: trusted(w.root.Certificate)}},
		Now:  now,
	}
}

func strictly(c sourcetest.Case) sourcetest.Case {
	c.Policy.Exceptions = nil
	return c
}

func trusting(c sourcetest.Case, file []byte) sourcetest.Case {
	c.Keys = fstest.MapFS{"roots.pem": {Data: file}}
	return c
}

func (w world) message(change ...func(*message)) message {
	m := message{by: w.signer, others: w.issuers(), text: archive, at: signed}
	for _, f := range change {
		f(&m)
	}
	return m
}

func TestVerifier(t *testing.T) {
	w, other := newWorld(t, newP256(t)), newWorld(t, newP256(t))
	good := pinning(w, w.message().sign(t))
	stranger := issue(t, w.middle, newP256(t), signer, func(c *x509.Certificate) { c.EmailAddresses = []string{"x@example.org"} })
	forged := w.message(func(m *message) { m.by = &holder{w.signer.Certificate, other.signer.key} })
	noTime := good
	noTime.Now = time.Time{}
	sourcetest.TestVerifier(t, x509sig.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: map[string]sourcetest.Case{
		"same identity elsewhere": pinning(w, other.message().sign(t)),
		"another identity":        pinning(w, w.message(func(m *message) { m.by = stranger }).sign(t)),
		"another's key":           pinning(w, forged.sign(t)),
		"other roots":             trusting(good, trusted(other.root.Certificate)),
		"empty identity":          pinning(w, good.Signature, func(k *source.Key) { k.Identity = "" }),
		"issuer not stated":       pinning(w, good.Signature, func(k *source.Key) { k.Issuer = issuer }),
		"only the signer's time":  strictly(good),
		"no time":                 noTime,
	}})
	for _, kind := range []string{"SIGNED MESSAGE", "PKCS7", "CMS"} {
		c := good
		c.Signature = armor(kind, good.Signature)
		sourcetest.TestVerifier(t, x509sig.Verifier{}, sourcetest.Suite{Good: c, Grade: source.Signed})
	}

	list := fmt.Appendf(nil, "%x  release.tar.gz\n", sha256.Sum256(archive))
	listed := good
	listed.List, listed.File, listed.Signature = list, "release.tar.gz", w.message(func(m *message) { m.text = list }).sign(t)
	sourcetest.TestVerifier(t, x509sig.Verifier{}, sourcetest.Suite{Good: listed, Grade: source.Signed})

	object := []byte("object 0123\ntype commit\ntag v1\n\nv1\n")
	tag := good
	tag.Over, tag.Message, tag.Git = source.OverTag, object, &source.Git{Format: "sha1", Tag: "v1"}
	tag.Signature = armor("SIGNED MESSAGE", w.message(func(m *message) { m.text = object }).sign(t))
	sourcetest.TestVerifier(t, x509sig.Verifier{}, sourcetest.Suite{Good: tag, Grade: source.Signed})
}

// Whatever bit is flipped, the signature is refused, or proves what it proved:
// not all of a CMS signature is signed, such as its version.
func TestFlippedBits(t *testing.T) {
	w := newWorld(t, newP256(t))
	good := pinning(w, w.message().sign(t))
	want := must[[]source.Proof](t)(x509sig.Verifier{}.Verify(t.Context(), good.Subject()))[0]
	accepted := 0
	for i := 0; i < 8*len(good.Signature); i += 9 { // a bit of each byte
		c := good
		c.Signature = bytes.Clone(good.Signature)
		c.Signature[i/8] ^= 1 << (i % 8)
		proofs, err := x509sig.Verifier{}.Verify(t.Context(), c.Subject())
		if err != nil {
			continue
		}
		accepted++
		if p := proofs[0]; p.Signer != want.Signer || !p.SignedAt.Equal(*want.SignedAt) || p.Hash != want.Hash || p.SigningKey != want.SigningKey {
			t.Errorf("bit %d: the proof changed: %+v", i, p)
		}
	}
	// Two versions and the set of digests that nobody needs.
	if accepted > 20 {
		t.Errorf("%d flipped bits made no difference", accepted)
	}
}

func extension(oid asn1.ObjectIdentifier, value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Value: value})
	}
}

func fulcio(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n} }

func utf8(t testing.TB, s string) []byte { return must[[]byte](t)(asn1.MarshalWithParams(s, "utf8")) }

func TestStates(t *testing.T) {
	w := newWorld(t, newP256(t))
	good := pinning(w, w.message().sign(t))
	bent := func(change ...func(*message)) sourcetest.Case { return pinning(w, w.message(change...).sign(t)) }
	with := func(key crypto.Signer, change ...func(*x509.Certificate)) sourcetest.Case {
		w := newWorld(t, key, change...)
		return pinning(w, w.message().sign(t))
	}
	asked := func(c sourcetest.Case, identity, issuer string) sourcetest.Case {
		k := c.Policy.Keys[0]
		k.Identity, k.Issuer = identity, issuer
		c.Policy.Keys = []source.Key{k}
		return c
	}
	newRSA := func(bits int) crypto.Signer { return must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, bits)) }
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := issue(t, nil, newRSA(1024), authority("weak"))
	under := world{weak, weak, issue(t, weak, newP256(t), signer)}
	self := issue(t, nil, newP256(t), signer)
	lapsed := good
	lapsed.Policy.Exceptions = []source.Exception{{Allow: source.AllowSignerTime, Reason: "x", Until: "2026-11-23"}}
	short := newWorld(t, newP256(t), lasting(signed, 10*time.Minute))
	root, middle := trusted(w.root.Certificate), trusted(w.middle.Certificate)

	for name, c := range map[string]struct {
		c    sourcetest.Case
		want error // nil: accepted
	}{
		"ECDSA":              {good, nil},
		"RSA-2048":           {with(newRSA(2048)), nil},
		"RSA-1024":           {with(newRSA(1024)), x509sig.ErrWeak},
		"Ed25519":            {with(ed), nil},
		"authority RSA-1024": {pinning(under, under.message().sign(t)), x509sig.ErrWeak},
		"SHA-384":            {bent(func(m *message) { m.hash, m.digest, m.how = crypto.SHA384, sha2(2), ecdsaOver(3) }), nil},
		"SHA-1": {bent(func(m *message) {
			m.hash, m.digest, m.how = crypto.SHA1, asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
		}), x509sig.ErrWeak},
		"SHA-1 in the algorithm":            {bent(func(m *message) { m.how = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1} }), x509sig.ErrWeak},
		"two digests":                       {bent(func(m *message) { m.how = ecdsaOver(4) }), x509sig.ErrMalformed},
		"algorithm of another key":          {bent(func(m *message) { m.how = oidRSA }), x509sig.ErrBad},
		"encapsulated":                      {bent(func(m *message) { m.encapsulate = true }), x509sig.ErrMalformed},
		"no signed attributes":              {bent(func(m *message) { m.bare = true }), x509sig.ErrMalformed},
		"no digest attribute":               {bent(func(m *message) { m.noDigest = true }), x509sig.ErrMalformed},
		"two digest attributes":             {bent(func(m *message) { m.twice = true }), x509sig.ErrMalformed},
		"armor with headers":                {pinning(w, bytes.Replace(armor("PKCS7", good.Signature), []byte("\n"), []byte("\nName: value\n\n"), 1)), x509sig.ErrMalformed},
		"another type of content":           {bent(func(m *message) { m.content = asn1.ObjectIdentifier{1, 2, 3} }), x509sig.ErrMalformed},
		"two signers":                       {bent(func(m *message) { m.signers = 2 }), x509sig.ErrMalformed},
		"by the key's identifier":           {bent(func(m *message) { m.byKey = true; m.by = identified(t, w) }), nil},
		"too many certificates":             {bent(func(m *message) { m.others = slices.Repeat(w.issuers(), 16) }), x509sig.ErrMalformed},
		"attribute of nothing":              {bent(func(m *message) { m.unsigned = func(b *cryptobyte.Builder) { b.AddASN1Int64(1) } }), x509sig.ErrMalformed},
		"another archive":                   {bent(func(m *message) { m.text = []byte("another") }), x509sig.ErrBad},
		"bytes after it":                    {pinning(w, append(bytes.Clone(good.Signature), 0)), x509sig.ErrMalformed},
		"text before the armor":             {pinning(w, append([]byte("x\n"), armor("PKCS7", good.Signature)...)), x509sig.ErrMalformed},
		"two armored":                       {pinning(w, bytes.Repeat(armor("PKCS7", good.Signature), 2)), x509sig.ErrMalformed},
		"too long":                          {pinning(w, append(armor("PKCS7", good.Signature), bytes.Repeat([]byte("\n"), 1<<21)...)), x509sig.ErrMalformed},
		"another kind":                      {pinning(w, []byte("-----BEGIN SSH SIGNATURE-----\n")), source.ErrNoSignature},
		"no authority between":              {bent(func(m *message) { m.others = nil }), x509sig.ErrCertificate},
		"authority between in the file":     {trusting(bent(func(m *message) { m.others = nil }), append(bytes.Clone(root), middle...)), nil},
		"only the authority between":        {trusting(good, middle), nil},
		"trusted by itself":                 {trusting(pinning(w, message{by: self, text: archive, at: signed}.sign(t)), trusted(self.Certificate)), nil},
		"file with a broken block":          {trusting(good, append([]byte("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"), root...)), x509sig.ErrKeyFile},
		"file with another block":           {trusting(good, append(armor("PUBLIC KEY", []byte("x")), root...)), x509sig.ErrKeyFile},
		"empty file":                        {trusting(good, nil), x509sig.ErrKeyFile},
		"for servers":                       {with(newP256(t), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), x509sig.ErrCertificate},
		"for anything":                      {with(newP256(t), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), x509sig.ErrCertificate},
		"for nothing in particular":         {with(newP256(t), func(c *x509.Certificate) { c.ExtKeyUsage = nil }), x509sig.ErrCertificate},
		"for e-mail":                        {with(newP256(t), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }), nil},
		"key for encryption":                {with(newP256(t), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), x509sig.ErrCertificate},
		"URI":                               {asked(with(newP256(t), uri("https://example.org/a/b@refs/heads/main")), "https://example.org/a/b@refs/heads/main", ""), nil},
		"part of a URI":                     {asked(with(newP256(t), uri("https://example.org/a/b@refs/heads/main")), "https://example.org/a/b", ""), source.ErrPolicy},
		"DNS name":                          {asked(with(newP256(t), func(c *x509.Certificate) { c.DNSNames = []string{"example.org"} }), "example.org", ""), nil},
		"common name":                       {asked(good, "test", ""), source.ErrPolicy},
		"issuer":                            {asked(with(newP256(t), extension(fulcio(8), utf8(t, issuer))), identity, issuer), nil},
		"issuer, old form":                  {asked(with(newP256(t), extension(fulcio(1), []byte(issuer))), identity, issuer), nil},
		"issuer, both forms":                {asked(with(newP256(t), extension(fulcio(1), []byte(issuer)), extension(fulcio(8), utf8(t, issuer))), identity, issuer), nil},
		"two issuers":                       {asked(with(newP256(t), extension(fulcio(1), []byte("x")), extension(fulcio(8), utf8(t, issuer))), identity, issuer), x509sig.ErrMalformed},
		"issuer that is no text":            {asked(with(newP256(t), extension(fulcio(8), []byte(issuer))), identity, issuer), x509sig.ErrMalformed},
		"another issuer":                    {asked(with(newP256(t), extension(fulcio(8), utf8(t, "https://x.example"))), identity, issuer), source.ErrPolicy},
		"expired since":                     {pinning(short, short.message().sign(t)), nil},
		"signed after the expiry":           {pinning(short, short.message(func(m *message) { m.at = signed.Add(time.Hour) }).sign(t)), x509sig.ErrExpired},
		"signed before the certificate":     {pinning(short, short.message(func(m *message) { m.at = signed.Add(-time.Hour) }).sign(t)), x509sig.ErrExpired},
		"dated in the future":               {bent(func(m *message) { m.at = now.AddDate(0, 0, 1) }), x509sig.ErrExpired},
		"no time stated":                    {bent(func(m *message) { m.at = time.Time{} }), x509sig.ErrTime},
		"no exception for the signer's":     {strictly(good), x509sig.ErrTime},
		"lapsed exception for the signer's": {lapsed, x509sig.ErrTime},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := x509sig.Verifier{}.Verify(t.Context(), c.c.Subject())
			if c.want == source.ErrPolicy {
				var e *x509sig.SignerError
				if !errors.As(err, &e) || len(e.Names) == 0 || len(e.Pinned) != 1 {
					t.Fatalf("Verify = %v, want a SignerError", err)
				}
				return
			}
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify = %+v, %v, want %v", proofs, err, c.want)
			}
			if err == nil && (proofs[0].Exception == nil || proofs[0].SignedAt == nil || proofs[0].Signer != c.c.Policy.Keys[0].Identity) {
				t.Errorf("proof = %+v", proofs[0])
			}
		})
	}
	missing := good
	missing.Keys = fstest.MapFS{}
	if _, err := (x509sig.Verifier{}).Verify(t.Context(), missing.Subject()); !errors.Is(err, x509sig.ErrKeyFile) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func sha2(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, n} }

func ecdsaOver(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, n} }

func uri(s string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, _ := url.Parse(s)
		c.URIs = []*url.URL{u}
	}
}

// identified is a signer whose certificate has an identifier of its key.
func identified(t testing.TB, w world) *holder {
	return issue(t, w.middle, newP256(t), signer, func(c *x509.Certificate) { c.SubjectKeyId = []byte("identifier") })
}

// clock is a timestamp authority.
func clock(t testing.TB, by *holder, change ...func(*x509.Certificate)) *holder {
	return clockOf(t, by, newP256(t), change...)
}

func clockOf(t testing.TB, by *holder, key crypto.Signer, change ...func(*x509.Certificate)) *holder {
	use := must[[]byte](t)(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}))
	return issue(t, by, key, append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.Subject.CommonName, c.KeyUsage = "clock", x509.KeyUsageDigitalSignature
		c.NotAfter = born.AddDate(100, 0, 0) // the library that makes tokens signs them now
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: use}}
	}}, change...)...)
}

// stamped gives a timestamp of the signature at a time.
func stamped(t testing.TB, by *holder, at time.Time, h crypto.Hash) func(*message) {
	return func(m *message) {
		m.stamps = func(signature []byte) [][]byte {
			hash := h.New()
			hash.Write(signature)
			stamp := &timestamp.Timestamp{HashAlgorithm: h, HashedMessage: hash.Sum(nil), Time: at, Policy: asn1.ObjectIdentifier{1, 2, 3},
				SerialNumber: big.NewInt(1), AddTSACertificate: true}
			response := must[[]byte](t)(stamp.CreateResponseWithOpts(by.Certificate, by.key, h))
			return [][]byte{must[*timestamp.Timestamp](t)(timestamp.ParseResponse(response)).RawToken}
		}
	}
}

func TestTimestamp(t *testing.T) {
	const minutes = 10 * time.Minute
	w := newWorld(t, newP256(t), lasting(signed, minutes))
	root := issue(t, nil, newP256(t), authority("time root"))
	tsa := clock(t, root)
	timed := func(by *holder, at time.Time, change ...func(*message)) sourcetest.Case {
		m := w.message(append([]func(*message){stamped(t, by, at, crypto.SHA256)}, change...)...)
		return strictly(trusting(pinning(w, m.sign(t)), trusted(w.root.Certificate, root.Certificate)))
	}
	good := timed(tsa, signed.Add(time.Minute))
	sourcetest.TestVerifier(t, x509sig.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed})
	p := must[[]source.Proof](t)(x509sig.Verifier{}.Verify(t.Context(), good.Subject()))[0]
	if p.Witness != "CN=clock" || !p.SignedAt.Equal(signed.Add(time.Minute)) || p.Exception != nil || p.Algorithm != "ECDSA-P256" || p.Hash != "SHA-256" {
		t.Errorf("proof = %+v", p)
	}

	ofAnother := func(m *message) {
		stamp := m.stamps
		m.stamps = func([]byte) [][]byte { return stamp([]byte("another signature")) }
	}
	twice := func(m *message) {
		stamp := m.stamps
		m.stamps = func(signature []byte) [][]byte { return [][]byte{stamp([]byte("another"))[0], stamp(signature)[0]} }
	}
	broken := func(m *message) {
		stamp := m.stamps
		m.stamps = func(signature []byte) [][]byte {
			b := stamp(signature)[0]
			b[len(b)-1] ^= 1
			return [][]byte{b}
		}
	}
	general := clock(t, root, func(c *x509.Certificate) { c.ExtraExtensions = nil })
	strange := clock(t, issue(t, nil, newP256(t), authority("strange root")))
	weak := clockOf(t, root, must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024)))
	over := func(h crypto.Hash) sourcetest.Case { return timed(tsa, signed, stamped(t, tsa, signed, h)) }
	for name, c := range map[string]struct {
		c    sourcetest.Case
		want error // nil: accepted
	}{
		"while valid":                     {good, nil},
		"SHA-512":                         {over(crypto.SHA512), nil},
		"after the certificate":           {timed(tsa, signed.Add(time.Hour)), x509sig.ErrExpired},
		"before it":                       {timed(tsa, signed.Add(-time.Hour)), x509sig.ErrExpired},
		"in the future":                   {timed(tsa, now.Add(time.Hour)), x509sig.ErrExpired},
		"the signer's time is not asked":  {timed(tsa, signed, func(m *message) { m.at = born }), nil},
		"the signer states no time":       {timed(tsa, signed, func(m *message) { m.at = time.Time{} }), nil},
		"of another signature":            {timed(tsa, signed, ofAnother), x509sig.ErrTime},
		"one good of two":                 {timed(tsa, signed, twice), nil},
		"flipped bit":                     {timed(tsa, signed, broken), x509sig.ErrTime},
		"authority that is not trusted":   {timed(strange, signed), x509sig.ErrTime},
		"authority for something else":    {timed(general, signed), x509sig.ErrTime},
		"authority that was not yet":      {timed(clock(t, root, func(c *x509.Certificate) { c.NotBefore = signed.Add(time.Hour) }), signed), x509sig.ErrTime},
		"authority RSA-1024":              {timed(weak, signed), x509sig.ErrWeak},
		"signature instead of a token":    {timed(tsa, signed, func(m *message) { m.stamps = func([]byte) [][]byte { return [][]byte{w.message().sign(t)} } }), x509sig.ErrTime},
		"no certificate for the identity": {trusting(good, trusted(root.Certificate)), x509sig.ErrCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := x509sig.Verifier{}.Verify(t.Context(), c.c.Subject())
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify = %+v, %v, want %v", proofs, err, c.want)
			}
		})
	}

	// Without a good witness the exception serves, and says so.
	c := timed(strange, signed)
	c.Policy.Exceptions = pinning(w, nil).Policy.Exceptions
	proofs, err := x509sig.Verifier{}.Verify(t.Context(), c.Subject())
	if err != nil || proofs[0].Exception == nil || proofs[0].Witness != "" || !proofs[0].SignedAt.Equal(signed) {
		t.Errorf("Verify = %+v, %v, want the signer's time by the exception", proofs, err)
	}
}

// Two signers, and the second time the same one.
func TestSeveral(t *testing.T) {
	w := newWorld(t, newP256(t))
	second := issue(t, w.middle, newP256(t), signer, func(c *x509.Certificate) { c.EmailAddresses = []string{"second@example.org"} })
	again := issue(t, w.middle, newP256(t), signer)
	by := func(h *holder) []byte { return w.message(func(m *message) { m.by = h }).sign(t) }
	c := pinning(w, by(w.signer))
	k := c.Policy.Keys[0]
	k.Identity = "second@example.org"
	c.Policy.Keys = append(c.Policy.Keys, k)
	s := c.Subject()
	s.Statements = append(s.Statements, s.Detached("mem:2", []byte("x")), s.Detached("mem:3", by(again)), s.Detached("mem:4", by(second)),
		s.Detached("mem:5", newWorld(t, newP256(t)).message().sign(t)))
	proofs, err := x509sig.Verifier{}.Verify(t.Context(), s)
	if err != nil || len(proofs) != 2 || proofs[1].Signer != k.Identity {
		t.Errorf("Verify = %+v, %v, want proofs by two signers", proofs, err)
	}
}
