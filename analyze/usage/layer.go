package usage

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/internal/dwarfx"
)

const doc = `usage answers whether the mapped functions can run: whether the sections that hold code of them are live in the
reference graph over the objects of each link. The live set over-approximates every way by which code comes to an address
through a relocation or a rule of the linker; code that is generated at run time or reached through a corrupted pointer
is outside the model.`

// Layer is layer 4. The index may be shared with the other layers; nil gives
// the layer its own. Beside the functions it answers Evidence.Closed and the
// conditions on functions and interfaces. It fails where the linker's own map
// contradicts the graph.
func Layer(x *binary.Index) analyze.Layer {
	if x == nil {
		x = new(binary.Index)
	}
	return analyze.Layer{
		Name: analyze.LayerUsage,
		Doc:  doc,
		Examine: func(ctx context.Context, s *analyze.Subject, cands []analyze.Candidate) ([]analyze.Evidence, error) {
			w, err := x.Load(ctx, s)
			if err != nil {
				return nil, err
			}
			u, err := build(w)
			if err != nil {
				return nil, err
			}
			out := make([]analyze.Evidence, 0, len(cands))
			for _, c := range cands {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				out = append(out, u.examine(c))
			}
			return out, nil
		},
	}
}

// use is the graphs of an image.
type use struct {
	*binary.World
	graphs    map[*binary.Program]*linked
	closed    analyze.Verdict
	closedWhy string
	facts     map[string]string
}

// build makes the graph of every program. A program whose link is not known
// is a gap of the index and has none.
func build(w *binary.World) (*use, error) {
	u := &use{World: w, graphs: map[*binary.Program]*linked{}}
	nodes, live, extra := 0, 0, 0
	for _, p := range w.Programs {
		if p.Map == nil || p.Debug == nil {
			continue
		}
		l, err := newLinked(p)
		if err != nil {
			return nil, fmt.Errorf("usage: %s: %w", p.Path, err)
		}
		u.graphs[p] = l
		nodes, live, extra = nodes+l.nodes, live+l.live, extra+l.extra
	}
	u.closed, u.closedWhy = u.world()
	u.facts = map[string]string{
		"sections": strconv.Itoa(nodes), "live-sections": strconv.Itoa(live),
		"discarded-though-live": strconv.Itoa(extra), "closed": u.closedWhy,
	}
	if len(w.Gaps) > 0 {
		u.facts["first-gap"] = w.Gaps[0]
	}
	return u, nil
}

// world decides whether every address of code that the image can come to is
// in the graphs: nothing looks a name up at run time.
func (u *use) world() (analyze.Verdict, string) {
	if len(u.Gaps) > 0 {
		return analyze.Unknown, u.Gaps[0]
	}
	for _, p := range u.Programs {
		l := u.graphs[p]
		object, ok := l.graph.Refers("dlsym", "dlvsym", "dlopen")
		if !ok {
			continue
		}
		if p.Static && u.stubbed(p) {
			continue
		}
		return analyze.Unknown, fmt.Sprintf("%s of %s may look up code by name", object, p.Path)
	}
	return analyze.Present, "no program looks up code by name"
}

// stubbed reports whether the dynamic linker's interface of a static program
// is that of musl, whose static archive has stubs only: they find nothing.
func (u *use) stubbed(p *binary.Program) bool {
	found := false
	for i := range p.Objects {
		o := &p.Objects[i]
		if o.Object == nil {
			return false
		}
		for _, s := range o.Symbols {
			if s.Section == 0 || s.Name != "dlsym" && s.Name != "dlvsym" && s.Name != "dlopen" && s.Name != "__dlsym" {
				continue
			}
			if o.Origin != "musl" || u.Provides(o.Origin) != "libc" {
				return false
			}
			found = true
		}
	}
	return found
}

