package signify

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
)

// FuzzSignature: a text gives a signature and all that follows it, or a
// classified error, and never a panic.
func FuzzSignature(f *testing.F) {
	f.Add([]byte("untrusted comment: verify with s.pub\n" +
		"RWQVnQhv95u3dimi4cLXKVrHyafXiA9W1QSw/f8uWsTM5Xkp9MDpOXLgI07kNAAm4nCs0DF+nU2fEMRG6eAqeNl5WYv81xBKkAE=\n" +
		"SHA256 (release.tar) = 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\n"))
	f.Add([]byte("untrusted comment: \n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sig, rest, err := parse(b)
		if err == nil != (sig != nil) {
			t.Fatalf("parse = %v, %v", sig, err)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) || rest != nil {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		if len(sig.bytes) != ed25519.SignatureSize || !bytes.HasSuffix(b, rest) {
			t.Fatal("what follows is not the end of the text")
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add("RWQVnQhv95u3dgvH4ZlG8SM2HoB22YHBRzFXIfJ6i1Nm/aZzFQth+tcY")
	f.Add("RWQ=")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseKey(s)
		if err == nil != (len(k.public) == ed25519.PublicKeySize) {
			t.Fatalf("parseKey(%q) = %v, %v", s, k, err)
		}
	})
}
