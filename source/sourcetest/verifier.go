package sourcetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/source"
)

// Case is an archive that a proof engine under test must judge.
type Case struct {
	Archive   []byte
	Signature []byte // detached, over what Over says
	Over      string // one of the source.Over constants; default: the archive
	List      []byte // checksum list; without a Signature it bears its own
	Message   []byte // the tag or commit object
	Git       *source.Git
	File      string // the archive's name in List
	Version   string
	Policy    source.Policy
	Keys      fs.FS
	Now       time.Time
}

// Subject is the case as a [source.Verifier] sees it.
func (c Case) Subject() source.Subject {
	sum := sha256.Sum256(c.Archive)
	s := source.Subject{
		Name:    "case",
		Version: c.Version,
		Policy:  c.Policy,
		Digest:  "sha256:" + hex.EncodeToString(sum[:]),
		Open:    func() (io.ReadSeekCloser, error) { return nopCloser{bytes.NewReader(c.Archive)}, nil },
		Git:     c.Git,
		File:    c.File,
		Keys:    c.Keys,
		Now:     c.Now,
	}
	return c.state(s)
}

// state gives the subject the case's statement.
func (c Case) state(s source.Subject) source.Subject {
	s.Statements = nil
	switch {
	case c.List != nil:
		s.Statements = append(s.Statements, s.Listed("mem:list", c.List, c.Signature))
	case len(c.Signature) == 0:
	case c.Over == "" || c.Over == source.OverArchive:
		s.Statements = append(s.Statements, s.Detached("mem:signature", c.Signature))
	case c.Over == source.OverDecompressed:
		s.Statements = append(s.Statements, s.Decompressed("mem:signature", c.Signature))
	default:
		s.Statements = append(s.Statements, source.Statement{Over: c.Over, From: "tag", Signature: c.Signature,
			Message: func(ctx context.Context) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(c.Message)), context.Cause(ctx)
			}})
	}
	return s
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// Suite is what a proof engine is held to.
type Suite struct {
	Good  Case
	Grade source.Grade // of the proof that Good earns
	// Bad are cases that must be refused, beyond those derived from Good:
	// a wrong signer, an expired key, a weak hash and the like.
	Bad map[string]Case
	// Content says that the engine proves what an archive holds, however it is
	// packed, so that a changed byte need not matter. Bad must then hold
	// changed contents.
	Content bool
}

// TestVerifier reports what [CheckVerifier] finds.
func TestVerifier(t *testing.T, v source.Verifier, s Suite) {
	t.Helper()
	if err := CheckVerifier(v, s); err != nil {
		t.Error(err)
	}
}

// CheckVerifier judges the good case and then everything that is nearly it: a
// flipped bit anywhere, a truncated or longer archive, a damaged, truncated,
// empty or missing signature, another policy, other bytes behind the same
// digest, and the suite's bad cases. It joins what went wrong.
func CheckVerifier(v source.Verifier, s Suite) error {
	var failed []error
	fail := func(format string, a ...any) { failed = append(failed, fmt.Errorf(format, a...)) }
	ctx := context.Background()

	proofs, err := v.Verify(ctx, s.Good.Subject())
	if err != nil {
		fail("good case: %w", err)
	}
	if len(proofs) == 0 {
		fail("good case: no proof")
	}
	digest := s.Good.Subject().Digest
	for _, p := range proofs {
		if p.Grade != s.Grade || p.Digest != digest || p.Mechanism == "" {
			fail("good case: proof of grade %v by %q over %s, want %v over %s", p.Grade, p.Mechanism, p.Digest, s.Grade, digest)
		}
		if p.Grade == source.Signed && (p.Signer == "" || p.Hash == "") {
			fail("good case: a signed proof must name its signer and hash: %+v", p)
		}
	}
	if again, err := v.Verify(ctx, s.Good.Subject()); err != nil || len(again) != len(proofs) {
		fail("good case again: %d proofs, %v", len(again), err)
	}

	bad := derived(s.Good)
	if s.Good.Message != nil {
		// The core has tied the archive to the message; an engine sees that.
		bad = derivedMessage(s.Good)
	}
	if s.Content {
		for _, name := range []string{"first bit flipped", "middle bit flipped", "last bit flipped", "one byte longer", "truncated archive"} {
			delete(bad, name)
		}
		if len(s.Bad) == 0 {
			fail("suite: no bad case holds changed contents")
		}
	}
	maps.Copy(bad, s.Bad)
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		if proofs, err := v.Verify(ctx, bad[name].Subject()); err == nil {
			fail("%s: accepted with %d proofs", name, len(proofs))
		}
	}

	if s.Good.Message == nil {
		lies(v, s, fail)
	}

	nothing := s.Good
	nothing.Policy = source.Policy{}
	if proofs, err := v.Verify(ctx, nothing.Subject()); err != nil || len(proofs) != 0 {
		fail("policy that asks for nothing: %d proofs, %v, want none and no error", len(proofs), err)
	}

	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := v.Verify(gone, s.Good.Subject()); !errors.Is(err, context.Canceled) {
		fail("cancelled context: %v, want context.Canceled", err)
	}
	return errors.Join(failed...)
}

