package sshsig

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cleanstart/cleanstart/source"
)

// States of a signature that a caller may want to tell apart.
var (
	ErrBad        = errors.New("signature does not match what it is over")
	ErrNamespace  = errors.New("signature was made for another use")
	ErrNotAllowed = errors.New("allowed_signers file does not allow the key")
	ErrExpired    = errors.New("key is not valid at this time")
	ErrWeak       = errors.New("signature is too weak")
	ErrMalformed  = errors.New("not an SSH signature")
	ErrKeyFile    = errors.New("allowed_signers file cannot be read")
)

// SignerError says that none of the pinned keys made the signature.
type SignerError struct {
	Key    string   // fingerprint of the key in the signature
	Pinned []string // fingerprints
}

func (e *SignerError) Error() string {
	return fmt.Sprintf("signed by SSH key %s, the policy pins %s: if upstream has announced the new key, pin it too",
		e.Key, strings.Join(e.Pinned, ", "))
}

// Verifier checks signatures by the policy's keys of kind ssh, and proves
// nothing for a policy that has none: detached ones over the archive, over
// what it decompresses to or over a checksum list, and those in git tags and
// commits.
type Verifier struct{}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier]. It gives a proof for each pinned key
// that made a good signature. Errors wrap [source.ErrNoSignature] or one of
// this package's errors, or are a [*SignerError]; when several signatures
// fail, and none is good, they are joined in order.
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	pins := s.Signers(source.SSH)
	if len(pins) == 0 {
		return nil, nil
	}
	if s.Now.IsZero() {
		return nil, fmt.Errorf("%w: no time to judge it at", ErrExpired)
	}
	return s.Judge(ctx, "SSH keys", func(st source.Statement) (*source.Proof, error) {
		if !isSignature(st.Signature) {
			return nil, nil
		}
		return verify(ctx, s, pins, st)
	})
}

func verify(ctx context.Context, s source.Subject, pins []source.Key, st source.Statement) (*source.Proof, error) {
	sig, err := parse(st.Signature)
	if err != nil {
		return nil, err
	}
	if want := namespace(st); sig.namespace != want {
		return nil, fmt.Errorf("%w: its namespace is %q, not %q", ErrNamespace, sig.namespace, want)
	}
	name := ssh.FingerprintSHA256(sig.key)
	algorithm, exception, err := sig.strength(s)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	if err := pinned(s, pins, sig, name); err != nil {
		return nil, err
	}
	text, digest, err := read(ctx, s, st, sig)
	if err != nil {
		return nil, err
	}
	if err := sig.key.Verify(sig.signedData(digest), sig.sig); err != nil {
		return nil, fmt.Errorf("key %s: %w: %w", name, ErrBad, err)
	}
	if err := s.Confirm(ctx, st, text); err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return &source.Proof{
		Grade:       source.Signed,
		Mechanism:   source.SSH,
		Digest:      s.Digest,
		Over:        st.Over,
		Signer:      name,
		SigningKey:  name,
		Algorithm:   algorithm,
		Hash:        sig.hash.String(),
		Git:         s.Git,
		Exception:   exception,
		Description: describe(st),
	}, nil
}

// namespace is the only one that a statement's signature may have.
func namespace(st source.Statement) string {
	if st.Over == source.OverTag || st.Over == source.OverCommit {
		return "git"
	}
	return "file"
}

func describe(st source.Statement) string {
	switch st.Over {
	case source.OverTag, source.OverCommit:
		return "git " + st.From + ", signed with an SSH key"
	case source.OverDecompressed:
		return "detached SSH signature over the decompressed archive"
	case source.OverChecksums:
		return "detached SSH signature over a list of checksums"
	}
	return "detached SSH signature"
}

