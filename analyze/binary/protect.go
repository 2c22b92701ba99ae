package binary

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/elfnote"
	"github.com/cleanstart/cleanstart/internal/objfile"
)

// Protect reads the hardening of every ELF file of the image: what the file
// itself shows, and for canary, fortify and stack-clash what the command line
// of every unit in it shows, since one symbol says nothing of the rest. The
// result is sorted by path, the features by name; what cannot be decided is
// Unknown.
//
// For rpath and textrel Absent is the good answer: the file has none.
func Protect(ctx context.Context, x *Index, s *analyze.Subject) ([]analyze.Protection, error) {
	w, err := x.Load(ctx, s)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.Rootfs)
	if err != nil {
		return nil, fmt.Errorf("protections: %w", err)
	}
	defer root.Close()
	var out []analyze.Protection
	for _, p := range w.Programs {
		facts, err := w.protect(root.FS(), p)
		if err != nil {
			return nil, fmt.Errorf("protections of %s: %w", p.Path, err)
		}
		slices.SortFunc(facts, func(a, b analyze.Feature) int { return cmp.Compare(a.Name, b.Name) })
		out = append(out, analyze.Protection{Path: p.Path, Facts: facts})
	}
	return out, nil
}

func (w *World) protect(fsys fs.FS, p *Program) ([]analyze.Feature, error) {
	b, err := readELF(fsys, strings.TrimPrefix(p.Path, "/"))
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	facts, err := headers(f)
	if err != nil {
		return nil, err
	}
	return append(facts, w.canary(p), w.stackClash(p), w.fortify(p)), nil
}

func feature(name string, yes bool, detail string) analyze.Feature {
	v := analyze.Absent
	if yes {
		v = analyze.Present
	}
	return analyze.Feature{Name: name, Verdict: v, Detail: detail}
}

// headers are the features that the file's own headers show.
func headers(f *elf.File) ([]analyze.Feature, error) {
	d, err := dynamic(f)
	if err != nil {
		return nil, err
	}
	relro, nx, textWritable := false, analyze.Feature{Name: "nx", Verdict: analyze.Absent, Detail: "no PT_GNU_STACK: the kernel's default applies"}, false
	for _, p := range f.Progs {
		switch {
		case p.Type == elf.PT_GNU_RELRO:
			relro = p.Memsz > 0
		case p.Type == elf.PT_GNU_STACK:
			nx = feature("nx", p.Flags&elf.PF_X == 0, "PT_GNU_STACK is "+p.Flags.String())
		case p.Type == elf.PT_LOAD && p.Flags&(elf.PF_X|elf.PF_W) == elf.PF_X|elf.PF_W:
			textWritable = true
		}
	}
	flags, flags1 := d.value(elf.DT_FLAGS), d.value(elf.DT_FLAGS_1)
	now := flags&uint64(elf.DF_BIND_NOW) != 0 || flags1&uint64(elf.DF_1_NOW) != 0 || d.has(elf.DT_BIND_NOW)
	lazy := d.has(elf.DT_JMPREL)
	textrel := d.has(elf.DT_TEXTREL) || flags&uint64(elf.DF_TEXTREL) != 0 || textWritable

	pie := feature("pie", false, f.Type.String())
	switch {
	case f.Type != elf.ET_DYN:
	case flags1&uint64(elf.DF_1_PIE) != 0:
		pie = feature("pie", true, "ET_DYN with DF_1_PIE")
	case d.has(elf.DT_SONAME) || f.Entry == 0:
		pie = feature("pie", true, "shared object")
	default:
		pie.Verdict, pie.Detail = analyze.Unknown, "ET_DYN without DF_1_PIE: a program or a library"
	}
	out := []analyze.Feature{pie, nx, feature("bind-now", now || !lazy && relro, bindDetail(now, lazy))}
	switch {
	case !relro:
		out = append(out, feature("relro", false, "no PT_GNU_RELRO"))
	case now || !lazy:
		out = append(out, feature("relro", true, "full: PT_GNU_RELRO, and all symbols are bound at start"))
	default:
		out = append(out, feature("relro", false, "partial: PT_GNU_RELRO, but the procedure linkage table stays writable"))
	}
	path := []string{}
	for _, t := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		if d.has(t) {
			path = append(path, t.String())
		}
	}
	out = append(out, feature("rpath", len(path) > 0, strings.Join(path, ", ")), feature("textrel", textrel, ""))

	features, err := elfnote.X86Features(f)
	if f.Machine != elf.EM_X86_64 {
		return append(out, analyze.Feature{Name: "cet-ibt", Detail: f.Machine.String()}, analyze.Feature{Name: "cet-shstk", Detail: f.Machine.String()}), nil
	}
	if err != nil {
		return nil, err
	}
	detail := fmt.Sprintf("GNU_PROPERTY_X86_FEATURE_1_AND is %#x", features)
	return append(out, feature("cet-ibt", features&elfnote.IBT != 0, detail), feature("cet-shstk", features&elfnote.SHSTK != 0, detail)), nil
}

func bindDetail(now, lazy bool) string {
	switch {
	case now:
		return "BIND_NOW"
	case lazy:
		return "lazy binding"
	}
	return "nothing is bound lazily"
}

