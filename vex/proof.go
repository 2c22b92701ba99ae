package vex

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// proof is a finding laid out for the table. A layer's evidence is usable
// only when it answered once and without error; otherwise it is Unknown
// throughout. What was observed counts from any evidence.
type proof struct {
	f                  *analyze.Finding
	m                  advisory.Map
	ast, binary, usage analyze.Evidence
	evidence           []analyze.Evidence // usable, layer 3 left out
	seen               map[string]bool    // names that layer 3 saw running
	blind              string             // why layer 3 could not look
}

func newProof(f *analyze.Finding) *proof {
	p := &proof{f: f, m: f.Advisory.Map, seen: map[string]bool{}}
	p.ast, p.binary, p.usage = p.sole(analyze.LayerAST), p.sole(analyze.LayerBinary), p.sole(analyze.LayerUsage)
	for _, e := range []analyze.Evidence{p.ast, p.binary, p.usage} {
		if e.Error == "" {
			p.evidence = append(p.evidence, e)
		}
	}
	for _, e := range f.Evidence {
		if e.Layer != analyze.LayerReach {
			continue
		}
		if e.Error != "" {
			p.blind = e.Error
		}
		for _, fn := range e.Functions {
			if fn.Verdict == analyze.Present {
				p.seen[fn.Name] = true
			}
		}
		if e.Verdict == analyze.Present {
			p.seen["a mapped function"] = true
		}
		for _, c := range e.Conditions {
			if c.Verdict != analyze.Present {
				continue
			}
			for _, name := range c.Condition.API {
				p.seen[name] = true
			}
			if c.Condition.Function != nil {
				p.seen[c.Condition.Function.Name] = true
			}
		}
	}
	return p
}

// sole is the evidence of a layer that answered exactly once and without
// error.
func (p *proof) sole(layer string) analyze.Evidence {
	unknown := analyze.Evidence{Layer: layer, Reason: "layer was not run"}
	n := 0
	for _, e := range p.f.Evidence {
		if e.Layer != layer {
			continue
		}
		n++
		if e.Error != "" {
			return analyze.Evidence{Layer: layer, Reason: "the layer failed: " + e.Error, Error: e.Error}
		}
		unknown = e
	}
	if n > 1 {
		return analyze.Evidence{Layer: layer, Reason: "the layer answered more than once", Error: "the layer answered more than once"}
	}
	return unknown
}

// failed says which layer was run and failed, or answered twice.
func (p *proof) failed() string {
	for _, e := range []analyze.Evidence{p.ast, p.binary, p.usage} {
		if e.Error != "" {
			return e.Layer + ": " + e.Reason
		}
	}
	if p.blind != "" {
		return "reach: what runs could not be observed: " + p.blind
	}
	return ""
}

// unlinked is D2's proof: nothing of the component in any shipped file.
func (p *proof) unlinked() bool {
	return p.binary.Linked == analyze.Absent && !holds(p.binary) && !holds(p.usage)
}

// fixed is D3's.
func (p *proof) fixed() bool { return len(p.m.Fixes) > 0 && p.ast.Fixed == analyze.Present }

// notLinked is D6's: every mapped function in no shipped object.
func (p *proof) notLinked() bool { return p.absent(p.binary) && !holds(p.usage) }

// notLive is D7's: every mapped function outside the live set of a closed
// world.
func (p *proof) notLive() bool { return p.absent(p.usage) && p.usage.Closed == analyze.Present }

// absent reports whether the layer gave, for every function of the map and in
// its order, the verdict Absent.
func (p *proof) absent(e analyze.Evidence) bool {
	if e.Verdict != analyze.Absent || len(p.m.Functions) == 0 || len(e.Functions) != len(p.m.Functions) {
		return false
	}
	for i, fn := range e.Functions {
		if fn.Verdict != analyze.Absent || fn.File != p.m.Functions[i].File || fn.Name != p.m.Functions[i].Name {
			return false
		}
	}
	return true
}

// holds reports whether the layer found any mapped function.
func holds(e analyze.Evidence) bool {
	return e.Verdict == analyze.Present ||
		slices.ContainsFunc(e.Functions, func(f analyze.FunctionFact) bool { return f.Verdict == analyze.Present })
}

// buildLeaf answers the leaves that the build alone decides (D4).
func (p *proof) buildLeaf(leaf advisory.Condition) analyze.Verdict {
	if leaf.File == "" && leaf.Macro == nil && leaf.Option == "" && leaf.Platform == "" {
		return analyze.Unknown
	}
	return analyze.LeafFact(p.evidence, leaf).Verdict
}

