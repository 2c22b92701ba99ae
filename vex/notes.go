package vex

import (
	"fmt"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
)

// notes order the work on an affected finding. They never change its status.
func notes(f *analyze.Finding, p *proof, c Context) []string {
	out := []string{"priority: " + priority(f, p)}
	if c.Coverage.Armed > 0 {
		out = append(out, fmt.Sprintf("the workload (%d runs) executed %d of %d functions under observation; silence of the others proves nothing",
			c.Coverage.Runs, c.Coverage.Observed, c.Coverage.Armed))
	}
	seen := map[string]bool{}
	for _, e := range f.Evidence {
		for _, fn := range e.Functions {
			if fn.Verdict == analyze.Present && e.Layer != analyze.LayerAST {
				for _, w := range fn.Where {
					seen[strings.TrimPrefix(w, "/")] = true
				}
			}
		}
	}
	for _, pr := range c.Protection {
		if len(seen) > 0 && !seen[strings.TrimPrefix(pr.Path, "/")] {
			continue
		}
		var on, off []string
		for _, ft := range pr.Facts {
			switch ft.Verdict {
			case analyze.Present:
				on = append(on, ft.Name)
			default:
				off = append(off, ft.Name)
			}
		}
		out = append(out, fmt.Sprintf("protections of %s: %s; without: %s", pr.Path, orNone(on), orNone(off)))
	}
	return out
}

func orNone(s []string) string {
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, " ")
}

// priority is the source's grade, raised by what was seen running and left
// alone by silence.
func priority(f *analyze.Finding, p *proof) string {
	grade := 1 // an ungraded flaw ranks as medium
	word, _, _ := strings.Cut(strings.ToLower(f.Advisory.Severity), " ")
	switch word, _, _ = strings.Cut(word, "/"); word {
	case "low":
		grade = 0
	case "high":
		grade = 2
	case "critical":
		grade = 3
	}
	why := "severity " + f.Advisory.Severity
	if f.Advisory.Severity == "" {
		why = "no severity given"
	}
	if len(p.reached()) > 0 {
		grade++
		why += ", observed running"
	} else if holds(p.usage) {
		why += ", reachable"
	}
	return []string{"low", "medium", "high", "urgent", "urgent"}[grade] + " (" + why + ")"
}
