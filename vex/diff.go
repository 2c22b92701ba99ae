package vex

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	govex "github.com/openvex/go-vex/pkg/vex"
)

// Change is what became of one vulnerability in one component between two
// releases.
type Change struct {
	Vulnerability string `json:"vulnerability"`
	Component     string `json:"component"` // without its version
	Kind          Kind   `json:"kind"`
	Before        State  `json:"before,omitzero"`
	After         State  `json:"after,omitzero"`
	// Premises are those whose digest differs, by name; empty unless the
	// statement is in both.
	Premises []string `json:"premises,omitempty"`
}

// State is what a release says.
type State struct {
	Status        govex.Status        `json:"status"`
	Justification govex.Justification `json:"justification,omitempty"`
	Version       string              `json:"version,omitempty"` // of the component
}

// Kind of a change.
type Kind string

const (
	Appeared Kind = "appeared" // only the new release has a statement
	Gone     Kind = "gone"     // only the old one has: the finding ended, or the record did
	Raised   Kind = "raised"   // it was silenced, and is not any more
	Silenced Kind = "silenced" // it was not, and is now
	Restated Kind = "restated" // another status or justification of the same weight
	Renewed  Kind = "renewed"  // the same verdict on other premises
)

func (c Change) String() string {
	return fmt.Sprintf("%s in %s: %s (%s → %s)", c.Vulnerability, c.Component, c.Kind, orNone(fields(c.Before)), orNone(fields(c.After)))
}

func fields(s State) []string {
	return slices.DeleteFunc([]string{s.Version, string(s.Status), string(s.Justification)}, func(s string) bool { return s == "" })
}

// Diff compares the statements of two releases, sorted by component and
// vulnerability. A component is the same over its versions. Statements that
// say the same on the same premises are not listed. The image's own digest
// always differs and does not count as a premise.
func Diff(before, after *govex.VEX) ([]Change, error) {
	old, err := states(before)
	if err != nil {
		return nil, fmt.Errorf("vex diff: before: %w", err)
	}
	now, err := states(after)
	if err != nil {
		return nil, fmt.Errorf("vex diff: after: %w", err)
	}
	var out []Change
	for k, b := range old {
		c := Change{Vulnerability: k.id, Component: k.component, Before: b.State}
		a, both := now[k]
		if !both {
			c.Kind = Gone
			out = append(out, c)
			continue
		}
		c.After = a.State
		for name, digest := range b.premises {
			if a.premises[name] != digest {
				c.Premises = append(c.Premises, name)
			}
		}
		for name := range a.premises {
			if _, ok := b.premises[name]; !ok {
				c.Premises = append(c.Premises, name)
			}
		}
		slices.Sort(c.Premises)
		switch {
		case silent(b.Status) && !silent(a.Status):
			c.Kind = Raised
		case !silent(b.Status) && silent(a.Status):
			c.Kind = Silenced
		case b.Status != a.Status || b.Justification != a.Justification:
			c.Kind = Restated
		case len(c.Premises) > 0 || b.Version != a.Version:
			c.Kind = Renewed
		default:
			continue
		}
		out = append(out, c)
	}
	for k, a := range now {
		if _, ok := old[k]; !ok {
			out = append(out, Change{Vulnerability: k.id, Component: k.component, Kind: Appeared, After: a.State})
		}
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Vulnerability, b.Vulnerability))
	})
	return out, nil
}

func silent(s govex.Status) bool { return s == govex.StatusNotAffected || s == govex.StatusFixed }

type stated struct {
	State
	premises map[string]string
}

type subject struct{ id, component string }

// states are a document's statements by vulnerability and component.
func states(doc *govex.VEX) (map[subject]stated, error) {
	out := map[subject]stated{}
	if doc == nil {
		return out, nil
	}
	for i := range doc.Statements {
		s := &doc.Statements[i]
		for _, name := range components(s) {
			base, version := splitVersion(name)
			k := subject{string(s.Vulnerability.Name), base}
			st := stated{State{s.Status, s.Justification, version}, premisesOf(s)}
			if prev, ok := out[k]; ok && (prev.State != st.State) {
				return nil, fmt.Errorf("two statements about %s in %s", k.id, k.component)
			}
			out[k] = st
		}
	}
	return out, nil
}

// components are the names that a statement is about: its subcomponents, or
// its products where it has none.
func components(s *govex.Statement) []string {
	var out []string
	for _, p := range s.Products {
		for _, c := range p.Subcomponents {
			out = append(out, c.ID)
		}
		if len(p.Subcomponents) == 0 {
			out = append(out, p.ID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// splitVersion takes version and qualifiers off a package URL or NAME@VERSION.
func splitVersion(s string) (base, version string) {
	s, _, _ = strings.Cut(s, "#")
	s, _, _ = strings.Cut(s, "?")
	if i := strings.LastIndexByte(s, '@'); i > 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// premisesOf reads the premises that a statement of ours lists in its notes.
func premisesOf(s *govex.Statement) map[string]string {
	out := map[string]string{}
	for _, line := range strings.Split(s.StatusNotes, "\n") {
		i := strings.LastIndexByte(line, '=')
		if i > 0 && line[:i] != "image" && digestPattern.MatchString(line[i+1:]) {
			out[line[:i]] = line[i+1:]
		}
	}
	return out
}
