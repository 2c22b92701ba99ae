package main

import (
	"context"

	"github.com/cleanstart/cleanstart/source"
)

// Candidates implements [monitor.Upgrades]: the releases of OpenSSL that this
// example knows how to verify, by the key that signed them.
func (s *shop) Candidates(_ context.Context, component, _ string) ([]source.Component, error) {
	if component != "openssl" {
		return nil, nil
	}
	return []source.Component{{
		Name:    "openssl",
		Version: "3.0.20",
		PURL:    "pkg:generic/openssl@3.0.20",
		License: "Apache-2.0",
		Places: []source.Place{
			{Archive: "debian:openssl@3.0.20/orig.tar", Signature: "debian:openssl@3.0.20/orig.tar.asc"},
			{
				Archive:   "https://www.openssl.org/source/openssl-3.0.20.tar.gz",
				Signature: "https://www.openssl.org/source/openssl-3.0.20.tar.gz.asc",
			},
		},
		Policy: source.Policy{
			Least: source.Signed,
			Keys:  []source.Key{{Fingerprint: "BA5473A2B0587B07FB27CF2D216094DFD0CB81EF", File: "keys/openssl.asc"}},
		},
	}}, nil
}
