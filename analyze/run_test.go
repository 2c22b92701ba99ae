package analyze

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/source"
)

func record(id, component, rest string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(`{"id":"` + id + `","modified":"2026-01-02T03:04:05Z","affected":[{
		"ecosystem_specific":{"component":"` + component + `","map":"reviewed","imports":[{"path":"a.c","symbols":["f"]}]` + rest + `},
		"ranges":[{"type":"SEMVER","events":[{"introduced":"1.0.0"},{"fixed":"1.2.0"}]}]}]}`)}
}

func testSubject() *Subject {
	comp := func(name, version string) compile.ComponentRecord {
		return compile.ComponentRecord{Component: compile.Component{Component: source.Component{
			Name: name, Version: version, PURL: "pkg:generic/" + name + "@" + version,
		}}}
	}
	rec := &compile.Record{Image: compile.ImageRecord{Manifest: "sha256:aa"},
		Components: []compile.ComponentRecord{comp("b", "1.1.0"), comp("a", "1.1.0"), comp("old", "1.2.0")}}
	return &Subject{Image: compile.NewImage(nil, rec, nil, nil)}
}

func testDB(t *testing.T) *advisory.DB {
	t.Helper()
	db, err := advisory.Load(fstest.MapFS{
		"1.json": record("CVE-1-2", "a", ""),
		"2.json": record("CVE-1-1", "a", `,"conditions":[{"quote":"q","all":[{"file":"a.c"},{"not":{"api":["f"]}}]}]`),
		"3.json": record("CVE-1-3", "b", ""),
		"4.json": record("CVE-1-4", "old", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// answer is a layer that gives every candidate a copy of e.
func answer(name string, e Evidence) Layer {
	return Layer{Name: name, Examine: func(_ context.Context, _ *Subject, cands []Candidate) ([]Evidence, error) {
		out := make([]Evidence, len(cands))
		for i := range out {
			out[i] = e
			out[i].Layer = name
		}
		return out, nil
	}}
}

func TestRun(t *testing.T) {
	var log bytes.Buffer
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	layers := []Layer{
		answer(LayerAST, Evidence{Conditions: []ConditionFact{{advisory.Condition{File: "a.c"}, Present, "compiled"}}}),
		answer(LayerUsage, Evidence{Conditions: []ConditionFact{{advisory.Condition{API: []string{"f"}}, Present, "called"}}}),
	}
	rep, err := Run(t.Context(), testSubject(), testDB(t), layers, Options{
		Clock:      func() time.Time { now = now.Add(time.Second); return now },
		Log:        slog.New(slog.NewTextHandler(&log, nil)),
		Tests:      func() []TestResult { return []TestResult{{ID: "z"}, {ID: "a"}} },
		Protection: func() []Protection { return []Protection{{Path: "/bin/x"}} },
		Coverage:   func() Coverage { return Coverage{Armed: 2, Observed: 1} },
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range rep.Findings {
		got = append(got, f.Component+" "+f.Advisory.ID)
	}
	if d := cmp.Diff([]string{"a CVE-1-1", "a CVE-1-2", "b CVE-1-3"}, got); d != "" {
		t.Error(d)
	}
	if len(rep.Excluded) != 1 || rep.Excluded[0].ID != "CVE-1-4" || rep.Excluded[0].Reason == "" {
		t.Errorf("excluded: %v", rep.Excluded)
	}
	if !strings.Contains(log.String(), "CVE-1-4") {
		t.Error("the exclusion is not in the log")
	}
	if f := rep.Findings[0]; len(f.Conditions) != 1 || f.Conditions[0].Verdict != Absent {
		t.Errorf("conditions: %+v", f.Conditions)
	}
	if rep.Image != "sha256:aa" || rep.Advisories.Records != 4 || !rep.Finished.After(rep.Started) ||
		rep.Tests[0].ID != "a" || len(rep.Protection) != 1 || rep.Coverage.Armed != 2 {
		t.Errorf("report: %+v", rep)
	}
}

// A layer that fails in any way leaves Unknown evidence with the error.
func TestRunLayerFailures(t *testing.T) {
	absent := Evidence{Verdict: Absent, Reason: "r", Functions: []FunctionFact{{File: "a.c", Name: "f", Verdict: Absent}}}
	examine := func(f func(ev []Evidence) ([]Evidence, error)) Layer {
		return Layer{Name: LayerBinary, Examine: func(ctx context.Context, s *Subject, cands []Candidate) ([]Evidence, error) {
			ev, err := answer(LayerBinary, absent).Examine(ctx, s, cands)
			if err != nil {
				return nil, err
			}
			return f(ev)
		}}
	}
	for name, l := range map[string]Layer{
		"error":       examine(func(ev []Evidence) ([]Evidence, error) { return ev, errors.New("disk on fire") }),
		"panic":       examine(func([]Evidence) ([]Evidence, error) { panic("boom") }),
		"too few":     examine(func(ev []Evidence) ([]Evidence, error) { return ev[1:], nil }),
		"too many":    examine(func(ev []Evidence) ([]Evidence, error) { return append(ev, ev[0]), nil }),
		"other name":  examine(func(ev []Evidence) ([]Evidence, error) { ev[0].Layer = LayerUsage; return ev, nil }),
		"no verdict":  examine(func(ev []Evidence) ([]Evidence, error) { ev[0].Verdict = 7; return ev, nil }),
		"no reason":   examine(func(ev []Evidence) ([]Evidence, error) { ev[0].Reason = ""; return ev, nil }),
		"error, fact": examine(func(ev []Evidence) ([]Evidence, error) { ev[0].Error = "x"; return ev, nil }),
		"no function": examine(func(ev []Evidence) ([]Evidence, error) { ev[0].Functions = nil; return ev, nil }),
		"wrong order": examine(func(ev []Evidence) ([]Evidence, error) {
			ev[0].Functions = []FunctionFact{{File: "b.c", Name: "f", Verdict: Absent}}
			return ev, nil
		}),
	} {
		rep, err := Run(t.Context(), testSubject(), testDB(t), []Layer{l}, Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, f := range rep.Findings {
			e := f.Layer(LayerBinary)
			if e.Verdict != Unknown || e.Error == "" || len(e.Functions) != 0 {
				t.Errorf("%s: %+v", name, e)
			}
		}
	}
	rep, err := Run(t.Context(), testSubject(), testDB(t), []Layer{examine(func(ev []Evidence) ([]Evidence, error) { return ev, nil })}, Options{})
	if err != nil || rep.Findings[0].Layer(LayerBinary).Verdict != Absent {
		t.Errorf("the sound layer is refused: %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	db := testDB(t)
	l := answer(LayerAST, Evidence{})
	bad := testSubject()
	bad.Image.Record.Components[0].Component.PURL = "nonsense"
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	for name, run := range map[string]func() (*Report, error){
		"no record": func() (*Report, error) {
			return Run(t.Context(), &Subject{Image: &compile.Image{}}, db, nil, Options{})
		},
		"no database": func() (*Report, error) { return Run(t.Context(), testSubject(), nil, nil, Options{}) },
		"same name":   func() (*Report, error) { return Run(t.Context(), testSubject(), db, []Layer{l, l}, Options{}) },
		"no name":     func() (*Report, error) { return Run(t.Context(), testSubject(), db, []Layer{{}}, Options{}) },
		"bad purl":    func() (*Report, error) { return Run(t.Context(), bad, db, []Layer{l}, Options{}) },
		"cancelled":   func() (*Report, error) { return Run(dead, testSubject(), db, []Layer{l}, Options{}) },
	} {
		if rep, err := run(); err == nil {
			t.Errorf("%s: %+v", name, rep)
		}
	}
}

func TestEvalCondition(t *testing.T) {
	p, a, u := advisory.Condition{File: "p"}, advisory.Condition{File: "a"}, advisory.Condition{File: "u"}
	leaf := func(c advisory.Condition) Verdict {
		return map[string]Verdict{"p": Present, "a": Absent}[c.File]
	}
	all := func(cs ...advisory.Condition) advisory.Condition { return advisory.Condition{All: cs} }
	some := func(cs ...advisory.Condition) advisory.Condition { return advisory.Condition{Any: cs} }
	not := func(c advisory.Condition) advisory.Condition { return advisory.Condition{Not: &c} }
	for _, c := range []struct {
		cond advisory.Condition
		want Verdict
	}{
		{p, Present}, {a, Absent}, {u, Unknown},
		{all(p, p), Present}, {all(p, u), Unknown}, {all(u, a), Absent}, {all(a, p), Absent},
		{some(a, a), Absent}, {some(a, u), Unknown}, {some(u, p), Present},
		{not(p), Absent}, {not(a), Present}, {not(u), Unknown}, {not(not(a)), Absent},
		{all(not(a), some(a, p)), Present}, {not(all(p, u)), Unknown},
		{advisory.Condition{}, Unknown}, {not(advisory.Condition{}), Unknown},
		{advisory.Condition{File: "a", Platform: "linux/amd64"}, Unknown},
	} {
		if got := EvalCondition(c.cond, leaf); got != c.want {
			t.Errorf("%s = %s, want %s", Describe(c.cond), got, c.want)
		}
	}
}

func TestLeafFact(t *testing.T) {
	leaf := advisory.Condition{Macro: &advisory.Macro{File: "a.c", Name: "X"}}
	quoted := leaf
	quoted.Quote = "says upstream"
	ev := func(layer string, v Verdict) Evidence {
		return Evidence{Layer: layer, Conditions: []ConditionFact{{quoted, v, "r"}}}
	}
	failed := ev(LayerAST, Absent)
	failed.Error = "x"
	for name, c := range map[string]struct {
		evidence []Evidence
		want     Verdict
	}{
		"none":          {nil, Unknown},
		"one":           {[]Evidence{ev(LayerAST, Absent)}, Absent},
		"one unknown":   {[]Evidence{ev(LayerAST, Unknown), ev(LayerUsage, Present)}, Present},
		"contradiction": {[]Evidence{ev(LayerAST, Absent), ev(LayerReach, Present)}, Unknown},
		"with error":    {[]Evidence{failed}, Unknown},
		"out of range":  {[]Evidence{ev(LayerAST, 9)}, Unknown},
	} {
		if got := LeafFact(c.evidence, leaf); got.Verdict != c.want {
			t.Errorf("%s: %s, want %s", name, got.Verdict, c.want)
		}
	}
}
