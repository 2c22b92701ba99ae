package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

// The seven families.
const (
	Provenance  = "provenance"
	Hardening   = "hardening"
	FileSystem  = "filesystem"
	Config      = "config"
	Function    = "function"
	Performance = "performance"
	Confinement = "confinement"
)

// Test is one test. Run must not change the subject and must be safe to call
// beside other tests.
type Test struct {
	ID      string // FAMILY/name; waivers name it, so it never changes
	Title   string
	Family  string
	Asserts string // what must hold, in one sentence
	Why     string // what goes wrong where it does not hold
	// Refs name the weakness that the test looks for and the recommendations
	// that it checks: "CWE-250", "CIS Docker 4.1", "NIST SP 800-190 4.1.2".
	// Empty where none says the same.
	Refs   []string
	Record bool // it judges the record of the build: not applicable without one
	Alone  bool // it measures time, so nothing may run beside it
	Run    func(ctx context.Context, s *Subject) Outcome
}

// Outcome is what a test saw. The zero value is a failure.
type Outcome struct {
	Status analyze.Status // Passed, Failed or NotApplicable
	Detail []string
}

// Options are what the tests need to know beside the subject.
type Options struct {
	Now time.Time // waivers and exceptions are judged at this time; required
	// Protection holds the hardening facts of the image's ELF files, as package
	// binary finds them. An ELF file that is missing here fails the tests that
	// ask for it.
	Protection []analyze.Protection
	Bounds     Bounds
	Parallel   int // tests at the same time; 0 means one per processor
	// Spec says of an image without a record what it should do: its checks,
	// its workload, its waivers. A record brings its own, and this is not read.
	Spec *compile.ImageSpec

	run runner // sandbox.Run where nil
}

type runner func(ctx context.Context, cfg sandbox.Config, p sandbox.Process, stdout, stderr io.Writer) (*sandbox.Outcome, error)

// All is every test, family by family.
func All() []Test {
	var all []Test
	for _, family := range [][]Test{
		provenanceTests, hardeningTests, fileSystemTests, configTests,
		functionTests, performanceTests, confinementTests,
	} {
		all = append(all, family...)
	}
	return all
}

// Run runs the tests and applies the waivers of the subject's specification.
// The image may be of any origin: without a record, the tests that judge one
// are not applicable. Results are sorted by id, one per test. An error means that the suite could
// not be run as asked (a waiver of no test, an image that cannot be read); a
// test that fails is a result, see [Failures].
func Run(ctx context.Context, tests []Test, subject *analyze.Subject, opts Options) ([]analyze.TestResult, error) {
	if len(tests) == 0 {
		return nil, errors.New("suite: no test to run")
	}
	if opts.Now.IsZero() {
		return nil, errors.New("suite: Options.Now is required to judge waivers")
	}
	if err := distinct(tests); err != nil {
		return nil, err
	}
	s, err := prepare(subject, opts)
	if err != nil {
		return nil, err
	}
	waivers, err := readWaivers(s.Spec.Waivers, tests)
	if err != nil {
		return nil, err
	}
	results := make([]analyze.TestResult, len(tests))
	if err := runAll(ctx, tests, s, opts.Parallel, results); err != nil {
		return nil, err
	}
	for i := range results {
		if w, ok := waivers[results[i].ID]; ok {
			w.apply(&results[i], opts.Now)
		}
	}
	sort.Slice(results, func(i, j int) bool { return results[i].ID < results[j].ID })
	return results, nil
}

func distinct(tests []Test) error {
	seen := map[string]bool{}
	for _, t := range tests {
		if t.ID == "" || t.Run == nil {
			return fmt.Errorf("suite: test %q (%s) has no id or nothing to run", t.ID, t.Title)
		}
		if seen[t.ID] {
			return fmt.Errorf("suite: two tests are called %q", t.ID)
		}
		seen[t.ID] = true
	}
	return nil
}

