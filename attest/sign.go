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
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"

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

// envelope signs a statement: a sigstore bundle with a DSSE envelope and a
// timestamp over its signature.
func (s *Signer) envelope(ctx context.Context, id *identity, payload []byte) ([]byte, error) {
	sig, err := s.Key.SignMessage(bytes.NewReader(dsse.PAE(payloadType, payload)))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b := &bundlepb.Bundle{Content: &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
		Payload:     payload,
		PayloadType: payloadType,
		Signatures:  []*dssepb.Signature{{Sig: sig}},
	}}}
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
	b := &bundlepb.Bundle{Content: &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
		MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm_SHA2_256, Digest: sum[:]},
		Signature:     sig,
	}}}
	return s.finish(ctx, id, b, sig)
}

func (s *Signer) finish(ctx context.Context, id *identity, b *bundlepb.Bundle, sig []byte) ([]byte, error) {
	times := new(bundlepb.TimestampVerificationData)
	for _, t := range s.stampers() {
		tsr, err := t.Timestamp(ctx, sig)
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		times.Rfc3161Timestamps = append(times.Rfc3161Timestamps, &commonpb.RFC3161SignedTimestamp{SignedTimestamp: tsr})
	}
	b.MediaType = bundleMediaType
	b.VerificationMaterial = &bundlepb.VerificationMaterial{
		Content:                   &bundlepb.VerificationMaterial_PublicKey{PublicKey: &commonpb.PublicKeyIdentifier{Hint: id.hint}},
		TimestampVerificationData: times,
	}
	raw, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var out bytes.Buffer // one line: bundles are lines of the bundle artifact
	if err := json.Compact(&out, raw); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return out.Bytes(), nil
}
