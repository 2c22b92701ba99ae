package monitor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// Turn reads the feed once, opens and retracts findings, and queues what is to
// be done about them. Findings and jobs are durable before the feed's cursor
// moves. Workers call it when its job is due; it may be called by itself.
func (s *Service) Turn(ctx context.Context) (*Result, error) {
	s.turning.Lock()
	defer s.turning.Unlock()
	st := s.stepper(s.turn)
	r, err := s.turnWith(ctx, st)
	if err != nil {
		// What was half done is in the ledger; fold it anew.
		s.turn = newState()
		return r, fmt.Errorf("monitor: turn: %w", errors.Join(err, s.silence(ctx)))
	}
	return r, nil
}

func (s *Service) turnWith(ctx context.Context, st *stepper) (*Result, error) {
	if err := s.current(ctx, s.turn); err != nil {
		return st.result, err
	}
	s.mu.Lock() // the guard asks for orders there
	err := s.current(ctx, s.fold)
	s.mu.Unlock()
	if err != nil {
		return st.result, err
	}
	if err := st.poll(ctx); err != nil {
		return st.result, err
	}
	if err := s.hear(ctx, st.result); err != nil {
		return st.result, err
	}
	if err := s.current(ctx, s.turn); err != nil { // releases since
		return st.result, err
	}
	if err := st.prune(ctx); err != nil {
		return st.result, err
	}
	if !st.result.Held {
		if err := s.schedule(ctx, st); err != nil {
			return st.result, err
		}
		if err := st.advance(ctx); err != nil {
			return st.result, err
		}
	}
	return st.result, st.sum(ctx)
}

// hear notes when the feed was read. One that is held was not.
func (s *Service) hear(ctx context.Context, r *Result) error {
	h, err := s.lastHeard(ctx)
	if err != nil {
		return err
	}
	h.Pending, h.Held, h.Key = len(r.Problems), "", ""
	if r.Held {
		last := r.Problems[len(r.Problems)-1]
		h.Held, h.Key = last.Reason, last.Digest
	} else {
		h.At = s.opts.Now().UTC()
	}
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := s.opts.Store.SetCursor(ctx, s.heardKey(), b); err != nil {
		return err
	}
	return s.silence(ctx)
}

// silence notes when the feed falls silent and when it is heard again, once.
func (s *Service) silence(ctx context.Context) error {
	h, err := s.lastHeard(ctx)
	if err != nil {
		return err
	}
	if err := s.current(ctx, s.turn); err != nil {
		return err
	}
	silent := s.opts.Now().Sub(h.At) > s.opts.Silence
	if silent == s.turn.silent {
		return nil
	}
	kind := KindHeard
	if silent {
		kind = KindSilent
	}
	return s.stepper(s.turn).record(ctx, ledger.Event{Kind: kind, Data: SilenceEvent{s.opts.FeedName, h.At}})
}

// wanted is a job that a turn wants, with what goes to the ledger when it is new.
type wanted struct {
	job   *queue.Job
	work  work
	event *ledger.Event
	build *queue.Job
	bwork work
}

