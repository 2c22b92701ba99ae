package golang

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Binary decides from a program alone: modules from its build information,
// symbols from its function table with the inline trees. A program whose
// symbol table was stripped hides the latter, so that every symbol of its
// modules counts as reached; one that does not say what it was built of is an
// error.
func Binary(db *DB, r io.ReaderAt) ([]Finding, error) {
	p, err := readBinary(r)
	if err != nil {
		return nil, fmt.Errorf("go program: %w", err)
	}
	return p.findings(db), nil
}

func readBinary(r io.ReaderAt) (*program, error) {
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil, err
	}
	p := &program{packages: map[string]bool{}, reached: map[string][]string{}}
	p.modules = append(p.modules, module{"stdlib", info.GoVersion})
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == "" {
			continue
		}
		for m.Replace != nil {
			m = m.Replace
		}
		p.modules = append(p.modules, module{m.Path, m.Version})
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS":
			p.goos = s.Value
		case "GOARCH":
			p.goarch = s.Value
		}
	}
	names, err := symbols(r)
	if err != nil {
		// what cannot be read may hold anything
		p.all, p.noPackages = true, true
		return p, nil
	}
	for _, n := range names {
		pkg, sym := split(n)
		if pkg == "" {
			continue
		}
		p.packages[pkg] = true
		p.reached[pkg+"."+sym] = nil
	}
	return p, nil
}

// split takes a linker's name apart: package and symbol, pointers, closures
// and type arguments taken off.
func split(name string) (pkg, sym string) {
	if i := strings.IndexByte(name, '['); i >= 0 {
		j := strings.LastIndexByte(name, ']')
		if j < i {
			return "", ""
		}
		name = name[:i] + name[j+1:]
	}
	slash := strings.LastIndexByte(name, '/')
	dot := strings.IndexByte(name[slash+1:], '.')
	if dot < 0 {
		return "", ""
	}
	pkg, sym = name[:slash+1+dot], name[slash+2+dot:]
	pkg = strings.NewReplacer("%2e", ".", "%22", `"`, "%25", "%").Replace(pkg)
	if t, ok := strings.CutPrefix(sym, "(*"); ok {
		sym = strings.Replace(t, ")", "", 1)
	}
	sym = strings.TrimSuffix(sym, "-fm")
	parts := strings.Split(sym, ".")
	for i, s := range parts {
		if i > 0 && (strings.HasPrefix(s, "func") || strings.HasPrefix(s, "gowrap") || strings.HasPrefix(s, "deferwrap")) && strings.TrimLeft(s[1:], "abcdefghijklmnopqrstuvwxyz") != "" {
			parts = parts[:i]
			break
		}
	}
	if len(parts) > 2 {
		parts = parts[:2]
	}
	return pkg, strings.Join(parts, ".")
}

var errStripped = errors.New("the symbol table was stripped")

const (
	magic120       = 0xfffffff1 // of Go 1.20 and later
	inlTreeIndex   = 2          // PCDATA_InlTreeIndex
	inlTree        = 3          // FUNCDATA_InlTree
	funcHeader     = 44         // bytes of a _func before its pcdata
	inlinedCall    = 16         // bytes of an entry of an inline tree
	maxFunctions   = 1 << 22
	maxSectionSize = 1 << 30
)

// symbols are the names of all functions in an ELF file of Go 1.20 or later,
// those included that exist only inlined.
func symbols(r io.ReaderAt) (out []string, err error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	defer func() {
		if v := recover(); v != nil { // an offset that points nowhere
			out, err = nil, fmt.Errorf("the function table is damaged: %v", v)
		}
	}()
	var funcs uint64 // address of go:func.*
	syms, err := f.Symbols()
	if err != nil {
		return nil, errStripped
	}
	for _, s := range syms {
		if s.Name == "go:func.*" || s.Name == "go.func.*" {
			funcs = s.Value
		}
	}
	if funcs == 0 {
		return nil, errStripped
	}
	tab := f.Section(".gopclntab")
	if tab == nil {
		tab = f.Section(".data.rel.ro.gopclntab")
	}
	if tab == nil || tab.Size > maxSectionSize {
		return nil, errors.New("no function table")
	}
	b, err := tab.Data()
	if err != nil {
		return nil, err
	}
	order := f.ByteOrder
	if len(b) < 72 || order.Uint32(b) != magic120 {
		return nil, errors.New("a function table of another release")
	}
	ptr := int(b[7])
	word := func(i int) int {
		if ptr == 4 {
			return int(order.Uint32(b[8+i*4:]))
		}
		return int(order.Uint64(b[8+i*8:]))
	}
	n := word(0)
	nameTab, pcTab, funcTab := b[word(3):], b[word(6):], b[word(7):]
	if n > maxFunctions {
		return nil, errors.New("too many functions")
	}
	data := section{f: f}
	seen := map[string]bool{}
	add := func(off int32) {
		if s := cString(nameTab[off:]); s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for i := range n {
		fn := funcTab[order.Uint32(funcTab[i*8+4:]):]
		add(int32(order.Uint32(fn[4:])))
		npc, nfd := int(order.Uint32(fn[28:])), int(fn[43])
		if npc <= inlTreeIndex || nfd <= inlTree {
			continue
		}
		table := order.Uint32(fn[funcHeader+4*inlTreeIndex:])
		tree := order.Uint32(fn[funcHeader+4*npc+4*inlTree:])
		if table == 0 || tree == ^uint32(0) {
			continue
		}
		last := lastIndex(pcTab[table:])
		for k := range last + 1 {
			e, err := data.at(funcs+uint64(tree)+uint64(k*inlinedCall), inlinedCall)
			if err != nil {
				return nil, err
			}
			add(int32(order.Uint32(e[4:])))
		}
	}
	return out, nil
}

// lastIndex is the greatest value of a pcvalue table, -1 for none.
func lastIndex(b []byte) int {
	value, most := int64(-1), int64(-1)
	for first := true; ; first = false {
		u, n := binary.Uvarint(b)
		if n <= 0 || u == 0 && !first {
			return int(most)
		}
		b = b[n:]
		if u&1 != 0 {
			value += ^int64(u >> 1)
		} else {
			value += int64(u >> 1)
		}
		most = max(most, value)
		_, n = binary.Uvarint(b)
		if n <= 0 {
			return int(most)
		}
		b = b[n:]
	}
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return ""
}

// section reads bytes at addresses, and keeps the section that held the last.
type section struct {
	f    *elf.File
	addr uint64
	data []byte
}

func (s *section) at(addr uint64, n int) ([]byte, error) {
	if addr < s.addr || addr+uint64(n) > s.addr+uint64(len(s.data)) {
		s.data = nil
		for _, sec := range s.f.Sections {
			if sec.Flags&elf.SHF_ALLOC != 0 && sec.Type != elf.SHT_NOBITS && sec.Size <= maxSectionSize && addr >= sec.Addr && addr+uint64(n) <= sec.Addr+sec.Size {
				b, err := sec.Data()
				if err != nil {
					return nil, err
				}
				s.addr, s.data = sec.Addr, b
			}
		}
		if s.data == nil {
			return nil, errors.New("an inline tree lies nowhere")
		}
	}
	return s.data[addr-s.addr:][:n], nil
}
