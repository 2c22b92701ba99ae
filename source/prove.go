package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SignerError says that a good signature does not count under the policy.
type SignerError struct {
	Kind, Signer string
	Reason       string
}

func (e *SignerError) Error() string {
	return fmt.Sprintf("%s signature by %s does not count: %s", e.Kind, e.Signer, e.Reason)
}

// Unwrap says that the policy is not satisfied.
func (e *SignerError) Unwrap() error { return ErrPolicy }

// prove asks every verifier and holds the answers against the policy. What an
// engine says of a signer is checked here once more, so that an engine's
// mistake is not a hole.
func (s *session) prove(ctx context.Context, sub Subject, f *found) ([]Proof, error) {
	var proofs []Proof
	var silent []error // engines that found no signature of their kind
	for _, v := range s.o.Verifiers {
		p, err := v.Verify(ctx, sub)
		switch {
		case err == nil:
			proofs = append(proofs, p...)
		case errors.Is(err, ErrNoSignature):
			silent = append(silent, err)
		default:
			return nil, err
		}
	}
	best := Ungraded
	signers := map[string]bool{}
	var refused []error
	kept := proofs[:0]
	for _, p := range proofs {
		if p.Digest != sub.Digest {
			return nil, fmt.Errorf("%w: a proof by %s covers %s, not the archive %s", ErrPolicy, p.Mechanism, p.Digest, sub.Digest)
		}
		if p.Grade < Pinned || p.Grade > Signed {
			return nil, fmt.Errorf("%w: a proof by %s has grade %v", ErrPolicy, p.Mechanism, p.Grade)
		}
		if p.Grade == Signed {
			succession, err := s.accept(ctx, sub, p, f)
			if err != nil {
				refused = append(refused, err)
				continue
			}
			p.Succession = succession
			signers[p.Mechanism+" "+p.Signer+" "+p.Issuer] = true
		}
		best = max(best, p.Grade)
		kept = append(kept, p)
	}
	if keys := s.c.Policy.Keys; len(keys) > 0 {
		if need := max(1, s.c.Policy.Threshold); len(signers) < need {
			err := fmt.Errorf("%w: %d of %d keys must have signed, %d did", ErrPolicy, need, len(keys), len(signers))
			return nil, errors.Join(slices.Concat(refused, silent, []error{err})...)
		}
	}
	if best < s.c.Policy.Least {
		err := fmt.Errorf("%w: it asks for %v, the strongest proof is %v", ErrPolicy, s.c.Policy.Least, best)
		return nil, errors.Join(slices.Concat(refused, silent, []error{err})...)
	}
	slices.SortStableFunc(kept, func(a, b Proof) int { return int(b.Grade) - int(a.Grade) })
	return kept, nil
}

// accept says whether a good signature counts, by the key of the policy that
// made it, and how that key came to be accepted where it is a successor's.
func (s *session) accept(ctx context.Context, sub Subject, p Proof, f *found) (*Succession, error) {
	fail := func(format string, a ...any) (*Succession, error) {
		return nil, &SignerError{p.Mechanism, p.Signer, fmt.Sprintf(format, a...)}
	}
	var last *Succession
	err := error(&SignerError{p.Mechanism, p.Signer, "the policy does not pin it"})
	for _, k := range s.c.Policy.Keys {
		if !k.made(p) {
			continue
		}
		if last, err = s.counts(ctx, sub, k, p, f, fail); err == nil {
			return last, nil
		}
	}
	return nil, err
}

// made says whether the key is the one that the proof names.
func (k Key) made(p Proof) bool {
	if k.kind() != p.Mechanism {
		return false
	}
	switch k.kind() {
	case OpenPGP:
		f, err := NormalFingerprint(k.Fingerprint)
		return err == nil && f == p.Signer
	case Sigstore, X509:
		return k.Identity == p.Signer && (k.Issuer == "" || k.Issuer == p.Issuer)
	}
	return k.Fingerprint == p.Signer
}

func (s *session) counts(ctx context.Context, sub Subject, k Key, p Proof, f *found, fail func(string, ...any) (*Succession, error)) (*Succession, error) {
	if !k.speaksFor(sub.Version) {
		return fail("it speaks for %s, not for %s", strings.Join(k.Series, ", "), sub.Version)
	}
	day := func(s string) time.Time { t, _ := time.Parse(time.DateOnly, s); return t }
	if p.SignedAt == nil && (k.From != "" || k.Until != "" || k.Revoked != "") {
		return fail("the policy bounds the time of its signatures, and this one states none")
	}
	switch {
	case k.From != "" && p.SignedAt.Before(day(k.From)):
		return fail("made on %s, it counts from %s", p.SignedAt.Format(time.DateOnly), k.From)
	case k.Until != "" && !p.SignedAt.Before(day(k.Until).AddDate(0, 0, 1)):
		return fail("made on %s, it counts until %s", p.SignedAt.Format(time.DateOnly), k.Until)
	case k.Revoked != "" && !p.SignedAt.Before(day(k.Revoked)):
		return fail("made on %s, the key is revoked since %s", p.SignedAt.Format(time.DateOnly), k.Revoked)
	}
	if k.AuthorizedBy == nil {
		return nil, nil
	}
	succession, earlier, err := s.succession(ctx, k)
	if err != nil {
		return fail("%v", err)
	}
	f.earlier = append(f.earlier, earlier)
	return succession, nil
}

