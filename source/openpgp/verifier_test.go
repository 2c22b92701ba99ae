package openpgp_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/openpgp"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

var (
	born    = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	signed  = time.Date(2021, 6, 1, 0, 0, 0, 0, time.UTC)
	now     = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	archive = []byte("the bytes of a release\r\nwith lines\n")
)

// at is a configuration whose clock stands still. Tests make keys, so they
// may use what the verifier must refuse.
func at(t time.Time, change ...func(*packet.Config)) *packet.Config {
	c := &packet.Config{
		Time: func() time.Time { return t }, Algorithm: packet.PubKeyAlgoEdDSA,
		MinRSABits: 1024,
		// Salts are not defined for every digest that tests need.
		NonDeterministicSignaturesViaNotation: packet.BoolPointer(false),
		RejectHashAlgorithms:                  map[crypto.Hash]bool{},
		RejectMessageHashAlgorithms:           map[crypto.Hash]bool{},
		RejectPublicKeyAlgorithms:             map[packet.PublicKeyAlgorithm]bool{},
		RejectCurves:                          map[packet.Curve]bool{},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func rsa(bits int) func(*packet.Config) {
	return func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, bits }
}

func hash(h crypto.Hash) func(*packet.Config) { return func(c *packet.Config) { c.DefaultHash = h } }

func lifetime(d time.Duration) func(*packet.Config) {
	return func(c *packet.Config) { c.KeyLifetimeSecs = uint32(d / time.Second) }
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newKey(t testing.TB, change ...func(*packet.Config)) *pgp.Entity {
	t.Helper()
	return must[*pgp.Entity](t)(pgp.NewEntity("Release Manager", "", "rm@example.org", at(born, change...)))
}

func certificate(t testing.TB, keys ...*pgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func armored(t testing.TB, kind string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// sign makes a detached signature with the lowest level of the library, which
// does not ask whether the key may.
func sign(t testing.TB, key *packet.PrivateKey, when time.Time, h crypto.Hash, change ...func(*packet.Signature)) []byte {
	t.Helper()
	return signOver(t, archive, key, when, h, change...)
}

func signOver(t testing.TB, message []byte, key *packet.PrivateKey, when time.Time, h crypto.Hash, change ...func(*packet.Signature)) []byte {
	t.Helper()
	id := key.KeyId
	sig := &packet.Signature{
		Version: key.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo, Hash: h,
		CreationTime: when, IssuerKeyId: &id, IssuerFingerprint: key.Fingerprint,
	}
	for _, f := range change {
		f(sig)
	}
	config := at(when)
	hasher, err := sig.PrepareSign(config)
	if err != nil {
		t.Fatal(err)
	}
	hasher.Write(message)
	if err := sig.Sign(hasher, key, config); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func fingerprint(k *pgp.Entity) string { return fmt.Sprintf("%X", k.PrimaryKey.Fingerprint) }

// signedBy is an archive that key signed when it was valid, and a policy that
// pins it.
func signedBy(t testing.TB, key *pgp.Entity, signature []byte) sourcetest.Case {
	return sourcetest.Case{
		Archive:   archive,
		Signature: signature,
		Policy: source.Policy{Least: source.Signed,
			Keys: []source.Key{{Fingerprint: fingerprint(key), File: "key.asc"}}},
		Keys: fstest.MapFS{"key.asc": {Data: armored(t, pgp.PublicKeyType, certificate(t, key))}},
		Now:  now,
	}
}

func TestVerifier(t *testing.T) {
	key, other := newKey(t), newKey(t)
	good := signedBy(t, key, sign(t, key.PrivateKey, signed, crypto.SHA256))

	wrong := good
	wrong.Signature = sign(t, other.PrivateKey, signed, crypto.SHA256)
	forged := good // other's signature that claims to be key's
	mask := *other.PrivateKey
	mask.KeyId, mask.Fingerprint = key.PrimaryKey.KeyId, key.PrimaryKey.Fingerprint
	forged.Signature = sign(t, &mask, signed, crypto.SHA256)
	swapped := good
	swapped.Keys = fstest.MapFS{"key.asc": {Data: certificate(t, other)}}
	private := good
	var secret bytes.Buffer
	if err := key.SerializePrivateWithoutSigning(&secret, nil); err != nil {
		t.Fatal(err)
	}
	private.Keys = fstest.MapFS{"key.asc": {Data: armored(t, pgp.PrivateKeyType, secret.Bytes())}}
	noFile := good
	noFile.Keys = fstest.MapFS{}
	noTime := good
	noTime.Now = time.Time{}
	sourcetest.TestVerifier(t, openpgp.Verifier{}, sourcetest.Suite{
		Good:  good,
		Grade: source.Signed,
		Bad: map[string]sourcetest.Case{
			"wrong signer": wrong, "forged issuer": forged, "another key in the file": swapped,
			"private key file": private, "key file missing": noFile, "no time": noTime,
		},
	})

	armoredToo := good
	armoredToo.Signature = armored(t, pgp.SignatureType, good.Signature)
	sourcetest.TestVerifier(t, openpgp.Verifier{}, sourcetest.Suite{Good: armoredToo, Grade: source.Signed})
}

// Every bit of a signature counts, but for those that RFC 9580 leaves out of
// the hash: the unhashed area, which here only names the issuer.
func TestFlippedSignatureBits(t *testing.T) {
	key := newKey(t)
	good := signedBy(t, key, sign(t, key.PrivateKey, signed, crypto.SHA256))
	accepted := 0
	for i := range 8 * len(good.Signature) {
		c := good
		c.Signature = bytes.Clone(good.Signature)
		c.Signature[i/8] ^= 1 << (i % 8)
		proofs, err := openpgp.Verifier{}.Verify(t.Context(), c.Subject())
		if err != nil {
			continue
		}
		accepted++
		if p := proofs[0]; p.Signer != fingerprint(key) || !p.SignedAt.Equal(signed) || p.Hash != "SHA-256" {
			t.Fatalf("bit %d: the proof changed: %+v", i, p)
		}
	}
	// The hash tag (16 bits), bit counts of the two numbers, and the framing
	// and issuer of the unhashed area.
	if accepted > 8*20 {
		t.Errorf("%d flipped bits made no difference", accepted)
	}
}

func TestStates(t *testing.T) {
	key := newKey(t)
	year := 365 * 24 * time.Hour
	expiring := newKey(t, lifetime(2*year)) // until the end of 2021
	small := newKey(t, rsa(1024))
	large := newKey(t, rsa(2048))
	dsaKey := newDSA(t)
	except := func(c sourcetest.Case, name string) sourcetest.Case {
		c.Policy.Exceptions = []source.Exception{{Allow: name, Reason: "upstream has no other key", Until: "2030-01-01"}}
		return c
	}

	compromised, retired, early := newKey(t), newKey(t), newKey(t)
	revoke(t, compromised, packet.KeyCompromised, signed.AddDate(2, 0, 0))
	revoke(t, retired, packet.KeyRetired, signed.AddDate(2, 0, 0))
	revoke(t, early, packet.KeyRetired, signed.AddDate(0, 0, -1))

	subkey := newKey(t)
	if err := subkey.AddSigningSubkey(at(born)); err != nil {
		t.Fatal(err)
	}
	sub := subkey.Subkeys[len(subkey.Subkeys)-1].PrivateKey
	encryption := newKey(t)
	weakBinding := newKey(t)
	if err := weakBinding.AddSigningSubkey(at(born, hash(crypto.SHA1))); err != nil {
		t.Fatal(err)
	}
	weakSub := weakBinding.Subkeys[len(weakBinding.Subkeys)-1].PrivateKey
	weakSelf := newKey(t)
	for name, id := range weakSelf.Identities {
		sig := id.SelfCertifications[0].Packet
		sig.Hash = crypto.SHA1
		if err := sig.SignUserId(name, weakSelf.PrimaryKey, weakSelf.PrivateKey, at(born)); err != nil {
			t.Fatal(err)
		}
	}

	renewed := newKey(t) // only its newest self-signature is kept
	for name, id := range renewed.Identities {
		sig := id.SelfCertifications[0].Packet
		sig.CreationTime = signed.AddDate(1, 0, 0)
		if err := sig.SignUserId(name, renewed.PrimaryKey, renewed.PrivateKey, at(sig.CreationTime)); err != nil {
			t.Fatal(err)
		}
	}

	allow := func(c sourcetest.Case, until string) sourcetest.Case {
		c.Policy.Exceptions = []source.Exception{{Allow: source.AllowSHA1, Reason: "old release", Until: until}}
		return c
	}
	sha1 := signedBy(t, key, sign(t, key.PrivateKey, signed, crypto.SHA1))
	for name, c := range map[string]struct {
		c    sourcetest.Case
		want error // nil: accepted
	}{
		"RSA-2048":                          {signedBy(t, large, sign(t, large.PrivateKey, signed, crypto.SHA512)), nil},
		"RSA-1024":                          {signedBy(t, small, sign(t, small.PrivateKey, signed, crypto.SHA256)), openpgp.ErrWeak},
		"RSA-1024 by exception":             {except(signedBy(t, small, sign(t, small.PrivateKey, signed, crypto.SHA256)), source.AllowRSA1024), nil},
		"RSA-1024 by another exception":     {except(signedBy(t, small, sign(t, small.PrivateKey, signed, crypto.SHA256)), source.AllowDSA), openpgp.ErrWeak},
		"DSA":                               {signedBy(t, dsaKey, sign(t, dsaKey.PrivateKey, signed, crypto.SHA256)), openpgp.ErrWeak},
		"DSA by exception":                  {except(signedBy(t, dsaKey, sign(t, dsaKey.PrivateKey, signed, crypto.SHA256)), source.AllowDSA), nil},
		"key expired since":                 {signedBy(t, expiring, sign(t, expiring.PrivateKey, signed, crypto.SHA256)), nil},
		"last day of the key":               {signedBy(t, expiring, sign(t, expiring.PrivateKey, born.Add(2*year-time.Hour), crypto.SHA256)), nil},
		"signed after the expiry":           {signedBy(t, expiring, sign(t, expiring.PrivateKey, born.Add(2*year+time.Hour), crypto.SHA256)), openpgp.ErrExpired},
		"signed before the key":             {signedBy(t, key, sign(t, key.PrivateKey, born.AddDate(0, 0, -1), crypto.SHA256)), openpgp.ErrExpired},
		"signed before any self-signature":  {signedBy(t, renewed, sign(t, renewed.PrivateKey, signed, crypto.SHA256)), openpgp.ErrExpired},
		"signed in the future":              {signedBy(t, key, sign(t, key.PrivateKey, now.AddDate(0, 0, 1), crypto.SHA256)), openpgp.ErrExpired},
		"signature with an end":             {signedBy(t, key, sign(t, key.PrivateKey, signed, crypto.SHA256, lasting(year))), openpgp.ErrExpired},
		"signature with an end to come":     {signedBy(t, key, sign(t, key.PrivateKey, signed, crypto.SHA256, lasting(20*year))), nil},
		"compromised key, signature before": {signedBy(t, compromised, sign(t, compromised.PrivateKey, signed, crypto.SHA256)), openpgp.ErrRevoked},
		"retired key, signature before":     {signedBy(t, retired, sign(t, retired.PrivateKey, signed, crypto.SHA256)), nil},
		"retired key, signature after":      {signedBy(t, early, sign(t, early.PrivateKey, signed, crypto.SHA256)), openpgp.ErrRevoked},
		"SHA-1":                             {sha1, openpgp.ErrWeak},
		"SHA-1 by exception":                {allow(sha1, "2026-11-24"), nil},
		"SHA-1 by a lapsed exception":       {allow(sha1, "2026-11-23"), openpgp.ErrWeak},
		"SHA-1 self-signature of a primary": {signedBy(t, weakSelf, sign(t, weakSelf.PrivateKey, signed, crypto.SHA256)), nil},
		"subkey":                            {signedBy(t, subkey, sign(t, sub, signed, crypto.SHA256)), nil},
		"subkey bound by SHA-1":             {signedBy(t, weakBinding, sign(t, weakSub, signed, crypto.SHA256)), openpgp.ErrWeak},
		"subkey bound by SHA-1, excepted":   {allow(signedBy(t, weakBinding, sign(t, weakSub, signed, crypto.SHA256)), "2030-01-01"), nil},
		"text signature":                    {signedBy(t, key, sign(t, key.PrivateKey, signed, crypto.SHA256, func(s *packet.Signature) { s.SigType = packet.SigTypeText })), openpgp.ErrMalformed},
		"critical notation": {signedBy(t, key, sign(t, key.PrivateKey, signed, crypto.SHA256, func(s *packet.Signature) {
			s.Notations = []*packet.Notation{{Name: "x@example.org", Value: []byte("y"), IsCritical: true, IsHumanReadable: true}}
		})), openpgp.ErrMalformed},
		"encryption subkey": {signedBy(t, encryption, sign(t, asSigner(t, encryption), signed, crypto.SHA256)), openpgp.ErrExpired},
		"one good of two": {signedBy(t, key, append(sign(t, small.PrivateKey, signed, crypto.SHA256),
			sign(t, key.PrivateKey, signed, crypto.SHA256)...)), nil},
		"signature and more":  {signedBy(t, key, append(sign(t, key.PrivateKey, signed, crypto.SHA256), certificate(t, key)...)), openpgp.ErrMalformed},
		"no signature packet": {signedBy(t, key, []byte{0xca, 3, 'P', 'G', 'P'}), openpgp.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := openpgp.Verifier{}.Verify(t.Context(), c.c.Subject())
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify = %+v, %v, want %v", proofs, err, c.want)
			}
			if err == nil && (proofs[0].Exception != nil) != (len(c.c.Policy.Exceptions) > 0) {
				t.Errorf("the proof's exception is %v", proofs[0].Exception)
			}
		})
	}

	p, err := openpgp.Verifier{}.Verify(t.Context(), signedBy(t, subkey, sign(t, sub, signed, crypto.SHA256)).Subject())
	if err != nil || p[0].Signer != fingerprint(subkey) || p[0].SigningKey != fmt.Sprintf("%X", sub.Fingerprint) || p[0].Algorithm != "EdDSA" {
		t.Errorf("proof by a subkey = %+v, %v", p, err)
	}
}

func lasting(d time.Duration) func(*packet.Signature) {
	secs := uint32(d / time.Second)
	return func(s *packet.Signature) { s.SigLifetimeSecs = &secs }
}

func revoke(t *testing.T, key *pgp.Entity, why packet.ReasonForRevocation, when time.Time) {
	t.Helper()
	if err := key.Revoke(why, "", at(when)); err != nil {
		t.Fatal(err)
	}
}

// asSigner adds a subkey that can sign but that the primary binds for
// encryption only.
func asSigner(t *testing.T, key *pgp.Entity) *packet.PrivateKey {
	t.Helper()
	if err := key.AddSigningSubkey(at(born)); err != nil {
		t.Fatal(err)
	}
	sub := &key.Subkeys[len(key.Subkeys)-1]
	sig := sub.Bindings[0].Packet
	sig.FlagSign, sig.FlagEncryptStorage, sig.EmbeddedSignature = false, true, nil
	if err := sig.SignKey(sub.PublicKey, key.PrivateKey, at(born)); err != nil {
		t.Fatal(err)
	}
	return sub.PrivateKey
}

func TestWrongSignerIsNamed(t *testing.T) {
	key, other := newKey(t), newKey(t)
	_, err := openpgp.Verifier{}.Verify(t.Context(), signedBy(t, key, sign(t, other.PrivateKey, signed, crypto.SHA256)).Subject())
	var e *openpgp.SignerError
	if !errors.As(err, &e) || e.Issuer != fingerprint(other) || len(e.Pinned) != 1 || e.Pinned[0] != fingerprint(key) {
		t.Errorf("Verify = %v, want a SignerError that names %s", err, fingerprint(other))
	}
}

// A keyring may hold many keys; only the pinned one counts.
func TestKeyring(t *testing.T) {
	key, other := newKey(t), newKey(t)
	both := certificate(t, other, key)
	blocks := append(armored(t, pgp.PublicKeyType, certificate(t, other)), armored(t, pgp.PublicKeyType, certificate(t, key))...)
	for name, data := range map[string][]byte{"binary": both, "armored": armored(t, pgp.PublicKeyType, both), "blocks": blocks} {
		c := signedBy(t, key, sign(t, key.PrivateKey, signed, crypto.SHA256))
		c.Keys = fs.FS(fstest.MapFS{"key.asc": {Data: data}})
		if _, err := (openpgp.Verifier{}).Verify(t.Context(), c.Subject()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Signature = sign(t, other.PrivateKey, signed, crypto.SHA256)
		var e *openpgp.SignerError
		if _, err := (openpgp.Verifier{}).Verify(t.Context(), c.Subject()); !errors.As(err, &e) {
			t.Errorf("%s: signed by the other: %v, want a SignerError", name, err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	key := newKey(b, rsa(4096))
	c := signedBy(b, key, sign(b, key.PrivateKey, signed, crypto.SHA512))
	for b.Loop() {
		if _, err := (openpgp.Verifier{}).Verify(context.Background(), c.Subject()); err != nil {
			b.Fatal(err)
		}
	}
}
