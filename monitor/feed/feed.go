// Package feed says what has changed in a source of advisories since it was
// last asked.
package feed

import (
	"context"
	"slices"
	"time"
)

// Feed is a source of OSV records. Since compares it with what it held at
// cursor, an opaque value of an earlier batch; nil means the beginning, so that
// every live record is new.
//
// A feed compares contents, not times: records are edited without their
// modified time moving, and removed without being withdrawn.
type Feed interface {
	Since(ctx context.Context, cursor []byte) (Batch, error)
}

// Batch is the difference between two states of a feed.
type Batch struct {
	Changes  []Change  // sorted by id
	Problems []Problem // records that could not be read; they stay pending and are tried again
	Next     []byte    // cursor behind this batch
	Newest   time.Time // the newest modified time of the changes
	Live     int       // records that the feed holds behind this batch, withdrawn ones too
}

// Complete reports whether every record of the feed was understood.
func (b *Batch) Complete() bool { return len(b.Problems) == 0 }

// Held reports whether a [Guard] keeps the feed from being obeyed.
func (b *Batch) Held() bool {
	return slices.ContainsFunc(b.Problems, func(p Problem) bool { return p.Name == heldName })
}

// Kind says how a record changed.
type Kind string

const (
	New       Kind = "new"
	Changed   Kind = "changed"
	Withdrawn Kind = "withdrawn" // its source took it back, whatever it said before
	Deleted   Kind = "deleted"   // it is gone without having been withdrawn
)

// Change is one record that changed.
type Change struct {
	Kind      Kind
	ID        string
	Digest    string // "sha256:HEX" of the record; of the last one seen where it was deleted
	Record    []byte // nil where it was deleted
	Published time.Time
	Modified  time.Time
	Before    time.Time // modified time of the record as it was held; zero for a new one
}

// Problem is one record that could not be read.
type Problem struct {
	Name   string // where it is
	Digest string // of its bytes, where they could be read
	Reason string
}
