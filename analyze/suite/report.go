package suite

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
)

// Report is what the suite says of one image, to be written for people
// ([Report.WriteText], [Report.WriteHTML]) or for a machine that knows JUnit
// ([Report.WriteJUnit]). The signed form is the test report of package attest.
// The same report gives the same bytes.
type Report struct {
	Image string // digest of the manifest
	Title string // what the image calls itself; may be empty
	// Foreign is an image that does not claim to be ours. What does not apply
	// to it is not counted as failed.
	Foreign bool
	Results []analyze.TestResult
}

// NewReport is the report of results that [Run] gave for the subject. An image
// claims to be ours by its record or by the label of its evidence policy, so
// that taking the evidence away makes it fail and not foreign.
func NewReport(subject *analyze.Subject, results []analyze.TestResult) (*Report, error) {
	if subject == nil || subject.Image == nil || subject.Image.Image == nil {
		return nil, errors.New("suite: an image is required")
	}
	d, err := subject.Image.Digest()
	if err != nil {
		return nil, fmt.Errorf("suite: %w", err)
	}
	cf, err := subject.Image.ConfigFile()
	if err != nil || cf == nil {
		return nil, errors.Join(errors.New("suite: the image has no configuration"), err)
	}
	_, labelled := cf.Config.Labels[compile.EvidenceLabel]
	return &Report{
		Image:   d.String(),
		Title:   cf.Config.Labels["org.opencontainers.image.title"],
		Foreign: subject.Image.Record == nil && !labelled,
		Results: results,
	}, nil
}

// Failures are the results that speak against the image.
func (r *Report) Failures() []analyze.TestResult {
	return slices.DeleteFunc(Failures(r.Results), func(t analyze.TestResult) bool {
		return r.Foreign && t.Status == analyze.NotApplicable
	})
}

// Counts are the results by status. A status that is not known is a failure.
type Counts struct{ Passed, Waived, Failed, NotApplicable int }

func (c Counts) String() string {
	return fmt.Sprintf("%d tests: %d passed, %d waived, %d failed, %d not applicable",
		c.Total(), c.Passed, c.Waived, c.Failed, c.NotApplicable)
}

// Total is the number of results.
func (c Counts) Total() int { return c.Passed + c.Waived + c.Failed + c.NotApplicable }

// Counts counts the results.
func (r *Report) Counts() Counts { return count(r.Results) }

// Summary is the counts in one line, and what not applicable means here.
func (r *Report) Summary() string {
	c := r.Counts()
	switch {
	case c.NotApplicable == 0:
		return c.String()
	case r.Foreign:
		return c.String() + " (not counted: the image does not claim to be ours)"
	}
	return c.String() + " (counted as failed)"
}

func count(results []analyze.TestResult) (c Counts) {
	for _, t := range results {
		switch t.Status {
		case analyze.Passed:
			c.Passed++
		case analyze.Waived:
			c.Waived++
		case analyze.NotApplicable:
			c.NotApplicable++
		default:
			c.Failed++
		}
	}
	return c
}

// family is a part of a report.
type family struct {
	Name  string
	Tests []told
}

// told is one result beside what its test says of itself.
type told struct {
	analyze.TestResult
	Test Test // zero for a test that is not in All
}

// Word is the status for people.
func (t told) Word() string {
	switch t.Status {
	case analyze.Passed, analyze.Waived:
		return string(t.Status)
	case analyze.NotApplicable:
		return "not applicable"
	}
	return "failed"
}

// Name is the id without the family.
func (t told) Name() string { return strings.TrimPrefix(t.ID, t.Family+"/") }

// families orders the results: the seven first, as All has them, each by id.
func (r *Report) families() []family {
	tests, rank := map[string]Test{}, map[string]int{}
	for i, t := range All() {
		tests[t.ID] = t
		if _, ok := rank[t.Family]; !ok {
			rank[t.Family] = i + 1
		}
	}
	rows := slices.Clone(r.Results)
	slices.SortStableFunc(rows, func(a, b analyze.TestResult) int {
		last := func(f string) int { return cmp.Or(rank[f], len(tests)+1) }
		return cmp.Or(cmp.Compare(last(a.Family), last(b.Family)), cmp.Compare(a.Family, b.Family), cmp.Compare(a.ID, b.ID))
	})
	var list []family
	for _, t := range rows {
		if len(list) == 0 || list[len(list)-1].Name != t.Family {
			list = append(list, family{Name: t.Family})
		}
		f := &list[len(list)-1]
		f.Tests = append(f.Tests, told{t, tests[t.ID]})
	}
	return list
}

// Counts counts one family.
func (f family) Counts() Counts {
	list := make([]analyze.TestResult, len(f.Tests))
	for i, t := range f.Tests {
		list[i] = t.TestResult
	}
	return count(list)
}

// WriteText writes one line for each test, and below one that did not pass
// everything that was seen and what it means. Control characters of names in
// the image are written as escapes.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "image  %s\n", r.Image)
	if r.Title != "" {
		fmt.Fprintf(&b, "title  %s\n", printable(r.Title))
	}
	fmt.Fprintln(&b, r.Summary())
	for _, f := range r.families() {
		fmt.Fprintf(&b, "\n%s\n", printable(f.Name))
		for _, t := range f.Tests {
			line := fmt.Sprintf("  %-14s  %-26s  ", t.Word(), printable(t.Name()))
			if t.Status == analyze.Passed && len(t.Detail) == 1 {
				fmt.Fprintf(&b, "%s%s\n", line, printable(t.Detail[0]))
				continue
			}
			fmt.Fprintf(&b, "%s%s\n", line, printable(t.Title))
			for _, d := range t.Detail {
				fmt.Fprintf(&b, "      - %s\n", printable(d))
			}
			if w := t.Waiver; w != nil {
				fmt.Fprintf(&b, "      waiver until %s: %s\n", printable(w.Until), printable(w.Reason))
			}
			if t.Word() == "failed" && t.Test.Why != "" {
				fmt.Fprintf(&b, "      why: %s\n", t.Test.Why)
			}
			if len(t.Test.Refs) > 0 && t.Status != analyze.Passed {
				fmt.Fprintf(&b, "      see: %s\n", strings.Join(t.Test.Refs, ", "))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printable escapes what a terminal would obey.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 {
		return s
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
