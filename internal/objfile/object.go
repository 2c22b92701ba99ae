package objfile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Object is a relocatable object. Indexes are ELF's own.
type Object struct {
	Machine  elf.Machine
	Sections []Section
	Symbols  []Symbol // the first is the null symbol
	Groups   []Group
}

// Section is one section header, with the relocations that apply to it.
type Section struct {
	Name  string
	Type  elf.SectionType
	Flags elf.SectionFlag
	Size  uint64
	Link  uint32
	Data  []byte // nil for SHT_NOBITS and for what no reader needs
	Relas []Rela // of the process image and of .debug_line only
	Group int    // index into Groups, -1 when in none
}

// Alloc reports whether the section is part of the process image.
func (s *Section) Alloc() bool { return s.Flags&elf.SHF_ALLOC != 0 }

// Rela is one relocation. Symbol may be 0, which names nothing.
type Rela struct {
	Offset uint64
	Type   uint32
	Symbol uint32
	Addend int64
}

// Symbol is one symbol. Section is an index into Sections for a defined one.
type Symbol struct {
	Name       string
	Bind       elf.SymBind
	Type       elf.SymType
	Visibility elf.SymVis
	Section    elf.SectionIndex
	Value      uint64
	Size       uint64
}

// Group is a section group. Signature is the name that makes COMDAT groups
// of several objects one.
type Group struct {
	Signature string
	Comdat    bool
	Members   []int
}

// ReadObject reads an ET_REL file of 64-bit little-endian ELF with RELA
// relocations. It is an error if a relocated section of the process image
// uses REL, if there are more than 65,279 sections, or if an index points
// nowhere.
func ReadObject(b []byte) (o *Object, err error) {
	defer func() {
		if p := recover(); p != nil { // debug/elf on damaged input
			o, err = nil, fmt.Errorf("object: damaged: %v", p)
		}
	}()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("object: %w", err)
	}
	if f.Type != elf.ET_REL || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("object: %v %v %v is not a 64-bit little-endian relocatable object", f.Type, f.Class, f.Data)
	}
	if len(f.Sections) >= int(elf.SHN_LORESERVE) {
		return nil, errors.New("object: more sections than section indexes")
	}
	o = &Object{Machine: f.Machine, Sections: make([]Section, len(f.Sections))}
	for i, s := range f.Sections {
		o.Sections[i] = Section{Name: s.Name, Type: s.Type, Flags: s.Flags, Size: s.Size, Link: s.Link, Group: -1}
		needed := s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS
		if needed {
			if o.Sections[i].Data, err = raw(b, s); err != nil {
				return nil, err
			}
		}
	}
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, fmt.Errorf("object: %w", err)
	}
	o.Symbols = make([]Symbol, 1, len(symbols)+1)
	for _, s := range symbols {
		if s.Section < elf.SHN_LORESERVE && int(s.Section) >= len(f.Sections) || s.Section == elf.SHN_XINDEX {
			return nil, fmt.Errorf("object: symbol %q is in section %d of %d", s.Name, s.Section, len(f.Sections))
		}
		o.Symbols = append(o.Symbols, Symbol{
			Name: s.Name, Bind: elf.ST_BIND(s.Info), Type: elf.ST_TYPE(s.Info),
			Visibility: elf.ST_VISIBILITY(s.Other), Section: s.Section, Value: s.Value, Size: s.Size,
		})
	}
	for _, s := range f.Sections {
		var err error
		switch s.Type {
		case elf.SHT_RELA:
			err = o.relocations(b, s)
		case elf.SHT_REL:
			if int(s.Info) < len(o.Sections) && o.Sections[s.Info].Alloc() {
				err = fmt.Errorf("object: %s: relocations without addends", s.Name)
			}
		case elf.SHT_GROUP:
			err = o.group(b, s)
		}
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}

// raw is a section's bytes in the file.
func raw(b []byte, s *elf.Section) ([]byte, error) {
	if s.Offset > uint64(len(b)) || s.FileSize > uint64(len(b))-s.Offset {
		return nil, fmt.Errorf("object: section %s lies outside the file", s.Name)
	}
	return b[s.Offset : s.Offset+s.FileSize], nil
}

func (o *Object) relocations(b []byte, s *elf.Section) error {
	const entry = 24
	if s.Info == 0 || int(s.Info) >= len(o.Sections) {
		return fmt.Errorf("object: %s applies to no section", s.Name)
	}
	target := &o.Sections[s.Info]
	if !target.Alloc() && target.Name != ".debug_line" {
		return nil
	}
	data, err := raw(b, s)
	if err != nil {
		return err
	}
	if len(data)%entry != 0 {
		return fmt.Errorf("object: %s: %d bytes are no whole number of relocations", s.Name, len(data))
	}
	target.Relas = slices.Grow(target.Relas, len(data)/entry)
	for ; len(data) > 0; data = data[entry:] {
		info := binary.LittleEndian.Uint64(data[8:])
		r := Rela{
			Offset: binary.LittleEndian.Uint64(data), Type: uint32(info), Symbol: uint32(info >> 32),
			Addend: int64(binary.LittleEndian.Uint64(data[16:])),
		}
		if int(r.Symbol) >= len(o.Symbols) {
			return fmt.Errorf("object: %s names symbol %d of %d", s.Name, r.Symbol, len(o.Symbols))
		}
		target.Relas = append(target.Relas, r)
	}
	return nil
}

func (o *Object) group(b []byte, s *elf.Section) error {
	data, err := raw(b, s)
	if err != nil {
		return err
	}
	if len(data) < 4 || len(data)%4 != 0 || int(s.Info) >= len(o.Symbols) {
		return fmt.Errorf("object: %s is damaged", s.Name)
	}
	sym := o.Symbols[s.Info]
	g := Group{Signature: sym.Name, Comdat: binary.LittleEndian.Uint32(data)&1 != 0}
	if sym.Type == elf.STT_SECTION && int(sym.Section) < len(o.Sections) {
		g.Signature = o.Sections[sym.Section].Name
	}
	for data = data[4:]; len(data) > 0; data = data[4:] {
		n := binary.LittleEndian.Uint32(data)
		if n == 0 || int64(n) >= int64(len(o.Sections)) {
			return fmt.Errorf("object: %s holds section %d of %d", s.Name, n, len(o.Sections))
		}
		g.Members = append(g.Members, int(n))
		o.Sections[n].Group = len(o.Groups)
	}
	o.Groups = append(o.Groups, g)
	return nil
}

// WithoutLines lists the sections of code that no line table of the object
// covers: what was assembled or compiled without debug information.
func (o *Object) WithoutLines() []string {
	covered := make([]bool, len(o.Sections))
	info := false
	for i := range o.Sections {
		s := &o.Sections[i]
		info = info || s.Name == ".debug_info" && s.Size != 0
		if s.Name != ".debug_line" {
			continue
		}
		for _, r := range s.Relas {
			if n := o.Symbols[r.Symbol].Section; int(n) < len(covered) {
				covered[n] = true
			}
		}
	}
	var out []string
	for i := range o.Sections {
		s := &o.Sections[i]
		if s.Alloc() && s.Flags&elf.SHF_EXECINSTR != 0 && s.Size != 0 && (!info || !covered[i]) {
			out = append(out, s.Name)
		}
	}
	return out
}
