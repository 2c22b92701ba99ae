package gitsnap

import (
	"context"
	"errors"
	"io"
)

// ErrFormat says that a snapshot, or an object in it, is not well formed, or
// not what the objects above it name.
var ErrFormat = errors.New("not a sound git snapshot")

// Limits bounds what a snapshot may hold.
type Limits struct {
	Bytes int64 // of all files
	Files int
	Depth int // path elements
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
	Modules  []Module
}

// Module is a submodule, whose commit a tree of the repository pins.
type Module struct {
	Path     string
	Commit   []byte
	CommitID string
}

// Read reads a snapshot to its end and computes every id in it.
func Read(ctx context.Context, r io.Reader, limits Limits) (*Snapshot, error) {
	return nil, errors.New("gitsnap: not built yet")
}

// SignedTag splits the tag object into what was signed and the signature;
// both are nil where there is no tag object or it bears none.
func (s *Snapshot) SignedTag() (payload, signature []byte, err error) { return nil, nil, nil }

// SignedCommit does the same for the commit.
func (s *Snapshot) SignedCommit() (payload, signature []byte, err error) { return nil, nil, nil }