// succession finds the earlier release that authorises a key.
func (s *session) succession(ctx context.Context, k Key) (*Succession, *Tree, error) {
	a := *k.AuthorizedBy
	t, err := s.predecessor(ctx, k)
	if err != nil {
		return nil, nil, err
	}
	signer := s.trusted(k, t)
	if signer == "" {
		return nil, nil, fmt.Errorf("release %s was not signed by another key of this policy", a.Version)
	}
	text, err := t.readFile(a.File)
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", a.Version, err)
	}
	if !names(text, k.Fingerprint) {
		return nil, nil, fmt.Errorf("%s of release %s does not name it", a.File, a.Version)
	}
	return &Succession{a.Version, a.File, t.digest, signer}, t, nil
}

// predecessor is the tree of the release that authorises a key: one that was
// given, or one that is verified now by the policy's other keys.
func (s *session) predecessor(ctx context.Context, k Key) (*Tree, error) {
	a := *k.AuthorizedBy
	for _, t := range s.o.Predecessors {
		if t != nil && t.component.Name == s.c.Name && t.component.Version == a.Version {
			return t, nil
		}
	}
	if len(a.Places) == 0 {
		return nil, fmt.Errorf("release %s, which would authorise it, was not given", a.Version)
	}
	c := s.c.predecessor(k)
	o := s.o
	if s.lock != nil {
		o.Lock = &Lock{Format: 1, Components: s.lock.Predecessors}
	}
	t, err := get(ctx, c, o, s.fetch)
	if err != nil {
		return nil, fmt.Errorf("release %s, which would authorise it: %w", a.Version, err)
	}
	return t, nil
}

// predecessor is the component of the release that authorises a key, whose own
// key cannot be that one.
func (c Component) predecessor(k Key) Component {
	p := Component{Name: c.Name, Version: k.AuthorizedBy.Version, Places: k.AuthorizedBy.Places, License: c.License,
		Policy: Policy{Least: Signed, Exceptions: c.Policy.Exceptions}}
	for _, other := range c.Policy.Keys {
		if other.Fingerprint != k.Fingerprint || other.kind() != k.kind() {
			p.Policy.Keys = append(p.Policy.Keys, other)
		}
	}
	return p
}

// trusted is the signer of an earlier release, if a key of this policy other
// than the successor's accounts for it.
func (s *session) trusted(successor Key, t *Tree) string {
	for _, p := range t.proofs {
		if p.Grade != Signed || successor.made(p) {
			continue
		}
		for _, k := range s.c.Policy.Keys {
			if k.made(p) {
				return p.Signer
			}
		}
	}
	return ""
}

// names says whether a text holds a fingerprint, whatever its spacing, and not
// as part of a longer number or word.
func names(text []byte, fingerprint string) bool {
	blank := func(c byte) bool { return c == ' ' || c == '\t' }
	var squeezed []byte
	var at []int // where each byte of it was
	for i, c := range bytes.ToUpper(text) {
		if !blank(c) {
			squeezed, at = append(squeezed, c), append(at, i)
		}
	}
	want := bytes.ToUpper([]byte(strings.ReplaceAll(fingerprint, " ", "")))
	for from := 0; len(want) > 0; {
		i := bytes.Index(squeezed[from:], want)
		if i < 0 {
			return false
		}
		first, last := at[from+i], at[from+i+len(want)-1]
		if (first == 0 || !isWord(text[first-1])) && (last+1 == len(text) || !isWord(text[last+1])) {
			return true
		}
		from += i + 1
	}
	return false
}

func isWord(c byte) bool { return isDigit(c) || isLetter(c) || c == '+' || c == '/' }

// readFile reads a file of the tree as it was extracted.
func (t *Tree) readFile(name string) ([]byte, error) {
	m, err := readManifestFile(t.dir + ".manifest")
	if err != nil {
		return nil, err
	}
	if m.digest != t.digest {
		return nil, fmt.Errorf("%w: digest is %s, not %s", ErrModified, m.digest, t.digest)
	}
	i, ok := slices.BinarySearchFunc(m.entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
	if !ok || m.entries[i].kind != 'f' && m.entries[i].kind != 'x' {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	f, err := t.root.Open(filepath.ToSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMessage+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxMessage {
		return nil, fmt.Errorf("%s: %w of %d bytes", name, ErrTooLarge, maxMessage)
	}
	if got, _, err := digestReader(context.Background(), bytes.NewReader(b), maxMessage); err != nil || got != m.entries[i].sum {
		return nil, fmt.Errorf("%w: content of %s", ErrModified, name)
	}
	return b, nil
}
