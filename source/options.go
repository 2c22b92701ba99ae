package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"
)

// Options wires a verification: where to keep things, how to fetch, and whom
// to ask for proofs. Cache, Verifiers and Now are required; the rest has a
// useful zero value. A value may be shared by concurrent calls.
type Options struct {
	// Cache is a directory, made when it does not exist, that this package
	// owns. Processes may share it.
	Cache string
	// Keys holds the certificate files that Policy.Keys names. Needed only by
	// policies that pin keys.
	Keys fs.FS
	// Transports opens places by URL scheme. A scheme that is missing here is
	// a place that cannot be reached.
	Transports map[string]Transport
	// Verifiers are asked in order; each must find nothing wrong, and at least
	// one proof must reach the policy's grade. An empty list is an error.
	Verifiers []Verifier
	// Predecessors are trees of earlier releases, which Key.AuthorizedBy may
	// name. Being trees, they were verified. Default: they are verified when
	// they are needed, from the places that it names.
	Predecessors []*Tree
	// Lock is what an earlier run resolved; anything else is refused. Default:
	// whatever the policy accepts.
	Lock *Lock
	// VerifyFirst keeps the decompressor and the unpacker from seeing a byte of
	// an archive that the policy has not accepted. It costs the time that both
	// take beside the download and the verification. Default: nothing that was
	// not accepted becomes a tree, but it may have been unpacked, within
	// Limits, into a private directory that is removed.
	VerifyFirst bool
	// Now is the time at which exceptions and signatures are judged.
	Now time.Time
	// Limits bounds what foreign bytes may cost. Default: DefaultLimits.
	Limits Limits
	// Events is told of progress. Default: nobody is.
	Events *Events
}

// Limits bounds a fetch and an extraction. A zero field means the default.
type Limits struct {
	Archive   int64 // bytes of an archive as fetched
	Signature int64 // bytes of a detached signature or a checksum list
	Tree      int64 // bytes of all files of a tree
	Files     int   // entries of an archive
	Depth     int   // path elements of a name
	Ratio     int64 // bytes unpacked per byte of archive
}

// DefaultLimits fit every upstream release we know of, with room to spare:
// 1 GiB fetched, 1 MiB of signature, 8 GiB in 500,000 entries 64 deep, and
// 400 bytes unpacked for each byte packed.
func DefaultLimits() Limits {
	return Limits{Archive: 1 << 30, Signature: 1 << 20, Tree: 8 << 30, Files: 500_000, Depth: 64, Ratio: 400}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	if l.Archive <= 0 {
		l.Archive = d.Archive
	}
	if l.Signature <= 0 {
		l.Signature = d.Signature
	}
	if l.Tree <= 0 {
		l.Tree = d.Tree
	}
	if l.Files <= 0 {
		l.Files = d.Files
	}
	if l.Depth <= 0 {
		l.Depth = d.Depth
	}
	if l.Ratio <= 0 {
		l.Ratio = d.Ratio
	}
	return l
}

// Events are optional callbacks, called in the goroutine that verifies. They
// must not block for long; a nil field is not called.
type Events struct {
	// Trying is called before a place is asked, with cached set when its
	// archive need not be fetched.
	Trying func(c Component, p Place, cached bool)
	// Fetched is called as bytes arrive, at most every 256 KiB, and at the
	// end. Total is -1 where it is not known.
	Fetched func(c Component, location string, have, total int64)
	// Rejected is called when a place gave nothing acceptable.
	Rejected func(c Component, p Place, err error)
	// Verified is called when the policy has accepted an archive.
	Verified func(c Component, proofs []Proof)
	// Opened is called with the tree that is about to be returned.
	Opened func(t *Tree, extracted bool)
}

func (e *Events) trying(c Component, p Place, cached bool) {
	if e != nil && e.Trying != nil {
		e.Trying(c, p, cached)
	}
}

func (e *Events) fetched(c Component, location string, have, total int64) {
	if e != nil && e.Fetched != nil {
		e.Fetched(c, location, have, total)
	}
}

func (e *Events) rejected(c Component, p Place, err error) {
	if e != nil && e.Rejected != nil {
		e.Rejected(c, p, err)
	}
}

func (e *Events) verified(c Component, proofs []Proof) {
	if e != nil && e.Verified != nil {
		e.Verified(c, proofs)
	}
}

func (e *Events) opened(t *Tree, extracted bool) {
	if e != nil && e.Opened != nil {
		e.Opened(t, extracted)
	}
}

// ErrOptions says that Options cannot verify anything as they are.
var ErrOptions = errors.New("options are incomplete")

func (o Options) check() error {
	switch {
	case o.Cache == "":
		return fmt.Errorf("%w: no cache directory", ErrOptions)
	case len(o.Verifiers) == 0:
		return fmt.Errorf("%w: no verifier, so nothing could be proven", ErrOptions)
	case o.Now.IsZero():
		return fmt.Errorf("%w: no time to judge signatures and exceptions at", ErrOptions)
	}
	for i, v := range o.Verifiers {
		if v == nil {
			return fmt.Errorf("%w: verifier %d is nil", ErrOptions, i)
		}
	}
	if err := os.MkdirAll(o.Cache, 0o777); err != nil {
		return fmt.Errorf("%w: cache: %w", ErrOptions, err)
	}
	return nil
}

// open asks the transport of the location's scheme.
func (o Options) open(ctx context.Context, location string) (io.ReadCloser, error) {
	ref, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	t := o.Transports[strings.ToLower(ref.Scheme)]
	if t == nil {
		return nil, fmt.Errorf("no transport for scheme %q", ref.Scheme)
	}
	return t.Open(ctx, ref)
}
