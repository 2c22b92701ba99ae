// Package embedded keeps jobs, ledger, portfolio and cursors in one file, for
// one process at a time: a monitor without a server. The file is bbolt's; every
// transaction is on the disk when it returns.
package embedded

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// Store is a [queue.Store] in a file.
type Store struct {
	*inventory.Bolt
	db *bbolt.DB
}

var (
	bucketLedger  = []byte("queue ledger")  // number, big-endian → line
	bucketJobs    = []byte("queue jobs")    // key → job
	bucketDue     = []byte("queue due")     // rank, deadline, key → when it may be claimed
	bucketBlocked = []byte("queue blocked") // after, NUL, key → nothing
	bucketGroups  = []byte("queue groups")  // group, NUL, key → nothing; not of finished jobs
)

// Open opens or creates the store at name and verifies the whole ledger. It
// waits no longer than a second for another process to let go of the file.
func Open(name string) (*Store, error) {
	db, err := bbolt.Open(name, 0o644, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	s := &Store{db: db}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", name, err), db.Close())
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if s.Bolt, err = inventory.Within(s.db); err != nil {
		return err
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketLedger, bucketJobs, bucketDue, bucketBlocked, bucketGroups} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, err := range s.Entries(context.Background(), 0) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Update implements [queue.Store].
func (s *Store) Update(ctx context.Context, do func(queue.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error { return do(&transaction{s, tx}) })
}

// Append implements [ledger.Ledger].
func (s *Store) Append(ctx context.Context, at time.Time, events ...ledger.Event) (entries []ledger.Entry, err error) {
	if len(events) == 0 {
		return nil, ctx.Err()
	}
	err = s.Update(ctx, func(tx queue.Tx) error {
		entries, err = tx.Append(at, events...)
		return err
	})
	return entries, err
}

// Entries implements [ledger.Ledger]. It reads in short transactions and checks
// the chain as it goes.
func (s *Store) Entries(ctx context.Context, after uint64) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		const batch = 512
		for {
			var part []ledger.Entry
			err := s.db.View(func(tx *bbolt.Tx) error {
				b := tx.Bucket(bucketLedger)
				head, err := headAt(b.Get(seq(after)), after)
				if err != nil {
					return err
				}
				c := b.Cursor()
				for k, v := c.Seek(seq(after + 1)); k != nil && len(part) < batch; k, v = c.Next() {
					e, err := head.Check(v)
					if err != nil {
						return err
					}
					part, head = append(part, e), ledger.Head{Seq: e.Seq, Hash: e.Hash}
				}
				return ctx.Err()
			})
			for _, e := range part {
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
			if err != nil {
				yield(ledger.Entry{}, fmt.Errorf("ledger: %w", err))
				return
			}
			if len(part) < batch {
				return
			}
		}
	}
}

// Export writes the ledger as the lines that [ledger.Verify] reads.
func (s *Store) Export(w io.Writer) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketLedger).ForEach(func(_, line []byte) error {
			_, err := w.Write(line)
			return err
		})
	})
}

// headAt is the head that the entry numbered n is, as it stands there.
func headAt(line []byte, n uint64) (ledger.Head, error) {
	if n == 0 {
		return ledger.Head{}, nil
	}
	var e ledger.Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return ledger.Head{}, fmt.Errorf("entry %d: %w", n, err)
	}
	return ledger.Head{Seq: e.Seq, Hash: e.Hash}, nil
}

// Claim implements [queue.Store].
func (s *Store) Claim(ctx context.Context, owner string, now time.Time, lease time.Duration) (job *queue.Job, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Most of the time there is nothing, and looking costs no write.
	if err := s.db.View(func(tx *bbolt.Tx) error { job, err = claimable(tx, now); return err }); err != nil || job == nil {
		return nil, err
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		if job, err = claimable(tx, now); err != nil || job == nil {
			return err
		}
		job.State, job.Owner, job.Fence, job.Lease = queue.Running, owner, job.Fence+1, instant(now.Add(lease))
		return put(tx, job)
	})
	if err != nil {
		return nil, fmt.Errorf("queue: claim: %w", err)
	}
	return job, nil
}

func claimable(tx *bbolt.Tx, now time.Time) (*queue.Job, error) {
	c := tx.Bucket(bucketDue).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(v) != 8 || len(k) < 9 {
			return nil, errors.New("the index of jobs is damaged")
		}
		if when := int64(binary.BigEndian.Uint64(v)); when <= now.UnixMicro() {
			return readJob(tx, k[9:])
		}
	}
	return nil, nil
}

// Release implements [queue.Exclusive].
func (s *Store) Release(ctx context.Context) error {
	return s.Update(ctx, func(t queue.Tx) error {
		tx := t.(*transaction).tx
		var running []*queue.Job
		c := tx.Bucket(bucketDue).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			j, err := readJob(tx, k[9:])
			if err != nil {
				return err
			}
			if j.State == queue.Running {
				running = append(running, j)
			}
		}
		for _, j := range running {
			j.Lease = time.Time{}
			if err := put(tx, j); err != nil {
				return err
			}
		}
		return nil
	})
}

// Job implements [queue.Store].
func (s *Store) Job(ctx context.Context, key string) (j *queue.Job, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.db.View(func(tx *bbolt.Tx) error { j, err = readJob(tx, []byte(key)); return err })
	return j, err
}

// Jobs implements [queue.Store].
func (s *Store) Jobs(ctx context.Context) iter.Seq2[*queue.Job, error] {
	return func(yield func(*queue.Job, error) bool) {
		const batch = 512
		for next := []byte{}; next != nil; {
			var part []*queue.Job
			err := s.db.View(func(tx *bbolt.Tx) error {
				c := tx.Bucket(bucketJobs).Cursor()
				k, v := c.Seek(next)
				for ; k != nil && len(part) < batch; k, v = c.Next() {
					j, err := decodeJob(k, v)
					if err != nil {
						return err
					}
					part = append(part, j)
				}
				next = slices.Clone(k)
				return ctx.Err()
			})
			if err != nil {
				yield(nil, fmt.Errorf("queue: %w", err))
				return
			}
			for _, j := range part {
				if !yield(j, nil) {
					return
				}
			}
		}
	}
}
