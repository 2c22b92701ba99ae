package suite

import (
	"encoding/xml"
	"io"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
)

// The elements that Ant's JUnit task wrote first and that every CI system
// reads. Times are left out: they would differ from run to run.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		ClassName string        `xml:"classname,attr"`
		Skipped   *junitSkipped `xml:"skipped"`
		Failure   *junitFailure `xml:"failure"`
		Out       string        `xml:"system-out,omitempty"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
	junitFailure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report as JUnit XML: a testsuite for each family, a
// waived test as skipped with its reason, and one that does not apply as
// skipped for a foreign image and as a failure for ours.
func (r *Report) WriteJUnit(w io.Writer) error {
	all := junitSuites{Name: "image suite"}
	for _, f := range r.families() {
		s := junitSuite{Name: printable(f.Name), Properties: []junitProperty{{"image", r.Image}}}
		for _, t := range f.Tests {
			c := r.junitCase(t)
			s.Tests++
			if c.Failure != nil {
				s.Failures++
			}
			if c.Skipped != nil {
				s.Skipped++
			}
			s.Cases = append(s.Cases, c)
		}
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Skipped += s.Skipped
		all.Suites = append(all.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *Report) junitCase(t told) junitCase {
	lines := make([]string, len(t.Detail))
	for i, d := range t.Detail {
		lines[i] = printable(d)
	}
	seen := strings.Join(lines, "\n")
	c := junitCase{Name: printable(t.Name()), ClassName: printable(t.Family)}
	switch {
	case t.Status == analyze.Passed:
		c.Out = seen
	case t.Status == analyze.Waived && t.Waiver != nil:
		c.Skipped = &junitSkipped{"waived until " + printable(t.Waiver.Until) + ": " + printable(t.Waiver.Reason)}
		c.Out = seen
	case t.Status == analyze.NotApplicable && r.Foreign:
		c.Skipped = &junitSkipped{"not applicable: " + seen}
	default:
		text := []string{t.Test.Asserts, seen}
		if len(t.Test.Refs) > 0 {
			text = append(text, strings.Join(t.Test.Refs, ", "))
		}
		c.Failure = &junitFailure{Type: t.Word(), Message: printable(t.Title), Text: strings.TrimSpace(strings.Join(text, "\n"))}
	}
	return c
}
