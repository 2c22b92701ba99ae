package x509sig

import (
	"encoding/base64"
	"errors"
	"testing"
)

// seed is a signature by openssl cms, of a P-256 key.
const seed = `MIIDUwYJKoZIhvcNAQcCoIIDRDCCA0ACAQExDTALBglghkgBZQMEAgEwCwYJKoZIhvcNAQcBoIIBozCCAZ8wggFFoAMCAQICFBy1HunVNJ4ugdvHUdnMIO197x3xMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAXQwHhcNMjYxMTI1MDE1NzE2WhcNMjYxMTI3MDE1NzE2WjAMMQowCAYDVQQDDAF0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnKl6zVn51zyR5EzWbt9L3HX3PdrsD1I9mozYOOH2rjYMbcI8ynE7fCdBoorDoxYUrDAgziZBnawsCznAtXk7sqOBhDCBgTAdBgNVHQ4EFgQUObD4IHA+qkepYNOiVl8D/NnPeGYwHwYDVR0jBBgwFoAUObD4IHA+qkepYNOiVl8D/NnPeGYwDwYDVR0TAQH/BAUwAwEB/zAZBgNVHREEEjAQgQ5ybUBleGFtcGxlLm9yZzATBgNVHSUEDDAKBggrBgEFBQcDAzAKBggqhkjOPQQDAgNIADBFAiEA2lmfjiJlbshMyl9gqifQvCm/TBFiUaXELCYjipEleNgCIFBYbRF6ymfVUTvBMh3Zaz0cEVwohhnY6kpEKy3DLBCIMYIBdjCCAXICAQEwJDAMMQowCAYDVQQDDAF0AhQctR7p1TSeLoHbx1HZzCDtfe8d8TALBglghkgBZQMEAgGggeQwGAYJKoZIhvcNAQkDMQsGCSqGSIb3DQEHATAcBgkqhkiG9w0BCQUxDxcNMjYxMTI1MDE1NzE2WjAvBgkqhkiG9w0BCQQxIgQgLPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQweQYJKoZIhvcNAQkPMWwwajALBglghkgBZQMEASowCwYJYIZIAWUDBAEWMAsGCWCGSAFlAwQBAjAKBggqhkiG9w0DBzAOBggqhkiG9w0DAgICAIAwDQYIKoZIhvcNAwICAUAwBwYFKw4DAgcwDQYIKoZIhvcNAwICASgwCgYIKoZIzj0EAwIERzBFAiBSSLyCMmFhnmOmL+oVmOCedHr0crBjdTQkFnhUGftSeAIhAN7NHGtf+oQxDPcSDf75JCfV6wC8C6YvCnlz+W+HnXZp`

func FuzzSignature(f *testing.F) {
	der, err := base64.StdEncoding.DecodeString(seed)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := parse(der, oidData); err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add([]byte("-----BEGIN PKCS7-----\n" + seed + "\n-----END PKCS7-----\n"))
	f.Add([]byte("-----BEGIN SIGNED MESSAGE-----\nMAA=\n-----END SIGNED MESSAGE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		der, err := unarmor(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		s, err := parse(der, oidData)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrWeak) {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		if s.certificate == nil || s.algorithm == 0 || !s.hash.Available() || len(s.attributes) == 0 || s.attributes[0] != 0x31 {
			t.Fatalf("parsed with parts missing: %+v", s)
		}
		if len(b) < maxSignature && b[0] == 0x30 && !isSignature(b) {
			t.Fatal("parsed, and not recognised")
		}
		names(s.certificate)
		if _, err := tokenIssuer(s.certificate); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("unclassified error: %v", err)
		}
		for _, token := range s.timestamps {
			s.witnessed(token, nil)
		}
		if err := s.check(s.digest); err != nil && !errors.Is(err, ErrBad) {
			t.Fatalf("unclassified error: %v", err)
		}
	})
}

func FuzzRoots(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("text\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, err := parseRoots(b); err == nil && (len(list) == 0 || len(list) > maxRoots) {
			t.Fatalf("%d certificates and no error", len(list))
		}
	})
}
