// Package openpgp proves an archive by a detached OpenPGP signature (RFC 9580)
// of a key that the policy pins.
//
// The signer is compared by the fingerprint of its primary key, never by
// membership of a keyring: a certificate file is only bytes, checked against
// the pinned fingerprint. The signature must have been made while the key was
// valid; a key that expired later does not undo it, and one that was revoked
// as compromised does. A time of signing is the signer's own claim.
package openpgp

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/cleanstart/cleanstart/source"
)

var (
	// ErrNoSignature says that the policy pins keys and the place has no
	// signature.
	ErrNoSignature = errors.New("no detached signature, and the policy asks for one")
	// ErrCertificate says that a certificate file is not what the policy pins.
	ErrCertificate = errors.New("certificate is not the pinned key")
	// ErrWeak says that a signature or key is below the algorithm floor.
	ErrWeak = errors.New("below the algorithm floor")
	// ErrKeyValidity says that a key was not valid when it signed.
	ErrKeyValidity = errors.New("key was not valid at the time of signing")
	// ErrBad says that a signature does not verify over these bytes.
	ErrBad = errors.New("signature does not verify")
)

// SignerError says who signed, where it was none of the pinned keys.
type SignerError struct {
	Signed []string // issuers as the signature names them, fingerprint or key ID
	Want   []string // pinned primary fingerprints
}

func (e *SignerError) Error() string {
	return fmt.Sprintf("signed by %s; the policy pins %s", strings.Join(e.Signed, ", "), strings.Join(e.Want, ", "))
}

// Bounds of foreign input.
const (
	maxCertificate = 4 << 20
	maxSignatures  = 32
)

// Verifier checks Subject.Signature against Policy.Keys. Without keys it
// proves nothing; with keys one of them must have made a good signature.
type Verifier struct{}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier].
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	if len(s.Policy.Keys) == 0 {
		return nil, nil
	}
	if len(s.Signature) == 0 {
		return nil, ErrNoSignature
	}
	signatures, err := parseSignatures(s.Signature)
	if err != nil {
		return nil, err
	}
	certificates, err := load(s.Keys, s.Policy.Keys)
	if err != nil {
		return nil, err
	}
	var failures []error
	foreign := &SignerError{}
	for _, c := range certificates {
		foreign.Want = append(foreign.Want, c.fingerprint)
	}
	for _, sig := range signatures {
		signer, subkey := find(certificates, sig)
		if signer == nil {
			foreign.Signed = append(foreign.Signed, issuer(sig))
			continue
		}
		proof, err := check(ctx, s, sig, signer, subkey)
		if err == nil {
			return []source.Proof{*proof}, nil
		}
		failures = append(failures, fmt.Errorf("signature by %s: %w", signer.fingerprint, err))
	}
	if len(failures) == 0 {
		return nil, foreign
	}
	return nil, errors.Join(failures...)
}

// parseSignatures reads the packets of a detached signature, armored or
// binary. Anything else in it is an error.
func parseSignatures(b []byte) ([]*packet.Signature, error) {
	body, err := dearmor(b, pgp.SignatureType)
	if err != nil {
		return nil, fmt.Errorf("detached signature: %w", err)
	}
	var out []*packet.Signature
	for packets := packet.NewReader(body); ; {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("detached signature: %w", err)
		}
		sig, ok := p.(*packet.Signature)
		if !ok {
			return nil, fmt.Errorf("detached signature: holds a %T", p)
		}
		if out = append(out, sig); len(out) > maxSignatures {
			return nil, fmt.Errorf("detached signature: more than %d signatures", maxSignatures)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("detached signature: holds no signature")
	}
	return out, nil
}

// dearmor gives the binary form of armored or binary input.
func dearmor(b []byte, kind string) (io.Reader, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN ")) {
		return bytes.NewReader(b), nil
	}
	block, err := armor.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if block.Type != kind {
		return nil, fmt.Errorf("armored %s, want %s", block.Type, kind)
	}
	return block.Body, nil
}

// certificate is a pinned key.
type certificate struct {
	fingerprint string
	entity      *pgp.Entity
}

func load(fsys fs.FS, keys []source.Key) ([]certificate, error) {
	if fsys == nil {
		return nil, fmt.Errorf("%w: no folder of certificates was given", ErrCertificate)
	}
	var out []certificate
	for _, k := range keys {
		want, err := source.NormalFingerprint(k.Fingerprint)
		if err != nil {
			return nil, err
		}
		e, err := loadOne(fsys, k.File, want)
		if err != nil {
			return nil, fmt.Errorf("key file %s: %w", k.File, err)
		}
		out = append(out, certificate{want, e})
	}
	return out, nil
}

