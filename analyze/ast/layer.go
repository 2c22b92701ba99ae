package ast

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
)

// Layer is layer 1.
func Layer() analyze.Layer {
	return analyze.Layer{
		Name: analyze.LayerAST,
		Doc: "Function definitions, fixed forms, compiled files and macros of the preprocessed units of the real build. " +
			"Absent takes every unit of the component; blind to linking, inlining, other languages and assembly.",
		Examine: func(ctx context.Context, s *analyze.Subject, cands []analyze.Candidate) ([]analyze.Evidence, error) {
			if len(cands) == 0 {
				return nil, nil
			}
			if s == nil || s.Image == nil || s.Image.Record == nil {
				return nil, errors.New("ast: the image has no record")
			}
			tree := func(component string) fs.FS {
				if t := s.Image.Tree(component); t != nil {
					return t.FS()
				}
				return nil
			}
			return examine(ctx, build{s.Image.Record, s.Part, tree}, cands)
		},
	}
}

// build is what the layer reads of a subject.
type build struct {
	record *compile.Record
	part   func(component, part string) (fs.FS, error)
	tree   func(component string) fs.FS // nil without one
}

func examine(ctx context.Context, b build, cands []analyze.Candidate) ([]analyze.Evidence, error) {
	out := make([]analyze.Evidence, len(cands))
	byComponent := map[string][]int{}
	for i, c := range cands {
		byComponent[c.Component] = append(byComponent[c.Component], i)
	}
	for name, list := range byComponent {
		var mine []analyze.Candidate
		for _, i := range list {
			mine = append(mine, cands[i])
		}
		src, err := load(ctx, b, name, mine)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			for _, i := range list {
				out[i] = analyze.Evidence{Layer: analyze.LayerAST, Reason: "the component's units could not be read", Error: err.Error()}
			}
			continue
		}
		for _, i := range list {
			out[i] = src.evidence(cands[i])
		}
	}
	return out, nil
}

// sources is what the units of one component say, as far as its candidates
// ask.
type sources struct {
	build     build
	component string
	record    *compile.ComponentRecord
	units     []facts
	shipped   shipped
	premises  map[string]string
}

// facts are the answers of one unit.
type facts struct {
	unit    compile.Unit
	err     error             // the unit cannot answer at all
	parse   error             // it could not be parsed
	defined map[string]bool   // names that it defines
	doubt   map[string]bool   // names that it may define, and the parser could not tell
	macros  map[string]macro  // macros asked for
	bodies  map[string][]Body // definitions of the names asked for
	files   map[string]bool   // tree files that its markers name
	events  map[string]bool   // names that are macros somewhere in it
}

// question is what the candidates of a component want to know.
type question struct {
	names  map[string]bool // functions
	macros map[string]bool
}

func ask(cands []analyze.Candidate) question {
	q := question{map[string]bool{}, map[string]bool{"__STDC__": true}}
	for _, c := range cands {
		for _, f := range c.Advisory.Map.Functions {
			q.names[f.Name] = true
			q.macros[f.Name] = true // a function may be a macro in disguise
		}
		for _, f := range c.Advisory.Map.Fixes {
			q.names[f.Name] = true
		}
		for _, cond := range c.Advisory.Map.Conditions {
			analyze.Leaves(cond, func(l advisory.Condition) {
				if l.Macro != nil {
					q.macros[l.Macro.Name] = true
				}
			})
		}
	}
	return q
}

func load(ctx context.Context, b build, component string, cands []analyze.Candidate) (*sources, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &sources{build: b, component: component}
	for i := range b.record.Components {
		if b.record.Components[i].Component.Name == component {
			s.record = &b.record.Components[i]
		}
	}
	if s.record == nil {
		return nil, fmt.Errorf("the record has no component %q", component)
	}
	units := s.record.Result.Units
	s.units = make([]facts, len(units))
	s.shipped = linked(b.record, component)
	s.premises = map[string]string{}
	for name, digest := range map[string]string{
		"action": s.record.Key, "tree": s.record.Tree, "units": unitsDigest(units),
		"debug": s.record.Result.Output.Parts[compile.PartDebug].Digest,
	} {
		if digest != "" {
			s.premises[name] = digest
		}
	}
	if len(units) == 0 {
		return s, nil
	}
	debug, err := b.part(component, compile.PartDebug)
	if err != nil {
		return nil, err
	}
	q := ask(cands)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, u := range units {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.units[i] = inspect(debug, u, q)
			return nil
		})
	}
	return s, g.Wait()
}

