package dwarfx

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
)

// builder fills an index.
type builder struct {
	*File
	data    *dwarf.Data
	paths   map[string]string // as written → clean
	byKey   map[key]*Function
	entries map[dwarf.Offset]entry
	pending []pending
	inlined []inlined              // functions that a unit inlined somewhere
	bodies  map[uint64][]*Function // by start address
}

type key struct {
	name, file string
	line       int
}

// entry is a subprogram as far as others refer to it.
type entry struct {
	name   string
	file   string
	line   int
	origin dwarf.Offset // abstract origin or specification; 0: none
}

// pending is a piece of code whose function is known by offset only.
type pending struct {
	at dwarf.Offset
	Instance
}

type inlined struct {
	at   dwarf.Offset
	unit int
}

// read walks all units. Functions are resolved at the end: an origin may lie
// in a later unit.
func (b *builder) read() error {
	r := b.data.Reader()
	var files []*dwarf.LineFile
	var dir string
	for {
		e, err := r.Next()
		if err != nil {
			return fmt.Errorf("debug information: %w", err)
		}
		if e == nil {
			break
		}
		switch e.Tag {
		case dwarf.TagCompileUnit, dwarf.TagPartialUnit:
			if files, dir, err = b.unit(e); err != nil {
				return err
			}
		case dwarf.TagSkeletonUnit:
			return errors.New("debug information: it is in part in other files")
		case dwarf.TagSubprogram, dwarf.TagInlinedSubroutine:
			if len(b.Units) == 0 {
				return errors.New("debug information: code outside a unit")
			}
			if err := b.subprogram(e, files, dir); err != nil {
				return err
			}
		case dwarf.TagLexDwarfBlock, dwarf.TagNamespace, dwarf.TagClassType, dwarf.TagStructType, dwarf.TagUnionType, dwarf.TagModule:
			// these may hold functions
		default:
			if e.Children {
				r.SkipChildren()
			}
		}
	}
	b.bodies = map[uint64][]*Function{}
	for _, p := range b.pending {
		f := b.function(p.at)
		if f == nil {
			return fmt.Errorf("debug information: code at %#x belongs to no named function", p.Low)
		}
		f.Instances = append(f.Instances, p.Instance)
		if p.Kind == Body {
			b.bodies[p.Low] = append(b.bodies[p.Low], f)
		}
	}
	for at := range b.entries { // functions without any code
		b.function(at)
	}
	for _, i := range b.inlined {
		if f := b.function(i.at); f != nil {
			f.Inlined = append(f.Inlined, i.unit)
		}
	}
	return nil
}

// unit notes a unit and reads its line table.
func (b *builder) unit(e *dwarf.Entry) (files []*dwarf.LineFile, dir string, err error) {
	name, _ := e.Val(dwarf.AttrName).(string)
	dir, _ = e.Val(dwarf.AttrCompDir).(string)
	producer, _ := e.Val(dwarf.AttrProducer).(string)
	language, _ := e.Val(dwarf.AttrLanguage).(int64)
	b.Units = append(b.Units, Unit{Name: b.absolute(dir, name), Producer: producer, Language: language})
	lines, err := b.data.LineReader(e)
	if err != nil {
		return nil, "", fmt.Errorf("line table of %s: %w", name, err)
	}
	if lines == nil {
		return nil, dir, nil
	}
	var row dwarf.LineEntry
	start, live := true, false
	for {
		if err := lines.Next(&row); err == io.EOF {
			break
		} else if err != nil {
			return nil, "", fmt.Errorf("line table of %s: %w", name, err)
		}
		if start {
			live, start = b.Live(row.Address), false
		}
		if row.EndSequence {
			start = true
			continue
		}
		if !live || row.Line == 0 {
			continue
		}
		if row.File == nil {
			return nil, "", fmt.Errorf("line table of %s: a row without a file", name)
		}
		file := b.absolute(dir, row.File.Name)
		b.files[file] = append(b.files[file], Row{row.Line, row.Address})
	}
	return lines.Files(), dir, nil
}

