package timestamp

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/verification"
)

// maxResponse bounds a response; real ones are a few KiB.
const maxResponse = 1 << 20

// Verify checks an RFC 3161 response over message against a chain (leaf
// first, root last) and gives the attested time. The chain must have been
// valid at that time, so a timestamp outlives its certificates.
func Verify(response, message []byte, chain []*x509.Certificate) (t time.Time, err error) {
	defer func() { // the parsers below are not hardened against every input
		if r := recover(); r != nil {
			t, err = time.Time{}, fmt.Errorf("timestamp: malformed response: %v", r)
		}
	}()
	if len(response) > maxResponse {
		return time.Time{}, fmt.Errorf("timestamp: response of %d bytes, at most %d are read", len(response), maxResponse)
	}
	if len(chain) < 2 {
		return time.Time{}, errors.New("timestamp: no authority to check against: want a chain of leaf and root")
	}
	ts, err := verification.VerifyTimestampResponse(response, bytes.NewReader(message), verification.VerifyOpts{
		TSACertificate: chain[0],
		Intermediates:  chain[1 : len(chain)-1],
		Roots:          chain[len(chain)-1:],
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("timestamp: %w", err)
	}
	return ts.Time.UTC(), nil
}

// ParsePEM reads a chain as [PEM] writes it.
func ParsePEM(b []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for len(bytes.TrimSpace(b)) > 0 {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("certificate chain: want PEM blocks of type CERTIFICATE")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate chain: %w", err)
		}
		chain, b = append(chain, c), rest
	}
	if len(chain) == 0 {
		return nil, errors.New("certificate chain: empty")
	}
	return chain, nil
}
