package binary

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/dwarfx"
)

// Merged says why code of a function may be in the image although no instance
// of it is live: it was inlined, and a copy may have been merged whole into
// code around it that is live. It is empty where that is not so. The units
// that inlined it are read as the compiler's parser saw them: every function
// in them whose body names it must be without live code, and must not have
// been merged itself. A function without a file is looked for in all.
func (w *World) Merged(component string, f advisory.Function, live func(*Program, *dwarfx.Function) bool) string {
	c := w.components[component]
	if c == nil {
		return "the record has no component " + component
	}
	for _, p := range w.Programs {
		if p.Debug == nil {
			continue
		}
		for _, g := range p.Debug.Functions(f.Name) {
			if len(g.Inlined) == 0 || f.File != "" && g.File != "" && !w.same(c, g.File, f.File) {
				continue
			}
			if why := w.merged(p, g, live); why != "" {
				return why
			}
		}
	}
	return ""
}

// maxUnits bounds the units that are read for one function.
const maxUnits = 64

func (w *World) merged(p *Program, g *dwarfx.Function, live func(*Program, *dwarfx.Function) bool) string {
	if len(g.Inlined) > maxUnits {
		return fmt.Sprintf("%s was inlined in %d units, more than are read", g.Name, len(g.Inlined))
	}
	for _, n := range g.Inlined {
		unit := p.Debug.Units[n].Name
		uses, err := w.uses(p, unit)
		if err != nil {
			return fmt.Sprintf("%s was inlined in %s, where it may have been merged into other code: %v", g.Name, unit, err)
		}
		// Within one unit: C has no inlining across units without link-time
		// optimisation.
		seen := map[string]bool{g.Name: true}
		for work := []string{g.Name}; len(work) > 0; {
			name := work[len(work)-1]
			work = work[:len(work)-1]
			for _, user := range uses[name] {
				if seen[user] {
					continue
				}
				seen[user] = true
				again := false
				for _, h := range p.Debug.Functions(user) {
					again = again || slices.Contains(h.Inlined, n)
					if live(p, h) {
						return fmt.Sprintf("%s was inlined in %s and may have been merged into %s, which is live", g.Name, unit, user)
					}
				}
				if again {
					work = append(work, user)
				}
			}
		}
	}
	return ""
}

// texts keeps what was read of preprocessed units.
type texts struct {
	mu     sync.Mutex
	byUnit map[string]map[string][]string
}

// uses maps each name in the bodies of a unit's functions to the functions:
// all identifiers of their declarations, of which one is the function's name.
func (w *World) uses(p *Program, unit string) (map[string][]string, error) {
	w.texts.mu.Lock()
	defer w.texts.mu.Unlock()
	if u, ok := w.texts.byUnit[unit]; ok {
		return u, nil
	}
	i := slices.IndexFunc(p.Objects, func(o Object) bool {
		c := w.components[o.Origin]
		return o.Unit != nil && c != nil && path.Join(root(c), o.Unit.Source) == path.Clean(unit)
	})
	if i < 0 || p.Objects[i].Unit.Preprocessed == "" {
		return nil, fmt.Errorf("the record holds no preprocessed text of the unit")
	}
	part, err := w.image.Part(p.Objects[i].Origin, compile.PartDebug)
	if err != nil {
		return nil, err
	}
	packed, err := readPart(part, p.Objects[i].Unit.Preprocessed)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("preprocessed text: %w", err)
	}
	const limit = 256 << 20
	text, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err != nil || len(text) > limit {
		return nil, fmt.Errorf("preprocessed text: more than %d bytes, or damaged: %v", limit, err)
	}
	if w.texts.byUnit == nil {
		w.texts.byUnit = map[string]map[string][]string{}
	}
	u := usesOf(text)
	w.texts.byUnit[unit] = u
	return u, nil
}

// usesOf splits a preprocessed unit into its outermost declarations. The
// identifiers before a brace that opens a body are all taken for the
// function's name: a declarator may be written in many ways.
func usesOf(text []byte) map[string][]string {
	uses := map[string][]string{}
	lx := lexer{src: text, line: 1, start: true}
	var d declaration
	var body map[string]bool
	for depth := 0; ; {
		t, ok := lx.next()
		if !ok {
			return uses
		}
		switch {
		case t.kind == directive:
		case t.text == "{":
			if depth == 0 {
				body = map[string]bool{}
			}
			depth++
		case t.text == "}" && depth > 0:
			if depth--; depth > 0 {
				continue
			}
			for name := range body {
				for _, h := range d.names {
					if h != name && !slices.Contains(uses[name], h) {
						uses[name] = append(uses[name], h)
					}
				}
			}
			d = declaration{}
		case depth == 0:
			d.token(t)
		case t.kind == ident:
			body[t.text] = true
		}
	}
}

// declaration is what was read of an outermost declaration.
type declaration struct {
	names   []string
	parens  int
	aside   bool // the open parenthesis belongs to an attribute or the like
	keyword bool // the last token was one that takes such a parenthesis
	closed  bool // a parameter list has ended
	old     bool // and an old-style parameter declaration has begun
}

func (d *declaration) token(t token) {
	keyword := d.keyword
	d.keyword = false
	switch {
	case t.text == "(":
		if d.parens == 0 {
			d.aside = keyword
		}
		d.parens++
	case t.text == ")":
		if d.parens--; d.parens <= 0 {
			d.parens, d.closed = 0, d.closed || !d.aside
		}
	case t.text == ";" && d.parens == 0 && !d.old:
		*d = declaration{}
	case t.kind == ident && slices.Contains([]string{
		"__attribute__", "__attribute", "__asm__", "__asm", "asm", "_Alignas", "alignas", "__typeof__", "__typeof", "typeof", "__declspec", "__extension__",
	}, t.text):
		d.keyword = true
	case t.kind == ident:
		d.names = append(d.names, t.text)
		d.old = d.old || d.closed && d.parens == 0
	}
}
