package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Verifier is one proof engine: it judges statements by the signers that the
// policy names for its kind of signature, and states what it found proven.
//
// It gives nil and no error when the policy asks nothing of this engine, an
// error that wraps [ErrNoSignature] when the policy names signers of its kind
// and no statement bears a signature of that kind, and any other error when a
// signature is there and none of them is good, which rejects the archive
// whatever other engines say. Every proof is of another signer; whether there
// are enough of them is for [Verify] to say.
type Verifier interface {
	Verify(ctx context.Context, s Subject) ([]Proof, error)
}

// ErrNoSignature says that a policy names signers of a kind, and that nothing
// is signed in that way.
var ErrNoSignature = errors.New("no signature")

// Subject is an archive, not yet believed, and what there is to judge it by.
type Subject struct {
	Name       string // of the component
	Version    string
	Policy     Policy
	Digest     string                            // "sha256:HEX" of the archive's bytes, as received
	Open       func() (io.ReadSeekCloser, error) // the archive's bytes; the caller closes
	Statements []Statement                       // what somebody may have signed
	Git        *Git                              // what a snapshot of a repository is of; its objects have been hashed
	File       string                            // name of the archive in checksum lists
	Keys       fs.FS                             // Options.Keys; may be nil
	Now        time.Time                         // Options.Now
}

// What a signature may be over, each standing for the archive's bytes.
const (
	OverArchive      = "archive"      // the archive's bytes
	OverDecompressed = "decompressed" // what the archive decompresses to
	OverChecksums    = "checksums"    // a list of checksums that holds the archive's
	OverTag          = "tag"          // a git tag object, whose commit's tree the archive holds
	OverCommit       = "commit"       // a git commit object, whose tree the archive holds
)

// Statement is a message and a signature over it that, when good, vouches for
// the archive.
type Statement struct {
	Over string // one of the Over constants
	From string // location of the signature, or name of the tag, for people
	// Message reads what was signed; the caller closes. For OverArchive and
	// OverDecompressed the last Read fails unless the bytes behind it were
	// those of Subject.Digest, so an engine that reads to the end judges the
	// archive and not a claim about it.
	Message func(ctx context.Context) (io.ReadCloser, error)
	// Signature is nil where the message carries its own, as clear-signed
	// lists do; such a text must be given to [Subject.Confirm].
	Signature []byte
}

// Git is what a snapshot of a repository was proven to hold. Ids are
// hexadecimal.
type Git struct {
	Format string `json:"format"`        // sha1 (collisions are detected) or sha256
	Tag    string `json:"tag,omitempty"` // name that the tag object states
	TagID  string `json:"tagID,omitempty"`
	Commit string `json:"commit"`
	Tree   string `json:"tree"`
}

// Signers are the policy's keys of a kind that speak for the version.
func (s Subject) Signers(kind string) []Key {
	var out []Key
	for _, k := range s.Policy.Keys {
		if k.kind() == kind && k.speaksFor(s.Version) {
			out = append(out, k)
		}
	}
	return out
}

// maxMessage bounds lists, tags and commits.
const maxMessage = 4 << 20

// Text reads a message that is not the archive itself.
func (s Subject) Text(ctx context.Context, st Statement) ([]byte, error) {
	r, err := st.Message(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxMessage+1))
	if err == nil && len(b) > maxMessage {
		err = fmt.Errorf("%s: %w of %d bytes", st.From, ErrTooLarge, maxMessage)
	}
	return b, err
}

