package openpgp_test

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/dsa" //lint:ignore SA1019 old upstream keys are of this kind
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/openpgp"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

// newDSA is a key of a kind that the library no longer makes.
func newDSA(t testing.TB) *pgp.Entity {
	t.Helper()
	var k dsa.PrivateKey
	if err := dsa.GenerateParameters(&k.Parameters, rand.Reader, dsa.L1024N160); err != nil {
		t.Fatal(err)
	}
	if err := dsa.GenerateKey(&k, rand.Reader); err != nil {
		t.Fatal(err)
	}
	e := newKey(t)
	priv := packet.NewDSAPrivateKey(born, &k)
	e.PrimaryKey, e.PrivateKey = &priv.PublicKey, priv
	for name, id := range e.Identities {
		sig := id.SelfCertifications[0].Packet
		keyID := priv.KeyId
		sig.PubKeyAlgo, sig.IssuerKeyId, sig.IssuerFingerprint = priv.PubKeyAlgo, &keyID, priv.Fingerprint
		if err := sig.SignUserId(name, e.PrimaryKey, e.PrivateKey, at(born)); err != nil {
			t.Fatal(err)
		}
	}
	e.Subkeys = nil
	return e
}

func gzipped(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Upstreams that sign the tar and publish it in several compressions.
func TestDecompressed(t *testing.T) {
	key := newKey(t)
	content := bytes.Repeat([]byte("what the archive holds\n"), 5000)
	good := signedBy(t, key, signOver(t, content, key.PrivateKey, signed, crypto.SHA256))
	good.Archive, good.Over = gzipped(t, content, 9), source.OverDecompressed
	recompressed := good
	recompressed.Archive = gzipped(t, content, 1)
	if p, err := (openpgp.Verifier{}).Verify(t.Context(), recompressed.Subject()); err != nil || p[0].Over != source.OverDecompressed {
		t.Errorf("the same content in another compression: %+v, %v", p, err)
	}
	overArchive := good // a signature over the compressed bytes, where the decompressed are expected
	overArchive.Signature = signOver(t, good.Archive, key.PrivateKey, signed, crypto.SHA256)
	overContent := good // and the other way round
	overContent.Over = source.OverArchive
	behind := good
	behind.Archive = append(bytes.Clone(good.Archive), gzipped(t, []byte("more"), 9)...)
	sourcetest.TestVerifier(t, openpgp.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: map[string]sourcetest.Case{
		"over the compressed": overArchive, "over the decompressed": overContent, "another member behind": behind}})
}

func list(archive []byte) []byte {
	return fmt.Appendf(nil, "%x  a-1.0.tar.gz\n%x  other\n", sha256.Sum256(archive), sha256.Sum256([]byte("other")))
}

// Upstreams that sign a list of checksums.
func TestChecksums(t *testing.T) {
	key := newKey(t)
	good := signedBy(t, key, signOver(t, list(archive), key.PrivateKey, signed, crypto.SHA256))
	good.List, good.File = list(archive), "a-1.0.tar.gz"
	replayed := good // a good signature of another release's list
	replayed.List = list([]byte("the release before"))
	replayed.Signature = signOver(t, replayed.List, key.PrivateKey, signed, crypto.SHA256)
	overArchive := good
	overArchive.Signature = sign(t, key.PrivateKey, signed, crypto.SHA256)
	weak := good
	weak.List = []byte("d41d8cd98f00b204e9800998ecf8427e  a-1.0.tar.gz\n")
	weak.Signature = signOver(t, weak.List, key.PrivateKey, signed, crypto.SHA256)
	sourcetest.TestVerifier(t, openpgp.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: map[string]sourcetest.Case{
		"list of another release": replayed, "signature over the archive": overArchive, "MD5 list": weak}})
}