// evidence answers one candidate.
func (s *sources) evidence(c analyze.Candidate) analyze.Evidence {
	e := analyze.Evidence{Layer: analyze.LayerAST, Premises: s.premises}
	m := c.Advisory.Map
	reasons := []string{}
	for _, fn := range m.Functions {
		fact, why := s.function(fn)
		e.Functions = append(e.Functions, fact)
		if !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	e.Verdict = over(e.Functions)
	if len(m.Functions) == 0 {
		reasons = append(reasons, "the map names no function")
	}
	if len(m.Fixes) > 0 {
		var why string
		e.Fixed, why = s.fixes(m.Fixes)
		reasons = append(reasons, why)
	}
	e.Reason = strings.Join(reasons, "; ")
	seen := map[string]bool{}
	for _, cond := range m.Conditions {
		analyze.Leaves(cond, func(l advisory.Condition) {
			if l.File == "" && l.Macro == nil && l.Option == "" && l.Platform == "" || seen[analyze.Describe(l)] {
				return
			}
			seen[analyze.Describe(l)] = true
			v, why := s.leaf(l)
			e.Conditions = append(e.Conditions, analyze.ConditionFact{Condition: l, Verdict: v, Reason: why})
		})
	}
	return e
}

// over is Absent when every function is, Present when any is.
func over(fs []analyze.FunctionFact) analyze.Verdict {
	if len(fs) == 0 {
		return analyze.Unknown
	}
	all := analyze.Absent
	for _, f := range fs {
		switch f.Verdict {
		case analyze.Present:
			return analyze.Present
		case analyze.Absent:
		default:
			all = analyze.Unknown
		}
	}
	return all
}

// function looks for the definitions of one mapped function in every unit.
func (s *sources) function(fn advisory.Function) (analyze.FunctionFact, string) {
	out := analyze.FunctionFact{File: fn.File, Name: fn.Name}
	doubt := ""
	for _, u := range s.units {
		switch {
		case u.defined[fn.Name]:
			out.Where = append(out.Where, u.unit.Source)
		case u.doubt[fn.Name]:
			doubt = fmt.Sprintf("%s may define %s and could not be parsed: %v", u.unit.Source, fn.Name, u.parse)
		case u.events[fn.Name]:
			doubt = fmt.Sprintf("%s is a macro in %s", fn.Name, u.unit.Source)
		case u.err != nil:
			doubt = fmt.Sprintf("%s is not readable as C: %v", u.unit.Source, u.err)
		}
	}
	slices.Sort(out.Where)
	out.Where = slices.Compact(out.Where)
	switch {
	case len(out.Where) > 0:
		out.Verdict, out.How = analyze.Present, "defined"
		return out, fn.Name + " is defined in " + strings.Join(out.Where, ", ")
	case doubt != "":
		return out, doubt
	case len(s.units) == 0:
		return out, "no unit of " + s.component + " is recorded"
	}
	out.Verdict, out.How = analyze.Absent, "not defined"
	return out, fmt.Sprintf("%s is defined in none of %d units", fn.Name, len(s.units))
}

// fixes is Present when every fix is found and every definition of each fixed
// function, in its file, has the fixed form; Absent when one has another form.
func (s *sources) fixes(list []advisory.Fix) (analyze.Verdict, string) {
	for _, fix := range list {
		n := 0
		for _, u := range s.units {
			if u.doubt[fix.Name] || u.err != nil && u.unit.Language != "asm" {
				return analyze.Unknown, fmt.Sprintf("%s: the fixed form of %s could not be looked for", u.unit.Source, fix.Name)
			}
			for _, b := range u.bodies[fix.Name] {
				if b.File != fix.File {
					continue
				}
				if n++; b.Hash != fix.Body {
					return analyze.Absent, fmt.Sprintf("%s in %s does not have the fixed form", fix.Name, u.unit.Source)
				}
			}
		}
		if n == 0 {
			return analyze.Unknown, fmt.Sprintf("%s of %s is in no unit", fix.Name, fix.File)
		}
	}
	return analyze.Present, fmt.Sprintf("all %d fixed forms are compiled", len(list))
}

func unitsDigest(units []compile.Unit) string {
	if len(units) == 0 {
		return ""
	}
	list := slices.Clone(units)
	slices.SortFunc(list, func(a, b compile.Unit) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Digest, b.Digest))
	})
	h := sha256.New()
	for _, u := range list {
		fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\n", u.Source, u.Digest, u.Preprocessed, strings.Join(u.Args, "\x01"))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
