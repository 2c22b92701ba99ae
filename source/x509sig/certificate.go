package x509sig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/source"
)

const (
	maxRootFile = 4 << 20
	maxRoots    = 1000
)

// Fulcio's extensions for the issuer of the token: the first holds the bare
// text, the second a UTF8String.
var (
	oidIssuerV1 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	oidIssuerV2 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
)

func readRoots(files fs.FS, name string) ([]*x509.Certificate, error) {
	if files == nil {
		return nil, fmt.Errorf("%w: there are no key files", ErrKeyFile)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRootFile+1))
	if err == nil && len(b) > maxRootFile {
		err = fmt.Errorf("%w of %d bytes", source.ErrTooLarge, maxRootFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, name, err)
	}
	out, err := parseRoots(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, name, err)
	}
	return out, nil
}

// parseRoots reads certificates in PEM, and refuses a file that holds anything
// else: a block that cannot be read might be the one that matters.
func parseRoots(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	blocks := bytes.Count(b, []byte("-----BEGIN "))
	if blocks > maxRoots {
		return nil, fmt.Errorf("it has %d blocks, at most %d are read", blocks, maxRoots)
	}
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out, b = append(out, c), rest
	}
	switch {
	case len(out) == 0:
		return nil, errors.New("it holds no certificate in PEM")
	case len(out) != blocks: // the decoder passes over what it cannot read
		return nil, fmt.Errorf("%d of its %d blocks are not PEM", blocks-len(out), blocks)
	}
	return out, nil
}

// names are the certificate's subject alternative names.
func names(c *x509.Certificate) []string {
	out := slices.Concat(c.EmailAddresses, c.DNSNames)
	for _, u := range c.URIs {
		out = append(out, u.String())
	}
	return out
}

// tokenIssuer is what Fulcio states in a certificate, or "". Where both
// extensions are there they must agree.
func tokenIssuer(c *x509.Certificate) (string, error) {
	var found []string
	for _, e := range c.Extensions {
		switch {
		case e.Id.Equal(oidIssuerV1):
			found = append(found, string(e.Value))
		case e.Id.Equal(oidIssuerV2):
			var s string
			if rest, err := asn1.UnmarshalWithParams(e.Value, &s, "utf8"); err != nil || len(rest) > 0 {
				return "", fmt.Errorf("%w: the certificate's token issuer is not well formed", ErrMalformed)
			}
			found = append(found, s)
		}
	}
	if len(found) > 1 && slices.ContainsFunc(found, func(s string) bool { return s != found[0] }) {
		return "", fmt.Errorf("%w: the certificate states several token issuers", ErrMalformed)
	}
	return strings.Join(found[:min(len(found), 1)], ""), nil
}

// chain leads the signer's certificate to one that is trusted, at a time.
func (s *signature) chain(roots []*x509.Certificate, at time.Time) error {
	c := s.certificate
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageCodeSigning || u == x509.ExtKeyUsageEmailProtection {
			return verifyChain(c, s.others, roots, at, u)
		}
	}
	return fmt.Errorf("%w: the certificate is for neither code signing nor e-mail protection", ErrCertificate)
}

func verifyChain(c *x509.Certificate, others, roots []*x509.Certificate, at time.Time, use x509.ExtKeyUsage) error {
	if c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return fmt.Errorf("%w: its key is not for signatures", ErrCertificate)
	}
	options := x509.VerifyOptions{Roots: pool(roots), Intermediates: pool(others), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{use}}
	chains, err := c.Verify(options)
	if err != nil {
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return fmt.Errorf("%w: %w", ErrExpired, err)
		}
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	var weak []error
	for _, chain := range chains {
		err := error(nil)
		for _, c := range chain {
			if _, e := strength(c); e != nil {
				err = e
			}
		}
		if err == nil {
			return nil
		}
		weak = append(weak, err)
	}
	return errors.Join(weak...)
}

func pool(list []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range list {
		p.AddCert(c)
	}
	return p
}

// strength names a key's algorithm if it is one of those accepted.
func strength(c *x509.Certificate) (string, error) {
	name := fmt.Sprintf("a %v", c.PublicKeyAlgorithm)
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		name = fmt.Sprintf("RSA-%d", k.N.BitLen())
		if k.N.BitLen() >= 2048 {
			return name, nil
		}
	case *ecdsa.PublicKey:
		curve := k.Curve.Params().Name
		name = "ECDSA-" + strings.ReplaceAll(curve, "-", "")
		if slices.Contains([]string{"P-256", "P-384", "P-521"}, curve) {
			return name, nil
		}
	case ed25519.PublicKey:
		return "Ed25519", nil
	}
	return "", fmt.Errorf("%w: the key of %s is %s; accepted are RSA from 2048 bits, ECDSA on NIST curves and Ed25519", ErrWeak, c.Subject, name)
}
