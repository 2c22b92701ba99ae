package analyzetest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
)

func subject() (*analyze.Subject, []analyze.Candidate) {
	rec := &compile.Record{Components: []compile.ComponentRecord{{
		Result: compile.Result{Units: []compile.Unit{{Source: "a.c"}}},
	}}}
	adv := func(id string) *advisory.Advisory {
		return &advisory.Advisory{ID: id, Map: advisory.Map{
			Completeness: advisory.Reviewed, Functions: []advisory.Function{{File: "a.c", Name: id}},
		}}
	}
	return &analyze.Subject{Image: compile.NewImage(nil, rec, nil, nil)},
		[]analyze.Candidate{{Advisory: adv("one")}, {Advisory: adv("two")}}
}

// sound answers Absent for the function "two" when the build is recorded.
func sound(ctx context.Context, s *analyze.Subject, cands []analyze.Candidate) ([]analyze.Evidence, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []analyze.Evidence
	for _, c := range cands {
		e := analyze.Evidence{Layer: analyze.LayerBinary, Reason: "looked"}
		if len(s.Image.Record.Components[0].Result.Units) > 0 {
			for _, f := range c.Advisory.Map.Functions {
				e.Verdict = analyze.Present
				if f.Name == "two" {
					e.Verdict = analyze.Absent
				}
				e.Functions = append(e.Functions, analyze.FunctionFact{File: f.File, Name: f.Name, Verdict: e.Verdict})
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func TestSoundLayerPasses(t *testing.T) {
	s, cands := subject()
	TestLayer(t, analyze.Layer{Name: analyze.LayerBinary, Doc: "d", Examine: sound}, s, cands)
}

func TestWrongLayersFail(t *testing.T) {
	type examine = func(context.Context, *analyze.Subject, []analyze.Candidate) ([]analyze.Evidence, error)
	edit := func(f func(ev []analyze.Evidence) []analyze.Evidence) examine {
		return func(ctx context.Context, s *analyze.Subject, cands []analyze.Candidate) ([]analyze.Evidence, error) {
			ev, err := sound(ctx, s, cands)
			if len(ev) == 2 {
				ev = f(ev)
			}
			return ev, err
		}
	}
	calls := 0
	for _, c := range []struct {
		name    string
		layer   analyze.Layer
		problem string
	}{
		{"other name", analyze.Layer{Name: "magic", Doc: "d", Examine: sound}, "none of the four"},
		{"no doc", analyze.Layer{Name: analyze.LayerBinary, Examine: sound}, "document"},
		{"always fails", analyze.Layer{Doc: "d", Examine: func(context.Context, *analyze.Subject, []analyze.Candidate) ([]analyze.Evidence, error) {
			return nil, errors.New("broken")
		}}, "broken"},
		{"drops one", analyze.Layer{Doc: "d", Examine: edit(func(ev []analyze.Evidence) []analyze.Evidence { return ev[:1] })}, "1 pieces of evidence"},
		{"wrong order", analyze.Layer{Doc: "d", Examine: edit(func(ev []analyze.Evidence) []analyze.Evidence {
			return []analyze.Evidence{ev[1], ev[0]}
		})}, "function fact"},
		{"answers by place", analyze.Layer{Doc: "d", Examine: edit(func(ev []analyze.Evidence) []analyze.Evidence {
			ev[0].Reason = "the first"
			return ev
		})}, "order of the candidates"},
		{"changes its mind", analyze.Layer{Doc: "d", Examine: edit(func(ev []analyze.Evidence) []analyze.Evidence {
			calls++
			ev[0].Reason = strings.Repeat("x", calls)
			return ev
		})}, "another answer"},
		{"absent beside an error", analyze.Layer{Doc: "d", Examine: edit(func(ev []analyze.Evidence) []analyze.Evidence {
			ev[0].Error = "oops"
			return ev
		})}, "beside an error"},
		{"absent over a present function", analyze.Layer{Doc: "d", Examine: edit(func(ev []analyze.Evidence) []analyze.Evidence {
			for i := range ev {
				ev[i].Verdict = analyze.Absent
			}
			return ev
		})}, "absent over all"},
		{"silence is safety", analyze.Layer{Doc: "d", Examine: func(ctx context.Context, s *analyze.Subject, cands []analyze.Candidate) ([]analyze.Evidence, error) {
			var out []analyze.Evidence
			for _, c := range cands {
				e := analyze.Evidence{Layer: analyze.LayerBinary, Verdict: analyze.Absent, Reason: "saw nothing"}
				for _, f := range c.Advisory.Map.Functions {
					e.Functions = append(e.Functions, analyze.FunctionFact{File: f.File, Name: f.Name, Verdict: analyze.Absent})
				}
				out = append(out, e)
			}
			return out, nil
		}}, "nothing recorded"},
	} {
		if c.layer.Name == "" {
			c.layer.Name = analyze.LayerBinary
		}
		s, cands := subject()
		err := CheckLayer(t.Context(), c.layer, s, cands)
		if err == nil || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v; want a complaint about %q", c.name, err, c.problem)
		}
	}
}
