package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrNotCached says that [Load] would have needed a transport.
var ErrNotCached = errors.New("not in the cache")

// ErrPolicy says that an archive is intact but that its proofs do not satisfy
// the policy.
var ErrPolicy = errors.New("proofs do not satisfy the policy")

// DigestError says that bytes are not the ones a policy pins.
type DigestError struct {
	Want, Got string // "sha256:HEX"
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("archive is %s, the policy pins %s", e.Got, e.Want)
}

// PlaceError is why one place of a component gave nothing acceptable.
type PlaceError struct {
	Place Place
	Err   error
}

func (e *PlaceError) Error() string { return e.Place.Archive + ": " + e.Err.Error() }
func (e *PlaceError) Unwrap() error { return e.Err }

// Verify tries the component's places in order until one gives an archive
// that the policy accepts, and returns its tree.
//
// An archive is written to the cache only after it was accepted, whole and by
// its content, and is then used instead of its place, except for file places,
// which are read again. Cached content is hashed and proven again on every
// call. Nothing half-written is ever seen: work in progress lies apart and is
// swept by the next call, whatever ended this one.
//
// When no place is acceptable the error joins one [PlaceError] for each, in
// order. Errors wrap [ErrOptions], [ErrComponent], [ErrPolicy], [ErrTooLarge],
// [ErrFormat], [ErrUnsafe], a [DigestError], or what a transport or a
// verifier gave.
func Verify(ctx context.Context, c Component, o Options) (*Tree, error) {
	return get(ctx, c, o, true)
}

// Load is Verify without any transport: the tree of an archive that Verify
// accepted before, proven again. Where the cache holds none that the policy
// accepts, the error wraps [ErrNotCached].
func Load(ctx context.Context, c Component, o Options) (*Tree, error) {
	return get(ctx, c, o, false)
}

// session is one call of Verify or Load.
type session struct {
	c     Component
	o     Options
	cache cache
	work  *workdir
	lock  *Locked // nil without a lock
	fetch bool
}

func get(ctx context.Context, c Component, o Options, fetch bool) (t *Tree, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	o.Limits = o.Limits.orDefault()
	s := &session{c: c, o: o, cache: cache{o.Cache}, fetch: fetch}
	if s.lock, err = o.Lock.of(c); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t, err = nil, fmt.Errorf("source of %s %s: %w", c.Name, c.Version, err)
		}
	}()
	if s.work, err = s.cache.newWorkdir(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if cerr := s.work.Close(); err == nil {
			err = cerr
		}
	}()
	var failures []error
	for _, p := range c.Places {
		found, err := s.try(ctx, p)
		if err == nil {
			return s.tree(ctx, found)
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		o.Events.rejected(c, p, err)
		failures = append(failures, &PlaceError{p, err})
	}
	return nil, errors.Join(failures...)
}

// found is an archive that the policy accepts, and all that was read for it.
type found struct {
	place  Place
	hex    string
	proofs []Proof
	parts  []part

	earlier    []*Tree     // releases that vouched for a signer
	extracting *extracting // nil where it has not begun
}

// part is one file of a place.
type part struct {
	location string
	*content
}

// reuse says how far the cache may stand in for a place.
type reuse int

const (
	cacheOnly  reuse = iota // no transport
	cacheFirst              // a transport for what is missing
	pinnedOnly              // a transport for all but what the policy pins
)

// try judges what the cache holds for a place, then what the place gives.
func (s *session) try(ctx context.Context, p Place) (*found, error) {
	if s.fetch && isFile(p.Archive) {
		return s.judge(ctx, p, pinnedOnly)
	}
	f, err := s.judge(ctx, p, cacheOnly)
	if err == nil || !s.fetch {
		return f, err
	}
	if errors.Is(err, ErrNotCached) {
		return s.judge(ctx, p, cacheFirst)
	}
	// The cache holds something that this policy refuses; the place may have
	// better by now, and if not, says the same.
	s.o.Events.rejected(s.c, p, fmt.Errorf("cached: %w", err))
	return s.judge(ctx, p, pinnedOnly)
}

func (s *session) judge(ctx context.Context, p Place, mode reuse) (_ *found, err error) {
	f := &found{place: p}
	location := p.location(s.c.Policy)
	archive, err := s.content(ctx, location, s.c.Policy.Digest, s.o.Limits.Archive, mode)
	if err != nil {
		return nil, err
	}
	s.o.Events.trying(s.c, p, archive.cached)
	defer func() {
		if err != nil {
			if serr := f.extracting.stop(); serr != nil {
				err = errors.Join(err, serr)
			}
		}
	}()
	if err := s.arrive(ctx, location, archive, f); err != nil {
		return nil, err
	}
	f.hex = archive.hex
	f.parts = append(f.parts, part{location, archive})
	digest := "sha256:" + archive.hex
	if want := s.c.Policy.Digest; want != "" && want != digest {
		return nil, &DigestError{want, digest}
	}
	sub := Subject{Name: s.c.Name, Version: s.c.Version, Policy: s.c.Policy, Digest: digest, File: p.fileName(),
		Keys: s.o.Keys, Now: s.o.Now,
		Open: func() (io.ReadSeekCloser, error) { return os.Open(archive.file) }}
	if s.c.Policy.Tag != "" || s.c.Policy.Commit != "" {
		err = s.snapshot(ctx, archive.file, &sub)
	} else if len(s.c.Policy.Keys) > 0 {
		err = s.signatures(ctx, p, mode, f, &sub)
	}
	if err != nil {
		return nil, err
	}
	if f.proofs, err = s.prove(ctx, sub, f); err != nil {
		return nil, err
	}
	if err := s.locked(f, sub); err != nil {
		return nil, err
	}
	for _, x := range f.parts {
		if !x.cached {
			if err := s.cache.keep(x.file, x.hex); err != nil {
				return nil, err
			}
		}
		if s.cache.recall(x.location) != x.hex {
			if err := s.cache.remember(x.location, x.hex); err != nil {
				return nil, err
			}
		}
	}
	s.o.Events.verified(s.c, f.proofs)
	return f, nil
}

