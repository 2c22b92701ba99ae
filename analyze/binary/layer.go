package binary

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
)

const doc = `binary answers whether code of the mapped functions is linked into a file of the image.
Sound for Absent where every ELF file, object and unit is explained and described by debug information;
blind for macros and for renamed copies of a source file inside another component.`

// Layer is layer 2. The index may be shared with the other layers; nil gives
// the layer its own. Beside the functions it answers Evidence.Linked and the
// conditions on files.
func Layer(x *Index) analyze.Layer {
	if x == nil {
		x = new(Index)
	}
	return analyze.Layer{
		Name: analyze.LayerBinary,
		Doc:  doc,
		Examine: func(ctx context.Context, s *analyze.Subject, cands []analyze.Candidate) ([]analyze.Evidence, error) {
			w, err := x.Load(ctx, s)
			if err != nil {
				return nil, err
			}
			out := make([]analyze.Evidence, 0, len(cands))
			for _, c := range cands {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				out = append(out, w.examine(c))
			}
			return out, nil
		},
	}
}

func (w *World) examine(c analyze.Candidate) analyze.Evidence {
	e := analyze.Evidence{Layer: analyze.LayerBinary, Premises: w.Premises(c), Facts: map[string]string{
		"programs": strconv.Itoa(len(w.Programs)), "gaps": strconv.Itoa(len(w.Gaps)),
	}}
	if gap := w.Gap(c.Component); gap != "" {
		e.Facts["first-gap"] = gap
	}
	var linked string
	e.Linked, linked = w.Linked(c.Component)
	e.Facts["linked"] = linked
	for _, f := range c.Advisory.Map.Functions {
		l := w.Locate(c.Component, f)
		e.Functions = append(e.Functions, analyze.FunctionFact{File: f.File, Name: f.Name, Verdict: l.Verdict, How: l.How, Where: l.Where()})
		if l.Verdict == analyze.Unknown {
			e.Facts["unknown:"+f.Name] = l.Reason
		}
	}
	e.Verdict, e.Reason = Summarise(e.Functions, "linked")
	for _, cond := range c.Advisory.Map.Conditions {
		analyze.Leaves(cond, func(leaf advisory.Condition) {
			if leaf.File != "" {
				v, why := w.Compiled(c.Component, leaf.File)
				e.Conditions = append(e.Conditions, analyze.ConditionFact{Condition: leaf, Verdict: v, Reason: why})
			}
		})
	}
	return e
}

// Summarise is the verdict over functions: Present when one is, Absent when
// all are and there is one. What they are is said by the word.
func Summarise(facts []analyze.FunctionFact, word string) (analyze.Verdict, string) {
	var present, absent, unknown []string
	for _, f := range facts {
		switch f.Verdict {
		case analyze.Present:
			present = append(present, f.Name)
		case analyze.Absent:
			absent = append(absent, f.Name)
		default:
			unknown = append(unknown, f.Name)
		}
	}
	list := func(s []string) string { return strings.Join(s, ", ") }
	switch {
	case len(facts) == 0:
		return analyze.Unknown, "the advisory's map names no function"
	case len(present) > 0:
		return analyze.Present, list(present) + ": " + word
	case len(unknown) > 0:
		return analyze.Unknown, "undecided: " + list(unknown)
	}
	return analyze.Absent, list(absent) + ": not " + word
}

// Premises are the digests that a statement about a candidate rests on.
func (w *World) Premises(c analyze.Candidate) map[string]string {
	out := map[string]string{"advisory": c.Advisory.Digest}
	if r := w.components[c.Component]; r != nil {
		out["tree:"+c.Component] = r.Tree
	}
	for _, p := range w.Programs {
		out["elf:"+p.Path] = p.Digest
		if p.Twin != "" {
			out["unstripped:"+p.Path] = p.Twin
		}
		if p.MapDigest != "" {
			out["map:"+p.Path] = p.MapDigest
		}
	}
	return out
}

// Linked answers whether anything of the image comes from a component: a file
// of it, an object that is linked, or code from one of its headers.
func (w *World) Linked(component string) (analyze.Verdict, string) {
	c := w.components[component]
	if c == nil {
		return analyze.Unknown, "the record has no such component"
	}
	for _, l := range w.record.Image.Layers {
		if l.Component == component && len(l.Files) > 0 {
			return analyze.Present, "/" + strings.TrimPrefix(l.Files[0].Path, "/") + " is a file of it"
		}
	}
	needs := compile.NeedsDir + "/" + component + "/"
	for _, p := range w.Programs {
		for i := range p.Objects {
			if o := &p.Objects[i]; o.Origin == component {
				return analyze.Present, o.Name() + " is linked into " + p.Path
			}
		}
		if p.Debug == nil {
			continue
		}
		for _, src := range p.Debug.Sources() {
			if strings.HasPrefix(src, root(c)) || strings.HasPrefix(src, needs) {
				return analyze.Present, "code of " + src + " is linked into " + p.Path
			}
		}
	}
	if len(w.Gaps) > 0 {
		return analyze.Unknown, w.Gaps[0]
	}
	return analyze.Absent, fmt.Sprintf("no file of the image and none of the objects in its %d ELF files come from it", len(w.Programs))
}

// Compiled answers whether some unit of a source file of the component is
// compiled into an ELF file of the image.
func (w *World) Compiled(component, file string) (analyze.Verdict, string) {
	c := w.components[component]
	if c == nil {
		return analyze.Unknown, "the record has no component " + component
	}
	for _, p := range w.Programs {
		for i := range p.Objects {
			if o := &p.Objects[i]; o.Origin == component && o.Unit != nil && w.same(c, path.Join(root(c), o.Unit.Source), file) {
				return analyze.Present, o.Name() + " is linked into " + p.Path
			}
		}
		if p.Debug == nil {
			continue
		}
		for _, u := range p.Debug.Units {
			if w.same(c, u.Name, file) {
				return analyze.Present, "it is a unit of " + p.Path
			}
		}
		for _, src := range p.Debug.Sources() {
			if w.same(c, src, file) {
				return analyze.Present, "lines of it are linked into " + p.Path
			}
		}
	}
	switch {
	case w.Gap(component) != "":
		return analyze.Unknown, w.Gap(component)
	case !w.inTree(c, file):
		return analyze.Unknown, "the tree of " + component + " has no " + file
	case !code(file) || path.Ext(file) == ".h" || path.Ext(file) == ".hpp":
		return analyze.Unknown, file + " may be used without leaving a line of code"
	}
	return analyze.Absent, fmt.Sprintf("it is in no unit and no line table of the image's %d ELF files", len(w.Programs))
}
