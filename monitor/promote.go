package monitor

import (
	"context"
	"errors"
	"slices"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// rescan compares the new image with the newest records.
func (w *worker) rescan(ctx context.Context) ([]Finding, error) {
	known, err := w.newest(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.current(ctx, w.fold); err != nil {
		return nil, err
	}
	return w.stepper(w.fold).rescan(w.body.Plan, w.base, w.body.image(), known.db)
}

// answers pairs each finding that was asked about with what the analysis said.
func (w *worker) answers() (out []AssessedEvent) {
	var said []Assessment
	for _, d := range w.body.Done {
		if d.Stage == StageAssess || d.Stage == StageAnalyze {
			said = d.Output.Assessments
		}
	}
	for _, f := range w.body.Findings {
		out = append(out, answer(f, said))
	}
	return out
}

// answer finds what was said of a finding. Silence, or two answers of which one
// is not no, is affected.
func answer(f Finding, said []Assessment) AssessedEvent {
	e := AssessedEvent{Finding: f, Assessment: Assessment{Component: f.Component, Advisory: f.Advisory, Status: "affected", Reason: "the analysis said nothing of it"}}
	found := false
	for _, a := range said {
		if a.Component != f.Component || !slices.Contains(names(f.Advisory, f.Aliases), a.Advisory) {
			continue
		}
		if !found || !a.silences() {
			e.Assessment, e.Silenced = a, a.silences()
		}
		found = true
		if !e.Silenced {
			break
		}
	}
	return e
}

// advance makes a stage durable. Promotion is this transaction: the ledger says
// released, and the portfolio has the image, where the base still is live.
func (w *worker) advance(ctx context.Context, d StageDone) error {
	was := w.body
	event := ledger.Event{Kind: KindStage, Data: StageEvent{
		Job: w.job.Key, Plan: w.planKey(), Image: w.body.Image, Base: w.body.Base, Stage: d.Stage, Took: d.Took, Tests: d.Output.Tests,
	}}
	events := []ledger.Event{event}
	var promote *Release
	if d.Stage == StagePromote {
		left, err := w.rescan(ctx)
		if err != nil {
			return w.fail(ctx, d.Stage, Output{}, err)
		}
		if promote, events, err = w.promotion(left); err != nil {
			return w.fail(ctx, d.Stage, Output{}, err)
		}
		events = append(events, event)
	}
	_, err := w.commit(ctx, func(tx queue.Tx, j *queue.Job) ([]ledger.Event, error) {
		w.body.Done = append(slices.Clone(was.Done), d)
		w.body.Failures, w.body.Reason = 0, ""
		if promote == nil {
			return events, nil
		}
		return events, tx.Swap(promote.Image.Name, promote.Base, &promote.Image)
	})
	if err != nil {
		w.body = was
	}
	if errors.Is(err, inventory.ErrConflict) || errors.Is(err, inventory.ErrRetired) {
		return w.end(ctx, stop{queue.Cancelled, "another image took the base's place", true})
	}
	return err
}

func (w *worker) planKey() string {
	if w.body.Plan == nil {
		return ""
	}
	return w.body.Plan.Key
}

// promotion is what the ledger says of a release.
func (w *worker) promotion(left []Finding) (*Release, []ledger.Event, error) {
	parts, err := compare(w.body.Plan, w.base, w.body.image())
	if err != nil {
		return nil, nil, err
	}
	plan, next := w.body.Plan, *w.body.image()
	next.Added = w.opts.Now().UTC().Round(0)
	var executed []string
	for _, d := range append(slices.Clone(w.past), w.body.Done...) {
		executed = append(executed, d.Output.Executed...)
	}
	r := &Release{
		Plan: plan.Key, Base: plan.Base, Image: next, Rebuilt: parts.rebuilt, CutOff: parts.cutOff, Kept: parts.kept,
		Executed: executed, Deadline: plan.Deadline, Met: !w.opts.Now().After(plan.Deadline),
	}
	for _, u := range plan.Upgrades {
		r.Advisories = append(r.Advisories, u.Advisories...)
	}
	slices.Sort(r.Advisories)
	r.Advisories = slices.Compact(r.Advisories)
	var said []Assessment
	for _, d := range w.body.Done {
		if d.Stage == StageAnalyze {
			said = d.Output.Assessments
		}
	}
	var events []ledger.Event
	for _, f := range left {
		events = append(events, ledger.Event{Kind: KindFinding, Data: f})
		if a := answer(f, said); a.Assessment.Rule != "" { // else the next turn asks
			events = append(events, ledger.Event{Kind: KindAssessed, Data: a})
		}
	}
	return r, append(events,
		ledger.Event{Kind: KindReleased, Data: r},
		ledger.Event{Kind: KindReplaced, Data: ReplacedEvent{Plan: plan.Key, Image: next.Name, Base: plan.Base, Digest: next.Digest}},
	), nil
}