// useLeaf answers all leaves (D5); that a function is not live counts only in
// a closed world.
func (p *proof) useLeaf(leaf advisory.Condition) analyze.Verdict {
	v := analyze.LeafFact(p.evidence, leaf).Verdict
	if leaf.Function != nil && v == analyze.Absent && p.usage.Closed != analyze.Present {
		return analyze.Unknown
	}
	return v
}

// condition is the first quoted condition that is proved false, with the
// facts that prove it.
func (p *proof) condition(leaf func(advisory.Condition) analyze.Verdict) (*advisory.Condition, string) {
	for i := range p.m.Conditions {
		c := &p.m.Conditions[i]
		if c.Quote == "" || analyze.EvalCondition(*c, leaf) != analyze.Absent {
			continue
		}
		why := []string{"not " + analyze.Describe(*c)}
		analyze.Leaves(*c, func(l advisory.Condition) {
			if f := analyze.LeafFact(p.evidence, l); f.Verdict != analyze.Unknown {
				why = append(why, f.Reason)
			}
		})
		return c, strings.Join(why, "; ")
	}
	return nil, ""
}

// answering names the layers that decided a leaf of the condition.
func (p *proof) answering(c *advisory.Condition) []string {
	var out []string
	for _, e := range p.evidence {
		analyze.Leaves(*c, func(l advisory.Condition) {
			if analyze.LeafFact([]analyze.Evidence{e}, l).Verdict != analyze.Unknown && !slices.Contains(out, e.Layer) {
				out = append(out, e.Layer)
			}
		})
	}
	return out
}

// contradiction is the first proof that an observation refutes, whatever the
// completeness of the map: the analysers disagree about facts. D3 and D4 are
// not among them: a function runs in its fixed form, and around a region that
// is not compiled.
func (p *proof) contradiction() (rule string, seen []string) {
	if len(p.seen) == 0 {
		return "", nil
	}
	if reached := p.reached(); len(reached) > 0 {
		switch {
		case p.unlinked():
			return "D2", reached
		case p.absent(p.binary):
			return "D6", reached
		case p.notLive():
			return "D7", reached
		}
	}
	for i := range p.m.Conditions {
		c := p.m.Conditions[i]
		if analyze.EvalCondition(c, p.useLeaf) != analyze.Absent || analyze.EvalCondition(c, p.buildLeaf) == analyze.Absent {
			continue
		}
		names := map[string]bool{}
		analyze.Leaves(c, func(l advisory.Condition) {
			if p.useLeaf(l) != analyze.Absent {
				return
			}
			for _, n := range l.API {
				if p.seen[n] {
					names[n] = true
				}
			}
			if l.Function != nil && p.seen[l.Function.Name] {
				names[l.Function.Name] = true
			}
		})
		if len(names) > 0 {
			return "D5", sorted(names)
		}
	}
	return "", nil
}

// reached are the mapped functions that were seen running.
func (p *proof) reached() []string {
	out := map[string]bool{}
	for _, e := range p.f.Evidence {
		if e.Layer != analyze.LayerReach {
			continue
		}
		for _, fn := range e.Functions {
			if fn.Verdict == analyze.Present {
				out[fn.Name] = true
			}
		}
		if e.Verdict == analyze.Present && len(out) == 0 {
			out["a mapped function"] = true
		}
	}
	return sorted(out)
}

func sorted(set map[string]bool) []string {
	var out []string
	for s := range set {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// versioned reports whether a version names a release: "", "unknown" and
// "main" do not.
func versioned(v string) bool { return strings.ContainsAny(v, "0123456789") }

// functions are the mapped functions in words.
func (p *proof) functions() string {
	const most = 4
	var names []string
	for i, fn := range p.m.Functions {
		if i == most && len(p.m.Functions) > most+1 {
			names = append(names, fmt.Sprintf("%d more", len(p.m.Functions)-most))
			break
		}
		names = append(names, fn.Name)
	}
	return strings.Join(names, ", ")
}

// whyAffected says what was found, or what is missing for a proof.
func (p *proof) whyAffected() string {
	switch reached := p.reached(); {
	case len(reached) > 0:
		return strings.Join(reached, ", ") + " was observed running in the image's workload"
	case !versioned(p.f.Version):
		return "the version of the component is not known, and a map to code is one of a version"
	case p.m.Completeness != advisory.Reviewed && p.m.Completeness != advisory.Derived, len(p.m.Functions) == 0 && len(p.m.Conditions) == 0:
		return "the advisory has no map to code, so that nothing can be proved about it"
	case holds(p.usage):
		return p.functions() + " is in the image and can be reached: " + p.usage.Reason
	case holds(p.binary):
		return p.functions() + " is in the image: " + p.binary.Reason
	case p.failed() != "":
		return "no proof of absence: " + p.failed()
	}
	return "no proof of absence: " + strings.Join([]string{"binary: " + p.binary.Reason, "usage: " + p.usage.Reason}, "; ")
}

func digestOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