// runAll runs the tests that may run together, then the others one by one.
func runAll(ctx context.Context, tests []Test, s *Subject, parallel int, results []analyze.TestResult) error {
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, t := range tests {
		if !t.Alone {
			g.Go(func() error {
				results[i] = t.result(gctx, s)
				return gctx.Err()
			})
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("suite: %w", err)
	}
	for i, t := range tests {
		if t.Alone {
			results[i] = t.result(ctx, s)
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("suite: %w", err)
			}
		}
	}
	return nil
}

func (t *Test) result(ctx context.Context, s *Subject) analyze.TestResult {
	var o Outcome
	if t.Record && s.Record == nil {
		o = notApplicable("no build record")
	} else {
		o = t.Run(ctx, s)
	}
	switch o.Status {
	case analyze.Passed, analyze.NotApplicable:
	default:
		o.Status = analyze.Failed
	}
	return analyze.TestResult{ID: t.ID, Title: t.Title, Family: t.Family, Status: o.Status, Detail: o.Detail}
}

// Failures are the results that keep an image of ours from being released:
// failed, not applicable, or of a status that is not known. [Report.Failures]
// tells what another's image fails.
func Failures(results []analyze.TestResult) []analyze.TestResult {
	var bad []analyze.TestResult
	for _, r := range results {
		if r.Status != analyze.Passed && r.Status != analyze.Waived {
			bad = append(bad, r)
		}
	}
	return bad
}

// maxDetail bounds the places that one result names; the rest are counted.
const maxDetail = 20

// verdict passes when nothing is wrong, with seen as its one line of detail,
// and otherwise fails and names what is.
func verdict(wrong []string, seen string, args ...any) Outcome {
	if len(wrong) == 0 {
		return Outcome{Status: analyze.Passed, Detail: []string{fmt.Sprintf(seen, args...)}}
	}
	sort.Strings(wrong)
	if n := len(wrong); n > maxDetail {
		wrong = append(wrong[:maxDetail:maxDetail], fmt.Sprintf("and %d more", n-maxDetail))
	}
	return Outcome{Status: analyze.Failed, Detail: wrong}
}

func notApplicable(why string) Outcome {
	return Outcome{Status: analyze.NotApplicable, Detail: []string{why}}
}

// waiver is a [compile.Waiver] with its date read.
type waiver struct {
	compile.Waiver
	until time.Time // the first instant at which it no longer holds
}

func readWaivers(list []compile.Waiver, tests []Test) (map[string]waiver, error) {
	known := map[string]bool{}
	for _, t := range tests {
		known[t.ID] = true
	}
	for _, t := range All() {
		known[t.ID] = true
	}
	waivers := map[string]waiver{}
	for _, w := range list {
		switch {
		case !known[w.Test]:
			return nil, fmt.Errorf("suite: waiver of %q: there is no such test; correct the name or remove the waiver", w.Test)
		case w.Reason == "":
			return nil, fmt.Errorf("suite: waiver of %s has no reason", w.Test)
		}
		if _, twice := waivers[w.Test]; twice {
			return nil, fmt.Errorf("suite: two waivers of %s", w.Test)
		}
		day, err := time.Parse(time.DateOnly, w.Until)
		if err != nil {
			return nil, fmt.Errorf("suite: waiver of %s ends on %q, which is no date like 2006-01-02", w.Test, w.Until)
		}
		waivers[w.Test] = waiver{w, day.AddDate(0, 0, 1)}
	}
	return waivers, nil
}

// apply excuses a failure until the end of the waiver's last day, UTC.
func (w waiver) apply(r *analyze.TestResult, now time.Time) {
	r.Waiver = &w.Waiver
	switch {
	case r.Status == analyze.Passed:
		r.Detail = append(r.Detail, "the waiver is not needed; remove it")
	case now.Before(w.until):
		r.Status = analyze.Waived
	default:
		r.Status = analyze.Failed
		r.Detail = append(r.Detail, "the waiver expired on "+w.Until)
	}
}
