package openpgp

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/cleanstart/cleanstart/source"
)

// States of a signature that a caller may want to tell apart.
var (
	ErrBad       = errors.New("signature does not match the archive")
	ErrExpired   = errors.New("signature was made when its key was not valid")
	ErrRevoked   = errors.New("signing key is revoked")
	ErrWeak      = errors.New("signature is too weak")
	ErrMalformed = errors.New("not an OpenPGP signature")
	ErrKeyFile   = errors.New("key file does not give the pinned key")
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

// Verifier checks signatures by the policy's keys of kind openpgp, and proves
// nothing for a policy that has none: detached ones over the archive, over
// what it decompresses to or over a checksum list, clear-signed lists, and
// those in git tags and commits.
type Verifier struct{}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier]. It gives a proof for each pinned key
// that made a good signature. Errors wrap [source.ErrNoSignature] or one of
// this package's errors, or are a [*SignerError]; when several signatures
// fail, and none is good, they are joined in order.
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	pins := s.Signers(source.OpenPGP)
	if len(pins) == 0 {
		return nil, nil
	}
	if s.Now.IsZero() {
		return nil, fmt.Errorf("%w: no time to judge it at", ErrExpired)
	}
	keys, err := readKeys(s.Keys, pins)
	if err != nil {
		return nil, err
	}
	var proofs []source.Proof
	var failures []error
	for _, st := range s.Statements {
		m, err := open(ctx, s, st)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", st.From, err)
		}
		if m == nil {
			continue
		}
		for _, sig := range m.signatures {
			proof, err := m.verify(ctx, s, keys, sig)
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
			if err != nil {
				failures = append(failures, err)
				continue
			}
			if !slices.ContainsFunc(proofs, func(p source.Proof) bool { return p.Signer == proof.Signer }) {
				proofs = append(proofs, *proof)
			}
		}
	}
	switch {
	case len(proofs) > 0:
		return proofs, nil
	case len(failures) > 0:
		return nil, errors.Join(failures...)
	}
	return nil, fmt.Errorf("%w: the policy pins OpenPGP keys, and no signature of that kind is there", source.ErrNoSignature)
}

func (m *signed) verify(ctx context.Context, s source.Subject, keys []pinned, sig *packet.Signature) (*source.Proof, error) {
	owner, key := find(keys, sig)
	if key == nil {
		e := &SignerError{Issuer: issuer(sig)}
		for _, k := range keys {
			e.Pinned = append(e.Pinned, k.fingerprint)
		}
		return nil, e
	}
	name := fingerprint(key)
	if sig.SigType != packet.SigTypeBinary && !(m.text && sig.SigType == packet.SigTypeText) {
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
	a := allowance{s: s}
	algorithm, err := a.strength(key)
	if err != nil {
		return nil, err
	}
	if key != owner.entity.PrimaryKey {
		if _, err := a.strength(owner.entity.PrimaryKey); err != nil {
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
	if err := a.hashes(hashes); err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	if err := m.check(ctx, s, key, sig); err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	at := sig.CreationTime.UTC()
	return &source.Proof{
		Grade:       source.Signed,
		Mechanism:   source.OpenPGP,
		Digest:      s.Digest,
		Over:        m.statement.Over,
		Signer:      owner.fingerprint,
		SigningKey:  name,
		Algorithm:   algorithm,
		Hash:        sig.Hash.String(),
		SignedAt:    &at,
		Git:         s.Git,
		Exception:   a.used,
		Description: describe(m.statement) + " by " + owner.name(),
	}, nil
}

func describe(st source.Statement) string {
	switch {
	case st.Over == source.OverTag || st.Over == source.OverCommit:
		return "git " + st.From + ", signed"
	case st.Signature == nil:
		return "clear-signed list of checksums"
	case st.Over == source.OverArchive:
		return "detached signature"
	}
	return "detached signature over " + map[string]string{
		source.OverDecompressed: "the decompressed archive", source.OverChecksums: "a list of checksums"}[st.Over]
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// allowance applies the floor, and remembers the exception that let something
// below it through.
type allowance struct {
	s    source.Subject
	used *source.Exception
}

func (a *allowance) allow(name, what string) error {
	x := a.s.Policy.Exception(name, a.s.Now)
	if x == nil {
		return fmt.Errorf("%w: %s; the policy may accept that by an exception (allow: %s, with a reason and an until date that is not past)", ErrWeak, what, name)
	}
	a.used = x
	return nil
}

// hashes refuses weak digests, in the signature or between a subkey and its
// primary.
func (a *allowance) hashes(hashes []crypto.Hash) error {
	for _, h := range hashes {
		if !weakHash(h) {
			continue
		}
		if h != crypto.SHA1 {
			return fmt.Errorf("%w: digest is %s", ErrWeak, h)
		}
		if err := a.allow(source.AllowSHA1, "digest is SHA-1"); err != nil {
			return err
		}
	}
	return nil
}

func weakHash(h crypto.Hash) bool {
	switch h {
	case crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
		return false
	}
	return true
}

// strength names the key's algorithm if it is on the list of those accepted,
// or the policy makes an exception for it.
func (a *allowance) strength(k *packet.PublicKey) (string, error) {
	weak := func(what string) error {
		return fmt.Errorf("%w: key %s is %s; accepted are RSA from 2048 bits, ECDSA on NIST curves and EdDSA", ErrWeak, fingerprint(k), what)
	}
	bits, err := k.BitLength()
	if err != nil {
		bits = 0
	}
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		name := fmt.Sprintf("RSA-%d", bits)
		switch {
		case bits >= 2048:
			return name, nil
		case bits >= 1024:
			return name, a.allow(source.AllowRSA1024, fmt.Sprintf("key %s is %s", fingerprint(k), name))
		}
		return "", weak(name)
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
		name := fmt.Sprintf("DSA-%d", bits)
		if bits >= 1024 {
			return name, a.allow(source.AllowDSA, fmt.Sprintf("key %s is %s", fingerprint(k), name))
		}
		return "", weak(name)
	}
	return "", weak(fmt.Sprintf("of algorithm %d", k.PubKeyAlgo))
}

// config is for judging keys. The library lets SHA-1 bind them; acceptable
// judges where that matters.
func config(now time.Time) *packet.Config {
	return &packet.Config{
		Time: func() time.Time { return now },
		// strength judges algorithms and sizes.
		MinRSABits:                1024,
		RejectPublicKeyAlgorithms: map[packet.PublicKeyAlgorithm]bool{},
		RejectHashAlgorithms:      map[crypto.Hash]bool{crypto.MD5: true, crypto.RIPEMD160: true},
		RejectCurves:              map[packet.Curve]bool{packet.CurveSecP256k1: true},
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
