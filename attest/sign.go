package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cleanstart/cleanstart/attest/timestamp"
)

const (
	bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType     = "application/vnd.in-toto+json"
)

// Signer signs evidence: a key (ECDSA P-256 is what every client reads; an
// embedder may bring a key service), and an authority for the time. Every
// signature gets a timestamp of that authority and of each further one; see
// [Options.TimeThreshold].
type Signer struct {
	Key  signature.Signer
	Time timestamp.Stamper
	More []timestamp.Stamper
}

// stampers are all authorities.
func (s *Signer) stampers() []timestamp.Stamper {
	return append([]timestamp.Stamper{s.Time}, s.More...)
}

// chains are those of all authorities.
func (s *Signer) chains() [][]*x509.Certificate {
	var out [][]*x509.Certificate
	for _, t := range s.stampers() {
		out = append(out, t.Chain())
	}
	return out
}

// source is [timestamp.ThirdParty] when one of the authorities is.
func (s *Signer) source() string {
	for _, t := range s.stampers() {
		if t.Source() == timestamp.ThirdParty {
			return timestamp.ThirdParty
		}
	}
	return timestamp.Self
}

// identity is a signer's public key as others name it.
type identity struct {
	key  crypto.PublicKey
	der  []byte // SubjectPublicKeyInfo
	hint string // base64 of the SHA-256 of der, as sigstore clients compute it
}

func identify(key crypto.PublicKey) (*identity, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return &identity{key, der, base64.StdEncoding.EncodeToString(sum[:])}, nil
}

func (s *Signer) identity() (*identity, error) {
	if s.Key == nil || slices.Contains(s.stampers(), nil) {
		return nil, errors.New("sign: a key and a time-stamping authority are required")
	}
	if n := len(s.More) + 1; n > maxTimestamps {
		return nil, fmt.Errorf("sign: %d time-stamping authorities, clients read at most %d", n, maxTimestamps)
	}
	key, err := s.Key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return identify(key)
}

// bundleJSON is a sigstore bundle as it is written: one line, because bundles
// are lines of the bundle artifact, in the field order of the specification.
// The message's own encoder takes ten times as long over a large payload.
type bundleJSON struct {
	MediaType string        `json:"mediaType"`
	Material  materialJSON  `json:"verificationMaterial"`
	Envelope  *envelopeJSON `json:"dsseEnvelope,omitempty"`
	Message   *messageJSON  `json:"messageSignature,omitempty"`
}

type envelopeJSON struct {
	Payload     []byte          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []signatureJSON `json:"signatures"`
}

type materialJSON struct {
	PublicKey struct {
		Hint string `json:"hint"`
	} `json:"publicKey"`
	Times struct {
		RFC3161 []stampJSON `json:"rfc3161Timestamps"`
	} `json:"timestampVerificationData"`
}

type stampJSON struct {
	Stamp []byte `json:"signedTimestamp"`
}

type signatureJSON struct {
	Sig []byte `json:"sig"`
}

type messageJSON struct {
	Digest struct {
		Algorithm string `json:"algorithm"`
		Digest    []byte `json:"digest"`
	} `json:"messageDigest"`
	Signature []byte `json:"signature"`
}

// envelope signs a statement: a sigstore bundle with a DSSE envelope and a
// timestamp over its signature.
func (s *Signer) envelope(ctx context.Context, id *identity, payload []byte) ([]byte, error) {
	sig, err := s.Key.SignMessage(bytes.NewReader(dsse.PAE(payloadType, payload)))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b := &bundleJSON{Envelope: &envelopeJSON{payload, payloadType, []signatureJSON{{sig}}}}
	return s.finish(ctx, id, b, sig)
}

// message signs bytes as they are: a sigstore bundle with a message signature,
// as cosign verify-blob reads it.
func (s *Signer) message(ctx context.Context, id *identity, msg []byte) ([]byte, error) {
	sig, err := s.Key.SignMessage(bytes.NewReader(msg))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	sum := sha256.Sum256(msg)
	b := &bundleJSON{Message: &messageJSON{Signature: sig}}
	b.Message.Digest.Algorithm, b.Message.Digest.Digest = "SHA2_256", sum[:]
	return s.finish(ctx, id, b, sig)
}

func (s *Signer) finish(ctx context.Context, id *identity, b *bundleJSON, sig []byte) ([]byte, error) {
	for _, t := range s.stampers() {
		tsr, err := t.Timestamp(ctx, sig)
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		b.Material.Times.RFC3161 = append(b.Material.Times.RFC3161, stampJSON{tsr})
	}
	b.MediaType, b.Material.PublicKey.Hint = bundleMediaType, id.hint
	out, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return out, nil
}
