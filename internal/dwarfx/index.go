package dwarfx

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/internal/elfnote"
)

// Kind is how a piece of code of a function came to be.
type Kind uint8

const (
	Symbol  Kind = iota // a symbol of the function's name, or of a clone of it
	Body                // the function's own body, by its debug information
	Inlined             // inlined into another function
	Label               // a symbol without a type: assembly, and maybe data in the text
)

var kinds = [...]string{Symbol: "symbol", Body: "body", Inlined: "inlined", Label: "label"}

func (k Kind) String() string { return kinds[k] }

// Instance is one live piece of code, of addresses [Low, High). High == Low for
// a symbol without a size, and for an inlined copy of which no instruction is
// left: GCC marks some of those with -gstatement-frontiers.
type Instance struct {
	Kind      Kind
	Low, High uint64
}

// Function is one function by name and file of its declaration.
type Function struct {
	Name      string
	File      string // as in the debug information, made absolute; "" where only a symbol is known
	Line      int
	Instances []Instance // sorted by Low, then Kind; empty when no code of it is live
	// Inlined are the units, as indexes into File.Units, whose compiler inlined
	// the function somewhere. It leaves an instance for most such places, and
	// none where the copy was merged whole into the code around it: having no
	// instance proves nothing while this is not empty.
	Inlined []int
}

// Row is one live row of a line table.
type Row struct {
	Line    int
	Address uint64
}

// Unit is one compilation unit.
type Unit struct {
	Name     string // its primary source file, made absolute
	Producer string // compiler, with its switches where they were recorded
	Language int64  // DW_LANG code
}

// File is the index of one ELF file. It is immutable.
type File struct {
	BuildID   string // hexadecimal, "" when there is none
	Units     []Unit
	functions map[string][]*Function
	files     map[string][]Row // by path, sorted by line, then address
	sources   []string         // keys of files, sorted
	text      []elf.SectionHeader
}

// ErrNoDebug is returned for a file without debug information.
var ErrNoDebug = errors.New("no debug information")

// maxSection bounds a debug section after decompression.
const maxSection = 2 << 30

// Read indexes an ELF file.
func Read(r io.ReaderAt) (x *File, err error) {
	defer func() {
		if p := recover(); p != nil { // debug/elf and debug/dwarf on damaged input
			x, err = nil, fmt.Errorf("damaged: %v", p)
		}
	}()
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	for _, s := range f.Sections {
		if strings.HasPrefix(s.Name, ".debug_") && s.Size > maxSection {
			return nil, fmt.Errorf("section %s claims %d bytes, more than is read", s.Name, s.Size)
		}
	}
	switch {
	case f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN:
		return nil, fmt.Errorf("%v is not a linked file", f.Type)
	case f.Section(".debug_info") == nil || f.Section(".debug_line") == nil:
		return nil, ErrNoDebug
	case f.Section(".gnu_debugaltlink") != nil || f.Section(".debug_info.dwo") != nil:
		return nil, errors.New("its debug information is in part elsewhere")
	}
	x = &File{functions: map[string][]*Function{}, files: map[string][]Row{}}
	id, err := elfnote.BuildID(f)
	if err != nil {
		return nil, err
	}
	x.BuildID = hex.EncodeToString(id)
	for _, s := range f.Sections {
		if s.Flags&(elf.SHF_ALLOC|elf.SHF_EXECINSTR) == elf.SHF_ALLOC|elf.SHF_EXECINSTR {
			x.text = append(x.text, s.SectionHeader)
		}
	}
	d, err := f.DWARF()
	if err != nil {
		return nil, err
	}
	b := builder{File: x, data: d, paths: map[string]string{}, byKey: map[key]*Function{}, entries: map[dwarf.Offset]entry{}}
	if err := b.read(); err != nil {
		return nil, err
	}
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, err
	}
	b.symbols(symbols)
	x.sort()
	return x, nil
}

func (x *File) sort() {
	for _, list := range x.functions {
		slices.SortFunc(list, func(a, b *Function) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
		for _, f := range list {
			slices.SortFunc(f.Instances, func(a, b Instance) int {
				return cmp.Or(cmp.Compare(a.Low, b.Low), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.High, b.High))
			})
			f.Instances = slices.Compact(f.Instances)
			slices.Sort(f.Inlined)
			f.Inlined = slices.Compact(f.Inlined)
		}
	}
	for name, rows := range x.files {
		slices.SortFunc(rows, func(a, b Row) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Address, b.Address)) })
		x.files[name] = slices.Compact(rows)
		x.sources = append(x.sources, name)
	}
	slices.Sort(x.sources)
}

// Live reports whether an address lies in an executable section.
func (x *File) Live(addr uint64) bool {
	for _, p := range x.text {
		if addr >= p.Addr && addr-p.Addr < p.Size {
			return true
		}
	}
	return false
}

// Functions are those of a name, sorted by file and line. The slice and what
// it points to belong to the index.
func (x *File) Functions(name string) []*Function { return x.functions[name] }

// All yields every function, sorted by name, file and line.
func (x *File) All(yield func(*Function) bool) {
	names := make([]string, 0, len(x.functions))
	for n := range x.functions {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		for _, f := range x.functions[n] {
			if !yield(f) {
				return
			}
		}
	}
}

// Sources are the paths of the files that live rows of line tables name,
// sorted. The slice belongs to the index.
func (x *File) Sources() []string { return x.sources }

// Rows are the live rows of a source file between two lines, both included.
func (x *File) Rows(file string, from, to int) []Row {
	rows := x.files[file]
	at := func(line int) int {
		i, _ := slices.BinarySearchFunc(rows, line, func(r Row, l int) int { return cmp.Compare(r.Line, l) })
		return i
	}
	if to < from {
		return nil
	}
	return rows[at(from):at(to+1)]
}

// BaseName is a symbol's name without what the compiler added for a clone:
// .cold, .constprop.0, .isra.0, .part.0, .lto_priv.0.
func BaseName(symbol string) string {
	if i := strings.IndexByte(symbol, '.'); i > 0 {
		return symbol[:i]
	}
	return symbol
}

// clean makes one string of equal paths.
func (b *builder) clean(p string) string {
	c, ok := b.paths[p]
	if !ok {
		c = path.Clean(p)
		b.paths[p] = c
	}
	return c
}
