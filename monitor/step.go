package monitor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
)

// Rebuilder builds an image as planned: the specification of the base with the
// planned components exchanged. It may be called again with the same plan after
// a crash or a failure, and must then give the same image.
type Rebuilder interface {
	Rebuild(ctx context.Context, plan Plan) (*Rebuilt, error)
}

// Rebuilt is what a rebuilder gives.
type Rebuilt struct {
	Record *compile.Record
	// Executed names the components that were built now and not taken from a
	// store. It goes into the ledger; what is checked are the action keys.
	Executed []string
}

// Publisher is what a [Rebuilder] may implement too: Publish makes a checked
// image available to its users (tests, signatures, a registry) before it is
// recorded as released. It is called at least once for a release, and calling
// it again with the same plan and image must change nothing.
type Publisher interface {
	Publish(ctx context.Context, plan Plan, rebuilt *Rebuilt) error
}

// Options are what a step works with. All but SLA, Series, AnySeries and
// Progress are required.
type Options struct {
	FeedName  string // under which the feed's cursor is kept
	Feed      feed.Feed
	Inventory inventory.Inventory
	Cursors   inventory.Cursors
	Ledger    ledger.Ledger
	Upgrades  Upgrades
	Rebuilder Rebuilder
	Now       func() time.Time

	SLA       SLA
	Series    func(component, version string) string // see [Planner]
	AnySeries bool                                   // see [Planner]
	Progress  func(ledger.Entry)                     // called after each durable entry
}

// Result is what one step did and what remains.
type Result struct {
	Complete  bool // every record of the feed was understood
	Held      bool // the feed changed as no honest one does, and nothing of it was believed
	Problems  []feed.Problem
	Opened    []Finding
	Retracted []RetractedEvent
	Plans     []Plan // that were carried out, or tried
	Released  []Release
	Failed    []FailedEvent
	NoFix     []NoFix   // findings for which there is nothing to build
	Open      []Finding // that are left, sorted by deadline
	Overdue   []Finding // those of them whose deadline has passed
}

// Step is one turn of the loop: take up what an earlier step left, ask the
// feed, compare, plan, rebuild, check, release. With nothing new it changes
// nothing. A plan that fails stops no other; it is in Result.Failed and is
// tried again by the next step. An error means that the step could not go on
// and that the next one takes up where it stopped.
func Step(ctx context.Context, opts Options) (*Result, error) {
	if opts.FeedName == "" || opts.Feed == nil || opts.Inventory == nil || opts.Cursors == nil || opts.Ledger == nil ||
		opts.Upgrades == nil || opts.Rebuilder == nil || opts.Now == nil {
		return nil, errors.New("monitor: a required option is missing")
	}
	s := &stepper{Options: opts, state: newState(), result: &Result{}}
	for _, part := range []func(context.Context) error{s.replay, s.settle, s.poll, s.advance, s.prune, s.rebuildAll, s.sum} {
		if err := part(ctx); err != nil {
			return s.result, fmt.Errorf("monitor: %w", err)
		}
	}
	return s.result, nil
}

// stepper is one step.
type stepper struct {
	Options
	state  *state
	result *Result
	cursor []byte                                   // behind what was polled; nil where it stays
	follow func(context.Context) error              // folds in all that is new; nil: nobody else writes
	known  func(context.Context) (knowledge, error) // nil: the feed is read whole
}

// replay folds the ledger.
func (s *stepper) replay(ctx context.Context) error {
	for e, err := range s.Ledger.Entries(ctx, 0) {
		if err != nil {
			return err
		}
		if err := s.state.apply(e); err != nil {
			return err
		}
	}
	return nil
}

// record appends events and folds them in.
func (s *stepper) record(ctx context.Context, events ...ledger.Event) error {
	entries, err := s.Ledger.Append(ctx, s.Now(), events...)
	if err != nil {
		return err
	}
	return s.took(ctx, entries)
}

// took folds in what was appended. Where others write too, what they wrote
// before comes first.
func (s *stepper) took(ctx context.Context, entries []ledger.Entry) error {
	if s.follow != nil {
		if err := s.follow(ctx); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if s.follow == nil {
			if err := s.state.apply(e); err != nil {
				return err
			}
		}
		if s.Progress != nil {
			s.Progress(e)
		}
	}
	return nil
}

// settle finishes releases that are in the ledger and not in the inventory.
func (s *stepper) settle(ctx context.Context) error {
	for _, key := range sortedKeys(s.state.plans) {
		p := s.state.plans[key]
		if p.release == nil || p.replaced {
			continue
		}
		if err := s.replace(ctx, p.release); err != nil {
			return err
		}
		s.result.Released = append(s.result.Released, *p.release)
	}
	return nil
}

// replace makes the released image the live one. Where the image was taken
// over meanwhile by somebody else, theirs stays.
func (s *stepper) replace(ctx context.Context, r *Release) error {
	name := r.Image.Name
	err := s.Inventory.Swap(ctx, name, r.Base, &r.Image)
	superseded := errors.Is(err, inventory.ErrConflict) || errors.Is(err, inventory.ErrRetired)
	if err != nil && !superseded {
		return err
	}
	return s.record(ctx, ledger.Event{Kind: KindReplaced, Data: ReplacedEvent{r.Plan, name, r.Base, r.Image.Digest, superseded}})
}

// prune retracts findings about images that are not live any more.
func (s *stepper) prune(ctx context.Context) error {
	var events []ledger.Event
	for _, k := range sortedKeys(s.state.open) {
		f := s.state.open[k]
		live, err := s.Inventory.Live(ctx, f.Image)
		if err != nil && !errors.Is(err, inventory.ErrNotFound) {
			return err
		}
		if live != nil && live.Digest == f.Digest {
			continue
		}
		events = append(events, s.retract(f, "the image is not live any more"))
	}
	return s.record(ctx, events...)
}

func (s *stepper) retract(f Finding, reason string) ledger.Event {
	r := RetractedEvent{f, reason}
	s.result.Retracted = append(s.result.Retracted, r)
	return ledger.Event{Kind: KindRetracted, Data: r}
}

// sum fills in what remains and notes each missed deadline once.
func (s *stepper) sum(ctx context.Context) error {
	now := s.Now()
	var events []ledger.Event
	for _, k := range sortedKeys(s.state.open) {
		f := s.state.open[k]
		s.result.Open = append(s.result.Open, f)
		if now.After(f.Deadline) {
			s.result.Overdue = append(s.result.Overdue, f)
			if !s.state.noted[overdueNote(f)] {
				events = append(events, ledger.Event{Kind: KindOverdue, Data: f})
			}
		}
	}
	byDeadline := func(a, b Finding) int {
		return cmp.Or(a.Deadline.Compare(b.Deadline), cmp.Compare(a.key(), b.key()))
	}
	slices.SortFunc(s.result.Open, byDeadline)
	slices.SortFunc(s.result.Overdue, byDeadline)
	return s.record(ctx, events...)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
