package gitsnap

import (
	"errors"
	"fmt"
)

// ErrFormat says that a snapshot, or an object in it, is not well formed, or
// not what the objects above it name.
var ErrFormat = errors.New("not a sound git snapshot")

// ErrCollision says that an object was made to collide with another: somebody
// attacked SHA-1.
var ErrCollision = errors.New("content bears the marks of a SHA-1 collision attack")

// ErrTooLarge says that a snapshot exceeds a limit.
var ErrTooLarge = errors.New("git snapshot is larger than the limit")

// Limits bounds what a snapshot may hold. The zero value allows nothing.
type Limits struct {
	Bytes int64 // of all files
	Files int   // entries, directories included
	Depth int   // path elements of a name, "tree" included
}

// Snapshot is what a snapshot was proven to hold. Ids are hexadecimal.
type Snapshot struct {
	Format   string // sha1 or sha256
	Commit   []byte
	CommitID string
	TreeID   string
	Tag      []byte // nil for a lightweight tag or a bare commit
	TagID    string
	TagName  string
	Modules  []Module // by path
}

// Module is a submodule, whose commit a tree of the repository pins.
type Module struct {
	Path     string
	Commit   []byte
	CommitID string
}

// maxHead bounds a commit or tag object, and all of those in one snapshot:
// readers of tar take no larger header.
const maxHead = 1<<20 - 4096

func malformed(format string, a ...any) error {
	return fmt.Errorf("%w: %w", ErrFormat, fmt.Errorf(format, a...))
}

// pin is a submodule's commit, by which a directory becomes a gitlink.
type pin struct {
	commit, tree string
	used         bool
}

// head computes the ids of the objects in the header, fills them in, and holds
// tag and commit against each other.
func (s *Snapshot) head() (format, *commit, map[string]*pin, error) {
	fail := func(err error) (format, *commit, map[string]*pin, error) { return format{}, nil, nil, err }
	f, err := formatOf(s.Format)
	if err != nil {
		return fail(err)
	}
	c, err := parseCommit(f, s.Commit)
	if err != nil {
		return fail(err)
	}
	if s.CommitID, err = f.id("commit", s.Commit); err != nil {
		return fail(err)
	}
	s.TreeID = c.tree
	s.TagID, s.TagName = "", ""
	size := len(s.Commit) + len(s.Tag)
	if s.Tag != nil {
		t, err := parseTag(f, s.Tag)
		if err != nil {
			return fail(err)
		}
		if t.object != s.CommitID {
			return fail(malformed("the tag is for commit %s, not for %s", t.object, s.CommitID))
		}
		if s.TagID, err = f.id("tag", s.Tag); err != nil {
			return fail(err)
		}
		s.TagName = t.name
	}
	pins := map[string]*pin{}
	for i := range s.Modules {
		m := &s.Modules[i]
		c, err := parseCommit(f, m.Commit)
		if err != nil {
			return fail(fmt.Errorf("submodule %q: %w", m.Path, err))
		}
		if m.CommitID, err = f.id("commit", m.Commit); err != nil {
			return fail(fmt.Errorf("submodule %q: %w", m.Path, err))
		}
		if pins[m.Path] != nil || m.Path == "" {
			return fail(malformed("submodule %q is there twice, or nowhere", m.Path))
		}
		pins[m.Path] = &pin{commit: m.CommitID, tree: c.tree}
		size += len(m.Commit) + len(m.Path)
	}
	if size > maxHead {
		return fail(fmt.Errorf("%w: %d bytes of commits and tag", ErrTooLarge, size))
	}
	return f, c, pins, nil
}
