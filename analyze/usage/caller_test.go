package usage_test

import (
	"testing"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/binary/binarytest"
)

// TestCaller: what the component's own files below the folders do does not
// count; everything else does, other components above all, and dead code does
// not.
func TestCaller(t *testing.T) {
	lib := binarytest.Project{Name: "prog", Files: map[string]string{
		"lib/api.c":   "__attribute__((noinline)) int api(int x) { return x * 3; }\n__attribute__((noinline)) int wrapped(int x) { return api(x) + 1; }\n",
		"src/tool.c":  "int api(int); int wrapped(int);\nvoid _start(void) { extern int run(int); run(api(1) + wrapped(2)); for (;;) ; }\n",
		"extra/run.c": "int api(int);\nint run(int x) { return x; }\nint unused(int x) { return api(x); }\n",
	}}
	leaf := func(api string, besides ...string) advisory.Condition {
		return advisory.Condition{Caller: &advisory.Caller{API: []string{api}, Besides: besides}}
	}
	verdict := func(s *analyze.Subject, c advisory.Condition) analyze.ConditionFact {
		e := examine(t, s, advisory.Map{Conditions: []advisory.Condition{c}})
		if len(e.Conditions) != 1 {
			t.Fatalf("%+v", e)
		}
		return e.Conditions[0]
	}
	s := binarytest.Build(t, binarytest.Bare(), lib)
	for _, c := range []struct {
		name string
		leaf advisory.Condition
		want analyze.Verdict
	}{
		{"only the tool and the library", leaf("api", "lib", "src"), analyze.Absent},
		{"the tool counts", leaf("api", "lib"), analyze.Present},
		{"the library counts", leaf("api", "src"), analyze.Present},
		{"a folder is no prefix of a name", leaf("api", "li", "src"), analyze.Present},
		{"a name that is not there", leaf("no_such", "lib", "src"), analyze.Unknown},
	} {
		if got := verdict(s, c.leaf); got.Verdict != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, got.Verdict, got.Reason, c.want)
		}
	}

	// code outside the folders that is live
	lib.Files["extra/run.c"] = "int api(int);\nint run(int x) { return api(x); }\n"
	if got := verdict(binarytest.Build(t, binarytest.Bare(), lib), leaf("api", "lib", "src")); got.Verdict != analyze.Present {
		t.Errorf("live code outside the folders: %s (%s)", got.Verdict, got.Reason)
	}

	// another component, in a folder of the same name
	lib.Files["extra/run.c"] = "int run2(int);\nint run(int x) { return run2(x); }\n"
	other := binarytest.Project{Name: "other", Files: map[string]string{"lib/other.c": "int api(int);\nint run2(int x) { return api(x); }\n"}}
	if got := verdict(binarytest.Build(t, binarytest.Bare(), other, lib), leaf("api", "lib", "src", "extra")); got.Verdict != analyze.Present {
		t.Errorf("another component: %s (%s)", got.Verdict, got.Reason)
	}
}