// dyn is a dynamic section.
type dyn map[elf.DynTag]uint64

func (d dyn) has(t elf.DynTag) bool     { _, ok := d[t]; return ok }
func (d dyn) value(t elf.DynTag) uint64 { return d[t] }

// dynamic reads the dynamic segment of a 64-bit file; a file without one has
// no entries.
func dynamic(f *elf.File) (dyn, error) {
	const limit = 1 << 20
	d := dyn{}
	for _, p := range f.Progs {
		if p.Type != elf.PT_DYNAMIC {
			continue
		}
		if f.Class != elf.ELFCLASS64 || p.Filesz > limit {
			return nil, fmt.Errorf("dynamic segment of %d bytes in a file of %v", p.Filesz, f.Class)
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return nil, fmt.Errorf("dynamic segment: %w", err)
		}
		for ; len(b) >= 16; b = b[16:] {
			var tag, value uint64
			if f.ByteOrder == binary.ByteOrder(binary.BigEndian) {
				tag, value = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
			} else {
				tag, value = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
			}
			if elf.DynTag(tag) == elf.DT_NULL {
				break
			}
			d[elf.DynTag(tag)] = value
		}
	}
	return d, nil
}

// coverage counts the C and C++ units of a program whose command line has a
// property. Units of the C library that cancel it themselves are excused: its
// start-up code runs before the property can hold.
type coverage struct {
	with, excused int
	without       []string // sources
	unknown       []string // objects whose unit is not recorded
}

func (w *World) cover(p *Program, on func(args []string) bool) coverage {
	var c coverage
	for i := range p.Objects {
		o := &p.Objects[i]
		switch {
		case o.Object == nil || o.Origin == compile.OriginToolchain || o.Unit != nil && o.Unit.Language == "asm":
		case o.Unit == nil:
			c.unknown = append(c.unknown, o.Name())
		case on(o.Unit.Args):
			c.with++
		case w.isLibc(o.Origin):
			c.excused++
		default:
			c.without = append(c.without, o.Unit.Source)
		}
	}
	return c
}

func (w *World) isLibc(component string) bool {
	c := w.components[component]
	return c != nil && c.Component.Provides == "libc"
}

func (c coverage) feature(name string) analyze.Feature {
	total := c.with + c.excused + len(c.without)
	detail := fmt.Sprintf("%d of %d units", c.with, total)
	if c.excused > 0 {
		detail += fmt.Sprintf(", %d of the C library without", c.excused)
	}
	switch {
	case len(c.without) > 0:
		return analyze.Feature{Name: name, Verdict: analyze.Absent, Detail: detail + ", not in " + c.without[0]}
	case len(c.unknown) > 0:
		return analyze.Feature{Name: name, Detail: detail + ", no record of " + c.unknown[0]}
	case c.with == 0:
		return analyze.Feature{Name: name, Detail: "no unit is recorded"}
	}
	return analyze.Feature{Name: name, Verdict: analyze.Present, Detail: detail}
}

// last is the last of a family of arguments: those of which the last wins.
func last(args []string, family ...string) string {
	for i := len(args) - 1; i >= 0; i-- {
		if slices.Contains(family, args[i]) {
			return args[i]
		}
	}
	return ""
}

func (w *World) canary(p *Program) analyze.Feature {
	f := w.cover(p, func(args []string) bool {
		l := last(args, "-fstack-protector", "-fstack-protector-all", "-fstack-protector-strong", "-fstack-protector-explicit", "-fno-stack-protector")
		return l == "-fstack-protector-strong" || l == "-fstack-protector-all"
	}).feature("canary")
	if f.Verdict == analyze.Present && !p.defines("__stack_chk_fail") {
		f.Verdict, f.Detail = analyze.Unknown, f.Detail+", but __stack_chk_fail is not in the file: no function checks one"
	}
	return f
}

// defines reports whether the program's code or imports hold a function.
func (p *Program) defines(name string) bool {
	if p.Debug != nil && len(p.Debug.Functions(name)) > 0 {
		return true
	}
	for i := range p.Objects {
		if o := &p.Objects[i]; o.Object != nil && slices.ContainsFunc(o.Symbols, func(s objfile.Symbol) bool { return s.Name == name }) {
			return true
		}
	}
	return false
}

func (w *World) stackClash(p *Program) analyze.Feature {
	return w.cover(p, func(args []string) bool {
		return last(args, "-fstack-clash-protection", "-fno-stack-clash-protection") == "-fstack-clash-protection"
	}).feature("stack-clash")
}

func (w *World) fortify(p *Program) analyze.Feature {
	for i := range p.Objects {
		if c := w.components[p.Objects[i].Origin]; c != nil && c.Component.Provides == "libc" && c.Component.Name == "musl" {
			return feature("fortify", false, "no-op on musl: its headers hold no checks")
		}
	}
	return w.cover(p, func(args []string) bool {
		level := ""
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, "-D_FORTIFY_SOURCE="); ok {
				level = v
			} else if a == "-U_FORTIFY_SOURCE" {
				level = ""
			}
		}
		return level != "" && level != "0"
	}).feature("fortify")
}
