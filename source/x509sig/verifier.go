package x509sig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/source"
)

// States of a signature that a caller may want to tell apart.
var (
	ErrBad         = errors.New("signature does not match what it is over")
	ErrCertificate = errors.New("certificate does not lead to one that is trusted")
	ErrExpired     = errors.New("signature was made when a certificate was not valid")
	ErrTime        = errors.New("time of the signature is not known")
	ErrWeak        = errors.New("signature is too weak")
	ErrMalformed   = errors.New("not a CMS signature")
	ErrKeyFile     = errors.New("file of trusted certificates cannot be read")
)

// SignerError says that none of the pinned identities made the signature, by
// what the certificate in it states.
type SignerError struct {
	Names  []string // subject alternative names
	Issuer string   // of the token, where it is stated
	Pinned []string // each as identity, and (issuer) where there is one
}

func (e *SignerError) Error() string {
	return fmt.Sprintf("signed by %s, the policy pins %s: if upstream has announced the new identity, pin it too",
		named(strings.Join(e.Names, ", "), e.Issuer), strings.Join(e.Pinned, ", "))
}

func named(identity, issuer string) string {
	if issuer == "" {
		return identity
	}
	return identity + " (" + issuer + ")"
}

// Verifier checks CMS signatures by the policy's identities of kind x509, and
// proves nothing for a policy that has none: detached ones over the archive,
// over what it decompresses to or over a checksum list, and those in git tags
// and commits.
type Verifier struct{}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier]. It gives a proof for each pinned
// identity that made a good signature. Errors wrap [source.ErrNoSignature] or
// one of this package's errors, or are a [*SignerError]; when several
// signatures fail, and none is good, they are joined in order.
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	pins := s.Signers(source.X509)
	if len(pins) == 0 {
		return nil, nil
	}
	if s.Now.IsZero() {
		return nil, fmt.Errorf("%w: no time to judge it at", ErrExpired)
	}
	return s.Judge(ctx, "identities of certificates", func(st source.Statement) (*source.Proof, error) {
		if !isSignature(st.Signature) {
			return nil, nil
		}
		return verify(ctx, s, pins, st)
	})
}

func verify(ctx context.Context, s source.Subject, pins []source.Key, st source.Statement) (*source.Proof, error) {
	der, err := unarmor(st.Signature)
	if err != nil {
		return nil, err
	}
	sig, err := parse(der, oidData)
	if err == nil && sig.content != nil {
		err = fmt.Errorf("%w: it encapsulates a message instead of being over one", ErrMalformed)
	}
	if err != nil {
		return nil, err
	}
	algorithm, err := strength(sig.certificate)
	if err != nil {
		return nil, err
	}
	issuer, err := tokenIssuer(sig.certificate)
	if err != nil {
		return nil, err
	}
	claimed, err := claim(pins, names(sig.certificate), issuer)
	if err != nil {
		return nil, err
	}
	text, digest, err := read(ctx, s, st, sig)
	if err != nil {
		return nil, err
	}
	if err := sig.check(digest); err != nil {
		return nil, err
	}
	p := &source.Proof{
		Grade:      source.Signed,
		Mechanism:  source.X509,
		Digest:     s.Digest,
		Over:       st.Over,
		Issuer:     issuer,
		SigningKey: keyDigest(sig),
		Algorithm:  algorithm,
		Hash:       sig.hash.String(),
		Git:        s.Git,
	}
	if err := sig.trust(s, claimed, p); err != nil {
		return nil, err
	}
	if err := s.Confirm(ctx, st, text); err != nil {
		return nil, err
	}
	p.Description = describe(st, sig)
	return p, nil
}

// claim gives the pinned identities that a certificate states.
func claim(pins []source.Key, names []string, issuer string) ([]source.Key, error) {
	e := &SignerError{Names: names, Issuer: issuer}
	var out []source.Key
	for _, k := range pins {
		if k.Identity != "" && slices.Contains(names, k.Identity) && (k.Issuer == "" || k.Issuer == issuer) {
			out = append(out, k)
		}
		e.Pinned = append(e.Pinned, named(k.Identity, k.Issuer))
	}
	if len(out) == 0 {
		return nil, e
	}
	return out, nil
}

// trust believes the certificate by the file of one of the pinned identities,
// and writes into the proof which one, and when the signature was made.
func (s *signature) trust(sub source.Subject, claimed []source.Key, p *source.Proof) error {
	var refused []error
	for _, k := range claimed {
		roots, err := readRoots(sub.Keys, k.File)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		at, witness, exception, err := s.when(sub, roots)
		if err == nil && at.After(sub.Now) {
			err = fmt.Errorf("%w: dated %s, in the future", ErrExpired, at.Format(time.DateOnly))
		}
		if err == nil {
			err = s.chain(roots, at)
		}
		if err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", named(k.Identity, k.Issuer), err))
			continue
		}
		p.Signer, p.SignedAt, p.Witness, p.Exception = k.Identity, &at, witness, exception
		return nil
	}
	return errors.Join(refused...)
}

// read digests what was signed, and gives its text where it is not the
// archive.
func read(ctx context.Context, s source.Subject, st source.Statement, sig *signature) (text, digest []byte, err error) {
	h := sig.hash.New()
	if st.Over != source.OverArchive && st.Over != source.OverDecompressed {
		if text, err = s.Text(ctx, st); err != nil {
			return nil, nil, err
		}
		h.Write(text)
		return text, h.Sum(nil), nil
	}
	r, err := st.Message(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, r, make([]byte, 256<<10)); err != nil {
		return nil, nil, err
	}
	return nil, h.Sum(nil), nil
}

func keyDigest(s *signature) string {
	sum := sha256.Sum256(s.certificate.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func describe(st source.Statement, s *signature) string {
	by := fmt.Sprintf(" with a certificate of %s", s.certificate.Issuer)
	switch st.Over {
	case source.OverTag, source.OverCommit:
		return "git " + st.From + ", signed" + by
	case source.OverDecompressed:
		return "detached CMS signature over the decompressed archive" + by
	case source.OverChecksums:
		return "detached CMS signature over a list of checksums" + by
	}
	return "detached CMS signature" + by
}
