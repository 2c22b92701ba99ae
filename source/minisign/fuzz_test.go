package minisign

import (
	"crypto/ed25519"
	"errors"
	"testing"
)

// FuzzSignature: a file gives a signature or a classified error, and never a
// panic.
func FuzzSignature(f *testing.F) {
	f.Add([]byte("untrusted comment: signature from minisign secret key\n" +
		"RUTyIl8LMAfKhXm43/96U0hnRgEyx6KZpB+nDjPekDetqGBqW16GvWFITCZfAcWemeOsy68bQc7DxwAo1qyX3BEkRu8u+Zwe5wo=\n" +
		"trusted comment: timestamp:1795570674\tfile:release.tar\thashed\n" +
		"2nK3cc3Z58aNUFa3qY5O2djlyT1l2JFjH1T7NMj6U0982HNE0F5ziQxoX/RGRYkeTXCnIr+asAJALz3sZFeRCA==\n"))
	f.Add([]byte("untrusted comment: \n\ntrusted comment: \n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sig, err := parse(b)
		if err == nil != (sig != nil) {
			t.Fatalf("parse = %v, %v", sig, err)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		if !isSignature(b) {
			t.Fatal("parsed, and not recognised")
		}
		if _, _, err := sig.stated(); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("unclassified error: %v", err)
		}
		if sig.verify(make(ed25519.PublicKey, ed25519.PublicKeySize), b) == nil && len(sig.message) != ed25519.SignatureSize {
			t.Fatal("a short signature is good")
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add("RWTyIl8LMAfKhejAafPjrXLE3cW0qqkTaRn/hZe+iiRL9zN/uCAL/78t")
	f.Add("RWQ=")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseKey(s)
		if err == nil != (len(k.public) == ed25519.PublicKeySize) {
			t.Fatalf("parseKey(%q) = %v, %v", s, k, err)
		}
	})
}
