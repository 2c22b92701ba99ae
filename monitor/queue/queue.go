// Package queue keeps what is to be done beside what was decided: jobs, the
// ledger, the portfolio and the cursors of feeds, all in one database. A change
// of state and the ledger entry that records it are one transaction, so that no
// crash leaves one without the other.
//
// A job is claimed for a while (its lease) and claimed again by anybody when
// that is over. Each claim has a number (Fence) that only grows: whoever writes
// a job compares it within the transaction, so that a worker that was taken for
// dead and was not changes nothing any more.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
)

// State is where a job stands.
type State string

// What becomes of a job. Only the first two can be claimed.
const (
	Ready     State = "ready"     // from NotBefore on
	Running   State = "running"   // claimed; by somebody else when the lease is over
	Blocked   State = "blocked"   // until the job named After is done
	Held      State = "held"      // until somebody approves
	Paused    State = "paused"    // until somebody resumes
	Done      State = "done"      //
	Failed    State = "failed"    // not to be tried again by itself
	Cancelled State = "cancelled" // not needed any more
)

// Finished reports whether nothing more comes of a job by itself.
func (s State) Finished() bool { return s == Done || s == Failed || s == Cancelled }

// Job is a piece of work. Times are whole microseconds in UTC.
type Job struct {
	Key       string // the same work has the same key
	Kind      string
	Group     string // what it is about; "" for nothing in particular
	State     State
	Rank      int       // smaller is sooner, 0 to 255
	Deadline  time.Time // sooner is sooner, within a rank
	NotBefore time.Time
	After     string // key of the job that must be done before
	Owner     string // who claimed it last
	Lease     time.Time
	Fence     int64 // number of claims
	Body      json.RawMessage
}

// ErrNoJob is returned for a job that is not there.
var ErrNoJob = errors.New("no such job")

// Tx is one transaction. What it returns is the caller's.
type Tx interface {
	// Append is as of [ledger.Ledger].
	Append(at time.Time, events ...ledger.Event) ([]ledger.Entry, error)
	// Swap is as of [inventory.Inventory].
	Swap(name, prev string, next *inventory.Image) error
	// SetCursor is as of [inventory.Cursors].
	SetCursor(feed string, cursor []byte) error
	// Job is the job of that key, or ErrNoJob; no other transaction changes it
	// before this one ends.
	Job(key string) (*Job, error)
	// Put adds or replaces a job.
	Put(*Job) error
	// Blocked are the jobs in that state behind another, by key.
	Blocked(after string) ([]*Job, error)
	// Group are the jobs of a group that are not finished, by key.
	Group(group string) ([]*Job, error)
}

// Store is a database of everything. Its methods may be called from several
// goroutines.
type Store interface {
	inventory.Inventory
	inventory.Cursors
	ledger.Ledger
	// Update runs do in a transaction and makes it durable, or changes nothing
	// where do or the database fails. It may run do more than once.
	Update(ctx context.Context, do func(Tx) error) error
	// Claim takes the first job by rank, deadline and key that is ready at now,
	// or whose lease was over then, marks it as running with a lease from now
	// on, and raises its fence. It is nil where there is none.
	Claim(ctx context.Context, owner string, now time.Time, lease time.Duration) (*Job, error)
	// Job is the job of that key, or ErrNoJob.
	Job(ctx context.Context, key string) (*Job, error)
	// Jobs yields all jobs, by key.
	Jobs(ctx context.Context) iter.Seq2[*Job, error]
}

// Exclusive is what a store may be that only one process has open at a time:
// whoever opens it knows that all leases of others are over.
type Exclusive interface {
	// Release ends every lease.
	Release(ctx context.Context) error
}

// Check refuses a job that could not be found again.
func (j *Job) Check() error {
	switch {
	case j.Key == "" || strings.ContainsRune(j.Key+j.Group+j.After, 0):
		return fmt.Errorf("queue: job %q of %q after %q is not named well", j.Key, j.Group, j.After)
	case j.Kind == "" || j.State == "" || len(j.Body) == 0:
		return fmt.Errorf("queue: job %s has no kind, state or body", j.Key)
	case j.Rank < 0 || j.Rank > 255:
		return fmt.Errorf("queue: job %s is of rank %d", j.Key, j.Rank)
	case j.State == Blocked && j.After == "":
		return fmt.Errorf("queue: job %s is blocked by nothing", j.Key)
	}
	return nil
}
