//go:build linux && amd64

package vex_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	govex "github.com/openvex/go-vex/pkg/vex"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/ast"
	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/analyze/binary/binarytest"
	"github.com/cleanstart/cleanstart/analyze/reach"
	"github.com/cleanstart/cleanstart/analyze/usage"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/internal/sandbox"
	"github.com/cleanstart/cleanstart/vex"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

const (
	fixedBody = "int repaired(int x) { return x > 9 ? 9 : x; }\n"
	library   = `
int used(int x);
int used(int x) { return x * 3 + 1; }
int dead(int x) { return x * 99; }
int opened(int x) { return x - 5; }
#ifdef WITH_X
int conditional(int x) { return x; }
#endif
` + fixedBody
	program = `
int used(int), repaired(int);
void _start(void) { int r = used(1) + repaired(2); __asm__ volatile("syscall" : : "a"(231), "D"(r * 0)); for (;;) ; }
`
)

// records has one advisory for each row of the table that silences: their ids
// begin with it. CVE-9-1 is about a function that runs.
func records() []string {
	record := func(id, component, specific string) string {
		return fmt.Sprintf(`{"id":%q,"modified":"2026-01-02T03:04:05Z","affected":[{"ecosystem_specific":{"component":%q,"map":"reviewed"%s},
			"ranges":[{"type":"SEMVER","events":[{"introduced":"0.9"},{"fixed":"1.1"}]}]}]}`, id, component, specific)
	}
	function := func(name string) string { return fmt.Sprintf(`,"imports":[{"path":"lib.c","symbols":[%q]}]`, name) }
	body := ast.Bodies([]byte(fixedBody))[0].Hash
	return []string{
		record("CVE-2-1", "unused", `,"imports":[{"path":"u.c","symbols":["u"]}]`),
		record("CVE-3-1", "lib", function("repaired")+fmt.Sprintf(`,"fixes":[{"file":"lib.c","name":"repaired","body":%q}]`, body)),
		record("CVE-4-1", "lib", function("used")+`,"conditions":[{"quote":"only with X","macro":{"file":"lib.c","name":"WITH_X"}}]`),
		record("CVE-5-1", "lib", function("used")+`,"conditions":[{"quote":"only where opened is called","api":["opened"]}]`),
		record("CVE-6-1", "lib", function("dead")),
		record("CVE-9-1", "lib", function("used")),
	}
}

// world is a small image with its advisories and the four layers that look at
// it; a fault is a change to it.
type world struct {
	t       *testing.T
	ctx     context.Context
	subject *analyze.Subject
	records []string
	adjust  func(*advisory.Advisory) // of what the database gives to the layers
	layers  []analyze.Layer
	index   *binary.Index
}

func newWorld(t *testing.T, link []string) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), records: records(), index: new(binary.Index)}
	w.subject = binarytest.Build(t, link,
		binarytest.Project{Name: "unused", Units: []string{}, Files: map[string]string{"u.c": "int u(void) { return 0; }\n"}},
		binarytest.Project{Name: "lib", Files: map[string]string{"lib.c": library}},
		binarytest.Project{Name: "prog", Files: map[string]string{"main.c": program}})
	w.workload(compile.Run{Name: "run", Args: []string{"/usr/bin/prog"}})
	return w
}

func (w *world) workload(runs ...compile.Run) {
	w.layers = []analyze.Layer{ast.Layer(), binary.Layer(w.index), reach.New(w.index, runs, reach.Options{}).Layer(), usage.Layer(w.index)}
}

func (w *world) component(name string) *compile.ComponentRecord {
	list := w.subject.Image.Record.Components
	return &list[slices.IndexFunc(list, func(c compile.ComponentRecord) bool { return c.Component.Name == name })]
}

func (w *world) link() *compile.Link { return &w.component("prog").Result.Links[0] }

// file is where a component's debug part keeps a file.
func (w *world) file(component, name string) string {
	w.t.Helper()
	part, err := w.subject.Part(component, compile.PartDebug)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := part.Open(name)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	return f.(*os.File).Name()
}

