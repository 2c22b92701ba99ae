package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
)

// rebuildAll plans every image with open findings and carries the plans out,
// the one with the earliest deadline first.
func (s *stepper) rebuildAll(ctx context.Context) error {
	byImage := map[string][]Finding{}
	for _, k := range sortedKeys(s.state.open) {
		f := s.state.open[k]
		byImage[f.Image] = append(byImage[f.Image], f)
	}
	if len(byImage) == 0 || s.result.Held {
		return nil
	}
	known, err := s.all(ctx)
	if err != nil {
		return err
	}
	planner := Planner{Upgrades: s.Upgrades, Series: s.Series, AnySeries: s.AnySeries}
	type job struct {
		plan *Plan
		base *inventory.Image
	}
	var jobs []job
	for _, name := range sortedKeys(byImage) {
		img, err := s.Inventory.Live(ctx, name)
		if err != nil {
			return err
		}
		plan, without, err := planner.Plan(ctx, img, byImage[name], known.db)
		if err != nil {
			return err
		}
		if err := s.noFix(ctx, without); err != nil {
			return err
		}
		if len(plan.Upgrades) > 0 {
			jobs = append(jobs, job{plan, img})
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int {
		return cmp.Or(a.plan.Deadline.Compare(b.plan.Deadline), cmp.Compare(a.plan.Image, b.plan.Image))
	})
	for _, j := range jobs {
		if err := s.carryOut(ctx, j.plan, j.base); err != nil {
			return err
		}
	}
	return nil
}

// noFix notes each case once; the result has them all.
func (s *stepper) noFix(ctx context.Context, list []NoFix) error {
	var events []ledger.Event
	for _, n := range list {
		s.result.NoFix = append(s.result.NoFix, n)
		if !s.state.noted[n.note()] {
			events = append(events, ledger.Event{Kind: KindNoFix, Data: n})
		}
	}
	return s.record(ctx, events...)
}

// stageError is a plan that came to nothing.
type stageError struct {
	stage string
	err   error
}

func (e *stageError) Error() string { return e.stage + ": " + e.err.Error() }
func (e *stageError) Unwrap() error { return e.err }

// carryOut rebuilds one image. Only an error of the step itself is returned.
func (s *stepper) carryOut(ctx context.Context, plan *Plan, base *inventory.Image) error {
	var events []ledger.Event
	p := s.state.plan(plan.Key)
	if p.release != nil {
		return nil // released, and its image gave way to another: not a second time
	}
	if p.plan.Key == "" {
		events = append(events, ledger.Event{Kind: KindPlan, Data: plan})
	}
	events = append(events, ledger.Event{Kind: KindRebuild, Data: RebuildEvent{plan.Key, plan.Image, p.attempts + 1}})
	if err := s.record(ctx, events...); err != nil {
		return err
	}
	s.result.Plans = append(s.result.Plans, *plan)
	release, left, err := s.build(ctx, plan, base)
	var stage *stageError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &stage):
		failed := FailedEvent{plan.Key, plan.Image, stage.stage, stage.err.Error()}
		s.result.Failed = append(s.result.Failed, failed)
		return s.record(ctx, ledger.Event{Kind: KindFailed, Data: failed})
	default:
		return err
	}
	// Findings first: whatever a crash leaves of these entries, no released image
	// is without them.
	events = nil
	for _, f := range left {
		events = append(events, ledger.Event{Kind: KindFinding, Data: f})
	}
	events = append(events, ledger.Event{Kind: KindReleased, Data: release})
	if err := s.record(ctx, events...); err != nil {
		return err
	}
	s.result.Released = append(s.result.Released, *release)
	return s.replace(ctx, release)
}

// build rebuilds, checks that only what was planned has changed, compares the
// new image with every advisory as the feed has them now, and publishes. It
// returns the release and the findings that are left of the base's.
func (s *stepper) build(ctx context.Context, plan *Plan, base *inventory.Image) (*Release, []Finding, error) {
	rebuilt, err := s.Rebuilder.Rebuild(ctx, *plan)
	if err == nil && (rebuilt == nil || rebuilt.Record == nil) {
		err = errors.New("the rebuilder gave no record")
	}
	if err != nil {
		return nil, nil, &stageError{"rebuild", err}
	}
	next, err := inventory.FromRecord(rebuilt.Record, s.Now())
	if err != nil {
		return nil, nil, &stageError{"check", err}
	}
	parts, err := compare(plan, base, next)
	if err != nil {
		return nil, nil, &stageError{"check", err}
	}
	known, err := s.all(ctx)
	if err != nil {
		return nil, nil, err
	}
	left, err := s.rescan(plan, base, next, known.db)
	if err != nil {
		return nil, nil, err
	}
	if p, ok := s.Rebuilder.(Publisher); ok {
		if err := p.Publish(ctx, *plan, rebuilt); err != nil {
			return nil, nil, &stageError{"publish", err}
		}
	}
	release := &Release{
		Plan: plan.Key, Base: plan.Base, Image: *next, Rebuilt: parts.rebuilt, CutOff: parts.cutOff, Kept: parts.kept,
		Executed: rebuilt.Executed, Deadline: plan.Deadline, Met: !s.Now().After(plan.Deadline),
	}
	for _, u := range plan.Upgrades {
		release.Advisories = append(release.Advisories, u.Advisories...)
	}
	slices.Sort(release.Advisories)
	release.Advisories = slices.Compact(release.Advisories)
	return release, left, nil
}

// rescan compares the rebuilt image with every advisory. What was planned must
// be fixed, and nothing may be there that the base does not have.
func (s *stepper) rescan(plan *Plan, base, next *inventory.Image, db *advisory.DB) ([]Finding, error) {
	planned := map[string][]string{} // component → advisories
	for _, u := range plan.Upgrades {
		planned[u.Component] = u.Advisories
	}
	var wrong []string
	var left []Finding
	for _, c := range next.Components {
		now, err := matches(db, c.Name, c.Version, c.PURL)
		if err != nil {
			return nil, err
		}
		was, _ := base.Component(c.Name)
		before, err := matches(db, was.Name, was.Version, was.PURL)
		if err != nil {
			return nil, err
		}
		for _, id := range planned[c.Name] {
			if f, ok := s.state.open[(&Finding{Image: plan.Image, Digest: plan.Base, Component: was.Name, Version: was.Version, Advisory: id}).key()]; !ok || !now.fixed(f) {
				wrong = append(wrong, fmt.Sprintf("%s %s is not known to fix %s", c.Name, c.Version, id))
			}
		}
		for _, id := range sortedKeys(now.in) {
			if _, had := before.in[id]; !had {
				wrong = append(wrong, fmt.Sprintf("%s %s has %s, which %s does not have", c.Name, c.Version, id, was.Version))
				continue
			}
			left = append(left, s.finding(next, pair{c.Name, c.Version, c.PURL}, now.in[id]))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return nil, &stageError{"rescan", errors.New(strings.Join(wrong, "; "))}
	}
	return left, nil
}
