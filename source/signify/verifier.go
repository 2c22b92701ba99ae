package signify

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cleanstart/cleanstart/source"
)

// States of a signature that a caller may want to tell apart.
var (
	ErrBad       = errors.New("signature does not match")
	ErrMalformed = errors.New("not a signify signature")
	ErrKey       = errors.New("not a signify public key")
)

// maxWhole bounds what a signature may be over.
const maxWhole = 16 << 20

// SignerError says that none of the pinned keys made the signature.
type SignerError struct {
	KeyNumber string   // that the signature states, in hexadecimal
	Pinned    []string // public keys
}

func (e *SignerError) Error() string {
	return fmt.Sprintf("signed by signify key %s, the policy pins %s: if upstream has announced the new key, pin it too",
		e.KeyNumber, strings.Join(e.Pinned, ", "))
}

// Verifier checks signatures by the policy's keys of kind signify, and proves
// nothing for a policy that has none: detached ones over the archive, over
// what it decompresses to or over a checksum list, and lists that bear their
// own.
type Verifier struct{}

var _ source.Verifier = Verifier{}

// pin is a key of the policy.
type pin struct {
	key
	name string // as it is pinned
}

// Verify implements [source.Verifier]. It gives a proof for each pinned key
// that made a good signature. Errors wrap [source.ErrNoSignature] or one of
// this package's errors, or are a [*SignerError]; when several signatures
// fail, and none is good, they are joined in order.
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	signers := s.Signers(source.Signify)
	if len(signers) == 0 {
		return nil, nil
	}
	var pins []pin
	for _, k := range signers {
		public, err := parseKey(k.Fingerprint)
		if err != nil {
			return nil, err
		}
		pins = append(pins, pin{public, k.Fingerprint})
	}
	made := map[string]bool{} // one key may be pinned under two numbers
	return s.Judge(ctx, "signify keys", func(st source.Statement) (*source.Proof, error) {
		proof, by, err := verify(ctx, s, pins, st)
		if proof == nil || err != nil || made[string(by.public)] {
			return nil, err
		}
		made[string(by.public)] = true
		return proof, nil
	})
}

// verify gives no proof and no error where the statement is not signed in
// this way.
func verify(ctx context.Context, s source.Subject, pins []pin, st source.Statement) (*source.Proof, *pin, error) {
	sig, message, err := open(ctx, s, st)
	if sig == nil || err != nil {
		return nil, nil, err
	}
	by, err := sig.signer(pins, message)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Confirm(ctx, st, message); err != nil {
		return nil, nil, fmt.Errorf("key %x: %w", sig.number, err)
	}
	return &source.Proof{
		Grade:       source.Signed,
		Mechanism:   source.Signify,
		Digest:      s.Digest,
		Over:        st.Over,
		Signer:      by.name,
		SigningKey:  fmt.Sprintf("%x", sig.number),
		Algorithm:   "Ed25519",
		Hash:        "SHA-512", // Ed25519's own
		Git:         s.Git,
		Description: describe(st),
	}, by, nil
}

// open reads a statement's signature and what it must be over.
func open(ctx context.Context, s source.Subject, st source.Statement) (*signature, []byte, error) {
	if st.Signature == nil {
		text, err := s.Text(ctx, st)
		if err != nil || !isSignature(text) {
			return nil, nil, err
		}
		return parse(text)
	}
	if !isSignature(st.Signature) {
		return nil, nil, nil
	}
	sig, rest, err := parse(st.Signature)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: a message follows it; a list that bears its signature is given as the list", ErrMalformed)
	}
	if err != nil {
		return nil, nil, err
	}
	message, err := whole(ctx, st)
	return sig, message, err
}

func whole(ctx context.Context, st source.Statement) ([]byte, error) {
	r, err := st.Message(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxWhole+1))
	if err == nil && len(b) > maxWhole {
		err = fmt.Errorf("the signature is over all of it: %w of %d bytes", source.ErrTooLarge, maxWhole)
	}
	return b, err
}

// signer is the pinned key that made the signature. Key numbers may collide,
// since it is easy to make them.
func (s *signature) signer(pins []pin, message []byte) (*pin, error) {
	unknown := &SignerError{KeyNumber: fmt.Sprintf("%x", s.number)}
	found := false
	for _, p := range pins {
		if p.number != s.number {
			unknown.Pinned = append(unknown.Pinned, p.name)
			continue
		}
		found = true
		if ed25519.Verify(p.public, message, s.bytes) {
			return &p, nil
		}
	}
	if found {
		return nil, fmt.Errorf("key %x: %w", s.number, ErrBad)
	}
	return nil, unknown
}

func describe(st source.Statement) string {
	switch {
	case st.Signature == nil:
		return "list of checksums that bears a signify signature"
	case st.Over == source.OverDecompressed:
		return "detached signify signature over the decompressed archive"
	case st.Over == source.OverChecksums:
		return "detached signify signature over a list of checksums"
	case st.Over == source.OverTag || st.Over == source.OverCommit:
		return "detached signify signature, git " + st.From
	}
	return "detached signify signature"
}
