package openpgp

import (
	"crypto"
	"errors"
	"os"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

func TestIssuer(t *testing.T) {
	id := uint64(0x5CC908FDB71E12C2)
	for want, sig := range map[string]*packet.Signature{
		"5CC908FDB71E12C2": {IssuerKeyId: &id},
		"01AB":             {IssuerKeyId: &id, IssuerFingerprint: []byte{1, 0xab}},
		"(not stated)":     {},
	} {
		if got := issuer(sig); got != want {
			t.Errorf("issuer = %s, want %s", got, want)
		}
	}
}

// FuzzSignature: a signature file gives signatures or an error, never both
// and never a panic.
func FuzzSignature(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP SIGNATURE-----\n\niQEzBAABCgAdFiEEJ+3q8i86vOtQ25oSXMkI/bceEsIFAmPzH5AACgkQXMkI/bce\n=aaaa\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte{0x88, 4, 4, 0, 1, 8})
	f.Add([]byte{0xc2, 3, 6, 0, 27})
	f.Add([]byte{0xca, 3, 'P', 'G', 'P'})
	f.Fuzz(func(t *testing.T, b []byte) {
		sigs, err := parseSignatures(b)
		if err == nil && (len(sigs) == 0 || len(sigs) > maxPackets) {
			t.Fatalf("%d signatures and no error", len(sigs))
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("unclassified error: %v", err)
		}
		for _, sig := range sigs {
			issuer(sig)
			if sig.Hash == crypto.MD5 && !weakHash(sig.Hash) {
				t.Fatal("MD5 is let through")
			}
		}
	})
}

// FuzzKey: certificate files are foreign bytes too.
func FuzzKey(f *testing.F) {
	for _, name := range []string{"curl", "musl", "openssl"} {
		if b, err := os.ReadFile("../../examples/quickstart/keys/" + name + ".asc"); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseKeys(b)
		for _, e := range list {
			if err == nil {
				fingerprint(e.PrimaryKey)
				(&allowance{}).strength(e.PrimaryKey)
			}
		}
	})
}
