package timestamp

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	tsp "github.com/digitorus/timestamp"
)

// Where the time of a timestamp comes from.
const (
	Self       = "self"        // an authority of the same operator, such as Authority
	ThirdParty = "third-party" // an independent authority
)

// Stamper gives an RFC 3161 response (DER) over the SHA-256 of message. Chain
// is the certificate chain of what it gives, leaf first, root last; Source is
// [Self] or [ThirdParty].
type Stamper interface {
	Timestamp(ctx context.Context, message []byte) ([]byte, error)
	Chain() []*x509.Certificate
	Source() string
}

// Config makes an [Authority]. Clock and Random are required.
type Config struct {
	Clock        func() time.Time // the time that is attested
	Random       io.Reader        // crypto/rand.Reader
	Organization string           // of the certificates; "cleanstart" when empty
	Lifetime     time.Duration    // of the certificates; ten years when zero
	Accuracy     time.Duration    // stated in each timestamp; one second when zero
}

// policy is the authority's TSA policy: the sigstore project's, whose clients
// know it.
var policy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}

// Authority is an RFC 3161 authority in this process, with its own chain of
// root, intermediate and time-stamping certificate. It is safe for concurrent
// use.
type Authority struct {
	clock    func() time.Time
	accuracy time.Duration
	key      crypto.Signer
	chain    []*x509.Certificate // leaf first
}

// New generates keys and certificates. They are valid from one hour before
// the clock's time on.
func New(cfg Config) (*Authority, error) {
	if cfg.Clock == nil || cfg.Random == nil {
		return nil, errors.New("timestamp authority: Clock and Random are required")
	}
	if cfg.Organization == "" {
		cfg.Organization = "cleanstart"
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 10 * 365 * 24 * time.Hour
	}
	if cfg.Accuracy == 0 {
		cfg.Accuracy = time.Second
	}
	from := cfg.Clock().UTC().Add(-time.Hour).Truncate(time.Second)
	eku, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, err
	}
	var parent *x509.Certificate
	var parentKey crypto.Signer
	a := &Authority{clock: cfg.Clock, accuracy: cfg.Accuracy}
	for depth, name := range []string{"root", "intermediate", "timestamping"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), cfg.Random)
		if err != nil {
			return nil, fmt.Errorf("timestamp authority: %w", err)
		}
		serial := make([]byte, 16)
		if _, err := io.ReadFull(cfg.Random, serial); err != nil {
			return nil, fmt.Errorf("timestamp authority: %w", err)
		}
		serial[0] = serial[0]&0x7f | 1 // positive, and never shorter
		t := &x509.Certificate{
			SerialNumber: new(big.Int).SetBytes(serial),
			Subject:      pkix.Name{Organization: []string{cfg.Organization}, CommonName: cfg.Organization + " " + name},
			NotBefore:    from,
			NotAfter:     from.Add(cfg.Lifetime),
		}
		if depth < 2 {
			t.IsCA, t.BasicConstraintsValid = true, true
			t.MaxPathLen, t.MaxPathLenZero = 1-depth, depth == 1
			t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		} else {
			t.KeyUsage = x509.KeyUsageDigitalSignature
			// RFC 3161 section 2.3: the extension must be critical, which
			// crypto/x509 does not offer for ExtKeyUsage.
			t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: eku}}
		}
		if depth == 0 {
			parent, parentKey = t, key
		}
		der, err := x509.CreateCertificate(cfg.Random, t, parent, key.Public(), parentKey)
		if err != nil {
			return nil, fmt.Errorf("timestamp authority: %s certificate: %w", name, err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("timestamp authority: %s certificate: %w", name, err)
		}
		a.chain = append([]*x509.Certificate{cert}, a.chain...)
		a.key, parent, parentKey = key, cert, key
	}
	return a, nil
}

// Timestamp implements [Stamper] with the clock's time, to the second.
func (a *Authority) Timestamp(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(message)
	t := tsp.Timestamp{
		HashAlgorithm:     crypto.SHA256,
		HashedMessage:     sum[:],
		Time:              a.clock().UTC().Truncate(time.Second),
		Accuracy:          a.accuracy,
		Policy:            policy,
		AddTSACertificate: true,
	}
	der, err := t.CreateResponseWithOpts(a.chain[0], a.key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	return der, nil
}

// Chain is leaf, intermediate, root.
func (a *Authority) Chain() []*x509.Certificate { return append([]*x509.Certificate(nil), a.chain...) }

// Source is [Self].
func (a *Authority) Source() string { return Self }

// PEM encodes a chain for openssl ts and for people.
func PEM(chain []*x509.Certificate) []byte {
	var b []byte
	for _, c := range chain {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}
