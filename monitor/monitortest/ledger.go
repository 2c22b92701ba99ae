package monitortest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cleanstart/cleanstart/monitor/ledger"
)

// CheckLedger checks a ledger. Open must open the same ledger each time, empty
// at first, and close must let go of it.
func CheckLedger(ctx context.Context, open func() (l ledger.Ledger, close func() error, err error)) error {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	l, closeLedger, err := open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	var wrong errs
	got, err := l.Append(ctx, at, ledger.Event{Kind: "a", Data: 1}, ledger.Event{Kind: "b", Data: map[string]string{"k": "<&>"}})
	if err != nil || len(got) != 2 {
		wrong.addf("Append of two = %d entries, %w", len(got), err)
	}
	if got, err := l.Append(ctx, at); err != nil || len(got) != 0 {
		wrong.addf("Append of nothing = %d entries, %w", len(got), err)
	}
	if _, err := l.Append(ctx, at, ledger.Event{Kind: "c", Data: func() {}}); err == nil {
		wrong.addf("Append took an event that is no JSON")
	}
	var wg sync.WaitGroup
	failed := make([]error, 8)
	for i := range failed {
		wg.Go(func() { _, failed[i] = l.Append(ctx, at, ledger.Event{Kind: "many", Data: i}) })
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		wrong.addf("Append from several goroutines: %w", err)
	}
	before := entries(ctx, l, &wrong)
	if len(before) != 10 {
		wrong.addf("%d entries, want 10", len(before))
	}
	if n := len(collect(ctx, l, 7, &wrong)); n != len(before)-7 {
		wrong.addf("%d entries after the seventh of %d", n, len(before))
	}
	if err := closeLedger(); err != nil {
		wrong.addf("close: %w", err)
	}
	l, closeLedger, err = open()
	if err != nil {
		wrong.addf("open again: %w", err)
		return errors.Join(wrong...)
	}
	after := entries(ctx, l, &wrong)
	if len(after) != len(before) {
		wrong.addf("opened again, the ledger has %d entries, not %d", len(after), len(before))
	}
	for i := range min(len(after), len(before)) {
		if after[i].Hash != before[i].Hash || !after[i].Time.Equal(before[i].Time) || string(after[i].Data) != string(before[i].Data) {
			wrong.addf("opened again, entry %d is another", i+1)
		}
	}
	if err := closeLedger(); err != nil {
		wrong.addf("close: %w", err)
	}
	return errors.Join(wrong...)
}

// entries reads all and checks what every entry must be.
func entries(ctx context.Context, l ledger.Ledger, wrong *errs) []ledger.Entry {
	list := collect(ctx, l, 0, wrong)
	prev := ""
	for i, e := range list {
		if e.Seq != uint64(i)+1 || e.Prev != prev || e.Hash == "" || e.Hash == prev || e.Kind == "" || e.Time.IsZero() {
			wrong.addf("entry %d is not chained to the one before it: seq %d, prev %q, hash %q", i+1, e.Seq, e.Prev, e.Hash)
		}
		prev = e.Hash
	}
	return list
}

func collect(ctx context.Context, l ledger.Ledger, after uint64, wrong *errs) []ledger.Entry {
	var list []ledger.Entry
	for e, err := range l.Entries(ctx, after) {
		if err != nil {
			wrong.addf("Entries: %w", err)
			break
		}
		list = append(list, e)
	}
	return list
}
