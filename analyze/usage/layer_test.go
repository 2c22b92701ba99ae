package usage_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/binary/binarytest"
	"github.com/cleanstart/cleanstart/analyze/usage"
	"github.com/cleanstart/cleanstart/compile"
)

func project(extra string) binarytest.Project {
	return binarytest.Project{Name: "prog", Files: map[string]string{
		"main.c": `
void _start(void) { extern int run(int); run(1); for (;;) ; }
` + extra,
		"lib.c": `
static inline int inlined_live(int x) { return x * 77 + (x >> 3); }
static inline int inlined_dead(int x) { return x * 99 + (x >> 5); }
__attribute__((noinline)) int live(int x) { return inlined_live(x); }
__attribute__((noinline)) int dead(int x) { return inlined_dead(x); }
int by_table(int x) { return x; }
int (*table[])(int) = {by_table};
#define ALIAS(x) live(x)
`,
	}}
}

const uses = "int live(int); extern int (*table[])(int);\nint run(int x) { return live(x) + table[x](x); }\n"

func examine(t *testing.T, s *analyze.Subject, m advisory.Map) analyze.Evidence {
	t.Helper()
	cands := []analyze.Candidate{{Advisory: &advisory.Advisory{ID: "X", Map: m}, Component: "prog"}}
	ev, err := usage.Layer(nil).Examine(t.Context(), s, cands)
	if err != nil {
		t.Fatal(err)
	}
	if err := analyze.CheckEvidence(analyze.LayerUsage, cands, ev); err != nil {
		t.Fatal(err)
	}
	return ev[0]
}

func TestLayer(t *testing.T) {
	type row struct {
		name string
		want analyze.Verdict
		how  string
	}
	for _, c := range []struct {
		name string
		link []string
		rows []row
	}{
		{"collected", binarytest.Bare(), []row{
			{"live", analyze.Present, "live"}, {"inlined_live", analyze.Present, "live"}, {"by_table", analyze.Present, "live"},
			{"dead", analyze.Absent, "no-code"}, {"inlined_dead", analyze.Absent, "no-code"}, {"ALIAS", analyze.Unknown, ""},
		}},
		{"kept", []string{"-nostdlib", "-static-pie"}, []row{
			{"live", analyze.Present, "live"}, {"inlined_live", analyze.Present, "live"}, {"by_table", analyze.Present, "live"},
			{"dead", analyze.Absent, "not-live"}, {"inlined_dead", analyze.Absent, "not-live"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := binarytest.Build(t, c.link, project(uses))
			for _, r := range c.rows {
				fn := advisory.Function{File: "lib.c", Name: r.name}
				e := examine(t, s, advisory.Map{Functions: []advisory.Function{fn}, Conditions: []advisory.Condition{{Function: &fn}, {API: []string{r.name}}}})
				if f := e.Functions[0]; f.Verdict != r.want || f.How != r.how || e.Verdict != r.want || e.Closed != analyze.Present {
					t.Errorf("%s = %v %q (%s, closed %v), want %v %q", r.name, f.Verdict, f.How, e.Reason, e.Closed, r.want, r.how)
				}
				for _, cond := range e.Conditions {
					if cond.Verdict != r.want {
						t.Errorf("%s: condition %s is %v (%s), want %v", r.name, analyze.Describe(cond.Condition), cond.Verdict, cond.Reason, r.want)
					}
				}
			}
			e := examine(t, s, advisory.Map{Conditions: []advisory.Condition{{API: []string{"no_such_function"}}, {API: []string{"dead", "live"}}}})
			if a, b := e.Conditions[0].Verdict, e.Conditions[1].Verdict; a != analyze.Unknown || b != analyze.Present {
				t.Errorf("an unknown name is %v, one of two used names %v", a, b)
			}
		})
	}
}

func TestLayerOpenWorld(t *testing.T) {
	s := binarytest.Build(t, []string{"-pie", "-Wl,--gc-sections", "-nostartfiles"}, project(`
#include <dlfcn.h>
int run(int x) { return dlsym(0, "dead") != 0; }
`))
	fn := advisory.Function{File: "lib.c", Name: "dead"}
	e := examine(t, s, advisory.Map{Functions: []advisory.Function{fn}, Conditions: []advisory.Condition{{API: []string{"dead"}}}})
	if e.Closed != analyze.Unknown || e.Conditions[0].Verdict != analyze.Unknown {
		t.Errorf("with dlsym: closed %v, condition %v, want both unknown", e.Closed, e.Conditions[0].Verdict)
	}
}

// TestLayerContradiction gives the layer a map from which the linker's
// discarded sections were taken, as if it had kept them.
func TestLayerContradiction(t *testing.T) {
	s := binarytest.Build(t, binarytest.Bare(), project(uses))
	part, err := s.Part("prog", compile.PartDebug)
	if err != nil {
		t.Fatal(err)
	}
	f, err := part.Open("prog.map")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	name := f.(*os.File).Name()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.SplitAfter(string(b), "\n"), func(l string) bool { return strings.HasPrefix(l, " .text.dead") })
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	cands := []analyze.Candidate{{Advisory: &advisory.Advisory{ID: "X"}, Component: "prog"}}
	if ev, err := usage.Layer(nil).Examine(t.Context(), s, cands); err == nil {
		t.Errorf("a section that the linker kept and the graph calls dead passes: %+v", ev)
	}
}
