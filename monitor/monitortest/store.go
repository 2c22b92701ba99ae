package monitortest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// CheckStore checks a store of jobs, ledger, portfolio and cursors in what they
// are together; CheckInventory and CheckLedger check the parts. Open must open
// the same store each time, empty at first, and close must let go of it.
func CheckStore(ctx context.Context, open func() (s queue.Store, close func() error, err error)) error {
	s, closeStore, err := open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	var wrong errs
	for _, check := range []func(context.Context, queue.Store, *errs){checkTogether, checkClaims, checkLists, checkManyWorkers} {
		check(ctx, s, &wrong)
	}
	before := jobsOf(ctx, s, &wrong)
	if err := closeStore(); err != nil {
		wrong.addf("close: %w", err)
	}
	if s, closeStore, err = open(); err != nil {
		wrong.addf("open again: %w", err)
		return errors.Join(wrong...)
	}
	if after := jobsOf(ctx, s, &wrong); !slices.Equal(before, after) {
		wrong.addf("opened again, jobs are %q, not %q", after, before)
	}
	if err := closeStore(); err != nil {
		wrong.addf("close: %w", err)
	}
	return errors.Join(wrong...)
}

func jobsOf(ctx context.Context, s queue.Store, wrong *errs) (out []string) {
	for j, err := range s.Jobs(ctx) {
		if err != nil {
			wrong.addf("Jobs: %w", err)
			break
		}
		b, err := json.Marshal(j)
		if err != nil {
			wrong.addf("%w", err)
		}
		out = append(out, string(b))
	}
	return out
}

var storeTime = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

// checkTogether has transactions that fail change nothing, and others everything.
func checkTogether(ctx context.Context, s queue.Store, wrong *errs) {
	img := Image("web", "sha256:1", "zlib 1.0")
	refused := errors.New("no")
	all := func(tx queue.Tx) error {
		_, err := tx.Append(storeTime, ledger.Event{Kind: "a", Data: 1})
		return errors.Join(err, tx.Swap("web", "", img), tx.SetCursor("f", []byte("1")),
			tx.Put(&queue.Job{Key: "together", Kind: "k", State: queue.Done, Body: json.RawMessage(`{"a":1}`)}))
	}
	there := func() []bool {
		_, live := s.Live(ctx, "web")
		cursor, _ := s.Cursor(ctx, "f")
		_, job := s.Job(ctx, "together")
		return []bool{live == nil, cursor != nil, job == nil, len(collect(ctx, s, 0, wrong)) > 0}
	}
	if err := s.Update(ctx, func(tx queue.Tx) error { return errors.Join(all(tx), refused) }); !errors.Is(err, refused) {
		wrong.addf("Update that fails = %w", err)
	}
	if got := there(); slices.Contains(got, true) {
		wrong.addf("a transaction that failed left image, cursor, job, entry: %t", got)
	}
	if _, err := s.Job(ctx, "together"); !errors.Is(err, queue.ErrNoJob) {
		wrong.addf("a job that is not there = %w", err)
	}
	if err := s.Update(ctx, all); err != nil {
		wrong.addf("Update: %w", err)
	}
	if got := there(); slices.Contains(got, false) {
		wrong.addf("a transaction left image, cursor, job, entry: %t", got)
	}
	// Promotion against the wrong digest takes everything with it.
	err := s.Update(ctx, func(tx queue.Tx) error {
		if _, err := tx.Append(storeTime, ledger.Event{Kind: "b", Data: 1}); err != nil {
			return err
		}
		return tx.Swap("web", "sha256:0", Image("web", "sha256:2", "zlib 1.1"))
	})
	if !errors.Is(err, inventory.ErrConflict) {
		wrong.addf("a swap against another digest = %w", err)
	}
	if n := len(collect(ctx, s, 0, wrong)); n != 1 {
		wrong.addf("a promotion that was refused left %d entries", n)
	}
	for _, j := range []*queue.Job{{}, {Key: "a", Kind: "k", State: queue.Blocked, Body: json.RawMessage(`{}`)},
		{Key: "a\x00b", Kind: "k", State: queue.Ready, Body: json.RawMessage(`{}`)}, {Key: "a", Kind: "k", State: queue.Ready, Rank: 256, Body: json.RawMessage(`{}`)}} {
		if err := s.Update(ctx, func(tx queue.Tx) error { return tx.Put(j) }); err == nil {
			wrong.addf("job %+v was taken", j)
		}
	}
}