// pinned says whether the policy pins the key, and its file, if any, allows
// it.
func pinned(s source.Subject, pins []source.Key, sig *signature, name string) error {
	unknown := &SignerError{Key: name}
	var refused []error
	for _, k := range pins {
		switch {
		case k.Fingerprint != name:
			unknown.Pinned = append(unknown.Pinned, k.Fingerprint)
			continue
		case k.File == "":
			return nil
		}
		file, err := readAllowed(s.Keys, k.File)
		if err == nil {
			err = allowed(file, sig.key, sig.namespace, s.Now)
		}
		if err == nil {
			return nil
		}
		refused = append(refused, fmt.Errorf("key %s: %s: %w", name, k.File, err))
	}
	if len(refused) > 0 {
		return errors.Join(refused...)
	}
	return unknown
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

// strength names the key's algorithm if key and signature are of a kind that
// is accepted, and the exception that it took.
func (sig *signature) strength(s source.Subject) (string, *source.Exception, error) {
	weak := func(format string, a ...any) (string, *source.Exception, error) {
		return "", nil, fmt.Errorf("%w: %s", ErrWeak, fmt.Sprintf(format, a...))
	}
	kind, format := sig.key.Type(), sig.sig.Format
	if _, ok := sig.key.(*ssh.Certificate); ok {
		return weak("it is a certificate (%s): the policy pins keys, so sign with the key itself", kind)
	}
	if names := map[string]string{
		ssh.KeyAlgoED25519: "Ed25519", ssh.KeyAlgoECDSA256: "ECDSA-P256",
		ssh.KeyAlgoECDSA384: "ECDSA-P384", ssh.KeyAlgoECDSA521: "ECDSA-P521",
	}; names[kind] != "" {
		return names[kind], nil, sig.plain(kind)
	}
	switch kind {
	case ssh.KeyAlgoSKED25519:
		return "Ed25519-SK", nil, sig.touched()
	case ssh.KeyAlgoSKECDSA256:
		return "ECDSA-P256-SK", nil, sig.touched()
	case ssh.KeyAlgoRSA:
		if format != ssh.KeyAlgoRSASHA256 && format != ssh.KeyAlgoRSASHA512 {
			return weak("signature of the form %q; RSA must use rsa-sha2-256 or rsa-sha2-512", format)
		}
		if err := sig.plain(format); err != nil {
			return "", nil, err
		}
		return rsaStrength(s, sig.key)
	}
	return weak("it is of kind %s; accepted are Ed25519, ECDSA, their forms on security keys, and RSA from 2048 bits", kind)
}

// plain says whether a signature has the form that its key makes, and nothing
// after it.
func (sig *signature) plain(format string) error {
	if sig.sig.Format != format || len(sig.sig.Rest) > 0 {
		return fmt.Errorf("%w: signature of the form %q with %d bytes after it, by a key of %s", ErrMalformed, sig.sig.Format, len(sig.sig.Rest), format)
	}
	return nil
}

// touched says whether a security key states that somebody was there (OpenSSH
// PROTOCOL.u2f): after the signature come flags and a counter.
func (sig *signature) touched() error {
	const userPresent = 1
	switch rest := sig.sig.Rest; {
	case len(rest) != 5:
		return fmt.Errorf("%w: a security key's signature has flags and a counter", ErrMalformed)
	case rest[0]&userPresent == 0:
		return fmt.Errorf("%w: made by a security key that nobody touched", ErrWeak)
	}
	return nil
}

func rsaStrength(s source.Subject, key ssh.PublicKey) (string, *source.Exception, error) {
	bits := 0
	if k, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok {
			bits = k.N.BitLen()
		}
	}
	name := fmt.Sprintf("RSA-%d", bits)
	switch {
	case bits >= 2048:
		return name, nil, nil
	case bits >= 1024:
		if x := s.Policy.Exception(source.AllowRSA1024, s.Now); x != nil {
			return name, x, nil
		}
		return "", nil, fmt.Errorf("%w: it is %s; the policy may accept that by an exception (allow: %s, with a reason and an until date that is not past)",
			ErrWeak, name, source.AllowRSA1024)
	}
	return "", nil, fmt.Errorf("%w: it is %s; accepted is RSA from 2048 bits", ErrWeak, name)
}
