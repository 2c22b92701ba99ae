package analyze

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// Options are what Run does not find in the subject. The zero value is
// useful.
type Options struct {
	Clock func() time.Time // stamps Started and Finished; nil leaves both zero
	Log   *slog.Logger     // nil discards

	// Results of the other analyses of the same image. The functions are
	// called once, after the layers have returned.
	Tests      func() []TestResult
	Protection func() []Protection
	Coverage   func() Coverage
	Scans      func() []Scan
}

// Run matches the image's components against the advisories and has every
// layer examine the candidates, all layers at once. A layer that fails,
// panics or does not keep its contract makes every one of its answers Unknown,
// with the error in the evidence; Run itself fails only where there would be
// no report: an image without record, two layers of one name, a component that
// cannot be matched, or a cancelled context.
//
// Layers that contradict each other are not Run's concern: package vex stops
// there.
func Run(ctx context.Context, s *Subject, db *advisory.DB, layers []Layer, opts Options) (*Report, error) {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	clock := opts.Clock
	if clock == nil {
		clock = func() time.Time { return time.Time{} }
	}
	if s == nil || s.Image == nil || s.Image.Record == nil {
		return nil, errors.New("analyze: the image has no record, so nothing can be proved about it")
	}
	if db == nil {
		return nil, errors.New("analyze: no advisories; load a database first")
	}
	for i, l := range layers {
		if l.Name == "" || l.Examine == nil {
			return nil, fmt.Errorf("analyze: layer %d has no name or does not examine", i)
		}
		if slices.ContainsFunc(layers[:i], func(m Layer) bool { return m.Name == l.Name }) {
			return nil, fmt.Errorf("analyze: two layers are named %s", l.Name)
		}
	}
	rec := s.Image.Record
	rep := &Report{
		Image:      rec.Image.Manifest,
		Advisories: Database{Records: db.Records(), Digest: db.Digest(), Modified: db.Modified()},
		Started:    clock(),
	}
	for _, id := range db.Withdrawn() {
		log.Info("advisory withdrawn by its source", "id", id)
	}
	cands, excluded, err := candidates(s, db, log)
	if err != nil {
		return nil, fmt.Errorf("analyze: %w", err)
	}
	rep.Excluded = excluded

	evidence := make([][]Evidence, len(layers))
	var wg sync.WaitGroup
	for i, l := range layers {
		wg.Go(func() {
			ev, err := examine(ctx, l, s, cands)
			if err != nil {
				log.Warn("layer failed", "layer", l.Name, "error", err)
			}
			evidence[i] = ev
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("analyze: %w", err)
	}
	for i, c := range cands {
		f := Finding{Candidate: c}
		for _, ev := range evidence {
			f.Evidence = append(f.Evidence, ev[i])
		}
		f.Conditions = Evaluate(c, f.Evidence)
		rep.Findings = append(rep.Findings, f)
	}
	if opts.Tests != nil {
		rep.Tests = opts.Tests()
		slices.SortStableFunc(rep.Tests, func(a, b TestResult) int { return cmp.Compare(a.ID, b.ID) })
	}
	if opts.Protection != nil {
		rep.Protection = opts.Protection()
	}
	if opts.Coverage != nil {
		rep.Coverage = opts.Coverage()
	}
	if opts.Scans != nil {
		rep.Scans = opts.Scans()
		slices.SortStableFunc(rep.Scans, func(a, b Scan) int { return cmp.Compare(a.Component, b.Component) })
	}
	rep.Finished = clock()
	return rep, nil
}

// candidates are the matches of every component, sorted by component and id.
func candidates(s *Subject, db *advisory.DB, log *slog.Logger) ([]Candidate, []Exclusion, error) {
	var cands []Candidate
	var excluded []Exclusion
	for _, c := range s.Image.Record.Components {
		comp := c.Component
		in, out, err := db.Match(comp.Name, comp.Version, comp.PURL)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range in {
			if m.Undecided {
				log.Info("version cannot be placed in the advisory's ranges; kept", "id", m.Advisory.ID,
					"component", comp.Name, "version", comp.Version, "reason", m.Reason)
			}
			cands = append(cands, Candidate{m.Advisory, comp.Name, comp.Version, comp.PURL})
		}
		for _, x := range out {
			log.Info("advisory does not apply", "id", x.Advisory.ID, "component", comp.Name,
				"version", comp.Version, "reason", x.Reason)
			excluded = append(excluded, Exclusion{x.Advisory.ID, comp.Name, comp.Version, x.Reason})
		}
	}
	slices.SortStableFunc(cands, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Advisory.ID, b.Advisory.ID))
	})
	slices.SortStableFunc(excluded, func(a, b Exclusion) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.ID, b.ID))
	})
	return cands, excluded, nil
}

