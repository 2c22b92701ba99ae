// Package report renders one run for people: a single HTML page that needs no
// script and no network.
package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"sort"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/vex"
)

//go:embed report.html
var page string

// Artifact is one of the eleven as the page lists it.
type Artifact struct {
	Kind      string
	Predicate string
	File      string
}

// Data is what the page shows.
type Data struct {
	Record    *compile.Record
	Report    *analyze.Report
	Decisions []vex.Decision
	Artifacts []Artifact
	Verify    string // the command that checks this run
}

// Write renders the page.
func Write(w io.Writer, d *Data) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"short": short,
		"bytes": bytesOf,
		"lower": strings.ToLower,
		"join":  func(s []string) string { return strings.Join(s, ", ") },
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, view(d))
}

// model is the page's own shape of the data.
type model struct {
	*Data
	Name       string
	Digest     string
	Size       int64
	Files      int
	Seed       string
	Funnel     []step
	Affected   []row
	Silenced   []row
	Families   []family
	Passed     int
	Tests      int
	Components []component
}

// step is one bar of the funnel.
type step struct {
	Label, Class, Why string
	Count             int
	Percent           int // of the first step, for the bar's width
}

// row is one finding.
type row struct {
	vex.Decision
	Summary  string
	Severity string
	Layers   []chip
}

// chip is one layer's answer.
type chip struct{ Layer, Verdict, Reason string }

type family struct {
	Name   string
	Passed int
	Tests  []analyze.TestResult
}

type component struct {
	compile.ComponentRecord
	Grade, Signer, Place string
	Files                int
	Size                 int64
	Layer                string
}

func view(d *Data) *model {
	m := &model{Data: d, Name: d.Record.Spec.Name, Digest: d.Record.Image.Manifest, Seed: d.Record.Toolchain.Digest}
	layers := map[string]compile.LayerRecord{}
	for _, l := range d.Record.Image.Layers {
		layers[l.Component] = l
		m.Size += l.Size
		m.Files += len(l.Files)
	}
	for _, c := range d.Record.Components {
		v := component{ComponentRecord: c, Place: c.Place.Archive}
		if len(c.Proofs) > 0 {
			v.Grade, v.Signer = c.Proofs[0].Grade.String(), c.Proofs[0].Signer
		}
		if l, ok := layers[c.Component.Name]; ok {
			v.Files, v.Size, v.Layer = len(l.Files), l.Size, l.Digest
		}
		m.Components = append(m.Components, v)
	}
	m.findings(d)
	m.families(d.Report.Tests)
	return m
}

// findings fills the funnel and the two tables.
func (m *model) findings(d *Data) {
	all := len(d.Report.Excluded) + len(d.Decisions)
	by := map[string]int{}
	for _, dec := range d.Decisions {
		r := row{Decision: dec}
		if f := dec.Finding; f != nil {
			r.Summary, r.Severity = f.Advisory.Summary, f.Advisory.Severity
			for _, e := range f.Evidence {
				reason := e.Reason
				if e.Error != "" {
					reason = e.Error
				}
				r.Layers = append(r.Layers, chip{e.Layer, e.Verdict.String(), reason})
			}
		}
		by[dec.Rule]++
		switch dec.Status {
		case "not_affected", "fixed":
			m.Silenced = append(m.Silenced, r)
		default:
			m.Affected = append(m.Affected, r)
		}
	}
	add := func(label, class, why string, n int) {
		s := step{Label: label, Class: class, Why: why, Count: n}
		if all > 0 {
			s.Percent = n * 100 / all
		}
		m.Funnel = append(m.Funnel, s)
	}
	add("advisories about these components", "all", "read from the advisory folder", all)
	add("match by version", "match", fmt.Sprintf("%d outside upstream's range (D1)", len(d.Report.Excluded)), len(d.Decisions))
	rules := make([]string, 0, len(by))
	for r := range by {
		rules = append(rules, r)
	}
	sort.Strings(rules)
	for _, r := range rules {
		if r != "D8" && r != "D9" {
			add("proved not to apply: "+r, "proved", ruleText[r], by[r])
		}
	}
	if n := by["D8"]; n > 0 {
		add("under investigation", "open", ruleText["D8"], n)
	}
	add("affected", "affected", ruleText["D9"], by["D9"])
}

var ruleText = map[string]string{
	"D2": "no compiled input of any shipped file comes from the component",
	"D3": "every fix patch is in the compiled source",
	"D4": "a reviewed condition of the flaw is false in this build",
	"D5": "the condition's API is neither imported, nameable, called nor observed",
	"D6": "no live object holds code of any mapped function",
	"D7": "every mapped function is outside the live set",
	"D8": "would be proved, were the map reviewed by a person",
	"D9": "no complete negative proof",
}

func (m *model) families(tests []analyze.TestResult) {
	at := map[string]int{}
	for _, t := range tests {
		i, ok := at[t.Family]
		if !ok {
			i = len(m.Families)
			at[t.Family] = i
			m.Families = append(m.Families, family{Name: t.Family})
		}
		m.Families[i].Tests = append(m.Families[i].Tests, t)
		m.Tests++
		if t.Status == analyze.Passed {
			m.Families[i].Passed++
			m.Passed++
		}
	}
}

// short is a digest for people: algorithm and twelve digits.
func short(digest string) string {
	alg, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) < 12 {
		return digest
	}
	return alg + ":" + hex[:12]
}

func bytesOf(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