// signatures fetches what a place offers besides the archive and makes
// statements of it.
func (s *session) signatures(ctx context.Context, p Place, mode reuse, f *found, sub *Subject) error {
	read := func(what, location string) ([]byte, error) {
		c, err := s.content(ctx, location, "", s.o.Limits.Signature, mode)
		if err == nil && !c.cached {
			err = s.download(ctx, location, c, s.o.Limits.Signature, nil)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", what, location, err)
		}
		f.parts = append(f.parts, part{location, c})
		return os.ReadFile(c.file)
	}
	var list []byte
	if p.Checksums != "" {
		var err error
		if list, err = read("checksum list", p.Checksums); err != nil {
			return err
		}
		if p.Signature == "" {
			sub.Statements = append(sub.Statements, sub.Listed(p.Checksums, list, nil))
			return nil
		}
	}
	if p.Signature == "" {
		return nil
	}
	for _, location := range append([]string{p.Signature}, p.Cosignatures...) {
		signature, err := read("signature", location)
		if err != nil {
			return err
		}
		var st Statement
		switch {
		case p.Checksums != "":
			st = sub.Listed(location, list, signature)
		case p.Over == OverDecompressed:
			st = sub.Decompressed(location, signature)
		default:
			st = sub.Detached(location, signature)
		}
		sub.Statements = append(sub.Statements, st)
	}
	return nil
}

// tree opens the tree of an accepted archive, unpacking it where the cache
// holds none or one that was touched.
func (s *session) tree(ctx context.Context, f *found) (*Tree, error) {
	dir := s.cache.tree(f.hex, s.c.Policy.directory())
	m, err := s.unpacked(ctx, f.hex)
	extracted := false
	if err == nil {
		if err := f.extracting.stop(); err != nil { // it was there, or another process was first
			return nil, err
		}
	} else {
		if err := removeAll(dir); err != nil {
			return nil, fmt.Errorf("remove the damaged tree: %w", err)
		}
		if m, err = s.unpack(ctx, f); err != nil {
			return nil, err
		}
		extracted = true
	}
	if s.lock != nil && s.lock.Tree != m.digest {
		return nil, fmt.Errorf("%w: the tree is %s, the lock says %s", ErrLocked, m.digest, s.lock.Tree)
	}
	t := &Tree{component: s.c, digest: m.digest, files: f.files(), earlier: f.earlier, archive: "sha256:" + f.hex, proofs: f.proofs,
		place: f.place, epoch: m.epoch, dir: dir, root: os.DirFS(dir)}
	if s.c.Origin != nil {
		if err := s.match(ctx, t); err != nil {
			return nil, err
		}
	}
	s.o.Events.opened(t, extracted)
	return t, nil
}

func readManifestFile(name string) (*manifest, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readManifest(f)
}

// unpacked is the manifest of the tree that the cache holds, if it is of this
// archive and of the directory that the policy names, and whole.
func (s *session) unpacked(ctx context.Context, hex string) (*manifest, error) {
	dir := s.cache.tree(hex, s.c.Policy.directory())
	m, err := readManifestFile(dir + ".manifest")
	if err != nil {
		return nil, err
	}
	if d := s.c.Policy.directory(); m.archive != hex || d != "" && m.root != d {
		return nil, fmt.Errorf("%w: it is %s of archive %s", ErrModified, m.root, m.archive)
	}
	if err := m.recheck(ctx, dir); err != nil {
		return nil, err
	}
	// A crash may have come between the move and the last step of sealing.
	return m, os.Chmod(dir, 0o555)
}

// unpackFile begins to unpack a file of the cache.
func (s *session) unpackFile(ctx context.Context, name string) (*extracting, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return s.begin(ctx, whole{f}, true)
}

// unpack makes the tree of an accepted archive. What was unpacked is that
// archive: either its bytes were hashed as they were unpacked, or they lay in
// the work directory from the time when they were hashed on.
func (s *session) unpack(ctx context.Context, f *found) (_ *manifest, err error) {
	if f.extracting == nil {
		if f.extracting, err = s.unpackFile(ctx, s.cache.blob(f.hex)); err != nil {
			return nil, err
		}
	}
	m, tree, err := f.extracting.wait()
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", f.place.Archive, err)
	}
	if !f.extracting.sum {
		m.archive = f.hex
	}
	if m.archive != f.hex {
		return nil, fmt.Errorf("unpack %s: %w", f.place.Archive, &DigestError{"sha256:" + f.hex, "sha256:" + m.archive})
	}
	m.boot = bootID()
	name := s.cache.tree(f.hex, s.c.Policy.directory())
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return nil, err
	}
	if err := put(name+".manifest", m.write); err != nil {
		return nil, err
	}
	// A directory can only be moved while its owner may write to it.
	if err := os.Chmod(tree, 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(tree, name); err != nil {
		if _, cerr := s.unpacked(ctx, f.hex); cerr == nil {
			return m, nil // another process was first
		}
		return nil, err
	}
	return m, os.Chmod(name, 0o555)
}
