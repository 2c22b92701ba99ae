package ast

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/cleanstart/cleanstart/analyze"
)

// Bounds of what a report holds of one component.
const (
	maxFound   = 500
	maxSkipped = 50
)

// Scans runs every rule over every component of the image that has units, and
// gives what a report holds of it, by component. A component whose units
// cannot be read at all is named with the reason and checks nothing; only a
// cancelled context is an error.
func Scans(ctx context.Context, s *analyze.Subject) ([]analyze.Scan, error) {
	rules := Rules()
	var out []analyze.Scan
	if s == nil || s.Image == nil || s.Image.Record == nil {
		return nil, fmt.Errorf("ast: the image has no record")
	}
	for _, c := range s.Image.Record.Components {
		if len(c.Result.Units) == 0 {
			continue
		}
		name := c.Component.Name
		scan, err := ScanComponent(ctx, s, name, rules)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("ast: %w", ctx.Err())
		}
		if err != nil {
			scan = &Scan{Component: name, Skipped: []string{err.Error()}}
		}
		out = append(out, scan.Report(len(rules)))
	}
	slices.SortFunc(out, func(a, b analyze.Scan) int { return cmp.Compare(a.Component, b.Component) })
	return out, nil
}

// Report is the scan as a report holds it: bounded, the most severe findings
// kept, in the order of the source.
func (s *Scan) Report(rules int) analyze.Scan {
	out := analyze.Scan{Component: s.Component, Rules: rules, Units: s.Units, Skipped: s.Skipped}
	if n := len(s.Skipped) - maxSkipped; n > 0 {
		out.Skipped, out.MoreSkipped = s.Skipped[:maxSkipped], n
	}
	found := slices.Clone(s.Found)
	if n := len(found) - maxFound; n > 0 {
		rank := []Severity{High, Medium, Low}
		slices.SortStableFunc(found, func(a, b Found) int {
			return cmp.Compare(slices.Index(rank, a.Severity), slices.Index(rank, b.Severity))
		})
		found, out.MoreFound = found[:maxFound], n
		slices.SortFunc(found, compareFound)
	}
	for _, f := range found {
		out.Found = append(out.Found, analyze.Weakness{
			Rule: f.Rule, CWE: f.CWE, Severity: string(f.Severity), Message: f.Message, File: f.File, Line: f.Line, Function: f.Function,
		})
	}
	return out
}