func checkClaims(ctx context.Context, s queue.Store, wrong *errs) {
	job := func(key string, rank int, deadline, notBefore time.Time) *queue.Job {
		return &queue.Job{Key: key, Kind: "k", Group: "g", State: queue.Ready, Rank: rank, Deadline: deadline, NotBefore: notBefore, Body: json.RawMessage(`{}`)}
	}
	late := storeTime.Add(time.Hour)
	err := s.Update(ctx, func(tx queue.Tx) error {
		return errors.Join(tx.Put(job("c", 5, late, time.Time{})), tx.Put(job("b", 5, late, time.Time{})), tx.Put(job("d", 5, storeTime, time.Time{})),
			tx.Put(job("e", 5, time.Time{}, time.Time{})), tx.Put(job("a", 1, late, late)))
	})
	if err != nil {
		wrong.addf("Put: %w", err)
	}
	claim := func(now time.Time, want string, fence int64) {
		j, err := s.Claim(ctx, "me", now, time.Minute)
		switch {
		case err != nil:
			wrong.addf("Claim: %w", err)
		case j == nil && want != "":
			wrong.addf("Claim = nothing, want %s", want)
		case j != nil && (j.Key != want || j.Fence != fence || j.State != queue.Running || j.Owner != "me" || !j.Lease.Equal(now.Add(time.Minute).Truncate(time.Microsecond))):
			wrong.addf("Claim = %+v, want %s with fence %d", j, want, fence)
		}
	}
	for _, want := range []string{"d", "b", "c", "e", ""} { // by rank, deadline (none is last), key; a is not due
		fence := int64(1)
		claim(storeTime, want, fence)
	}
	claim(late, "a", 1)
	// Leases are over: again, in the same order, with a higher fence.
	claim(late.Add(2*time.Minute), "a", 2)
	claim(late.Add(2*time.Minute), "d", 2)
}

func checkLists(ctx context.Context, s queue.Store, wrong *errs) {
	keys := func(list []*queue.Job) (out []string) {
		for _, j := range list {
			out = append(out, j.Key)
		}
		return out
	}
	err := s.Update(ctx, func(tx queue.Tx) error {
		for _, k := range []string{"w1", "w2", "w10"} {
			if err := tx.Put(&queue.Job{Key: k, Kind: "k", Group: "h", State: queue.Blocked, After: "w", Body: json.RawMessage(`{}`)}); err != nil {
				return err
			}
		}
		list, err := tx.Blocked("w")
		if got := keys(list); err != nil || !slices.Equal(got, []string{"w1", "w10", "w2"}) {
			wrong.addf("Blocked = %q, %w", got, err)
		}
		w1 := list[0]
		w1.State = queue.Cancelled
		if err := tx.Put(w1); err != nil {
			return err
		}
		list, err = tx.Blocked("w")
		if got := keys(list); err != nil || !slices.Equal(got, []string{"w10", "w2"}) {
			wrong.addf("Blocked after one is not = %q, %w", got, err)
		}
		list, err = tx.Group("h")
		if got := keys(list); err != nil || !slices.Equal(got, []string{"w10", "w2"}) {
			wrong.addf("Group = %q, %w", got, err)
		}
		return nil
	})
	if err != nil {
		wrong.addf("Update: %w", err)
	}
}

// checkManyWorkers has every job claimed once, and no update of one lost.
func checkManyWorkers(ctx context.Context, s queue.Store, wrong *errs) {
	const jobs, workers = 40, 8
	now := storeTime.Add(24 * time.Hour)
	err := s.Update(ctx, func(tx queue.Tx) error {
		for i := range jobs {
			if err := tx.Put(&queue.Job{Key: fmt.Sprintf("m%02d", i), Kind: "many", State: queue.Ready, Body: json.RawMessage(`{}`)}); err != nil {
				return err
			}
		}
		return tx.Put(&queue.Job{Key: "count", Kind: "count", State: queue.Done, Rank: 0, Body: json.RawMessage(`0`)})
	})
	if err != nil {
		wrong.addf("Update: %w", err)
	}
	entries := len(collect(ctx, s, 0, wrong))
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	failed := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for {
				j, err := s.Claim(ctx, fmt.Sprint("w", w), now, time.Hour)
				if err != nil || j == nil {
					failed[w] = err
					return
				}
				if j.Kind != "many" {
					continue // left by the checks before
				}
				mu.Lock()
				seen[j.Key]++
				mu.Unlock()
				failed[w] = s.Update(ctx, func(tx queue.Tx) error {
					c, err := tx.Job("count")
					if err != nil {
						return err
					}
					var n int
					if err := json.Unmarshal(c.Body, &n); err != nil {
						return err
					}
					c.Body = fmt.Append(nil, n+1)
					j.State = queue.Done
					_, err = tx.Append(now, ledger.Event{Kind: "did", Data: j.Key})
					return errors.Join(err, tx.Put(c), tx.Put(j))
				})
				if failed[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		wrong.addf("many workers: %w", err)
	}
	for k, n := range seen {
		if n != 1 {
			wrong.addf("%s was claimed %d times", k, n)
		}
	}
	c, err := s.Job(ctx, "count")
	if err != nil || string(c.Body) != fmt.Sprint(jobs) || len(seen) != jobs {
		wrong.addf("%d jobs were done by count, %d were claimed, want %d: %w", len(c.Body), len(seen), jobs, err)
	}
	if got := len(collect(ctx, s, 0, wrong)) - entries; got != jobs {
		wrong.addf("%d entries by many workers, want %d", got, jobs)
	}
}
