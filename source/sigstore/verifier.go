package sigstore

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	fulcio "github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/cleanstart/cleanstart/source"
)

// States of a bundle that a caller may want to tell apart.
var (
	ErrBad       = errors.New("sigstore bundle does not verify")
	ErrExpired   = errors.New("signature is dated in the future")
	ErrStatement = errors.New("statement is not one that a thing was built or released")
	ErrWeak      = errors.New("signature is too weak")
	ErrMalformed = errors.New("not a sigstore bundle")
	ErrKeyFile   = errors.New("trusted root cannot be read")
)

// SignerError says that the bundle is good, and that none of the pinned
// identities made it.
type SignerError struct {
	Identity, Issuer string
	Pinned           []string // each as identity (issuer)
}

func (e *SignerError) Error() string {
	return fmt.Sprintf("signed by %s (%s), the policy pins %s: if upstream has announced the new identity, pin it too",
		e.Identity, e.Issuer, strings.Join(e.Pinned, ", "))
}

// Verifier checks bundles by the policy's identities of kind sigstore, and
// proves nothing for a policy that has none: bundles over the archive, over
// what it decompresses to or over a checksum list.
type Verifier struct{}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier]. It gives a proof for each pinned
// identity that made a good bundle. Errors wrap [source.ErrNoSignature] or one
// of this package's errors, or are a [*SignerError]; when several bundles
// fail, and none is good, they are joined in order.
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	pins := s.Signers(source.Sigstore)
	if len(pins) == 0 {
		return nil, nil
	}
	if s.Now.IsZero() {
		return nil, fmt.Errorf("%w: no time to judge it at", ErrExpired)
	}
	roots := map[string]*root.TrustedRoot{}
	for _, k := range pins {
		if roots[k.File] != nil {
			continue
		}
		r, err := readRoot(s.Keys, k.File)
		if err != nil {
			return nil, err
		}
		roots[k.File] = r
	}
	return s.Judge(ctx, "sigstore identities", func(st source.Statement) (*source.Proof, error) {
		if !isBundle(st.Signature) {
			return nil, nil
		}
		return judge(ctx, s, pins, roots, st)
	})
}

func judge(ctx context.Context, s source.Subject, pins []source.Key, roots map[string]*root.TrustedRoot, st source.Statement) (*source.Proof, error) {
	b, err := parse(st.Signature)
	if err != nil {
		return nil, err
	}
	cert, err := certificate(b)
	if err != nil {
		return nil, err
	}
	algorithm, err := strength(cert)
	if err != nil {
		return nil, err
	}
	h, err := hashOf(b)
	if err != nil {
		return nil, err
	}
	text, digest, err := read(ctx, s, st, h)
	if err != nil {
		return nil, err
	}
	key, result, err := find(b, pins, roots, h, digest)
	if err != nil {
		return nil, err
	}
	witness := earliest(result)
	if witness.Timestamp.After(s.Now) {
		return nil, fmt.Errorf("%w: %s", ErrExpired, witness.Timestamp.UTC().Format(time.DateOnly))
	}
	if err := s.Confirm(ctx, st, text); err != nil {
		return nil, err
	}
	at := witness.Timestamp.UTC()
	public := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return &source.Proof{
		Grade:       source.Signed,
		Mechanism:   source.Sigstore,
		Digest:      s.Digest,
		Over:        st.Over,
		Signer:      key.Identity,
		Issuer:      key.Issuer,
		SigningKey:  "sha256:" + hex.EncodeToString(public[:]),
		Algorithm:   algorithm,
		Hash:        h.String(),
		SignedAt:    &at,
		Witness:     witness.URI,
		Log:         log(b, roots[key.File], result),
		Git:         s.Git,
		Description: describe(st, result),
	}, nil
}

// find gives the pinned identity that made the bundle. If it is another's,
// that is said only when nothing else is wrong with it.
func find(b *bundle.Bundle, pins []source.Key, roots map[string]*root.TrustedRoot, h crypto.Hash, digest []byte) (*source.Key, *verify.VerificationResult, error) {
	unknown := &SignerError{}
	var failures []error
	for _, k := range pins {
		result, err := check(b, roots[k.File], k, h, digest)
		var other *verify.ErrNoMatchingCertificateIdentity
		switch {
		case err == nil:
			return &k, result, nil
		case errors.As(err, &other):
			unknown.Pinned = append(unknown.Pinned, fmt.Sprintf("%s (%s)", k.Identity, k.Issuer))
		default:
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return nil, nil, errors.Join(failures...)
	}
	cert, err := certificate(b)
	if err != nil {
		return nil, nil, err
	}
	if summary, err := fulcio.SummarizeCertificate(cert); err == nil {
		unknown.Identity, unknown.Issuer = summary.SubjectAlternativeName, summary.Issuer
	}
	return nil, nil, unknown
}

// earliest is the witness nearest to the making of the signature: each says
// that it was there at that time.
func earliest(r *verify.VerificationResult) verify.TimestampVerificationResult {
	t := slices.MinFunc(r.VerifiedTimestamps, func(a, b verify.TimestampVerificationResult) int {
		return a.Timestamp.Compare(b.Timestamp)
	})
	if t.URI == "" {
		t.URI = t.Type
	}
	return t
}

// read digests what was signed, and gives its text where it is not the
// archive.
func read(ctx context.Context, s source.Subject, st source.Statement, hash crypto.Hash) (text, digest []byte, err error) {
	h := hash.New()
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

func describe(st source.Statement, r *verify.VerificationResult) string {
	text := "sigstore bundle"
	if r.Statement != nil {
		text = "sigstore bundle of a statement " + r.Statement.GetPredicateType()
	}
	switch st.Over {
	case source.OverDecompressed:
		text += " over the decompressed archive"
	case source.OverChecksums:
		text += " over a list of checksums"
	case source.OverTag, source.OverCommit:
		text += " over git " + st.From
	}
	return text
}