func (b *builder) absolute(dir, name string) string {
	if !path.IsAbs(name) {
		name = dir + "/" + name
	}
	return b.clean(name)
}

// subprogram notes one function's entry, or one inlined copy.
func (b *builder) subprogram(e *dwarf.Entry, files []*dwarf.LineFile, dir string) error {
	n := entry{}
	n.name, _ = e.Val(dwarf.AttrName).(string)
	if i, ok := e.Val(dwarf.AttrDeclFile).(int64); ok && i >= 0 && i < int64(len(files)) && files[i] != nil {
		n.file = b.absolute(dir, files[i].Name)
	}
	if l, ok := e.Val(dwarf.AttrDeclLine).(int64); ok {
		n.line = int(l)
	}
	if o, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
		n.origin = o
	} else if o, ok := e.Val(dwarf.AttrSpecification).(dwarf.Offset); ok {
		n.origin = o
	}
	kind := Body
	if e.Tag == dwarf.TagInlinedSubroutine {
		kind = Inlined
	}
	// A mere declaration, as every called function has one, is no function of
	// this file.
	declaration, _ := e.Val(dwarf.AttrDeclaration).(bool)
	if !declaration || n.origin != 0 {
		b.entries[e.Offset] = n
	} else {
		b.entries[e.Offset] = entry{name: n.name, file: n.file, line: n.line, origin: declared}
	}
	ranges, err := b.data.Ranges(e)
	if err != nil {
		return fmt.Errorf("debug information: ranges of %q: %w", n.name, err)
	}
	if how, _ := e.Val(dwarf.AttrInline).(int64); how == 1 || how == 3 { // DW_INL_inlined, DW_INL_declared_inlined
		b.inlined = append(b.inlined, inlined{e.Offset, len(b.Units) - 1})
	}
	for _, r := range ranges {
		live := b.Live(r[0])
		if r[0] == r[1] { // a marker, which may stand behind the last instruction
			live = kind == Inlined && (live || b.Live(r[0]-1))
		}
		if live {
			b.pending = append(b.pending, pending{e.Offset, Instance{kind, r[0], r[1]}})
		}
	}
	return nil
}

// declared marks a declaration in entry.origin: no offset is that large.
const declared = ^dwarf.Offset(0)

// function is the function of an entry, nil when it has no name or is only
// declared.
func (b *builder) function(at dwarf.Offset) *Function {
	n, ok := b.entries[at]
	only := false
	for hops := 0; ok && hops < 16; hops++ {
		if n.origin == 0 || n.origin == declared {
			only = n.origin == declared && hops == 0
			break
		}
		up, found := b.entries[n.origin]
		if !found {
			return nil
		}
		if n.name != "" {
			up.name = n.name
		}
		if n.file != "" {
			up.file, up.line = n.file, n.line
		}
		n = up
	}
	if !ok || n.name == "" || only {
		return nil
	}
	return b.named(key{n.name, n.file, n.line})
}

func (b *builder) named(k key) *Function {
	f := b.byKey[k]
	if f == nil {
		f = &Function{Name: k.name, File: k.file, Line: k.line}
		b.byKey[k] = f
		b.functions[k.name] = append(b.functions[k.name], f)
	}
	return f
}

// symbols adds the symbols of code. One that starts where the body of a
// function of the same name does is that function's; any other is a function
// without a file: a clone, an alias, assembly.
func (b *builder) symbols(list []elf.Symbol) {
	for _, s := range list {
		kind := Symbol
		switch elf.ST_TYPE(s.Info) {
		case elf.STT_FUNC, elf.STT_GNU_IFUNC:
		case elf.STT_NOTYPE:
			kind = Label
		default:
			continue
		}
		if s.Name == "" || s.Section == elf.SHN_UNDEF || !b.Live(s.Value) {
			continue
		}
		name := BaseName(s.Name)
		f := (*Function)(nil)
		for _, g := range b.bodies[s.Value] {
			if g.Name == name {
				f = g
			}
		}
		if f == nil {
			f = b.named(key{name: name})
		}
		f.Instances = append(f.Instances, Instance{kind, s.Value, s.Value + s.Size})
	}
}
