package usage

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/internal/objfile"
)

// Input is one object of a link, in load order. Object is nil for a shared
// one, which has no sections in the output.
type Input struct {
	Name   string // as the linker's map has it
	Object *objfile.Object
	// Doubtful says that the object may not be part of the link: an archive
	// holds several members of its name and the map does not tell which was
	// taken. All of it is live, and nothing it defines stands in for the
	// definition of another object.
	Doubtful bool
}

// Options are what a link says beside its inputs.
type Options struct {
	Entry     string   // symbol at which execution starts; empty: none
	Undefined []string // -u
	Exports   []string // defined dynamic symbols of the output
}

// Node is one input section.
type Node struct{ Object, Section int }

// Graph is the reference graph of one link: a node for each section of the
// process image in each object, an edge for each way in which code or data of
// one can come to the address of another.
type Graph struct {
	inputs  []Input
	defs    map[string][]definition
	named   map[string][]Node // sections by name, where the name is a C identifier
	groups  map[string]group  // COMDAT groups by signature: the one that is kept
	dropped [][]bool          // [object][section]: a later copy of a COMDAT group
	frames  map[Node][]target // section → what unwinding through it needs
	linked  map[Node][]Node   // section → sections with SHF_LINK_ORDER to it
	live    [][]bool
	work    []Node
}

type definition struct {
	Node
	weak bool
}

type group struct{ object, index int }

// target is a symbol of an object.
type target struct {
	object int
	symbol uint32
}

const (
	shfLinkOrder = elf.SectionFlag(0x80)
	shfRetain    = elf.SectionFlag(0x200000)
)

// New builds the graph of a link and marks what is live.
func New(inputs []Input, o Options) (*Graph, error) {
	g := &Graph{
		inputs: inputs, defs: map[string][]definition{}, named: map[string][]Node{}, groups: map[string]group{},
		frames: map[Node][]target{}, linked: map[Node][]Node{},
	}
	for i := range inputs {
		if err := g.add(i); err != nil {
			return nil, fmt.Errorf("%s: %w", inputs[i].Name, err)
		}
	}
	for _, name := range slices.Concat([]string{o.Entry}, o.Undefined, o.Exports) {
		if name != "" {
			g.name(name)
		}
	}
	if o.Entry != "" && len(g.defs[o.Entry]) == 0 {
		return nil, fmt.Errorf("no object defines the entry %s", o.Entry)
	}
	for i := range inputs {
		if inputs[i].Object == nil {
			continue
		}
		for s := range inputs[i].Object.Sections {
			if inputs[i].Doubtful || g.kept(Node{i, s}) {
				g.mark(Node{i, s})
			}
		}
	}
	g.spread()
	return g, nil
}

// add enters one object's sections and symbols.
func (g *Graph) add(i int) error {
	o := g.inputs[i].Object
	if o == nil {
		g.live, g.dropped = append(g.live, nil), append(g.dropped, nil)
		return nil
	}
	g.live = append(g.live, make([]bool, len(o.Sections)))
	dropped := make([]bool, len(o.Sections))
	g.dropped = append(g.dropped, dropped)
	for k := range o.Groups {
		if !o.Groups[k].Comdat || g.inputs[i].Doubtful {
			continue
		}
		if _, ok := g.groups[o.Groups[k].Signature]; !ok {
			g.groups[o.Groups[k].Signature] = group{i, k}
			continue
		}
		for _, s := range o.Groups[k].Members {
			dropped[s] = true
		}
	}
	for s := range o.Sections {
		sec := &o.Sections[s]
		switch {
		case strings.HasPrefix(sec.Name, ".gnu.lto_"):
			return fmt.Errorf("holds %s: it was compiled for link-time optimisation", sec.Name)
		case !sec.Alloc() || dropped[s]:
			continue
		}
		if identifier(sec.Name) {
			g.named[sec.Name] = append(g.named[sec.Name], Node{i, s})
		}
		if sec.Flags&shfLinkOrder != 0 && sec.Link != 0 && int(sec.Link) < len(o.Sections) {
			to := Node{i, int(sec.Link)}
			g.linked[to] = append(g.linked[to], Node{i, s})
		}
		if sec.Name == ".eh_frame" {
			if err := g.unwind(i, sec); err != nil {
				return err
			}
		}
	}
	for _, s := range o.Symbols {
		if s.Bind == elf.STB_LOCAL || s.Section == elf.SHN_UNDEF || int(s.Section) >= len(o.Sections) || dropped[s.Section] {
			continue
		}
		name := unversioned(s.Name)
		g.defs[name] = append(g.defs[name], definition{Node{i, int(s.Section)}, s.Bind == elf.STB_WEAK || g.inputs[i].Doubtful})
	}
	return nil
}

// kept reports whether the linker keeps a section whatever refers to it: the
// KEEP patterns of GNU ld's default scripts, notes, and SHF_GNU_RETAIN.
func (g *Graph) kept(n Node) bool {
	s := &g.inputs[n.Object].Object.Sections[n.Section]
	if !s.Alloc() || g.dropped[n.Object][n.Section] {
		return false
	}
	switch {
	case s.Flags&shfRetain != 0, s.Type == elf.SHT_NOTE && s.Group < 0,
		s.Type == elf.SHT_INIT_ARRAY, s.Type == elf.SHT_FINI_ARRAY, s.Type == elf.SHT_PREINIT_ARRAY:
		return true
	}
	switch s.Name {
	case ".init", ".fini", ".interp", ".jcr", ".eh_frame":
		return true
	}
	for _, p := range []string{".init_array", ".fini_array", ".preinit_array", ".ctors", ".dtors"} {
		if s.Name == p || strings.HasPrefix(s.Name, p+".") {
			return true
		}
	}
	return false
}

