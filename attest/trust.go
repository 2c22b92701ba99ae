package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const trustedRootMediaType = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

// trustedRoot is trusted_root.json for sigstore clients: the time-stamping
// authorities and nothing else, since there is neither a log nor a certificate
// authority in the chain of trust.
func trustedRoot(chains [][]*x509.Certificate) ([]byte, error) {
	tr := &trustpb.TrustedRoot{MediaType: trustedRootMediaType}
	for _, chain := range chains {
		if len(chain) < 2 {
			return nil, errors.New("trusted root: a time-stamping authority has no chain of leaf and root")
		}
		root := chain[len(chain)-1]
		var certs []*commonpb.X509Certificate
		for _, c := range chain {
			certs = append(certs, &commonpb.X509Certificate{RawBytes: c.Raw})
		}
		org := root.Subject.CommonName
		if len(root.Subject.Organization) > 0 {
			org = root.Subject.Organization[0]
		}
		tr.TimestampAuthorities = append(tr.TimestampAuthorities, &trustpb.CertificateAuthority{
			Subject:   &commonpb.DistinguishedName{Organization: org, CommonName: root.Subject.CommonName},
			Uri:       "urn:cleanstart:tsa:" + hexOf(digestOf(root.Raw)),
			CertChain: &commonpb.X509CertificateChain{Certificates: certs},
			ValidFor:  &commonpb.TimeRange{Start: timestamppb.New(chain[0].NotBefore), End: timestamppb.New(chain[0].NotAfter)},
		})
	}
	return marshalProto(tr)
}

// parseTrustedRoot gives the chains of the time-stamping authorities of a
// trusted root, leaf first.
func parseTrustedRoot(b []byte) ([][]*x509.Certificate, error) {
	var tr trustpb.TrustedRoot
	if err := protojson.Unmarshal(b, &tr); err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	var chains [][]*x509.Certificate
	for _, ta := range tr.TimestampAuthorities {
		var chain []*x509.Certificate
		for _, c := range ta.GetCertChain().GetCertificates() {
			cert, err := x509.ParseCertificate(c.RawBytes)
			if err != nil {
				return nil, fmt.Errorf("trusted root: %w", err)
			}
			chain = append(chain, cert)
		}
		if len(chain) < 2 {
			return nil, errors.New("trusted root: a time-stamping authority has no chain of leaf and root")
		}
		chains = append(chains, chain)
	}
	if len(chains) == 0 {
		return nil, errors.New("trusted root: no time-stamping authority")
	}
	return chains, nil
}

// publicKeyPEM is cosign.pub.
func publicKeyPEM(id *identity) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: id.der})
}

// ParsePublicKey reads a public key in PEM, as cosign writes it.
func ParsePublicKey(b []byte) (any, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("public key: want a PEM block of type PUBLIC KEY")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("public key: bytes after the PEM block")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return key, nil
}

// strictJSON decodes exactly one value without unknown fields.
func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("bytes after the JSON value")
	}
	return nil
}