// Confirm says whether text, whose signature was found good, vouches for the
// archive. Every engine calls it for every proof, with the message or, where
// the message carries its signature, with the part of it that is signed; for
// statements over the archive itself text is not looked at and may be nil.
func (s Subject) Confirm(ctx context.Context, st Statement, text []byte) error {
	if st.Over != OverChecksums {
		return nil
	}
	sum, err := findSum(text, s.File)
	if err != nil {
		return fmt.Errorf("%s: %w", st.From, err)
	}
	r, err := s.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	sums := []hash.Hash{sha256.New(), sum.new()}
	if _, err := copyBounded(ctx, io.MultiWriter(sums[0], sums[1]), r, DefaultLimits().Tree, nil); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sums[0].Sum(nil)); got != s.Digest {
		return &DigestError{s.Digest, got}
	}
	if got := hex.EncodeToString(sums[1].Sum(nil)); got != sum.hex {
		return fmt.Errorf("%s lists %s: %w", st.From, s.File, &DigestError{sum.algorithm + ":" + sum.hex, sum.algorithm + ":" + got})
	}
	return nil
}

// Rehash reads the subject's archive and gives its "sha256:HEX", so that a
// verifier judges bytes and not a claim about them.
func (s Subject) Rehash(ctx context.Context) (string, error) {
	r, err := s.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	sum, _, err := digestReader(ctx, r, DefaultLimits().Tree)
	return "sha256:" + sum, err
}

// Detached is a statement over the archive's bytes.
func (s Subject) Detached(from string, signature []byte) Statement {
	return Statement{Over: OverArchive, From: from, Signature: signature, Message: s.bytes}
}

// Decompressed is a statement over what the archive decompresses to.
func (s Subject) Decompressed(from string, signature []byte) Statement {
	return Statement{Over: OverDecompressed, From: from, Signature: signature,
		Message: func(ctx context.Context) (io.ReadCloser, error) {
			b, err := s.bytes(ctx)
			if err != nil {
				return nil, err
			}
			in := &countReader{r: b}
			z, err := decompress(in)
			if err != nil {
				b.Close()
				return nil, fmt.Errorf("%w: %w", ErrFormat, err)
			}
			limits := DefaultLimits()
			return &unpacking{Reader: &meter{r: z, in: in, limits: limits}, z: z, packed: b}, nil
		}}
}

// Listed is a statement over a checksum list; without a signature the list
// bears its own.
func (s Subject) Listed(from string, list, signature []byte) Statement {
	return Statement{Over: OverChecksums, From: from, Signature: signature, Message: message(list)}
}

func message(b []byte) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		return io.NopCloser(strings.NewReader(string(b))), nil
	}
}

func (s Subject) bytes(ctx context.Context) (io.ReadCloser, error) {
	r, err := s.Open()
	if err != nil {
		return nil, err
	}
	return &checked{ctx: ctx, r: r, h: newBackground(), want: s.Digest}, nil
}

// checked reads bytes and fails at their end unless they are the ones wanted.
type checked struct {
	ctx  context.Context
	r    io.ReadCloser
	h    *background
	want string
}

func (c *checked) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.h.Write(p[:n])
	if err == io.EOF {
		if got := "sha256:" + c.h.hex(); got != c.want {
			return n, &DigestError{c.want, got}
		}
	}
	return n, err
}

func (c *checked) Close() error {
	c.h.busy.Wait()
	return c.r.Close()
}

// unpacking reads a decompressor to its end, and then the rest of what is
// packed, so that the digest of all of it is checked.
type unpacking struct {
	io.Reader
	z      io.Closer
	packed io.ReadCloser
	done   bool
}

func (u *unpacking) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err == io.EOF && !u.done {
		u.done = true
		if _, rest := io.Copy(io.Discard, u.packed); rest != nil {
			return n, rest
		}
	}
	return n, err
}

func (u *unpacking) Close() error { return errors.Join(u.z.Close(), u.packed.Close()) }

// kind is the kind of signature that the key makes.
func (k Key) kind() string {
	if k.Kind == "" {
		return OpenPGP
	}
	return k.Kind
}

// speaksFor says whether the key may sign a version: all of them, or those of
// its series.
func (k Key) speaksFor(version string) bool {
	return len(k.Series) == 0 || slices.ContainsFunc(k.Series, func(series string) bool {
		rest, ok := strings.CutPrefix(version, series)
		return ok && (rest == "" || !isDigit(rest[0]) && !isLetter(rest[0]))
	})
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
