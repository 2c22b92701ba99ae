// Package analyzetest is the conformance suite of analysis layers.
package analyzetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
)

// TestLayer runs [CheckLayer] and reports what it finds.
func TestLayer(t testing.TB, l analyze.Layer, s *analyze.Subject, cands []analyze.Candidate) {
	t.Helper()
	if err := CheckLayer(t.Context(), l, s, cands); err != nil {
		t.Errorf("layer %s breaks its contract:\n%v", l.Name, err)
	}
}

// CheckLayer examines the candidates, of which there must be at least two,
// several times and in several orders. Each broken promise is one error of
// the join:
//
//   - a layer has one of the four names and says what it does not see;
//   - no candidates give no evidence and no error;
//   - evidence keeps the contract of [analyze.CheckEvidence];
//   - the same question gives the same answer;
//   - an answer belongs to its candidate, not to its place in the list;
//   - a candidate without a map is never Absent;
//   - with nothing recorded of the build, nothing is Absent, Fixed, unlinked
//     or closed: an error or Unknown;
//   - a cancelled context gives an error or Unknown.
func CheckLayer(ctx context.Context, l analyze.Layer, s *analyze.Subject, cands []analyze.Candidate) error {
	if len(cands) < 2 {
		return errors.New("the suite needs two candidates or more")
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if !slices.Contains([]string{analyze.LayerAST, analyze.LayerBinary, analyze.LayerReach, analyze.LayerUsage}, l.Name) {
		fail("name %q is none of the four", l.Name)
	}
	if l.Doc == "" {
		fail("it does not document what it answers and where it is blind")
	}
	if ev, err := l.Examine(ctx, s, nil); err != nil || len(ev) != 0 {
		fail("no candidates: %d pieces of evidence, error %v", len(ev), err)
	}

	first, err := l.Examine(ctx, s, cands)
	if err != nil {
		fail("examine: %w", err)
		return errors.Join(errs...)
	}
	if err := analyze.CheckEvidence(l.Name, cands, first); err != nil {
		fail("%w", err)
		return errors.Join(errs...)
	}
	if again, err := l.Examine(ctx, s, cands); err != nil {
		fail("examine again: %w", err)
	} else if !reflect.DeepEqual(first, again) {
		fail("the same question gives another answer")
	}
	back := slices.Clone(cands)
	slices.Reverse(back)
	if got, err := l.Examine(ctx, s, back); err != nil {
		fail("examine in reverse: %w", err)
	} else {
		slices.Reverse(got)
		if !reflect.DeepEqual(first, got) {
			fail("the answers depend on the order of the candidates")
		}
	}

	unmapped := make([]analyze.Candidate, len(cands))
	for i, c := range cands {
		adv := *c.Advisory
		adv.Map = advisory.Map{Completeness: advisory.None}
		unmapped[i] = c
		unmapped[i].Advisory = &adv
	}
	if ev, err := l.Examine(ctx, s, unmapped); err == nil {
		if err := analyze.CheckEvidence(l.Name, unmapped, ev); err != nil {
			fail("without a map: %w", err)
		}
		for i, e := range ev {
			if e.Verdict == analyze.Absent || e.Fixed == analyze.Present {
				fail("without a map: %s is %s, fixed %s", unmapped[i].Advisory.ID, e.Verdict, e.Fixed)
			}
		}
	}

	if ev, err := l.Examine(ctx, bare(s), cands); err == nil {
		if err := analyze.CheckEvidence(l.Name, cands, ev); err != nil {
			fail("with nothing recorded: %w", err)
		}
		for i, e := range ev {
			if negative(e) {
				fail("with nothing recorded: it proves something of %s", cands[i].Advisory.ID)
			}
		}
	}

	dead, cancel := context.WithCancel(ctx)
	cancel()
	if ev, err := l.Examine(dead, s, cands); err == nil {
		for i, e := range ev {
			if negative(e) {
				fail("with a cancelled context: it proves something of %s", cands[i].Advisory.ID)
			}
		}
	}
	return errors.Join(errs...)
}

// negative reports whether evidence could silence a candidate.
func negative(e analyze.Evidence) bool {
	if e.Verdict == analyze.Absent || e.Fixed == analyze.Present || e.Linked == analyze.Absent || e.Closed == analyze.Present {
		return true
	}
	return slices.ContainsFunc(e.Functions, func(f analyze.FunctionFact) bool { return f.Verdict == analyze.Absent }) ||
		slices.ContainsFunc(e.Conditions, func(f analyze.ConditionFact) bool {
			return f.Verdict != analyze.Unknown && f.Condition.Platform == ""
		})
}

// bare is the subject without units, links and commands in its record, as if
// the build had not been traced.
func bare(s *analyze.Subject) *analyze.Subject {
	rec := *s.Image.Record
	rec.Components = slices.Clone(rec.Components)
	for i := range rec.Components {
		rec.Components[i].Result = compile.Result{}
	}
	img := *s.Image
	img.Record = &rec
	out := *s
	out.Image = &img
	return &out
}
