package vex

import (
	"errors"
	"slices"
	"testing"

	govex "github.com/openvex/go-vex/pkg/vex"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
)

const (
	unknown = analyze.Unknown
	present = analyze.Present
	absent  = analyze.Absent
)

var (
	macro = advisory.Condition{Macro: &advisory.Macro{File: "a.c", Name: "USE_X"}}
	api   = advisory.Condition{API: []string{"open_x"}}
	live  = advisory.Condition{Function: &advisory.Function{File: "a.c", Name: "helper"}}
)

func quoted(c advisory.Condition) advisory.Condition {
	c.Quote = "only when built with X"
	return c
}

// finding is a reviewed candidate with four layers that know nothing.
func finding() *analyze.Finding {
	f := &analyze.Finding{Candidate: analyze.Candidate{
		Advisory: &advisory.Advisory{ID: "CVE-1-1", Component: "c", Severity: "low", Digest: "sha256:aa", Map: advisory.Map{
			Completeness: advisory.Reviewed,
			Functions:    []advisory.Function{{File: "a.c", Name: "f"}, {File: "b.c", Name: "g"}},
		}},
		Component: "c", Version: "1.0", PURL: "pkg:generic/c@1.0",
	}}
	for _, l := range []string{analyze.LayerAST, analyze.LayerBinary, analyze.LayerReach, analyze.LayerUsage} {
		f.Evidence = append(f.Evidence, analyze.Evidence{Layer: l, Reason: "nothing known"})
	}
	return f
}

func layer(f *analyze.Finding, name string) *analyze.Evidence {
	for i := range f.Evidence {
		if f.Evidence[i].Layer == name {
			return &f.Evidence[i]
		}
	}
	panic(name)
}

func setFunctions(f *analyze.Finding, name string, v analyze.Verdict) {
	e := layer(f, name)
	e.Verdict, e.Reason, e.Functions = v, "r", nil
	for _, fn := range f.Advisory.Map.Functions {
		e.Functions = append(e.Functions, analyze.FunctionFact{File: fn.File, Name: fn.Name, Verdict: v})
	}
}

func setLeaf(f *analyze.Finding, name string, leaf advisory.Condition, v analyze.Verdict) {
	e := layer(f, name)
	e.Conditions = append(e.Conditions, analyze.ConditionFact{Condition: leaf, Verdict: v, Reason: "r"})
}

// row is one row of the decision table: how to complete its proof, and every
// premise, each of which, taken away, must leave the candidate unsilenced.
type row struct {
	rule          string
	status        govex.Status
	justification govex.Justification
	prove         func(f *analyze.Finding)
	flips         map[string]func(f *analyze.Finding)
}