func (w *world) rewrite(file string, change func([]byte) []byte) {
	w.t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.Remove(file) // it may not be writable
	}
	if err == nil {
		err = os.WriteFile(file, change(b), 0o755)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func half(b []byte) []byte { return b[:len(b)/2] }

// preprocessed replaces the text of the library's unit.
func (w *world) preprocessed(text string) {
	w.rewrite(w.file("lib", w.component("lib").Result.Units[0].Preprocessed), func([]byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		if _, err := z.Write([]byte(text)); err != nil {
			w.t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			w.t.Fatal(err)
		}
		return out.Bytes()
	})
}

func (w *world) replace(name string, examine func(context.Context, *analyze.Subject, []analyze.Candidate) ([]analyze.Evidence, error)) {
	i := slices.IndexFunc(w.layers, func(l analyze.Layer) bool { return l.Name == name })
	w.layers[i].Examine = examine
}

// judge is what an embedder does: load, run, decide.
func (w *world) judge() (map[string]vex.Decision, error) {
	files := fstest.MapFS{}
	for i, r := range w.records {
		files[fmt.Sprint(i, ".json")] = &fstest.MapFile{Data: []byte(r)}
	}
	db, err := advisory.LoadReviewed(files, nil)
	if err != nil {
		return nil, err
	}
	if w.adjust != nil {
		for _, a := range db.Advisories() {
			w.adjust(a)
		}
	}
	rep, err := analyze.Run(w.ctx, w.subject, db, w.layers, analyze.Options{})
	if err != nil {
		return nil, err
	}
	for _, f := range rep.Findings {
		if e := f.Layer(analyze.LayerReach); strings.Contains(e.Error, sandbox.ErrNoUserNamespaces.Error()) {
			need.Skip(w.t, "user namespaces", e.Error)
		}
	}
	list, err := vex.DecideAll(rep)
	out := map[string]vex.Decision{}
	for _, d := range list {
		out[d.ID] = d
	}
	return out, err
}

var all = []string{"CVE-2-1", "CVE-3-1", "CVE-4-1", "CVE-5-1", "CVE-6-1"}

// TestWithoutFault is the measure of the faults: what each of them has to lose.
func TestWithoutFault(t *testing.T) {
	got, err := newWorld(t, binarytest.Bare()).judge()
	if err != nil {
		t.Fatal(err)
	}
	for id, rule := range map[string]string{"CVE-2-1": "D2", "CVE-3-1": "D3", "CVE-4-1": "D4", "CVE-5-1": "D5", "CVE-6-1": "D6", "CVE-9-1": "D9"} {
		if d := got[id]; d.Rule != rule {
			t.Errorf("%s by %q: %s %s; want %s", id, d.Rule, d.Status, d.Reason, rule)
		}
	}
	kept, err := newWorld(t, []string{"-nostdlib", "-static-pie", "-Wl,--build-id=sha1"}).judge()
	if err != nil {
		t.Fatal(err)
	}
	if d := kept["CVE-6-1"]; d.Rule != "D7" {
		t.Errorf("without collection CVE-6-1 by %q: %s %s; want D7", d.Rule, d.Status, d.Reason)
	}
}

// TestFaults breaks one thing at a time, with all four layers, and wants every
// proof that rested on it gone: affected or under investigation, never not
// affected. Nothing else may be silenced by a row that did not silence before.
func TestFaults(t *testing.T) {
	code := []string{"CVE-2-1", "CVE-5-1", "CVE-6-1"} // what is proved from the link
	text := []string{"CVE-3-1", "CVE-4-1"}            // what is proved from the units' text
	for _, c := range []struct {
		name  string
		fault func(*world)
		lost  []string
		fails bool // there is no report at all
	}{
		{name: "debug twin missing", lost: code, fault: func(w *world) { w.link().Unstripped = "nothing" }},
		{name: "debug twin unnamed", lost: code, fault: func(w *world) { w.link().Unstripped = "" }},
		{name: "debug twin truncated", lost: code, fault: func(w *world) { w.rewrite(w.file("prog", "prog"), half) }},
		{name: "debug twin of another program", lost: code, fault: func(w *world) {
			b, err := os.ReadFile("/proc/self/exe")
			if err != nil {
				w.t.Fatal(err)
			}
			w.rewrite(w.file("prog", "prog"), func([]byte) []byte { return b })
		}},
		{name: "shipped file truncated", lost: code, fault: func(w *world) { w.rewrite(filepath.Join(w.subject.Rootfs, "usr/bin/prog"), half) }},
		{name: "shipped file that nobody linked", lost: code, fault: func(w *world) {
			b, err := os.ReadFile(filepath.Join(w.subject.Rootfs, "usr/bin/prog"))
			if err == nil {
				err = os.WriteFile(filepath.Join(w.subject.Rootfs, "usr/bin/other"), b, 0o755)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}},
		{name: "link map missing", lost: code, fault: func(w *world) { w.link().Map = "nothing" }},
		{name: "link map empty", lost: code, fault: func(w *world) { w.rewrite(w.file("prog", "prog.map"), func([]byte) []byte { return nil }) }},
		{name: "link not recorded", lost: code, fault: func(w *world) { w.component("prog").Result.Links = nil }},
		{name: "link without inputs", lost: code, fault: func(w *world) { w.link().Inputs = nil }},
		{name: "foreign object in the link", lost: code, fault: func(w *world) {
			for i := range w.link().Inputs {
				if w.link().Inputs[i].Origin == "lib" {
					w.link().Inputs[i].Origin = ""
				}
			}
		}},
		{name: "object of another digest", lost: code, fault: func(w *world) { w.link().Inputs[0].Digest = "sha256:00" }},
		{name: "object gone", lost: code, fault: func(w *world) { w.link().Inputs[0].Object = "objects/none" }},
		{name: "object truncated", lost: code, fault: func(w *world) { w.rewrite(w.file("prog", w.link().Inputs[0].Object), half) }},
		{name: "unknown linker option", lost: []string{"CVE-5-1"}, fault: func(w *world) { w.link().Args = append(w.link().Args, "-Wl,--wrap=used") }},

		{name: "text gone", lost: text, fault: func(w *world) {
			if err := os.Remove(w.file("lib", w.component("lib").Result.Units[0].Preprocessed)); err != nil {
				w.t.Fatal(err)
			}
		}},
		{name: "text unnamed", lost: text, fault: func(w *world) { w.component("lib").Result.Units[0].Preprocessed = "" }},
		{name: "text truncated", lost: text, fault: func(w *world) {
			w.rewrite(w.file("lib", w.component("lib").Result.Units[0].Preprocessed), half)
		}},
		{name: "text empty", lost: text, fault: func(w *world) { w.preprocessed("") }},
		{name: "text that is no C", lost: text, fault: func(w *world) { w.preprocessed("int repaired(int x) { ((( \x00 \"\n") }},
		{name: "units not recorded", lost: text, fault: func(w *world) { w.component("lib").Result.Units = nil }},
		{name: "record bare", lost: all, fault: func(w *world) {
			for i := range w.subject.Image.Record.Components {
				w.subject.Image.Record.Components[i].Result = compile.Result{}
			}
		}},

		{name: "workload missing", lost: code, fault: func(w *world) { w.workload(compile.Run{Name: "x", Args: []string{"/usr/bin/none"}}) }},
		{name: "workload fails", lost: code, fault: func(w *world) {
			w.workload(compile.Run{Name: "x", Args: []string{"/usr/bin/prog"}, Exit: 3})
		}},
		{name: "tracer refused", lost: code, fault: func(w *world) {
			w.replace(analyze.LayerReach, func(context.Context, *analyze.Subject, []analyze.Candidate) ([]analyze.Evidence, error) {
				return nil, fmt.Errorf("trace: %w", os.ErrPermission)
			})
		}},

		{name: "version unknown", lost: []string{"CVE-3-1", "CVE-4-1", "CVE-5-1", "CVE-6-1"}, fault: func(w *world) { w.component("lib").Component.Version = "unknown" }},
		{name: "version empty", lost: []string{"CVE-3-1", "CVE-4-1", "CVE-5-1", "CVE-6-1"}, fault: func(w *world) { w.component("lib").Component.Version = "" }},
		{name: "no functions", lost: []string{"CVE-6-1", "CVE-9-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) { a.Map.Functions = nil }
		}},
		{name: "no map", lost: []string{"CVE-3-1", "CVE-4-1", "CVE-5-1", "CVE-6-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) { a.Map = advisory.Map{} }
		}},
		{name: "map only derived", lost: []string{"CVE-3-1", "CVE-4-1", "CVE-5-1", "CVE-6-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) { a.Map.Completeness = advisory.Derived }
		}},
		{name: "map of an unknown completeness", lost: []string{"CVE-3-1", "CVE-4-1", "CVE-5-1", "CVE-6-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) { a.Map.Completeness = "sure" }
		}},
		{name: "function that the file does not have", lost: []string{"CVE-6-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) {
				if a.ID == "CVE-6-1" {
					a.Map.Functions[0].Name = "misspelt"
				}
			}
		}},
		{name: "condition that says nothing", lost: []string{"CVE-4-1", "CVE-5-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) {
				for i := range a.Map.Conditions {
					a.Map.Conditions[i] = advisory.Condition{Quote: "q"}
				}
			}
		}},
		{name: "condition without its sentence", lost: []string{"CVE-4-1", "CVE-5-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) {
				for i := range a.Map.Conditions {
					a.Map.Conditions[i].Quote = ""
				}
			}
		}},
		{name: "condition on a file that does not exist", lost: []string{"CVE-4-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) {
				if a.ID == "CVE-4-1" {
					a.Map.Conditions[0].Macro.File = "none.c"
				}
			}
		}},
		{name: "condition on a name that nothing has", lost: []string{"CVE-5-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) {
				if a.ID == "CVE-5-1" {
					a.Map.Conditions[0].API = []string{"misspelt"}
				}
			}
		}},
		{name: "fixed form of other bytes", lost: []string{"CVE-3-1"}, fault: func(w *world) {
			w.adjust = func(a *advisory.Advisory) {
				for i := range a.Map.Fixes {
					a.Map.Fixes[i].Body = "sha256:" + strings.Repeat("0", 64)
				}
			}
		}},

		{name: "condition of an unknown kind", fails: true, fault: func(w *world) {
			w.records[2] = strings.Replace(w.records[2], `"macro"`, `"phase_of_the_moon"`, 1)
		}},
		{name: "record truncated", fails: true, fault: func(w *world) { w.records[0] = w.records[0][:90] }},
		{name: "context cancelled", fails: true, fault: func(w *world) {
			ctx, cancel := context.WithCancel(w.ctx)
			cancel()
			w.ctx = ctx
		}},
		{name: "no record", fails: true, fault: func(w *world) { w.subject.Image.Record = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, binarytest.Bare())
			c.fault(w)
			w.lost(c.lost, c.fails)
		})
	}

	// A layer that errors, panics, says nothing, says too much or is not there.
	rests := map[string][]string{
		analyze.LayerAST: all, analyze.LayerBinary: code, analyze.LayerReach: code, analyze.LayerUsage: code,
	}
	for name, lost := range rests {
		for how, examine := range map[string]func(context.Context, *analyze.Subject, []analyze.Candidate) ([]analyze.Evidence, error){
			"errors": func(context.Context, *analyze.Subject, []analyze.Candidate) ([]analyze.Evidence, error) {
				return nil, errors.New("broken")
			},
			"panics": func(context.Context, *analyze.Subject, []analyze.Candidate) ([]analyze.Evidence, error) {
				panic("broken")
			},
			"says nothing": func(context.Context, *analyze.Subject, []analyze.Candidate) ([]analyze.Evidence, error) {
				return nil, nil
			},
			"claims absence beside an error": func(_ context.Context, _ *analyze.Subject, cands []analyze.Candidate) ([]analyze.Evidence, error) {
				out := make([]analyze.Evidence, len(cands))
				for i, c := range cands {
					out[i] = analyze.Evidence{Layer: name, Verdict: analyze.Absent, Reason: "r", Error: "broken", Linked: analyze.Absent, Closed: analyze.Present, Fixed: analyze.Present}
					for _, f := range c.Advisory.Map.Functions {
						out[i].Functions = append(out[i].Functions, analyze.FunctionFact{File: f.File, Name: f.Name, Verdict: analyze.Absent})
					}
				}
				return out, nil
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, binarytest.Bare())
				w.replace(name, examine)
				w.lost(lost, false)
			})
		}
		// A layer that was not asked for takes only its own proofs with it.
		lost := map[string][]string{analyze.LayerAST: text, analyze.LayerUsage: {"CVE-5-1"}}[name]
		t.Run(name+" is not there", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, binarytest.Bare())
			w.layers = slices.DeleteFunc(w.layers, func(l analyze.Layer) bool { return l.Name == name })
			w.lost(lost, false)
		})
	}
}

// lost judges and wants none of the advisories silenced, and the one that runs
// never.
func (w *world) lost(ids []string, fails bool) {
	w.t.Helper()
	got, err := w.judge()
	if fails {
		if err == nil || len(got) != 0 {
			w.t.Errorf("there are %d decisions and the error is %v, want none and an error", len(got), err)
		}
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	for _, id := range append([]string{"CVE-9-1"}, ids...) {
		d, ok := got[id]
		if !ok {
			w.t.Errorf("%s is no finding any more", id)
		} else if d.Status != govex.StatusAffected && d.Status != govex.StatusUnderInvestigation {
			w.t.Errorf("%s is %s by %s: %s", id, d.Status, d.Rule, d.Reason)
		} else if d.Reason == "" {
			w.t.Errorf("%s does not say what is missing", id)
		}
	}
	for _, d := range got {
		if d.Status != govex.StatusAffected && d.Status != govex.StatusUnderInvestigation && d.Rule[1] != d.ID[4] && d.Rule != "D6" && d.Rule != "D7" {
			w.t.Errorf("%s is %s by %s, which did not silence it before: %s", d.ID, d.Status, d.Rule, d.Reason)
		}
	}
}
