package suite

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
)

// sample has every status, a test that is not ours, and names that attack a
// terminal and a page.
func sample(foreign bool) *Report {
	return &Report{
		Image:   "sha256:" + strings.Repeat("ab", 32),
		Title:   "curl <HTTP only>",
		Foreign: foreign,
		Results: []analyze.TestResult{
			{ID: "config/non-root", Title: "The user is a number and not root", Family: Config, Status: analyze.Passed, Detail: []string{"user 65532:65532"}},
			{ID: "extra/licence", Title: "An embedder's own", Family: "extra", Status: "strange"},
			{ID: "filesystem/no-setuid", Title: "No file changes the identity of who runs it", Family: FileSystem, Status: analyze.Failed,
				Detail: []string{"bin/\x1b[2J\nsu: mode 04755", "bin/<script>alert(1)</script>: mode 04755"}},
			{ID: "hardening/fortify", Title: "Library calls are fortified", Family: Hardening, Status: analyze.Waived,
				Detail: []string{"usr/bin/curl: fortify is absent"}, Waiver: &compile.Waiver{Test: "hardening/fortify", Reason: "musl & its headers", Until: "2027-12-31"}},
			{ID: "provenance/hermetic", Title: "Every build ran without network and without privilege", Family: Provenance, Status: analyze.NotApplicable, Detail: []string{"no build record"}},
		},
	}
}

func TestReportGolden(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(*Report, io.Writer) error
	}{
		{"report.txt", (*Report).WriteText},
		{"report.xml", (*Report).WriteJUnit},
		{"report.html", (*Report).WriteHTML},
	} {
		for _, foreign := range []bool{false, true} {
			var b bytes.Buffer
			check(t, c.write(sample(foreign), &b))
			name := c.name
			if foreign {
				name = "foreign-" + name
			}
			golden(t, name, b.Bytes())
			if strings.Contains(b.String(), "\x1b") || c.name != "report.txt" && strings.Contains(b.String(), "<script") {
				t.Errorf("%s passes on what a name in the image says", name)
			}
		}
	}
}

// JUnit XML read back has one case for each result, and counts that fit.
func TestJUnitCounts(t *testing.T) {
	f := good()
	f.spec.Waivers = []compile.Waiver{{Test: "hardening/fortify", Reason: "r", Until: "2026-11-24"}}
	f.protection["fortify"] = analyze.Absent
	f.protection["pie"] = analyze.Absent
	s, opts := f.build(t)
	results, err := Run(t.Context(), All(), s, opts)
	check(t, err)
	r, err := NewReport(s, results)
	check(t, err)
	var b bytes.Buffer
	check(t, r.WriteJUnit(&b))
	var got junitSuites
	check(t, xml.Unmarshal(b.Bytes(), &got))
	if got.Tests != 78 || got.Failures != 1 || got.Skipped != 1 || len(got.Suites) != 7 {
		t.Errorf("%d suites, %d tests, %d failures, %d skipped", len(got.Suites), got.Tests, got.Failures, got.Skipped)
	}
	for i, name := range []string{Provenance, Hardening, FileSystem, Config, Function, Performance, Confinement} {
		if s := got.Suites[i]; s.Name != name || s.Tests != len(s.Cases) {
			t.Errorf("suite %d is %s with %d of %d cases, want %s", i, s.Name, len(s.Cases), s.Tests, name)
		}
	}
}

// An image without a record is judged all the same. It fails for that when it
// claims to be ours, by a label that outlives stripped evidence, and only then.
func TestWithoutRecord(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*v1.ConfigFile)
		foreign bool
	}{
		{"ours", func(*v1.ConfigFile) {}, false},
		{"another's", func(c *v1.ConfigFile) { delete(c.Config.Labels, compile.EvidenceLabel) }, true},
	} {
		f := good()
		f.onConfig = c.change
		s, opts := f.build(t)
		opts.Spec = &s.Image.Record.Spec.Image
		s.Image.Record = nil
		results, err := Run(t.Context(), All(), s, opts)
		check(t, err)
		r, err := NewReport(s, results)
		check(t, err)
		var none, failed []string
		for _, x := range results {
			if x.Status == analyze.NotApplicable && x.Detail[0] == "no build record" {
				none = append(none, x.ID)
			}
		}
		for _, x := range r.Failures() {
			failed = append(failed, x.ID)
		}
		want := 15 // the tests that judge the record
		if len(none) != want || r.Foreign != c.foreign {
			t.Errorf("%s: %d without a record, want %d; foreign %v", c.name, len(none), want, r.Foreign)
		}
		switch {
		case c.foreign && (len(failed) != 1 || failed[0] != "config/evidence-label"):
			t.Errorf("%s: failed %q", c.name, failed)
		case !c.foreign && len(failed) != want:
			t.Errorf("%s: failed %q", c.name, failed)
		}
	}
	f := good()
	s, opts := f.build(t)
	s.Image.Record = nil
	results, err := Run(t.Context(), All(), s, opts)
	check(t, err)
	r, err := NewReport(s, results)
	check(t, err)
	if c := r.Counts(); c.Failed != 0 || c.Total() != 78 || c.NotApplicable != 15+19 {
		t.Errorf("nothing declared: %s", c)
	}
}
