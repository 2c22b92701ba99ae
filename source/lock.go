package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// ErrLocked says that what was found is not what the lock holds.
var ErrLocked = errors.New("not what the lock holds")

// Lock is what a run resolved: every digest, tag object and signer. With it in
// [Options], a later run accepts nothing else, and needs no more of the network
// than the mirror that was filled from it.
type Lock struct {
	Format     int      `json:"format"` // 1
	Components []Locked `json:"components"`
}

// Locked is one component of a lock.
type Locked struct {
	Name    string         `json:"name"`
	Version string         `json:"version"`
	Archive string         `json:"archive"`       // "sha256:HEX"
	Tree    string         `json:"tree"`          // Tree.Digest
	Git     *Git           `json:"git,omitempty"` // of a repository's snapshot
	Signers []LockedSigner `json:"signers,omitempty"`
	Files   []LockedFile   `json:"files"`            // the archive and what was read with it
	Origin  *Locked        `json:"origin,omitempty"` // of Component.Origin
	// Predecessors are releases that vouched for a signer.
	Predecessors []Locked `json:"predecessors,omitempty"`
}

// LockedSigner is who vouched for an archive.
type LockedSigner struct {
	Mechanism  string `json:"mechanism"`
	Signer     string `json:"signer"`
	Issuer     string `json:"issuer,omitempty"`
	SigningKey string `json:"signingKey,omitempty"`
}

// LockedFile is one file that was read, and where.
type LockedFile struct {
	Location string `json:"location"`
	Digest   string `json:"digest"` // "sha256:HEX"
}

const maxLock = 64 << 20

// NewLock is the lock of trees, sorted by name and version.
func NewLock(trees ...*Tree) (*Lock, error) {
	l := &Lock{Format: 1}
	for _, t := range trees {
		l.Components = append(l.Components, t.locked())
	}
	slices.SortFunc(l.Components, func(a, b Locked) int {
		return strings.Compare(a.Name+"\x00"+a.Version, b.Name+"\x00"+b.Version)
	})
	return l, l.check()
}

func (t *Tree) locked() Locked {
	l := Locked{Name: t.component.Name, Version: t.component.Version, Archive: t.archive, Tree: t.digest,
		Files: slices.Clone(t.files), Signers: signersOf(t.proofs)}
	for _, p := range t.proofs {
		if p.Git != nil && p.Mechanism != "tagmatch" {
			l.Git = p.Git
		}
	}
	if t.origin != nil {
		o := t.origin.locked()
		l.Origin = &o
	}
	for _, p := range t.earlier {
		e := p.locked()
		if !slices.ContainsFunc(l.Predecessors, func(o Locked) bool { return o.Version == e.Version }) {
			l.Predecessors = append(l.Predecessors, e)
		}
	}
	return l
}

func signersOf(proofs []Proof) []LockedSigner {
	var out []LockedSigner
	for _, p := range proofs {
		if p.Signer != "" && p.Mechanism != "tagmatch" { // the origin has its own
			out = append(out, LockedSigner{p.Mechanism, p.Signer, p.Issuer, p.SigningKey})
		}
	}
	slices.SortFunc(out, func(a, b LockedSigner) int {
		return strings.Compare(fmt.Sprintf("%q", a), fmt.Sprintf("%q", b))
	})
	return slices.Compact(out)
}

// ReadLock reads a lock file, strictly.
func ReadLock(files fs.FS, name string) (*Lock, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxLock+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxLock {
		return nil, fmt.Errorf("%s: %w of %d bytes", name, ErrTooLarge, maxLock)
	}
	l, err := parseLock(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

func parseLock(b []byte) (*Lock, error) {
	var l Lock
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: something follows the lock", ErrLocked)
	}
	return &l, l.check()
}

func (l *Lock) check() error {
	if l.Format != 1 {
		return fmt.Errorf("%w: format %d is unknown, want 1", ErrLocked, l.Format)
	}
	for i, c := range l.Components {
		if err := c.check(); err != nil {
			return fmt.Errorf("%w: components[%d]: %w", ErrLocked, i, err)
		}
		for _, o := range l.Components[:i] {
			if o.Name == c.Name && o.Version == c.Version {
				return fmt.Errorf("%w: %s %s is there twice", ErrLocked, c.Name, c.Version)
			}
		}
	}
	return nil
}

func (c *Locked) check() error {
	digests := []string{c.Archive, c.Tree}
	for _, f := range c.Files {
		digests = append(digests, f.Digest)
	}
	for _, d := range digests {
		if _, err := ParseDigest(d); err != nil {
			return err
		}
	}
	if c.Name == "" || c.Version == "" {
		return errors.New("name or version is empty")
	}
	for i := range c.Predecessors {
		if err := c.Predecessors[i].check(); err != nil {
			return err
		}
	}
	if c.Origin != nil {
		return c.Origin.check()
	}
	return nil
}

// Write writes the lock file, whole or not at all.
func (l *Lock) Write(name string) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(name, 0o644, append(b, '\n'))
}

// of is what the lock holds of a component; nil without a lock.
func (l *Lock) of(c Component) (*Locked, error) {
	if l == nil {
		return nil, nil
	}
	for i := range l.Components {
		if k := &l.Components[i]; k.Name == c.Name && k.Version == c.Version {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%w: %s %s is not in it; resolve without it and write a new one", ErrLocked, c.Name, c.Version)
}

// digestOf is the digest of what a location gave, or "".
func (k *Locked) digestOf(location string) string {
	if k != nil {
		for _, f := range k.Files {
			if f.Location == location {
				return f.Digest
			}
		}
	}
	return ""
}

// locked holds what was found against the lock. Files are compared by content:
// another place may give them.
func (s *session) locked(f *found, sub Subject) error {
	k := s.lock
	if k == nil {
		return nil
	}
	if got := "sha256:" + f.hex; got != k.Archive {
		return fmt.Errorf("%w: %w", ErrLocked, &DigestError{k.Archive, got})
	}
	for _, p := range f.files() {
		if !slices.ContainsFunc(k.Files, func(l LockedFile) bool { return l.Digest == p.Digest }) {
			return fmt.Errorf("%w: %s gave %s", ErrLocked, p.Location, p.Digest)
		}
	}
	if got := signersOf(f.proofs); !slices.Equal(got, k.Signers) {
		return fmt.Errorf("%w: signed by %v, locked are %v", ErrLocked, got, k.Signers)
	}
	if k.Git != nil && (sub.Git == nil || *sub.Git != *k.Git) {
		return fmt.Errorf("%w: snapshot of %+v, locked is %+v", ErrLocked, sub.Git, *k.Git)
	}
	return nil
}

// files are the files of a place, by location.
func (f *found) files() []LockedFile {
	var out []LockedFile
	for _, p := range f.parts {
		out = append(out, LockedFile{p.location, "sha256:" + p.hex})
	}
	return out
}