func rows() []row {
	ev := func(name string, edit func(e *analyze.Evidence)) func(*analyze.Finding) {
		return func(f *analyze.Finding) { edit(layer(f, name)) }
	}
	failed := func(name string) func(*analyze.Finding) {
		return ev(name, func(e *analyze.Evidence) { e.Error = "broken" })
	}
	twice := func(name string) func(*analyze.Finding) {
		return func(f *analyze.Finding) { f.Evidence = append(f.Evidence, *layer(f, name)) }
	}
	missing := func(name string) func(*analyze.Finding) {
		return func(f *analyze.Finding) {
			f.Evidence = slices.DeleteFunc(f.Evidence, func(e analyze.Evidence) bool { return e.Layer == name })
		}
	}
	completeness := func(c advisory.Completeness) func(*analyze.Finding) {
		return func(f *analyze.Finding) { f.Advisory.Map.Completeness = c }
	}
	functions := func(name string) map[string]func(*analyze.Finding) {
		return map[string]func(*analyze.Finding){
			"failed": failed(name), "twice": twice(name), "missing": missing(name),
			"verdict":      ev(name, func(e *analyze.Evidence) { e.Verdict = unknown }),
			"one function": ev(name, func(e *analyze.Evidence) { e.Functions[1].Verdict = unknown }),
			"one present":  ev(name, func(e *analyze.Evidence) { e.Functions[0].Verdict = present }),
			"one missing":  ev(name, func(e *analyze.Evidence) { e.Functions = e.Functions[:1] }),
			"other name":   ev(name, func(e *analyze.Evidence) { e.Functions[0].Name = "h" }),
			"other file":   ev(name, func(e *analyze.Evidence) { e.Functions[0].File = "z.c" }),
			"empty map": func(f *analyze.Finding) {
				f.Advisory.Map.Functions = nil
				layer(f, name).Functions = nil
			},
			"no map":       completeness(advisory.None),
			"derived":      completeness(advisory.Derived),
			"completeness": completeness(""),
		}
	}
	with := func(m map[string]func(*analyze.Finding), name string, f func(*analyze.Finding)) map[string]func(*analyze.Finding) {
		m[name] = f
		return m
	}
	leafFlips := func(name string, leaf advisory.Condition) map[string]func(*analyze.Finding) {
		return map[string]func(*analyze.Finding){
			"failed": failed(name), "twice": twice(name), "missing": missing(name),
			"leaf":         ev(name, func(e *analyze.Evidence) { e.Conditions[0].Verdict = unknown }),
			"leaf holds":   ev(name, func(e *analyze.Evidence) { e.Conditions[0].Verdict = present }),
			"no quote":     func(f *analyze.Finding) { f.Advisory.Map.Conditions[0].Quote = "" },
			"derived":      completeness(advisory.Derived),
			"no map":       completeness(advisory.None),
			"completeness": completeness(""),
			"other layer disagrees": func(f *analyze.Finding) {
				other := analyze.LayerBinary
				setLeaf(f, other, leaf, present)
			},
			"more needed": func(f *analyze.Finding) {
				c := f.Advisory.Map.Conditions[0]
				q := c.Quote
				c.Quote = ""
				f.Advisory.Map.Conditions[0] = advisory.Condition{Quote: q, Any: []advisory.Condition{c, {File: "unknown.c"}}}
			},
		}
	}
	conditioned := func(layer string, leaf advisory.Condition) func(*analyze.Finding) {
		return func(f *analyze.Finding) {
			f.Advisory.Map.Conditions = []advisory.Condition{quoted(leaf)}
			setLeaf(f, layer, leaf, absent)
		}
	}
	b, u, a := analyze.LayerBinary, analyze.LayerUsage, analyze.LayerAST
	return []row{
		{"D2", govex.StatusNotAffected, govex.ComponentNotPresent,
			func(f *analyze.Finding) { layer(f, b).Linked = absent },
			map[string]func(*analyze.Finding){
				"failed": failed(b), "twice": twice(b), "missing": missing(b),
				"linked":           ev(b, func(e *analyze.Evidence) { e.Linked = unknown }),
				"is linked":        ev(b, func(e *analyze.Evidence) { e.Linked = present }),
				"function present": func(f *analyze.Finding) { setFunctions(f, b, present) },
				"function live":    func(f *analyze.Finding) { setFunctions(f, u, present) },
			}},
		{"D3", govex.StatusFixed, "",
			func(f *analyze.Finding) {
				f.Advisory.Map.Fixes = []advisory.Fix{{Function: f.Advisory.Map.Functions[0], Body: "sha256:00"}}
				layer(f, a).Fixed = present
			},
			map[string]func(*analyze.Finding){
				"failed": failed(a), "twice": twice(a), "missing": missing(a),
				"fixed":        ev(a, func(e *analyze.Evidence) { e.Fixed = unknown }),
				"not fixed":    ev(a, func(e *analyze.Evidence) { e.Fixed = absent }),
				"no fixes":     func(f *analyze.Finding) { f.Advisory.Map.Fixes = nil },
				"derived":      completeness(advisory.Derived),
				"no map":       completeness(advisory.None),
				"completeness": completeness(""),
			}},
		{"D4", govex.StatusNotAffected, govex.VulnerableCodeNotPresent, conditioned(a, macro), leafFlips(a, macro)},
		{"D4", govex.StatusNotAffected, govex.VulnerableCodeNotPresent, func(f *analyze.Finding) {
			not := macro
			f.Advisory.Map.Conditions = []advisory.Condition{quoted(advisory.Condition{Not: &not})}
			setLeaf(f, a, macro, present)
		}, map[string]func(*analyze.Finding){
			"leaf":  ev(a, func(e *analyze.Evidence) { e.Conditions[0].Verdict = unknown }),
			"unset": ev(a, func(e *analyze.Evidence) { e.Conditions[0].Verdict = absent }),
		}},
		{"D5", govex.StatusNotAffected, govex.VulnerableCodeNotInExecutePath, conditioned(u, api), leafFlips(u, api)},
		{"D5", govex.StatusNotAffected, govex.VulnerableCodeNotInExecutePath,
			func(f *analyze.Finding) {
				conditioned(u, live)(f)
				layer(f, u).Closed = present
			},
			with(leafFlips(u, live), "open world", ev(u, func(e *analyze.Evidence) { e.Closed = unknown }))},
		{"D6", govex.StatusNotAffected, govex.VulnerableCodeNotPresent,
			func(f *analyze.Finding) { setFunctions(f, b, absent) },
			with(functions(b), "live", func(f *analyze.Finding) { setFunctions(f, u, present) })},
		{"D7", govex.StatusNotAffected, govex.VulnerableCodeNotInExecutePath,
			func(f *analyze.Finding) {
				setFunctions(f, u, absent)
				layer(f, u).Closed = present
			},
			with(with(functions(u), "open world", ev(u, func(e *analyze.Evidence) { e.Closed = unknown })),
				"proved open", ev(u, func(e *analyze.Evidence) { e.Closed = absent }))},
	}
}

