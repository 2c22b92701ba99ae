package monitor

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
)

// poll asks the feed, and opens and retracts findings. The images are listed
// before the feed is asked, so that an image which arrives between the two is
// compared with the batch and, by the next step, with everything.
func (s *stepper) poll(ctx context.Context) error {
	var fresh []*inventory.Image
	for img, err := range s.Inventory.All(ctx) {
		if err != nil {
			return err
		}
		if _, known := s.state.images[img.Digest]; !known {
			fresh = append(fresh, img)
		}
	}
	cursor, err := s.Cursors.Cursor(ctx, s.FeedName)
	if err != nil {
		return err
	}
	batch, err := s.Feed.Since(ctx, cursor)
	if err != nil {
		return err
	}
	s.result.Complete, s.result.Problems, s.result.Held = batch.Complete(), batch.Problems, batch.Held()
	if err := s.pending(ctx, batch.Problems); err != nil || batch.Held() {
		return err // of a feed that is held nothing is believed, and its cursor stays
	}
	pairs, err := s.touched(ctx, batch, fresh)
	if err != nil {
		return err
	}
	if err := s.reconcile(ctx, pairs, batch.Changes); err != nil {
		return err
	}
	var events []ledger.Event
	for _, img := range fresh {
		events = append(events, ledger.Event{Kind: KindImage, Data: ImageEvent{img.Name, img.Digest}})
	}
	if e := summary(s.FeedName, batch); len(batch.Changes) > 0 && e.Cursor != s.state.poll {
		events = append(events, ledger.Event{Kind: KindPoll, Data: e})
	}
	if err := s.record(ctx, events...); err != nil {
		return err
	}
	s.cursor = nil
	if !bytes.Equal(cursor, batch.Next) {
		s.cursor = batch.Next
	}
	return nil
}

// advance moves the cursor behind what poll took in, once all that follows from
// it is durable.
func (s *stepper) advance(ctx context.Context) error {
	if s.cursor == nil {
		return nil
	}
	return s.Cursors.SetCursor(ctx, s.FeedName, s.cursor)
}

// pending notes each record that cannot be read, once.
func (s *stepper) pending(ctx context.Context, problems []feed.Problem) error {
	var events []ledger.Event
	for _, p := range problems {
		if e := (UnreadableEvent{s.FeedName, p.Name, p.Digest, p.Reason}); !s.state.noted[e.note()] {
			events = append(events, ledger.Event{Kind: KindUnreadable, Data: e})
		}
	}
	return s.record(ctx, events...)
}

func summary(name string, b feed.Batch) PollEvent {
	e := PollEvent{Feed: name, Pending: len(b.Problems), Newest: b.Newest, Cursor: digest(b.Next)}
	for _, c := range b.Changes {
		switch c.Kind {
		case feed.New:
			e.New++
		case feed.Changed:
			e.Changed++
		case feed.Withdrawn:
			e.Withdrawn++
		case feed.Deleted:
			e.Deleted++
		}
	}
	return e
}

// pair is a distinct component of the portfolio.
type pair struct{ component, version, purl string }

// touched are the pairs whose findings may have changed, each with its live
// images: what the batch affects, what the fresh images hold, and, where the
// batch changes or takes back a record, whatever has an open finding.
func (s *stepper) touched(ctx context.Context, batch feed.Batch, fresh []*inventory.Image) (map[pair][]inventory.ID, error) {
	pairs := map[pair][]inventory.ID{}
	affected, err := Correlate(ctx, batch, s.Inventory)
	if err != nil {
		return nil, err
	}
	for _, a := range affected {
		pairs[pair{a.Component, a.Version, a.PURL}] = a.Images
	}
	again := map[string]bool{} // components
	for _, img := range fresh {
		for _, c := range img.Components {
			again[c.Name] = true
		}
	}
	back := slices.ContainsFunc(batch.Changes, func(c feed.Change) bool { return c.Kind != feed.New })
	// A new record can join others under another id, which renames findings.
	if back || len(affected) > 0 {
		for _, f := range s.state.open {
			again[f.Component] = true
		}
	}
	for _, n := range sortedKeys(again) {
		list, err := s.Inventory.Versions(ctx, n, "")
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			pairs[pair{p.Component, p.Version, p.PURL}] = p.Images
		}
	}
	return pairs, nil
}

// knowledge is every record of the feed.
type knowledge struct {
	db        *advisory.DB    // nil where no record is live
	withdrawn map[string]bool // ids of records that their source took back
}