// schedule plans every image with open findings and queues the jobs.
func (s *Service) schedule(ctx context.Context, st *stepper) error {
	byImage := map[string][]Finding{}
	for _, k := range sortedKeys(st.state.open) {
		f := st.state.open[k]
		byImage[f.Image] = append(byImage[f.Image], f)
	}
	if len(byImage) == 0 {
		return nil
	}
	known, err := s.newest(ctx)
	if err != nil {
		return err
	}
	planner := Planner{Upgrades: s.opts.Upgrades, Series: s.opts.Series, AnySeries: s.opts.AnySeries}
	var list []wanted
	for _, name := range sortedKeys(byImage) {
		img, err := s.opts.Store.Live(ctx, name)
		if errors.Is(err, inventory.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		findings := slices.DeleteFunc(byImage[name], func(f Finding) bool { return f.Digest != img.Digest })
		if len(findings) == 0 {
			continue // replaced meanwhile; the next turn takes them back
		}
		if unasked := s.unasked(st.state, img, findings); len(unasked) > 0 {
			list = append(list, s.assessment(st.state, img, unasked))
			continue // planned for what is left of them
		}
		plan, without, err := planner.Plan(ctx, img, findings, known.db)
		if err != nil {
			return err
		}
		if err := st.noFix(ctx, without); err != nil {
			return err
		}
		if len(plan.Upgrades) > 0 {
			st.result.Plans = append(st.result.Plans, *plan)
			list = append(list, s.release(img, plan, findings))
		}
	}
	for part := range slices.Chunk(list, 256) {
		if err := s.enqueue(ctx, st, part); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) unasked(st *state, img *inventory.Image, findings []Finding) (out []Finding) {
	if !s.opts.Assess || !img.Built() {
		return nil
	}
	for _, f := range findings {
		if !st.assessed[f.key()] {
			out = append(out, f)
		}
	}
	return out
}

func (s *Service) assessment(st *state, img *inventory.Image, findings []Finding) wanted {
	key := []string{JobAssess, img.Digest}
	for _, f := range findings {
		key = append(key, f.key(), strconv.Itoa(st.asked[f.key()])) // a record that changed is asked about again
	}
	w := work{Image: img.Name, Base: img.Digest, Findings: findings}
	return wanted{job: s.job(JobAssess, hashOf(key...), findings), work: w}
}

func (s *Service) release(img *inventory.Image, plan *Plan, findings []Finding) wanted {
	var fixed []Finding
	for _, f := range findings {
		if slices.ContainsFunc(plan.Upgrades, func(u Upgrade) bool { return u.Component == f.Component }) {
			fixed = append(fixed, f)
		}
	}
	w := work{Image: img.Name, Base: img.Digest, Plan: plan, Findings: fixed}
	b := s.job(JobBuild, buildKey(img, plan), fixed)
	b.Group = ""
	j := s.job(JobRelease, plan.Key, fixed)
	j.State, j.After = queue.Blocked, b.Key
	return wanted{job: j, work: w, event: &ledger.Event{Kind: KindPlan, Data: plan}, build: b, bwork: w}
}

func (s *Service) job(kind, key string, findings []Finding) *queue.Job {
	j := &queue.Job{Key: key, Kind: kind, Group: findings[0].Image, State: queue.Ready, Rank: 255}
	for _, f := range findings {
		j.Rank = min(j.Rank, s.rank(f))
		if j.Deadline.IsZero() || f.Deadline.Before(j.Deadline) {
			j.Deadline = f.Deadline
		}
	}
	return j
}

// rank is by what is known of attacks; the turn itself is of rank 0. Within a
// rank the deadline orders.
func (s *Service) rank(f Finding) int {
	best := 40
	if s.opts.Exploited == nil {
		return best
	}
	for _, n := range names(f.Advisory, f.Aliases) {
		x, ok := s.opts.Exploited(n)
		if !ok {
			continue
		}
		switch {
		case !x.Known.IsZero() && x.Ransomware:
			best = min(best, 10)
		case !x.Known.IsZero():
			best = min(best, 11)
		default: // 20 for a probability of 1, 40 for 0
			best = min(best, 20+int(20*(1-x.EPSS)))
		}
	}
	return best
}

// buildKey is the same for two plans that compile the same: the exchanged
// versions, and the actions of the base that are done anew.
func buildKey(img *inventory.Image, p *Plan) string {
	parts := []string{JobBuild}
	for _, u := range p.Upgrades {
		parts = append(parts, u.Component, u.From, u.To.Version, u.To.PURL)
	}
	for _, n := range p.Rebuild {
		c, _ := img.Component(n)
		parts = append(parts, n, c.Key)
	}
	return hashOf(parts...)
}

func hashOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// enqueue writes jobs that are not there yet, and the order of those that are.
func (s *Service) enqueue(ctx context.Context, st *stepper, list []wanted) error {
	var entries []ledger.Entry
	err := s.opts.Store.Update(ctx, func(tx queue.Tx) error {
		var events []ledger.Event
		for i := range list {
			more, err := s.want(tx, st.state, &list[i])
			if err != nil {
				return err
			}
			events = append(events, more...)
		}
		if len(events) == 0 {
			return nil
		}
		var err error
		entries, err = tx.Append(s.opts.Now(), events...)
		return err
	})
	if err != nil {
		return err
	}
	return st.took(ctx, entries)
}

func (s *Service) want(tx queue.Tx, st *state, w *wanted) ([]ledger.Event, error) {
	old, err := tx.Job(w.job.Key)
	switch {
	case errors.Is(err, queue.ErrNoJob):
	case err != nil:
		return nil, err
	case old.State == queue.Cancelled: // wanted again
		w.job.Fence = old.Fence
	case old.Rank != w.job.Rank && !old.State.Finished():
		old.Rank = w.job.Rank
		return nil, tx.Put(old)
	default:
		return nil, nil
	}
	others, err := tx.Group(w.job.Group)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.State == queue.Running {
			return nil, nil // one at a time; what it leaves, a later turn plans
		}
	}
	for _, o := range others {
		if err := s.cancel(tx, o, "another plan took its place"); err != nil {
			return nil, err
		}
	}
	if w.build != nil {
		if err := s.wantBuild(tx, w); err != nil {
			return nil, err
		}
	}
	_, image := st.paused[w.job.Group]
	if image {
		w.job.State = queue.Paused
	}
	w.work.Created = s.opts.Now().UTC()
	if err := s.put(tx, w.job, &w.work); err != nil || w.event == nil {
		return nil, err
	}
	return []ledger.Event{*w.event}, nil
}

func (s *Service) wantBuild(tx queue.Tx, w *wanted) error {
	old, err := tx.Job(w.build.Key)
	switch {
	case errors.Is(err, queue.ErrNoJob):
		w.bwork.Created = s.opts.Now().UTC()
		return s.put(tx, w.build, &w.bwork)
	case err != nil:
		return err
	case old.State == queue.Done:
		w.job.State = queue.Ready
		return nil
	}
	if old.State == queue.Cancelled {
		old.State = queue.Ready
	}
	old.Rank = min(old.Rank, w.build.Rank)
	if w.build.Deadline.Before(old.Deadline) {
		old.Deadline = w.build.Deadline
	}
	return tx.Put(old)
}

func (s *Service) cancel(tx queue.Tx, j *queue.Job, why string) error {
	var b work
	if err := json.Unmarshal(j.Body, &b); err != nil {
		return fmt.Errorf("job %s: %w", j.Key, err)
	}
	j.State, b.Reason = queue.Cancelled, why
	return s.put(tx, j, &b)
}

// Recorrelate compares every record of the feed with every image, whatever
// events may have missed, and opens the findings that are missing. It goes on
// where it was stopped; a state of the feed that was done is not done again.
func (s *Service) Recorrelate(ctx context.Context) error {
	s.turning.Lock()
	defer s.turning.Unlock()
	if err := s.recorrelate(ctx); err != nil {
		s.turn = newState()
		return fmt.Errorf("monitor: recorrelate: %w", err)
	}
	return nil
}

func (s *Service) recorrelate(ctx context.Context) error {
	if err := s.current(ctx, s.turn); err != nil {
		return err
	}
	batch, err := s.opts.Feed.Since(ctx, nil)
	if err != nil {
		return err
	}
	if batch.Held() {
		return &heldError{batch.Problems[len(batch.Problems)-1].Reason}
	}
	st := s.stepper(s.turn)
	r := Recorrelation{
		Name: s.opts.FeedName, Revision: digest(batch.Next), Index: s.opts.Store, Positions: s.opts.Store,
		Rules: rulesOf(batch.Changes),
		Take: func(ctx context.Context, _ uint64, found []Correlation) error {
			pairs := map[pair][]inventory.ID{}
			for _, f := range found {
				if f.Images.Len() == 0 {
					continue
				}
				list, err := s.opts.Store.Versions(ctx, f.Rule.Name, f.Rule.PURL)
				if err != nil {
					return err
				}
				for _, p := range list {
					pairs[pair{p.Component, p.Version, p.PURL}] = p.Images
				}
			}
			return st.reconcile(ctx, pairs, nil)
		},
	}
	_, err = r.Run(ctx)
	return err
}

func rulesOf(changes []feed.Change) func(from uint64) iter.Seq2[Rule, error] {
	return func(from uint64) iter.Seq2[Rule, error] {
		return func(yield func(Rule, error) bool) {
			n := uint64(0)
			for _, c := range changes {
				if c.Kind != feed.New {
					continue
				}
				rules, err := Rules(c.Record)
				if err != nil {
					yield(Rule{}, fmt.Errorf("record %s: %w", c.ID, err))
					return
				}
				for _, r := range rules {
					if n++; n > from && !yield(r, nil) {
						return
					}
				}
			}
		}
	}
}

// mean is how long a stage took so far.
func (s *state) mean(stages ...Stage) (d time.Duration, known bool) {
	for _, st := range stages {
		if x := s.took[st]; x.n > 0 {
			d, known = d+x.sum/time.Duration(x.n), true
		}
	}
	return d, known
}