func TestRows(t *testing.T) {
	for _, r := range rows() {
		f := finding()
		r.prove(f)
		d, err := Decide(f, Context{Image: "sha256:bb"})
		if err != nil || d.Rule != r.rule || d.Status != r.status || d.Justification != r.justification {
			t.Errorf("%s: %s %s %s, %v", r.rule, d.Rule, d.Status, d.Justification, err)
			continue
		}
		if d.Reason == "" || d.Premises["advisory"] == "" || d.Premises["image"] == "" || len(d.Premises) < 4 {
			t.Errorf("%s: reason %q, premises %v", r.rule, d.Reason, d.Premises)
		}
		if (r.rule == "D4" || r.rule == "D5") && d.Quote == "" {
			t.Errorf("%s: no quote", r.rule)
		}
		for name, flip := range r.flips {
			f := finding()
			r.prove(f)
			flip(f)
			d, err := Decide(f, Context{})
			if err != nil {
				t.Errorf("%s without %q: %v", r.rule, name, err)
			} else if d.Status != govex.StatusAffected && d.Status != govex.StatusUnderInvestigation {
				t.Errorf("%s without %q: %s by %s", r.rule, name, d.Status, d.Rule)
			} else if d.Status == govex.StatusUnderInvestigation && name != "derived" {
				t.Errorf("%s without %q: under investigation", r.rule, name)
			}
		}
	}
}