// loadOne finds the certificate with the pinned primary fingerprint in a file.
func loadOne(fsys fs.FS, name, want string) (*pgp.Entity, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCertificate+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxCertificate {
		return nil, fmt.Errorf("larger than %d bytes", maxCertificate)
	}
	body, err := dearmor(b, pgp.PublicKeyType)
	if err != nil {
		return nil, err
	}
	list, err := pgp.ReadKeyRing(body)
	if err != nil {
		return nil, err
	}
	var have []string
	for _, e := range list {
		fp := fingerprint(e.PrimaryKey)
		if fp == want {
			return e, nil
		}
		have = append(have, fp)
	}
	return nil, fmt.Errorf("%w: it holds %s, not %s", ErrCertificate, strings.Join(have, ", "), want)
}

func fingerprint(k *packet.PublicKey) string { return fmt.Sprintf("%X", k.Fingerprint) }

// issuer is how a signature names its key.
func issuer(sig *packet.Signature) string {
	switch {
	case len(sig.IssuerFingerprint) > 0:
		return fmt.Sprintf("%X", sig.IssuerFingerprint)
	case sig.IssuerKeyId != nil:
		return fmt.Sprintf("key ID %016X", *sig.IssuerKeyId)
	}
	return "an unnamed key"
}

// find gives the pinned certificate and its key that a signature names.
func find(certificates []certificate, sig *packet.Signature) (*certificate, *packet.PublicKey) {
	for i := range certificates {
		c := &certificates[i]
		keys := []*packet.PublicKey{c.entity.PrimaryKey}
		for _, sub := range c.entity.Subkeys {
			keys = append(keys, sub.PublicKey)
		}
		for _, k := range keys {
			if len(sig.IssuerFingerprint) > 0 {
				if bytes.Equal(sig.IssuerFingerprint, k.Fingerprint) {
					return c, k
				}
				continue
			}
			if sig.IssuerKeyId != nil && *sig.IssuerKeyId == k.KeyId {
				return c, k
			}
		}
	}
	return nil, nil
}

// check verifies one signature by one pinned key, at the time it was made.
func check(ctx context.Context, s source.Subject, sig *packet.Signature, c *certificate, key *packet.PublicKey) (*source.Proof, error) {
	exception, err := floor(s, sig, key)
	if err != nil {
		return nil, err
	}
	made := sig.CreationTime.UTC()
	if made.After(s.Now) {
		return nil, fmt.Errorf("%w: made on %s, after now", ErrKeyValidity, made.Format(time.RFC3339))
	}
	if c.entity.Revoked(s.Now) {
		return nil, fmt.Errorf("%w: it is revoked", ErrKeyValidity)
	}
	config := &packet.Config{
		Time:       func() time.Time { return made },
		MinRSABits: minRSA,
		RejectMessageHashAlgorithms: map[crypto.Hash]bool{
			crypto.MD5: true, crypto.RIPEMD160: true, crypto.SHA1: exception == nil,
		},
	}
	if _, err := c.entity.VerifyPrimaryKey(made, config); err != nil {
		return nil, fmt.Errorf("%w, %s: %w", ErrKeyValidity, made.Format(time.RFC3339), err)
	}
	if signing, ok := c.entity.SigningKeyById(made, key.KeyId, config); !ok || !bytes.Equal(signing.PublicKey.Fingerprint, key.Fingerprint) {
		return nil, fmt.Errorf("%w, %s: %s may not sign", ErrKeyValidity, made.Format(time.RFC3339), fingerprint(key))
	}
	var raw bytes.Buffer
	if err := sig.Serialize(&raw); err != nil {
		return nil, err
	}
	r, err := s.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	_, signer, err := pgp.VerifyDetachedSignature(pgp.EntityList{c.entity}, &contextReader{ctx, r}, &raw, config)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	if got := fingerprint(signer.PrimaryKey); got != c.fingerprint {
		return nil, &SignerError{Signed: []string{got}, Want: []string{c.fingerprint}}
	}
	return &source.Proof{
		Grade:       source.Signed,
		Mechanism:   "openpgp",
		Digest:      s.Digest,
		Signer:      c.fingerprint,
		SigningKey:  fingerprint(key),
		Algorithm:   algorithm(key),
		Hash:        hashName(sig.Hash),
		SignedAt:    &made,
		Exception:   exception,
		Description: "detached signature by " + c.fingerprint + " on " + made.Format(time.DateOnly),
	}, nil
}

// contextReader ends a long verification with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