// lies tells the engine what is not so: the digest is a claim about bytes, and
// both must be what is proven.
func lies(v source.Verifier, s Suite, fail func(string, ...any)) {
	ctx := context.Background()
	lie := s.Good.Subject()
	lie.Open = flipped(s.Good, 0).Subject().Open
	lie = s.Good.state(lie)
	if _, err := v.Verify(ctx, lie); err == nil {
		fail("other bytes behind the good digest: accepted")
	}
	lie = flipped(s.Good, 0).Subject()
	lie.Open = s.Good.Subject().Open
	lie = s.Good.state(lie)
	if proofs, err := v.Verify(ctx, lie); err == nil {
		for _, p := range proofs {
			if p.Digest == lie.Digest {
				fail("good bytes behind another digest: accepted for the other digest")
			}
		}
	}
	closed := s.Good.Subject()
	errOpen := errors.New("cannot be opened")
	closed.Open = func() (io.ReadSeekCloser, error) { return nil, errOpen }
	closed = s.Good.state(closed)
	if _, err := v.Verify(ctx, closed); !errors.Is(err, errOpen) {
		fail("archive that cannot be opened: %v, want the reason", err)
	}
}

func flipped(c Case, at int) Case {
	c.Archive = bytes.Clone(c.Archive)
	c.Archive[at] ^= 1
	return c
}

// derived are the cases that are one step from good.
func derived(good Case) map[string]Case {
	n := len(good.Archive)
	longer, shorter, empty := good, good, good
	longer.Archive = append(bytes.Clone(good.Archive), 0)
	shorter.Archive = good.Archive[:n-1]
	empty.Archive = nil
	out := map[string]Case{
		"first bit flipped":  flipped(good, 0),
		"middle bit flipped": flipped(good, n/2),
		"last bit flipped":   flipped(good, n-1),
		"one byte longer":    longer,
		"truncated archive":  shorter,
		"empty archive":      empty,
	}
	if m := len(good.Signature); m > 0 {
		none, cut, other := good, good, good
		none.Signature = nil
		cut.Signature = good.Signature[:m/2]
		other.Signature = []byte("nonsense")
		out["no signature"] = none
		out["truncated signature"] = cut
		out["signature of another form"] = other
		if good.Keys != nil {
			noKeys := good
			noKeys.Keys = nil
			out["no key files"] = noKeys
		}
	}
	if good.List != nil {
		other, unlisted := good, good
		other.List = append(bytes.Clone(good.List), "\nmore\n"...)
		if good.Signature == nil {
			other.List = bytes.Replace(good.List, []byte(hexOf(good)[:16]), []byte("0000000000000000"), 1)
		}
		unlisted.File = "another-" + good.File
		out["changed list"] = other
		out["archive that the list does not name"] = unlisted
	}
	return out
}

func hexOf(c Case) string {
	sum := sha256.Sum256(c.Archive)
	return hex.EncodeToString(sum[:])
}

// derivedMessage are the cases that are one step from a good tag or commit.
func derivedMessage(good Case) map[string]Case {
	flip, cut, none, form := good, good, good, good
	flip.Message = bytes.Clone(good.Message)
	flip.Message[0] ^= 1
	cut.Message = good.Message[:len(good.Message)-1]
	none.Signature = nil
	form.Signature = []byte("nonsense")
	return map[string]Case{"first bit flipped": flip, "truncated message": cut, "no signature": none, "signature of another form": form}
}