func TestDerivedIsForReview(t *testing.T) {
	for _, r := range rows() {
		f := finding()
		r.prove(f)
		f.Advisory.Map.Completeness = advisory.Derived
		d, err := Decide(f, Context{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]govex.Status{
			"D2": govex.StatusNotAffected, // needs no map
			"D6": govex.StatusUnderInvestigation,
			"D7": govex.StatusUnderInvestigation,
		}[r.rule]
		if want == "" {
			want = govex.StatusAffected
		}
		if d.Status != want {
			t.Errorf("%s derived: %s by %s, want %s", r.rule, d.Status, d.Rule, want)
		}
		if d.Rule == "D8" && len(d.Notes) == 0 {
			t.Errorf("%s derived: no proposal for the reviewer", r.rule)
		}
	}
}

// CVE-2022-32207 cites a commit that touches cookie.c alone, while the hole is
// in altsvc.c and hsts.c too: with cookies off the derived set is absent.
func TestDerivedSetThatIsTooSmall(t *testing.T) {
	f := finding()
	f.Advisory.ID = "CVE-2022-32207"
	f.Advisory.Map = advisory.Map{Completeness: advisory.Derived,
		Functions: []advisory.Function{{File: "lib/cookie.c", Name: "cookie_output"}}}
	setFunctions(f, analyze.LayerBinary, absent)
	setFunctions(f, analyze.LayerUsage, absent)
	layer(f, analyze.LayerUsage).Closed = present
	if d, err := Decide(f, Context{}); err != nil || d.Rule != "D8" || d.Status != govex.StatusUnderInvestigation {
		t.Errorf("%s by %s, %v", d.Status, d.Rule, err)
	}
}

func TestObservation(t *testing.T) {
	run := func(f *analyze.Finding) { // one of the functions was seen
		setFunctions(f, analyze.LayerReach, unknown)
		layer(f, analyze.LayerReach).Verdict = present
		layer(f, analyze.LayerReach).Functions[1].Verdict = present
	}
	for _, r := range rows() {
		f := finding()
		r.prove(f)
		run(f)
		d, err := Decide(f, Context{})
		contradiction := new(ContradictionError)
		switch r.rule {
		case "D2", "D6", "D7":
			if !errors.As(err, &contradiction) || contradiction.Rule != r.rule || !slices.Equal(contradiction.Observed, []string{"g"}) {
				t.Errorf("%s, observed: %s, %v; want a contradiction", r.rule, d.Status, err)
			}
			f.Advisory.Map.Completeness = advisory.Derived
			if _, err := Decide(f, Context{}); !errors.As(err, &contradiction) {
				t.Errorf("%s derived, observed: %v; want a contradiction", r.rule, err)
			}
		default:
			if err != nil || d.Rule != r.rule {
				t.Errorf("%s, observed: %s, %v; a function runs around what is not compiled", r.rule, d.Rule, err)
			}
		}
	}
	for _, leaf := range []advisory.Condition{api, live} {
		f := finding()
		f.Advisory.Map.Conditions = []advisory.Condition{quoted(leaf)}
		setLeaf(f, analyze.LayerUsage, leaf, absent)
		layer(f, analyze.LayerUsage).Closed = present
		setLeaf(f, analyze.LayerReach, leaf, present)
		contradiction := new(ContradictionError)
		if d, err := Decide(f, Context{}); !errors.As(err, &contradiction) || contradiction.Rule != "D5" {
			t.Errorf("observed API: %s, %v; want a contradiction of D5", d.Status, err)
		}
	}
	f := finding()
	run(f)
	d, err := Decide(f, Context{})
	if err != nil || d.Status != govex.StatusAffected || d.Reason != "g was observed running in the image's workload" {
		t.Errorf("%+v, %v", d, err)
	}
	if !slices.Contains(d.Notes, "priority: medium (severity low, observed running)") {
		t.Errorf("notes: %q", d.Notes)
	}
}

func TestNoMap(t *testing.T) {
	f := finding()
	f.Advisory.Map = advisory.Map{Completeness: advisory.None}
	for _, l := range []string{analyze.LayerBinary, analyze.LayerUsage} {
		layer(f, l).Verdict = absent
		layer(f, l).Closed = present
	}
	if d, err := Decide(f, Context{}); err != nil || d.Status != govex.StatusAffected {
		t.Errorf("%s, %v", d.Status, err)
	}
}