func clearSign(t testing.TB, key *pgp.Entity, text []byte, h crypto.Hash) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, key.PrivateKey, at(signed, hash(h)))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func TestClearSigned(t *testing.T) {
	key, other := newKey(t), newKey(t)
	good := signedBy(t, key, nil)
	good.List, good.File = clearSign(t, key, list(archive), crypto.SHA256), "a-1.0.tar.gz"
	with := func(list []byte) sourcetest.Case { c := good; c.List = list; return c }
	none := list([]byte("nothing"))
	line := list(archive)
	bad := map[string]sourcetest.Case{
		"signed by another":        with(clearSign(t, other, line, crypto.SHA256)),
		"the archive's line above": with(append(bytes.Clone(line), clearSign(t, key, none, crypto.SHA256)...)),
		"the archive's line below": with(append(clearSign(t, key, none, crypto.SHA256), line...)),
		"two messages":             with(append(clearSign(t, key, none, crypto.SHA256), clearSign(t, other, line, crypto.SHA256)...)),
		"unsigned":                 with(line),
		"cut off":                  with(good.List[:len(good.List)/2]),
		"line in a header":         with(bytes.Replace(clearSign(t, key, none, crypto.SHA256), []byte("\n\n"), append([]byte("\nComment: x\n"), append(line, '\n')...), 1)),
	}
	sourcetest.TestVerifier(t, openpgp.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: bad})
	if _, err := (openpgp.Verifier{}).Verify(t.Context(), bad["unsigned"].Subject()); !errors.Is(err, source.ErrNoSignature) {
		t.Errorf("unsigned list: %v, want ErrNoSignature", err)
	}
	p, err := openpgp.Verifier{}.Verify(t.Context(), good.Subject())
	if err != nil || p[0].Over != source.OverChecksums || !strings.Contains(p[0].Description, "clear-signed") {
		t.Errorf("proof = %+v, %v", p, err)
	}
}

// TestTwoSigners: each pinned key that signed is one proof.
func TestTwoSigners(t *testing.T) {
	one, two, three := newKey(t), newKey(t), newKey(t)
	c := signedBy(t, one, nil)
	c.Keys = fstest.MapFS{"key.asc": {Data: certificate(t, one, two, three)}}
	c.Policy.Keys = append(c.Policy.Keys, source.Key{Fingerprint: fingerprint(two), File: "key.asc"})
	by := func(keys ...*pgp.Entity) []byte {
		var b []byte
		for _, k := range keys {
			b = append(b, sign(t, k.PrivateKey, signed, crypto.SHA256)...)
		}
		return b
	}
	for name, x := range map[string]struct {
		signature []byte
		want      []string
	}{
		"both":                            {by(one, two), []string{fingerprint(one), fingerprint(two)}},
		"one twice":                       {by(one, one), []string{fingerprint(one)}},
		"one, and one that is not pinned": {by(three, two), []string{fingerprint(two)}},
	} {
		c.Signature = x.signature
		proofs, err := openpgp.Verifier{}.Verify(t.Context(), c.Subject())
		if err != nil || len(proofs) != len(x.want) {
			t.Fatalf("%s: %+v, %v, want %v", name, proofs, err, x.want)
		}
		for i, p := range proofs {
			if p.Signer != x.want[i] {
				t.Errorf("%s: signer %d is %s, want %s", name, i, p.Signer, x.want[i])
			}
		}
	}
	// Two files, as cosignatures are.
	c.Signature = by(one)
	s := c.Subject()
	s.Statements = append(s.Statements, s.Detached("mem:2", by(two)))
	if proofs, err := (openpgp.Verifier{}).Verify(t.Context(), s); err != nil || len(proofs) != 2 {
		t.Errorf("two files: %+v, %v, want two proofs", proofs, err)
	}
}

// FuzzClearSigned: foreign lists are parsed before anything is known of them.
func FuzzClearSigned(f *testing.F) {
	key := newKey(f)
	c := signedBy(f, key, nil)
	c.File = "a-1.0.tar.gz"
	good := clearSign(f, key, list(archive), crypto.SHA256)
	f.Add(good)
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- -----\n-----BEGIN PGP SIGNATURE-----\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := c
		c.List = b
		if proofs, err := (openpgp.Verifier{}).Verify(t.Context(), c.Subject()); err == nil && !bytes.Contains(b, list(archive)[:64]) {
			t.Fatalf("%+v for a list that does not hold the digest", proofs)
		}
	})
}
