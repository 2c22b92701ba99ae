package reach_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/analyze/binary/binarytest"
	"github.com/cleanstart/cleanstart/analyze/reach"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

const source = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <pthread.h>
static inline int inlined(int x) { volatile int y = x; return y * 31 + 7; }
__attribute__((noinline)) int in_child(int x) { return inlined(x); }
__attribute__((noinline)) int in_thread(int x) { volatile int y = x; return y; }
__attribute__((noinline)) int never(int x) { volatile int y = x; return y + 1; }
static void *body(void *p) { return (void *)(long)in_thread(3); }
int main(int n, char **v) {
	if (n > 1 && !strcmp(v[1], "never")) return never(n);
	pthread_t t;
	pthread_create(&t, 0, body, 0);
	pthread_join(t, 0);
	int st = 0;
	if (fork() == 0) _exit(in_child(2) & 1);
	wait(&st);
	printf("uid %d status %d env %s\n", getuid(), WEXITSTATUS(st), getenv("GREETING"));
	return n > 1 ? atoi(v[1]) : 0;
}
`

func subject(t *testing.T) *analyze.Subject {
	s := binarytest.Build(t, []string{"-static-pie", "-pthread", "-Wl,--gc-sections"}, binarytest.Project{
		Name: "prog", Flags: []string{"-pthread"}, Files: map[string]string{"main.c": source},
	})
	s.Image.Record.Spec.Image = compile.ImageSpec{Env: map[string]string{"GREETING": "hello"}}
	return s
}

func candidates(names ...string) []analyze.Candidate {
	var out []analyze.Candidate
	for _, n := range names {
		out = append(out, analyze.Candidate{Component: "prog", Advisory: &advisory.Advisory{
			ID: n, Map: advisory.Map{Functions: []advisory.Function{{File: "main.c", Name: n}}},
		}})
	}
	return out
}

func skipWithout(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, sandbox.ErrNoUserNamespaces) {
		need.Skip(t, "user namespaces", err.Error())
	}
}

func TestLayer(t *testing.T) {
	s := subject(t)
	o := reach.New(new(binary.Index), []compile.Run{
		{Name: "plain", Args: []string{"/usr/bin/prog"}, Stdout: "uid 65532 status 1 env hello"},
		{Name: "other status", Args: []string{"/usr/bin/prog", "3"}, Exit: 3},
	}, reach.Options{})
	cands := candidates("inlined", "in_child", "in_thread", "never", "no_such")
	ev, err := o.Layer().Examine(t.Context(), s, cands)
	skipWithout(t, err)
	if err != nil {
		t.Fatal(err)
	}
	if err := analyze.CheckEvidence(analyze.LayerReach, cands, ev); err != nil {
		t.Fatal(err)
	}
	for i, want := range []analyze.Verdict{analyze.Present, analyze.Present, analyze.Present, analyze.Unknown, analyze.Unknown} {
		if ev[i].Verdict != want || ev[i].Functions[0].Verdict != want {
			t.Errorf("%s = %v (%s), want %v", cands[i].Advisory.ID, ev[i].Verdict, ev[i].Reason, want)
		}
	}
	c := o.Coverage()
	if c.Runs != 2 || c.Observed < 10 || c.Armed <= c.Observed {
		t.Errorf("Coverage = %+v", c)
	}
	t.Logf("%+v, %v", c, ev[0].Facts)
}

// A workload that fails exercises nothing, and says so by name.
func TestLayerFails(t *testing.T) {
	s := subject(t)
	for _, r := range []compile.Run{
		{Name: "status", Args: []string{"/usr/bin/prog", "3"}},
		{Name: "output", Args: []string{"/usr/bin/prog"}, Stdout: "something else"},
		{Name: "missing", Args: []string{"/usr/bin/none"}},
		{Name: "empty"},
	} {
		ev, err := reach.New(nil, []compile.Run{r}, reach.Options{}).Layer().Examine(t.Context(), s, candidates("never"))
		skipWithout(t, err)
		if err == nil || !strings.Contains(err.Error(), r.Name) {
			t.Errorf("%s: %+v, %v; want an error that names the run", r.Name, ev, err)
		}
	}
	ev, err := reach.New(nil, nil, reach.Options{}).Layer().Examine(t.Context(), s, candidates("never"))
	if err != nil || len(ev) != 1 || ev[0].Verdict != analyze.Unknown || ev[0].Reason == "" || len(ev[0].Functions) != 0 {
		t.Errorf("without a workload: %+v, %v; want unknown, with the reason", ev, err)
	}
}
