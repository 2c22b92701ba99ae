package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// work is the body of a job.
type work struct {
	Image    string      `json:"image"`
	Base     string      `json:"base"` // digest
	Plan     *Plan       `json:"plan,omitempty"`
	Findings []Finding   `json:"findings,omitempty"`
	Done     []StageDone `json:"done,omitempty"`
	Failures int         `json:"failures,omitempty"` // of the stage that comes next
	Reason   string      `json:"reason,omitempty"`   // why it is where it is
	Approved string      `json:"approved,omitempty"` // by whom
	Created  time.Time   `json:"created"`
	Ended    time.Time   `json:"ended,omitzero"`
}

func (b *work) next(kind string) Stage {
	for _, s := range stagesOf(kind) {
		if !slices.ContainsFunc(b.Done, func(d StageDone) bool { return d.Stage == s }) {
			return s
		}
	}
	return ""
}

func (s *Service) put(tx queue.Tx, j *queue.Job, b *work) error {
	body, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("job %s: %w", j.Key, err)
	}
	j.Body = body
	return tx.Put(j)
}

// Work does the first job that is due, as far as it goes, and reports whether
// there was one. A job that fails is no error; its own state tells.
func (s *Service) Work(ctx context.Context) (bool, error) {
	j, err := s.opts.Store.Claim(ctx, s.opts.Owner, s.opts.Now(), s.opts.Lease)
	if err != nil {
		return false, fmt.Errorf("monitor: %w", err)
	}
	if j == nil {
		return false, nil
	}
	if j.Kind == JobTurn {
		return true, s.turnJob(ctx, j)
	}
	w := &worker{Service: s, job: j}
	if err := w.run(ctx); err != nil {
		return true, fmt.Errorf("monitor: %s of %s: %w", j.Kind, j.Group, err)
	}
	return true, nil
}

func (s *Service) turnJob(ctx context.Context, j *queue.Job) error {
	stop := s.keep(ctx, j, func(error) {})
	_, err := s.Turn(ctx)
	stop()
	again := context.WithoutCancel(ctx)
	return errors.Join(err, s.opts.Store.Update(again, func(tx queue.Tx) error {
		now, txErr := tx.Job(j.Key)
		if txErr != nil || now.Fence != j.Fence {
			return txErr
		}
		hurried := string(now.Body) != "{}"
		now.State, now.Lease, now.Body = queue.Ready, zeroTime, json.RawMessage(`{}`)
		now.NotBefore = s.opts.Now().Add(s.opts.Interval).UTC().Truncate(time.Microsecond)
		if hurried && err == nil || ctx.Err() != nil {
			now.NotBefore = zeroTime
		}
		return tx.Put(now)
	}))
}

