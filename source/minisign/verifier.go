package minisign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/blake2b"

	"github.com/cleanstart/cleanstart/source"
)

// States of a signature that a caller may want to tell apart.
var (
	ErrBad       = errors.New("signature does not match")
	ErrExpired   = errors.New("signature is dated in the future")
	ErrFile      = errors.New("signature is for another file")
	ErrMalformed = errors.New("not a minisign signature")
	ErrKey       = errors.New("not a minisign public key")
)

// maxWhole bounds what a legacy signature may be over.
const maxWhole = 16 << 20

// SignerError says that none of the pinned keys made the signature.
type SignerError struct {
	KeyID  string   // that the signature states, as minisign prints it
	Pinned []string // public keys
}

func (e *SignerError) Error() string {
	return fmt.Sprintf("signed by minisign key %s, the policy pins %s: if upstream has announced the new key, pin it too",
		e.KeyID, strings.Join(e.Pinned, ", "))
}

// Verifier checks signatures by the policy's keys of kind minisign, and proves
// nothing for a policy that has none: detached ones over the archive, over
// what it decompresses to or over a checksum list.
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
	signers := s.Signers(source.Minisign)
	if len(signers) == 0 {
		return nil, nil
	}
	if s.Now.IsZero() {
		return nil, fmt.Errorf("%w: no time to judge it at", ErrExpired)
	}
	var pins []pin
	for _, k := range signers {
		public, err := parseKey(k.Fingerprint)
		if err != nil {
			return nil, err
		}
		pins = append(pins, pin{public, k.Fingerprint})
	}
	made := map[string]bool{} // one key may be pinned under two IDs
	return s.Judge(ctx, "minisign keys", func(st source.Statement) (*source.Proof, error) {
		if !isSignature(st.Signature) {
			return nil, nil
		}
		proof, by, err := verify(ctx, s, pins, st)
		if err != nil || made[string(by.public)] {
			return nil, err
		}
		made[string(by.public)] = true
		return proof, nil
	})
}

func verify(ctx context.Context, s source.Subject, pins []pin, st source.Statement) (*source.Proof, *pin, error) {
	sig, err := parse(st.Signature)
	if err != nil {
		return nil, nil, err
	}
	if len(named(pins, sig.id)) == 0 {
		e := &SignerError{KeyID: fmt.Sprintf("%016X", sig.id)}
		for _, p := range pins {
			e.Pinned = append(e.Pinned, p.name)
		}
		return nil, nil, e
	}
	text, message, err := read(ctx, s, st, sig.prehashed)
	if err != nil {
		return nil, nil, err
	}
	var by *pin
	for _, p := range named(pins, sig.id) {
		if err = sig.verify(p.public, message); err == nil {
			by = &p
			break
		}
	}
	if by == nil {
		return nil, nil, fmt.Errorf("key %016X: %w", sig.id, err)
	}
	at, file, err := sig.stated()
	if err != nil {
		return nil, nil, err
	}
	if at != nil && at.After(s.Now) {
		return nil, nil, fmt.Errorf("key %016X: %w: %s", sig.id, ErrExpired, at.Format(time.DateOnly))
	}
	if st.Over == source.OverArchive && file != "" && s.File != "" && file != s.File {
		return nil, nil, fmt.Errorf("key %016X: %w: its trusted comment names %q, the archive is %q", sig.id, ErrFile, file, s.File)
	}
	if err := s.Confirm(ctx, st, text); err != nil {
		return nil, nil, fmt.Errorf("key %016X: %w", sig.id, err)
	}
	p := &source.Proof{
		Grade:       source.Signed,
		Mechanism:   source.Minisign,
		Digest:      s.Digest,
		Over:        st.Over,
		Signer:      by.name,
		SigningKey:  fmt.Sprintf("%016X", sig.id),
		Algorithm:   "Ed25519",
		Hash:        "BLAKE2b-512",
		SignedAt:    at,
		Git:         s.Git,
		Description: describe(st, file),
	}
	if !sig.prehashed {
		p.Hash = "SHA-512" // Ed25519's own
	}
	return p, by, nil
}

// named are the pinned keys that have an ID: one, unless somebody made IDs
// collide, which is easy.
func named(pins []pin, id uint64) []pin {
	var out []pin
	for _, p := range pins {
		if p.id == id {
			out = append(out, p)
		}
	}
	return out
}

// read gives what Ed25519 signs, the message or its digest, and the message's
// text where it is not the archive.
func read(ctx context.Context, s source.Subject, st source.Statement, prehashed bool) (text, message []byte, err error) {
	if st.Over != source.OverArchive && st.Over != source.OverDecompressed {
		if text, err = s.Text(ctx, st); err != nil || !prehashed {
			return text, text, err
		}
		sum := blake2b.Sum512(text)
		return text, sum[:], nil
	}
	r, err := st.Message(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	if !prehashed {
		b, err := io.ReadAll(io.LimitReader(r, maxWhole+1))
		if err == nil && len(b) > maxWhole {
			err = fmt.Errorf("a legacy signature is over all of it: %w of %d bytes", source.ErrTooLarge, maxWhole)
		}
		return nil, b, err
	}
	h, err := blake2b.New512(nil)
	if err != nil {
		return nil, nil, err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, r, make([]byte, 256<<10)); err != nil {
		return nil, nil, err
	}
	return nil, h.Sum(nil), nil
}

func describe(st source.Statement, file string) string {
	text := "detached minisign signature"
	switch st.Over {
	case source.OverDecompressed:
		text += " over the decompressed archive"
	case source.OverChecksums:
		text += " over a list of checksums"
	case source.OverTag, source.OverCommit:
		text += " over git " + st.From
	}
	if file != "" {
		text += fmt.Sprintf(", made of %q", file)
	}
	return text
}