func (g *Graph) mark(n Node) {
	live := g.live[n.Object]
	if live[n.Section] || !g.inputs[n.Object].Object.Sections[n.Section].Alloc() {
		return
	}
	if g.dropped[n.Object][n.Section] {
		g.markKept(n)
		return
	}
	live[n.Section] = true
	g.work = append(g.work, n)
}

// markKept marks the section that stands in for a dropped copy: the one of
// its name in the group that is kept, or all of that group.
func (g *Graph) markKept(n Node) {
	o := g.inputs[n.Object].Object
	sec := &o.Sections[n.Section]
	if sec.Group < 0 {
		return
	}
	k := g.groups[o.Groups[sec.Group].Signature]
	for _, s := range g.inputs[k.object].Object.Groups[k.index].Members {
		g.mark(Node{k.object, s})
	}
}

// spread follows the edges of what is marked.
func (g *Graph) spread() {
	for len(g.work) > 0 {
		n := g.work[len(g.work)-1]
		g.work = g.work[:len(g.work)-1]
		o := g.inputs[n.Object].Object
		s := &o.Sections[n.Section]
		if s.Name != ".eh_frame" {
			for _, r := range s.Relas {
				g.symbol(target{n.Object, r.Symbol})
			}
		}
		for _, t := range g.frames[n] {
			g.symbol(t)
		}
		if s.Group >= 0 {
			for _, m := range o.Groups[s.Group].Members {
				g.mark(Node{n.Object, m})
			}
		}
		for _, m := range g.linked[n] {
			g.mark(m)
		}
		if s.Flags&shfLinkOrder != 0 && s.Link != 0 && int(s.Link) < len(o.Sections) {
			g.mark(Node{n.Object, int(s.Link)})
		}
	}
}

// symbol marks what a symbol of an object stands for.
func (g *Graph) symbol(t target) {
	o := g.inputs[t.object].Object
	s := &o.Symbols[t.symbol]
	if s.Bind == elf.STB_LOCAL {
		if s.Section != elf.SHN_UNDEF && int(s.Section) < len(o.Sections) {
			g.mark(Node{t.object, int(s.Section)})
		}
		return
	}
	g.name(unversioned(s.Name))
}

// name marks the definitions that a name may resolve to: the strong ones, or
// every weak one.
func (g *Graph) name(name string) {
	defs := g.defs[name]
	strong := slices.ContainsFunc(defs, func(d definition) bool { return !d.weak })
	for _, d := range defs {
		if !d.weak || !strong {
			g.mark(d.Node)
		}
	}
	for _, p := range []string{"__start_", "__stop_", ".startof.", ".sizeof."} {
		if s, ok := strings.CutPrefix(name, p); ok {
			for _, n := range g.named[s] {
				g.mark(n)
			}
		}
	}
}

// Live reports whether a section is live.
func (g *Graph) Live(n Node) bool { return g.live[n.Object][n.Section] }

// Dropped reports whether a section is a copy of a COMDAT group that another
// object gave.
func (g *Graph) Dropped(n Node) bool { return g.dropped[n.Object][n.Section] }

// Nodes yields every section of the process image.
func (g *Graph) Nodes(yield func(Node, *objfile.Section) bool) {
	for i := range g.inputs {
		if g.inputs[i].Object == nil {
			continue
		}
		for s := range g.inputs[i].Object.Sections {
			if sec := &g.inputs[i].Object.Sections[s]; sec.Alloc() && !yield(Node{i, s}, sec) {
				return
			}
		}
	}
}

// Refers reports whether a live section refers to one of the names, or is
// where one of them is defined, and names the object.
func (g *Graph) Refers(names ...string) (object string, ok bool) {
	for n, s := range g.Nodes {
		if !g.Live(n) || s.Name == ".eh_frame" {
			continue
		}
		o := g.inputs[n.Object].Object
		for _, r := range s.Relas {
			if y := &o.Symbols[r.Symbol]; slices.Contains(names, unversioned(y.Name)) {
				return g.inputs[n.Object].Name, true
			}
		}
	}
	for _, name := range names {
		for _, d := range g.defs[name] {
			if g.Live(d.Node) {
				return g.inputs[d.Object].Name, true
			}
		}
	}
	return "", false
}

// Referrers are the inputs with a live section that refers to one of the
// names, in load order. That an input defines one is not a reference.
func (g *Graph) Referrers(names ...string) []int {
	var out []int
	for n, s := range g.Nodes {
		if !g.Live(n) || s.Name == ".eh_frame" || len(out) > 0 && out[len(out)-1] == n.Object {
			continue
		}
		o := g.inputs[n.Object].Object
		for _, r := range s.Relas {
			if slices.Contains(names, unversioned(o.Symbols[r.Symbol].Name)) {
				out = append(out, n.Object)
				break
			}
		}
	}
	return out
}

// unversioned is a symbol's name without its version (name@VERSION).
func unversioned(name string) string {
	if i := strings.IndexByte(name, '@'); i > 0 {
		return name[:i]
	}
	return name
}

// identifier reports whether the linker makes __start_ and __stop_ symbols
// for a section of that name.
func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