// keep renews a lease until it is stopped; lost is called where it is another's.
func (s *Service) keep(ctx context.Context, j *queue.Job, lost func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			wait(ctx, s.opts.Lease/3)
			if ctx.Err() != nil {
				return
			}
			err := s.opts.Store.Update(ctx, func(tx queue.Tx) error {
				now, err := tx.Job(j.Key)
				if err != nil {
					return err
				}
				if now.Fence != j.Fence {
					return errLost
				}
				now.Lease = s.lease()
				return tx.Put(now)
			})
			if errors.Is(err, errLost) {
				lost(err)
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (s *Service) lease() time.Time {
	return s.opts.Now().Add(s.opts.Lease).UTC().Truncate(time.Microsecond)
}

// worker carries out one job.
type worker struct {
	*Service
	job  *queue.Job
	body work
	base *inventory.Image
	past []StageDone // of the build before
}

// stop is how a job ends that is not done.
type stop struct {
	state  queue.State
	reason string
	again  bool // a turn is to plan anew
}

func (w *worker) run(ctx context.Context) error {
	if err := json.Unmarshal(w.job.Body, &w.body); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	release := w.keep(ctx, w.job, func(err error) { cancel(err) })
	err := w.stages(ctx)
	release()
	switch {
	case err == nil || errors.Is(err, errLost) || errors.Is(context.Cause(ctx), errLost):
		return nil
	case ctx.Err() != nil: // this process ends: let another go on at once
		_, err := w.commit(context.WithoutCancel(ctx), func(tx queue.Tx, j *queue.Job) ([]ledger.Event, error) {
			j.State, j.Lease, j.NotBefore = queue.Ready, zeroTime, zeroTime
			return nil, nil
		})
		if errors.Is(err, errLost) {
			err = nil
		}
		return err
	}
	return err
}

// stages does one after the other. The error is of the store or the context.
func (w *worker) stages(ctx context.Context) error {
	if w.halted(ctx) {
		return w.end(ctx, stop{state: queue.Ready, reason: "everything is paused"})
	}
	for {
		stage := w.body.next(w.job.Kind)
		if stage == "" {
			return w.finish(ctx)
		}
		if s := w.gate(ctx, stage); s != nil {
			return w.end(ctx, *s)
		}
		began := w.opts.Now()
		out, err := w.do(ctx, stage)
		if err == nil {
			err = out.check(stage, w.body.Plan, w.base)
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return w.fail(ctx, stage, out, err)
		}
		if err := w.advance(ctx, StageDone{stage, out, began.UTC(), max(0, w.opts.Now().Sub(began))}); err != nil {
			return err
		}
	}
}

func (w *worker) halted(ctx context.Context) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.current(ctx, w.fold); err != nil {
		return true
	}
	_, all := w.fold.paused[""]
	return all
}

// gate says why a stage is not begun, or nil.
func (w *worker) gate(ctx context.Context, stage Stage) *stop {
	w.base = nil
	if w.job.Kind != JobBuild && stage != StageAnnounce {
		live, err := w.opts.Store.Live(ctx, w.body.Image)
		if err == nil && live.Digest != w.body.Base && w.body.image() != nil && live.Digest == w.body.image().Digest {
			err = nil
		} else if errors.Is(err, inventory.ErrNotFound) || err == nil && live.Digest != w.body.Base {
			return &stop{queue.Cancelled, "another image took the base's place", true}
		}
		if err == nil {
			w.base = live
		}
	}
	outward := stage == StageAttest || stage == StageVEX
	switch {
	case !outward || w.body.Approved != "":
	case w.opts.DryRun:
		return &stop{queue.Held, "dry run: nothing is released", false}
	case w.body.Plan != nil && w.opts.Approve != nil && w.opts.Approve(*w.body.Plan):
		return &stop{queue.Held, "it waits for approval", false}
	}
	return nil
}

func (b *work) image() *inventory.Image {
	for _, d := range b.Done {
		if d.Output.Image != nil {
			return d.Output.Image
		}
	}
	return nil
}

// do carries a stage out.
func (w *worker) do(ctx context.Context, stage Stage) (Output, error) {
	t := Task{Job: w.job.Key, Stage: stage, Plan: w.body.Plan, Base: w.base, Findings: w.body.Findings, Earlier: slices.Clone(w.body.Done)}
	if w.job.After != "" {
		j, err := w.opts.Store.Job(ctx, w.job.After)
		if err != nil {
			return Output{}, err
		}
		var b work
		if err := json.Unmarshal(j.Body, &b); err != nil {
			return Output{}, err
		}
		w.past = b.Done
		t.Earlier = append(slices.Clone(b.Done), t.Earlier...)
	}
	switch stage {
	case StageVEX:
		if !slices.ContainsFunc(w.answers(), func(a AssessedEvent) bool { return a.Silenced }) {
			return Output{}, nil
		}
	case StagePromote:
		return Output{}, nil // in advance
	case StagePublish:
		// Analysis and tests take their time: once more, against what is known now.
		if _, err := w.rescan(ctx); err != nil {
			return Output{}, err
		}
	}
	if w.job.Kind == JobBuild {
		live, err := w.opts.Store.Live(ctx, w.body.Image)
		if err != nil && !errors.Is(err, inventory.ErrNotFound) {
			return Output{}, err
		}
		t.Base = live
	}
	out, err := w.opts.Pipeline.Do(ctx, t)
	if err == nil && stage == StageAnalyze {
		_, err = w.rescan(ctx)
	}
	return out, err
}

// commit changes the job in a transaction, where it is still this worker's.
func (w *worker) commit(ctx context.Context, change func(queue.Tx, *queue.Job) ([]ledger.Event, error)) (queue.State, error) {
	var entries []ledger.Entry
	var after queue.Job
	err := w.opts.Store.Update(ctx, func(tx queue.Tx) error {
		entries = nil
		j, err := tx.Job(w.job.Key)
		if err != nil {
			return err
		}
		if j.Fence != w.job.Fence || j.State != queue.Running {
			return errLost
		}
		j.Lease = w.lease()
		events, err := change(tx, j)
		if err != nil {
			return err
		}
		if err := w.put(tx, j, &w.body); err != nil {
			return err
		}
		after = *j
		if len(events) == 0 {
			return nil
		}
		entries, err = tx.Append(w.opts.Now(), events...)
		return err
	})
	if err != nil {
		return "", err
	}
	w.job = &after
	if w.opts.Progress != nil {
		for _, e := range entries {
			w.opts.Progress(e)
		}
	}
	return after.State, nil
}

// end leaves a job that is not done.
func (w *worker) end(ctx context.Context, s stop) error {
	_, err := w.commit(ctx, func(tx queue.Tx, j *queue.Job) ([]ledger.Event, error) {
		j.State, j.Lease, w.body.Reason = s.state, zeroTime, s.reason
		if s.state == queue.Ready {
			j.NotBefore = w.opts.Now().Add(w.opts.Interval).UTC().Truncate(time.Microsecond)
		}
		if s.again {
			return nil, w.hurry(tx)
		}
		return nil, nil
	})
	return err
}

// fail puts a job off, or ends it with an incident where trying again is no use.
func (w *worker) fail(ctx context.Context, stage Stage, out Output, cause error) error {
	var rescan *stageError
	reason := cause.Error()
	failed := ledger.Event{Kind: KindFailed, Data: FailedEvent{Plan: w.job.Key, Image: w.body.Image, Stage: string(stage), Reason: reason}}
	if errors.As(cause, &rescan) && rescan.stage == "rescan" {
		failed.Data = FailedEvent{Plan: w.job.Key, Image: w.body.Image, Stage: "rescan", Reason: reason}
		return w.stopWith(ctx, stop{queue.Cancelled, reason, true}, failed)
	}
	w.body.Failures++
	if !errors.Is(cause, ErrFinal) && w.body.Failures < w.opts.Attempts {
		_, err := w.commit(ctx, func(tx queue.Tx, j *queue.Job) ([]ledger.Event, error) {
			w.body.Reason = reason
			delay := min(time.Hour, 15*time.Second<<min(w.body.Failures, 10))
			j.State, j.Lease, j.NotBefore = queue.Ready, zeroTime, w.opts.Now().Add(delay).UTC().Truncate(time.Microsecond)
			return []ledger.Event{failed}, nil
		})
		return err
	}
	incident := IncidentEvent{Job: w.job.Key, Kind: w.job.Kind, Image: w.body.Image, Base: w.body.Base, Stage: stage, Reason: reason}
	if t := out.Tests; t != nil {
		incident.Failed, incident.Evidence = t.Failed, t.Evidence
	}
	return w.stopWith(ctx, stop{queue.Failed, reason, false}, failed, ledger.Event{Kind: KindIncident, Data: incident})
}

func (w *worker) stopWith(ctx context.Context, s stop, events ...ledger.Event) error {
	_, err := w.commit(ctx, func(tx queue.Tx, j *queue.Job) ([]ledger.Event, error) {
		j.State, j.Lease, w.body.Reason, w.body.Ended = s.state, zeroTime, s.reason, w.opts.Now().UTC()
		if s.again {
			if err := w.hurry(tx); err != nil {
				return nil, err
			}
		}
		return events, nil
	})
	return err
}

// finish ends a job that is done, and lets go of those that waited for it.
func (w *worker) finish(ctx context.Context) error {
	_, err := w.commit(ctx, func(tx queue.Tx, j *queue.Job) ([]ledger.Event, error) {
		j.State, j.Lease, w.body.Ended = queue.Done, zeroTime, w.opts.Now().UTC()
		waiting, err := tx.Blocked(j.Key)
		if err != nil {
			return nil, err
		}
		for _, b := range waiting {
			b.State = queue.Ready
			if err := tx.Put(b); err != nil {
				return nil, err
			}
		}
		if w.job.Kind != JobAssess {
			return nil, nil
		}
		var events []ledger.Event
		for _, a := range w.answers() {
			events = append(events, ledger.Event{Kind: KindAssessed, Data: a})
		}
		return events, w.hurry(tx)
	})
	return err
}