func (u *use) examine(c analyze.Candidate) analyze.Evidence {
	e := analyze.Evidence{Layer: analyze.LayerUsage, Premises: u.Premises(c), Closed: u.closed, Facts: map[string]string{}}
	for k, v := range u.facts {
		e.Facts[k] = v
	}
	for p, l := range u.graphs {
		e.Premises["objects:"+p.Path] = l.digest
	}
	for _, f := range c.Advisory.Map.Functions {
		fact, why := u.function(c.Component, f)
		e.Functions = append(e.Functions, fact)
		if fact.Verdict == analyze.Unknown {
			e.Facts["unknown:"+f.Name] = why
		}
	}
	e.Verdict, e.Reason = binary.Summarise(e.Functions, "live")
	for _, cond := range c.Advisory.Map.Conditions {
		analyze.Leaves(cond, func(leaf advisory.Condition) {
			switch {
			case leaf.Function != nil:
				fact, why := u.function(c.Component, *leaf.Function)
				e.Conditions = append(e.Conditions, analyze.ConditionFact{Condition: leaf, Verdict: fact.Verdict, Reason: why})
			case len(leaf.API) > 0:
				v, why := u.api(c.Component, leaf.API)
				e.Conditions = append(e.Conditions, analyze.ConditionFact{Condition: leaf, Verdict: v, Reason: why})
			case leaf.Caller != nil:
				v, why := u.caller(c.Component, *leaf.Caller)
				e.Conditions = append(e.Conditions, analyze.ConditionFact{Condition: leaf, Verdict: v, Reason: why})
			}
		})
	}
	return e
}

// function is Present where a section that holds code of the function is
// live, and Absent where none is or no code of it is linked at all.
func (u *use) function(component string, f advisory.Function) (analyze.FunctionFact, string) {
	loc := u.Locate(component, f)
	fact := analyze.FunctionFact{File: f.File, Name: f.Name, Verdict: loc.Verdict, How: loc.How}
	if loc.Verdict != analyze.Present {
		return fact, loc.Reason
	}
	dead := 0
	for _, c := range loc.Code {
		l := u.graphs[c.Program]
		if l != nil && !l.reaches(c) {
			dead++
			continue
		}
		if !slices.Contains(fact.Where, c.Program.Path) {
			fact.Where = append(fact.Where, c.Program.Path)
		}
	}
	if len(fact.Where) > 0 {
		slices.Sort(fact.Where)
		fact.How = "live"
		return fact, "a section with its code is live in " + strings.Join(fact.Where, ", ")
	}
	fact.How = "not-live"
	why := u.Merged(component, f, u.lives)
	if gap := u.Gap(component); gap != "" {
		why = gap
	}
	if why != "" {
		fact.Verdict, fact.How = analyze.Unknown, ""
		return fact, why
	}
	fact.Verdict = analyze.Absent
	return fact, fmt.Sprintf("all %d pieces of its code lie in sections that nothing live refers to", dead)
}

// lives reports whether code of a function is live; without a graph it is.
func (u *use) lives(p *binary.Program, f *dwarfx.Function) bool {
	if l := u.graphs[p]; l != nil {
		return l.lives(f)
	}
	return len(f.Instances) > 0
}

// api is Present where one of the names is used: live code refers to it, holds
// a copy of it, or can look it up.
func (u *use) api(component string, names []string) (analyze.Verdict, string) {
	for _, p := range u.Programs {
		if l := u.graphs[p]; l != nil {
			if object, ok := l.graph.Refers(names...); ok {
				return analyze.Present, fmt.Sprintf("%s, which is live in %s, refers to it", object, p.Path)
			}
			if name, ok := l.copies(names); ok {
				return analyze.Present, fmt.Sprintf("code of %s is live in %s", name, p.Path)
			}
		}
	}
	if u.closed != analyze.Present {
		return analyze.Unknown, u.closedWhy
	}
	for _, name := range names {
		if why := u.Declared(component, name); why != "" {
			return analyze.Unknown, why
		}
		if why := u.Merged(component, advisory.Function{Name: name}, u.lives); why != "" {
			return analyze.Unknown, why
		}
	}
	return analyze.Absent, "no live code refers to " + strings.Join(names, " or ") + ", and none is looked up by name"
}
