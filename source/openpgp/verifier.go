package openpgp

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/cleanstart/cleanstart/source"
)

// States of a signature that a caller may want to tell apart.
var (
	ErrNoSignature = errors.New("no signature")
	ErrBad         = errors.New("signature does not match the archive")
	ErrExpired     = errors.New("signature was made when its key was not valid")
	ErrRevoked     = errors.New("signing key is revoked")
	ErrWeak        = errors.New("signature is too weak")
	ErrMalformed   = errors.New("not a detached OpenPGP signature")
	ErrKeyFile     = errors.New("key file does not give the pinned key")
)

// SignerError says that none of the pinned keys made the signature.
type SignerError struct {
	Issuer string   // fingerprint or key ID that the signature states, upper-case hexadecimal
	Pinned []string // primary fingerprints
}

func (e *SignerError) Error() string {
	return fmt.Sprintf("signed by key %s, the policy pins %s: if upstream has announced the new key, pin it too",
		e.Issuer, strings.Join(e.Pinned, ", "))
}

// Verifier checks detached signatures against Policy.Keys, and proves nothing
// for a policy that has none.
type Verifier struct{}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier]. One good signature by one pinned key
// suffices. Errors wrap one of this package's errors, or are a
// [*SignerError]; when several signatures fail, they are joined in order.
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	if len(s.Policy.Keys) == 0 {
		return nil, nil
	}
	if s.Now.IsZero() {
		return nil, fmt.Errorf("%w: no time to judge it at", ErrExpired)
	}
	keys, err := readKeys(s.Keys, s.Policy.Keys)
	if err != nil {
		return nil, err
	}
	if len(s.Signature) == 0 {
		return nil, fmt.Errorf("%w: the policy pins keys, but the place names no signature file or an empty one", ErrNoSignature)
	}
	sigs, err := parseSignatures(s.Signature)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, sig := range sigs {
		proof, err := verify(ctx, s, keys, sig)
		if err == nil {
			return []source.Proof{*proof}, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

func verify(ctx context.Context, s source.Subject, keys []pinned, sig *packet.Signature) (*source.Proof, error) {
	owner, key := find(keys, sig)
	if key == nil {
		e := &SignerError{Issuer: issuer(sig)}
		for _, k := range keys {
			e.Pinned = append(e.Pinned, k.fingerprint)
		}
		return nil, e
	}
	name := fingerprint(key)
	if sig.SigType != packet.SigTypeBinary {
		return nil, fmt.Errorf("%w: type %#x is not a signature over bytes", ErrMalformed, sig.SigType)
	}
	if sig.Version != 4 && sig.Version != 6 {
		return nil, fmt.Errorf("%w: version %d", ErrMalformed, sig.Version)
	}
	for _, n := range sig.Notations {
		if n.IsCritical {
			return nil, fmt.Errorf("%w: critical notation %q is unknown", ErrMalformed, n.Name)
		}
	}
	if sig.CreationTime.After(s.Now) {
		return nil, fmt.Errorf("%w: key %s: dated %s, in the future", ErrExpired, name, date(sig.CreationTime))
	}
	if sig.SigExpired(s.Now) {
		return nil, fmt.Errorf("%w: key %s: the signature itself has expired", ErrExpired, name)
	}
	algorithm, err := strength(key)
	if err != nil {
		return nil, err
	}
	if key != owner.entity.PrimaryKey {
		if _, err := strength(owner.entity.PrimaryKey); err != nil {
			return nil, err
		}
	}
	binding, err := validAt(owner.entity, key, sig, config(s.Now))
	if err != nil {
		return nil, fmt.Errorf("key %s at %s: %w", name, date(sig.CreationTime), err)
	}
	hashes := []crypto.Hash{sig.Hash}
	if key != owner.entity.PrimaryKey {
		hashes = append(hashes, binding.Hash, binding.EmbeddedSignature.Hash)
	}
	exception, err := acceptable(hashes, s)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	if err := check(ctx, s, key, sig); err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	at := sig.CreationTime.UTC()
	return &source.Proof{
		Grade:       source.Signed,
		Mechanism:   "openpgp",
		Digest:      s.Digest,
		Signer:      owner.fingerprint,
		SigningKey:  name,
		Algorithm:   algorithm,
		Hash:        sig.Hash.String(),
		SignedAt:    &at,
		Exception:   exception,
		Description: "detached signature by " + owner.name(),
	}, nil
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// acceptable refuses weak digests, in the signature or between a subkey and
// its primary, and gives the exception that the policy makes for one.
func acceptable(hashes []crypto.Hash, s source.Subject) (*source.Exception, error) {
	var used *source.Exception
	for _, h := range hashes {
		if !weakHash(h) {
			continue
		}
		if h != crypto.SHA1 {
			return nil, fmt.Errorf("%w: digest is %s", ErrWeak, h)
		}
		if used = s.Policy.Exception(source.AllowSHA1, s.Now); used == nil {
			return nil, fmt.Errorf("%w: digest is SHA-1; the policy may accept that by an exception (allow: %s, with a reason and an until date that is not past)", ErrWeak, source.AllowSHA1)
		}
	}
	return used, nil
}

func weakHash(h crypto.Hash) bool {
	switch h {
	case crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
		return false
	}
	return true
}

// strength names the key's algorithm if it is on the list of those accepted.
func strength(k *packet.PublicKey) (string, error) {
	weak := func(what string) error {
		return fmt.Errorf("%w: key %s is %s; accepted are RSA from 2048 bits, ECDSA on NIST curves and EdDSA", ErrWeak, fingerprint(k), what)
	}
	bits, err := k.BitLength()
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if err != nil || bits < 2048 {
			return "", weak(fmt.Sprintf("RSA-%d", bits))
		}
		return fmt.Sprintf("RSA-%d", bits), nil
	case packet.PubKeyAlgoECDSA:
		curve, err := k.Curve()
		switch {
		case err == nil && (curve == packet.CurveNistP256 || curve == packet.CurveNistP384 || curve == packet.CurveNistP521):
			return "ECDSA-" + string(curve), nil
		}
		return "", weak("ECDSA on curve " + string(curve))
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
		return "EdDSA", nil
	case packet.PubKeyAlgoDSA:
		return "", weak(fmt.Sprintf("DSA-%d", bits))
	}
	return "", weak(fmt.Sprintf("of algorithm %d", k.PubKeyAlgo))
}

// config is for judging keys. The library lets SHA-1 bind them; acceptable
// judges where that matters.
func config(now time.Time) *packet.Config {
	return &packet.Config{
		Time:                 func() time.Time { return now },
		MinRSABits:           2048,
		RejectHashAlgorithms: map[crypto.Hash]bool{crypto.MD5: true, crypto.RIPEMD160: true},
		RejectCurves:         map[packet.Curve]bool{packet.CurveSecP256k1: true},
	}
}

// validAt gives the self-signature by which key could sign when sig says it
// did.
func validAt(e *pgp.Entity, key *packet.PublicKey, sig *packet.Signature, c *packet.Config) (*packet.Signature, error) {
	at := sig.CreationTime
	if at.Before(key.CreationTime) {
		return nil, fmt.Errorf("%w: the key was made on %s", ErrExpired, date(key.CreationTime))
	}
	primary, err := e.VerifyPrimaryKey(at, c)
	if err != nil {
		return nil, state(err)
	}
	if key == e.PrimaryKey {
		// A signing subkey does not bar the primary, where flags allow it.
		if !primary.FlagsValid || !primary.FlagSign {
			return nil, fmt.Errorf("%w: the key is not for signing", ErrExpired)
		}
		return primary, nil
	}
	for i := range e.Subkeys {
		sub := &e.Subkeys[i]
		if sub.PublicKey != key {
			continue
		}
		binding, err := sub.Verify(at, c)
		if err != nil {
			return nil, state(err)
		}
		if !binding.FlagsValid || !binding.FlagSign || binding.EmbeddedSignature == nil {
			return nil, fmt.Errorf("%w: the subkey is not for signing", ErrExpired)
		}
		return binding, nil
	}
	return nil, fmt.Errorf("%w: no such subkey", ErrExpired)
}

// state maps the library's errors about a key to ours.
func state(err error) error {
	switch {
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return fmt.Errorf("%w: %w", ErrRevoked, err)
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return fmt.Errorf("%w: %w", ErrExpired, err)
	}
	return fmt.Errorf("%w: %w; the key file must hold the self-signature of that time, which exports of the newest one leave out", ErrExpired, err)
}

// check does the arithmetic: the signature against the archive's bytes, which
// must be the bytes that the subject's digest names.
func check(ctx context.Context, s source.Subject, key *packet.PublicKey, sig *packet.Signature) error {
	r, err := s.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	signed, err := sig.PrepareVerify()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, signed), &contextReader{ctx, r}); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != s.Digest {
		return &source.DigestError{Want: s.Digest, Got: got}
	}
	if err := key.VerifySignature(signed, sig); err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	return nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