func (s *stepper) all(ctx context.Context) (knowledge, error) {
	if s.known != nil {
		return s.known(ctx)
	}
	batch, err := s.Feed.Since(ctx, nil)
	if err != nil {
		return knowledge{}, err
	}
	return learn(batch)
}

func learn(batch feed.Batch) (k knowledge, err error) {
	k = knowledge{withdrawn: map[string]bool{}}
	for _, c := range batch.Changes {
		if c.Kind == feed.Withdrawn {
			k.withdrawn[c.ID] = true
		}
	}
	k.db, err = database(batch.Changes)
	return k, err
}

// reconcile makes the open findings about the pairs what all advisories
// together say of them. What was answered by an analysis stays answered, unless
// the record that it was an answer to is among the changes.
func (s *stepper) reconcile(ctx context.Context, pairs map[pair][]inventory.ID, changes []feed.Change) error {
	if len(pairs) == 0 {
		return nil
	}
	known, err := s.all(ctx)
	if err != nil {
		return err
	}
	want := map[string]Finding{}
	said := map[pair]matched{}
	for p, ids := range pairs {
		found, err := matches(known.db, p.component, p.version, p.purl)
		if err != nil {
			return err
		}
		said[p] = found
		if len(found.in) == 0 {
			continue
		}
		for _, id := range ids {
			img, err := s.Inventory.Image(ctx, id)
			if errors.Is(err, inventory.ErrNotFound) {
				continue // replaced meanwhile
			}
			if err != nil {
				return err
			}
			for _, m := range found.in {
				f := s.finding(img, p, m)
				want[f.key()] = f
			}
		}
	}
	changed := map[string]bool{}
	for _, c := range changes {
		changed[c.ID] = true
	}
	var events []ledger.Event
	for _, k := range sortedKeys(want) {
		f := want[k]
		if _, ok := s.state.answered[k]; ok && !slices.ContainsFunc(names(f.Advisory, f.Aliases), func(n string) bool { return changed[n] }) {
			continue
		}
		if _, ok := s.state.open[k]; !ok {
			events = append(events, ledger.Event{Kind: KindFinding, Data: want[k]})
			s.result.Opened = append(s.result.Opened, want[k])
		}
	}
	for _, k := range sortedKeys(s.state.open) {
		f := s.state.open[k]
		if _, still := want[k]; still {
			continue
		}
		if m, asked := said[pair{f.Component, f.Version, f.PURL}]; asked {
			if why := known.contradicts(f, m); why != "" {
				events = append(events, s.retract(f, why))
			}
		}
	}
	return s.record(ctx, events...)
}

// contradicts says why a finding does not hold any more, or "". It takes a
// statement for that: a record that is gone, or cannot be read, takes nothing
// back.
func (k knowledge) contradicts(f Finding, m matched) string {
	for _, x := range m.in {
		if slices.ContainsFunc(names(x.Advisory.ID, x.Advisory.Aliases), func(n string) bool { return slices.Contains(names(f.Advisory, f.Aliases), n) }) {
			return "it is " + x.Advisory.ID + " now"
		}
	}
	for _, n := range names(f.Advisory, f.Aliases) {
		if m.out[n] {
			return n + " does not include " + f.Version + " any more"
		}
	}
	for _, n := range names(f.Advisory, f.Aliases) {
		if k.withdrawn[n] {
			return n + " was withdrawn"
		}
	}
	return ""
}

// names are all names of one advisory.
func names(id string, aliases []string) []string { return append([]string{id}, aliases...) }

// finding is one match about one image. The clock of an image's name goes on
// through its revisions and through new names of the same advisory.
func (s *stepper) finding(img *inventory.Image, p pair, m advisory.Match) Finding {
	f := Finding{
		Image: img.Name, Digest: img.Digest, Component: p.component, Version: p.version, PURL: p.purl,
		Advisory: m.Advisory.ID, Aliases: m.Advisory.Aliases, Severity: m.Advisory.Severity,
		Undecided: m.Undecided, Reason: m.Reason, Published: m.Advisory.Published, Seen: s.Now().UTC().Round(0),
	}
	f.Seen = s.first(s.state.seen, f, f.Seen)
	f.Start = s.first(s.state.starts, f, s.SLA.start(f.Published, f.Seen, img.Added).UTC().Round(0))
	f.Deadline = s.SLA.deadline(f.Start)
	return f
}

func (s *stepper) first(m map[string]time.Time, f Finding, t time.Time) time.Time {
	for _, n := range names(f.Advisory, f.Aliases) {
		if old, ok := m[clockKey(f.Image, f.Component, n)]; ok && old.Before(t) {
			t = old
		}
	}
	return t
}