// examine runs one layer and always returns one evidence per candidate.
func examine(ctx context.Context, l Layer, s *Subject, cands []Candidate) (ev []Evidence, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			ev = make([]Evidence, len(cands))
			for i := range ev {
				ev[i] = Evidence{Layer: l.Name, Reason: "the layer failed", Error: err.Error()}
			}
		}
	}()
	if len(cands) == 0 {
		return nil, nil
	}
	ev, err = l.Examine(ctx, s, cands)
	if err != nil {
		return nil, err
	}
	return ev, CheckEvidence(l.Name, cands, ev)
}

// CheckEvidence verifies the contract between a layer and its driver: one
// Evidence per candidate, in order, under the layer's name; one fact per
// mapped function, in the map's order, or none at all; a verdict that follows
// from the facts; a reason wherever something is claimed; and only Unknown
// beside an error.
func CheckEvidence(layer string, cands []Candidate, ev []Evidence) error {
	if len(ev) != len(cands) {
		return fmt.Errorf("%d pieces of evidence for %d candidates", len(ev), len(cands))
	}
	for i := range ev {
		if err := ev[i].check(layer, cands[i].Advisory.Map.Functions); err != nil {
			return fmt.Errorf("evidence %d, %s in %s: %w", i, cands[i].Advisory.ID, cands[i].Component, err)
		}
	}
	return nil
}

func (e *Evidence) check(layer string, mapped []advisory.Function) error {
	if e.Layer != layer {
		return fmt.Errorf("it names layer %q instead of %q", e.Layer, layer)
	}
	claims := []Verdict{e.Verdict, e.Fixed, e.Linked, e.Closed}
	for _, f := range e.Functions {
		claims = append(claims, f.Verdict)
	}
	for _, c := range e.Conditions {
		claims = append(claims, c.Verdict)
		if c.Verdict != Unknown && c.Reason == "" {
			return fmt.Errorf("a condition is %s without a reason", c.Verdict)
		}
	}
	for _, v := range claims {
		if v < Unknown || v > Absent {
			return fmt.Errorf("verdict %d is none of the three", v)
		}
		if v != Unknown && e.Error != "" {
			return fmt.Errorf("it claims %s beside an error", v)
		}
	}
	if e.Verdict != Unknown && e.Reason == "" {
		return fmt.Errorf("%s without a reason", e.Verdict)
	}
	if len(e.Functions) == 0 {
		if e.Verdict == Absent {
			return errors.New("absent, but it says nothing of any function")
		}
		return nil
	}
	if len(e.Functions) != len(mapped) {
		return fmt.Errorf("%d function facts for a map of %d", len(e.Functions), len(mapped))
	}
	for i, f := range e.Functions {
		if f.File != mapped[i].File || f.Name != mapped[i].Name {
			return fmt.Errorf("function fact %d is about %s:%s, the map names %s:%s", i, f.File, f.Name, mapped[i].File, mapped[i].Name)
		}
		if e.Verdict == Absent && f.Verdict != Absent {
			return fmt.Errorf("absent over all, but %s is %s", f.Name, f.Verdict)
		}
	}
	return nil
}
