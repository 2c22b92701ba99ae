package vex

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	govex "github.com/openvex/go-vex/pkg/vex"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// Context is what the decisions about one image share. Nothing in it can
// silence a finding: it fills notes and premises.
type Context struct {
	Image      string // manifest digest
	Advisories string // digest of the database
	Protection []analyze.Protection
	Coverage   analyze.Coverage
}

// ContextOf takes the context from a report.
func ContextOf(r *analyze.Report) Context {
	return Context{r.Image, r.Advisories.Digest, r.Protection, r.Coverage}
}

// ContradictionError is a proof that an observation refutes: a function that
// layer 3 saw running cannot be in no object, nor outside the live set. One
// of the analysers is wrong, so nothing that it says may be published.
type ContradictionError struct {
	ID        string
	Component string
	Rule      string   // whose proof is refuted: D2, D5, D6 or D7
	Observed  []string // what ran
}

func (e *ContradictionError) Error() string {
	return fmt.Sprintf("%s in %s: the proof of %s says it cannot run, yet %s was observed running: an analyser is wrong; report it, and do not ship this report",
		e.ID, e.Component, e.Rule, strings.Join(e.Observed, ", "))
}

// Decide is the decision table: the first complete negative proof of D2 to D8
// wins, anything else is D9, affected. An Unknown premise, a failed layer, or
// a layer that answered twice completes no proof. D2, D5, D6 and D7 are about
// the whole image and want every layer that was run to have run well: one that
// failed might have contradicted them, layer 3 by what it would have observed.
// A map to code is one of a version: where the component's is not known, the
// map proves nothing. The error, if any, is a [*ContradictionError], and then
// there is no decision.
func Decide(f *analyze.Finding, c Context) (Decision, error) {
	if f.Advisory == nil {
		return Decision{}, fmt.Errorf("decide: a finding in %s without advisory", f.Component)
	}
	p := newProof(f)
	if rule, seen := p.contradiction(); rule != "" {
		return Decision{}, &ContradictionError{f.Advisory.ID, f.Component, rule, seen}
	}
	d := Decision{
		ID: f.Advisory.ID, Aliases: f.Advisory.Aliases,
		Component: f.Component, Version: f.Version, PURL: f.PURL, Finding: f,
	}
	used := p.decide(&d)
	d.Premises = premises(f, c, used)
	if d.Status == govex.StatusAffected {
		d.Notes = append(d.Notes, notes(f, p, c)...)
	}
	return d, nil
}

// DecideAll decides every finding of a report, in its order.
func DecideAll(r *analyze.Report) ([]Decision, error) {
	c := ContextOf(r)
	out := make([]Decision, 0, len(r.Findings))
	for i := range r.Findings {
		d, err := Decide(&r.Findings[i], c)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// decide fills the decision and names the layers it rests on.
func (p *proof) decide(d *Decision) (used []string) {
	not := func(rule string, j govex.Justification, reason string, layers ...string) []string {
		d.Rule, d.Status, d.Justification, d.Reason = rule, govex.StatusNotAffected, j, reason
		return layers
	}
	reviewed := p.m.Completeness == advisory.Reviewed && versioned(p.f.Version)
	blind := p.failed() != ""

	if p.unlinked() && !blind {
		return not("D2", govex.ComponentNotPresent,
			fmt.Sprintf("no shipped file was linked from anything of %s: %s", p.f.Component, p.binary.Reason), analyze.LayerBinary)
	}
	if reviewed && p.fixed() {
		d.Rule, d.Status = "D3", govex.StatusFixed
		d.Reason = fmt.Sprintf("every fixed form that the advisory lists is in the compiled source of %s %s: %s", p.f.Component, p.f.Version, p.ast.Reason)
		return []string{analyze.LayerAST}
	}
	if reviewed {
		if c, why := p.condition(p.buildLeaf); c != nil {
			d.Quote = c.Quote
			return not("D4", govex.VulnerableCodeNotPresent, "a condition of the flaw is false in this build: "+why, p.answering(c)...)
		}
		if c, why := p.condition(p.useLeaf); c != nil && !blind {
			d.Quote = c.Quote
			return not("D5", govex.VulnerableCodeNotInExecutePath, "what the flaw needs is not used by anything in the image: "+why, p.answering(c)...)
		}
	}
	gone, dead := p.notLinked(), p.notLive()
	switch {
	case reviewed && gone && !blind:
		return not("D6", govex.VulnerableCodeNotPresent, "no shipped object holds code of "+p.functions()+": "+p.binary.Reason, analyze.LayerBinary)
	case reviewed && dead && !blind:
		return not("D7", govex.VulnerableCodeNotInExecutePath, "nothing in the image refers to "+p.functions()+": "+p.usage.Reason, analyze.LayerUsage)
	case p.m.Completeness == advisory.Derived && (gone || dead):
		d.Rule, d.Status = "D8", govex.StatusUnderInvestigation
		what, layer := "linked into the image", analyze.LayerBinary
		if !gone {
			what, layer = "reachable in the image", analyze.LayerUsage
		}
		d.Reason = fmt.Sprintf("%s is not %s, but the map was derived from commits and no person has confirmed that it is complete", p.functions(), what)
		d.Notes = append(d.Notes, fmt.Sprintf("for review: is the flaw %s confined to %s? If so, mark the map reviewed", p.f.Advisory.ID, p.functions()))
		return []string{layer}
	}
	d.Rule, d.Status, d.Reason = "D9", govex.StatusAffected, p.whyAffected()
	return []string{analyze.LayerAST, analyze.LayerBinary, analyze.LayerReach, analyze.LayerUsage}
}

// premises are the digests that the statement dies with.
func premises(f *analyze.Finding, c Context, used []string) map[string]string {
	out := map[string]string{}
	add := func(name, digest string) {
		if digest != "" {
			out[name] = digest
		}
	}
	add("image", c.Image)
	add("advisory", f.Advisory.Digest)
	add("map", digestOf(f.Advisory.Map))
	for _, e := range f.Evidence {
		if !slices.Contains(used, e.Layer) {
			continue
		}
		add(e.Layer+"/evidence", digestOf(e))
		for _, name := range slices.Sorted(maps.Keys(e.Premises)) {
			add(e.Layer+"/"+name, e.Premises[name])
		}
	}
	return out
}
