package monitortest

import (
	"context"
	"errors"
	"fmt"

	"github.com/cleanstart/cleanstart/monitor/feed"
)

// Record is a small OSV record of a flaw in every version of a component
// before fixed.
func Record(id, component, fixed string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"published":"2026-01-02T03:04:05Z","modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"","name":%q},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, id, component, fixed)
}

// WithdrawnRecord is a record that its source took back.
func WithdrawnRecord(id string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"modified":"2026-02-02T03:04:05Z","withdrawn":"2026-02-02T03:04:05Z"}`, id)
}

// CheckFeed checks a feed. Set replaces everything that the feed's source holds
// by the given records.
func CheckFeed(ctx context.Context, f feed.Feed, set func(records ...[]byte) error) error {
	a, a2, b := Record("CVE-1", "zlib", "1.0"), Record("CVE-1", "zlib", "1.1"), Record("CVE-2", "zlib", "1.0")
	var wrong errs
	var cursor, first []byte
	for i, step := range []struct {
		records [][]byte
		want    []string
	}{
		{nil, nil},
		{[][]byte{a, b}, []string{"new CVE-1", "new CVE-2"}},
		{[][]byte{b, a}, nil},
		{[][]byte{a2, b}, []string{"changed CVE-1"}},
		{[][]byte{WithdrawnRecord("CVE-1"), b}, []string{"withdrawn CVE-1"}},
		{[][]byte{WithdrawnRecord("CVE-1")}, []string{"deleted CVE-2"}},
		{[][]byte{a, b}, []string{"changed CVE-1", "new CVE-2"}},
		{[][]byte{a, b, []byte(`{"id":`)}, nil},
	} {
		if err := set(step.records...); err != nil {
			return fmt.Errorf("step %d: set: %w", i, err)
		}
		batch, err := f.Since(ctx, cursor)
		if err != nil {
			return errors.Join(append(wrong, fmt.Errorf("step %d: Since: %w", i, err))...)
		}
		var got []string
		for _, c := range batch.Changes {
			got = append(got, fmt.Sprintf("%s %s", c.Kind, c.ID))
			if (c.Record == nil) != (c.Kind == feed.Deleted) || c.Digest == "" {
				wrong.addf("step %d: %s %s has record %q and digest %q", i, c.Kind, c.ID, c.Record, c.Digest)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(step.want) {
			wrong.addf("step %d: changes %q, want %q", i, got, step.want)
		}
		if last := i == 7; batch.Complete() == last {
			wrong.addf("step %d: complete is %t", i, batch.Complete())
		}
		if i == 1 {
			first = batch.Next
		}
		cursor = batch.Next
	}
	// An old cursor still works: it is a value, not a position that moves.
	if batch, err := f.Since(ctx, first); err != nil || len(batch.Changes) != 0 {
		wrong.addf("from an older cursor of the same state: %d changes, %w", len(batch.Changes), err)
	}
	if _, err := f.Since(ctx, []byte("no cursor of yours")); err == nil {
		wrong.addf("a foreign cursor was accepted")
	}
	return errors.Join(wrong...)
}
