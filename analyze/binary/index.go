package binary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/dwarfx"
	"github.com/cleanstart/cleanstart/internal/objfile"
)

// Index reads the ELF files of one image once, for all layers that ask. The
// zero value is ready; it holds the last subject it was asked for, and may be
// used by several goroutines.
type Index struct {
	mu      sync.Mutex
	subject *analyze.Subject
	world   *World
}

// World is every ELF file of an image with what is known of it.
type World struct {
	Programs []*Program // sorted by path
	// Gaps say what is missing, in words. Nothing is absent while there is one.
	Gaps []string

	bare       map[string]string // component → an object of it with code that nothing describes
	record     *compile.Record
	components map[string]*compile.ComponentRecord
	image      *compile.Image
	units      map[unitKey]compile.Unit
	texts      texts
}

type unitKey struct{ component, digest string } // of the object

// Program is one ELF file of the image.
type Program struct {
	Path      string // in the image, absolute
	Component string
	Digest    string // "sha256:HEX" of the file as shipped
	Link      compile.Link
	Twin      string // digest of the unstripped file
	MapDigest string
	Debug     *dwarfx.File
	Map       *objfile.Map
	Objects   []Object // one for each of Link.Inputs
	Static    bool     // no interpreter and no needed library
	Exports   []string // names of its defined dynamic symbols

	byFile map[string]int // object as the map names it → index into Objects
}

// Object is one object that was linked. The object is nil for a shared one.
type Object struct {
	compile.Input
	*objfile.Object
	Bare []string // sections of code without debug information
	Unit *compile.Unit
}

// Name is the object as the linker's map names it.
func (o *Object) Name() string {
	if o.Member != "" {
		return o.Input.Path + "(" + o.Member + ")"
	}
	return o.Input.Path
}

// Load reads the subject's files, or returns what was read before.
func (x *Index) Load(ctx context.Context, s *analyze.Subject) (*World, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.subject == s && x.world != nil {
		return x.world, nil
	}
	w, err := load(ctx, s)
	if err != nil {
		return nil, err
	}
	x.subject, x.world = s, w
	return w, nil
}

func load(ctx context.Context, s *analyze.Subject) (*World, error) {
	if s.Image == nil || s.Image.Record == nil {
		return nil, fmt.Errorf("binary: the image has no record")
	}
	w := &World{record: s.Image.Record, image: s.Image, bare: map[string]string{}, components: map[string]*compile.ComponentRecord{}, units: map[unitKey]compile.Unit{}}
	links := map[string]compile.Link{}
	for i := range w.record.Components {
		c := &w.record.Components[i]
		w.components[c.Component.Name] = c
		for _, u := range c.Result.Units {
			if u.Digest != "" {
				w.units[unitKey{c.Component.Name, u.Digest}] = u
			}
		}
		for _, l := range c.Result.Links {
			links[c.Component.Name+"\x00"+path.Clean(l.Output)] = l
		}
	}
	owner := map[string]string{}
	for _, l := range w.record.Image.Layers {
		for _, f := range l.Files {
			owner[path.Clean(f.Path)] = l.Component
		}
	}
	root, err := os.OpenRoot(s.Rootfs)
	if err != nil {
		return nil, fmt.Errorf("binary: root file system: %w", err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := readELF(root.FS(), name)
		if err != nil || b == nil {
			return err
		}
		p := &Program{Path: "/" + name, Component: owner[name], Digest: digest(b)}
		w.Programs = append(w.Programs, p)
		link, ok := links[p.Component+"\x00"+name]
		if !ok {
			w.gap("%s has no recorded link", p.Path)
			return nil
		}
		p.Link = link
		w.program(p, b)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("binary: %w", err)
	}
	if len(w.Programs) == 0 {
		w.gap("the image holds no ELF file")
	}
	return w, nil
}

func (w *World) gap(format string, args ...any) {
	w.Gaps = append(w.Gaps, fmt.Sprintf(format, args...))
}

// program reads what belongs to one linked file; what cannot be read is a gap.
func (w *World) program(p *Program, shipped []byte) {
	debug, err := w.image.Part(p.Component, compile.PartDebug)
	if err != nil {
		w.gap("%s: %v", p.Path, err)
		return
	}
	twin, err := readPart(debug, p.Link.Unstripped)
	if err != nil {
		w.gap("%s: unstripped file: %v", p.Path, err)
		return
	}
	p.Twin = digest(twin)
	if err := p.dynamic(shipped); err != nil {
		w.gap("%s: %v", p.Path, err)
		return
	}
	if err := sameCode(shipped, twin); err != nil {
		w.gap("%s and its unstripped file: %v", p.Path, err)
		return
	}
	if p.Debug, err = dwarfx.Read(bytes.NewReader(twin)); err != nil {
		w.gap("%s: unstripped file: %v", p.Path, err)
	}
	text, err := readPart(debug, p.Link.Map)
	if err == nil {
		p.MapDigest = digest(text)
		p.Map, err = objfile.ParseMap(bytes.NewReader(text))
	}
	if err == nil {
		p.Map.Resolve(p.Link.Dir)
	}
	if err != nil {
		w.gap("%s: linker map: %v", p.Path, err)
	}
	w.objects(p, debug)
}

// objects reads what was linked into a program.
func (w *World) objects(p *Program, debug fs.FS) {
	if len(p.Link.Inputs) == 0 {
		w.gap("%s: its link names no input", p.Path)
	}
	p.byFile = map[string]int{}
	archives := map[string][]objfile.Member{}
	described := map[string]bool{} // by name: of members of one name, the map does not say which was taken
	for i, in := range p.Link.Inputs {
		o := Object{Input: in}
		if u, ok := w.units[unitKey{in.Origin, in.Digest}]; ok {
			o.Unit = &u
		}
		if in.Origin != compile.OriginToolchain && w.components[in.Origin] == nil {
			w.gap("%s: %s comes from %q, which is no component of the record", p.Path, o.Name(), in.Origin)
		}
		b, err := object(debug, in, archives)
		if err == nil && !isShared(b) {
			o.Object, err = objfile.ReadObject(b)
		}
		switch {
		case err != nil:
			w.gap("%s: %s: %v", p.Path, o.Name(), err)
		case o.Object != nil:
			o.Bare = o.WithoutLines()
			if o.Section(".debug_info") && !p.discarded(o.Name()) {
				described[o.Name()] = true
			}
			if len(o.Bare) > 0 && in.Origin != compile.OriginToolchain && (o.Unit == nil || o.Unit.Language != "asm") {
				what := fmt.Sprintf("%s: %s has code without debug information (%s)", p.Path, o.Name(), o.Bare[0])
				if o.Unit == nil {
					w.gap("%s", what)
				} else {
					w.bare[in.Origin] = what
				}
			}
		}
		p.Objects = append(p.Objects, o)
		p.byFile[o.Name()] = i
	}
	if p.Debug != nil && len(p.Debug.Units) < len(described) {
		w.gap("%s: %d objects carry debug information, the linked file describes %d units", p.Path, len(described), len(p.Debug.Units))
	}
}

// discarded reports whether the map names an object only among what the linker
// left out. It then leaves out the object's debug information too.
func (p *Program) discarded(name string) bool {
	if p.Map == nil {
		return false
	}
	is := func(x objfile.Placed) bool { return x.File == name }
	return slices.ContainsFunc(p.Map.Discarded, is) && !slices.ContainsFunc(p.Map.Placed, is)
}

// Gap says what keeps code of the component from being called absent, or "".
// Code that nothing describes, in an object that is traced to a unit of one
// component, can only come from that component and from what it needs: its
// tree, their headers, the toolchain.
func (w *World) Gap(component string) string {
	if len(w.Gaps) > 0 {
		return w.Gaps[0]
	}
	for _, origin := range slices.Sorted(maps.Keys(w.bare)) {
		if origin == component || w.needs(origin, component) {
			return w.bare[origin]
		}
	}
	return ""
}

// needs reports whether one component needs another, directly or not. One
// that the record does not know may need anything.
func (w *World) needs(from, to string) bool {
	seen := map[string]bool{} // a record may have been written by anyone
	todo := []string{from}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[name] {
			continue
		}
		seen[name] = true
		c := w.components[name]
		if c == nil {
			return true
		}
		for _, n := range c.Action.Needs {
			if n.Name == to {
				return true
			}
			todo = append(todo, n.Name)
		}
	}
	return false
}

// dynamic reads what the file as shipped asks of a dynamic linker and offers
// to others.
func (p *Program) dynamic(shipped []byte) error {
	f, err := elf.NewFile(bytes.NewReader(shipped))
	if err != nil {
		return err
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	p.Static = len(needed) == 0
	for _, h := range f.Progs {
		if h.Type == elf.PT_INTERP {
			p.Static = false
		}
	}
	symbols, err := f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return err
	}
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF {
			p.Exports = append(p.Exports, s.Name)
		}
	}
	return nil
}

// Section reports whether the object has a section of that name with content.
func (o *Object) Section(name string) bool {
	for i := range o.Sections {
		if s := &o.Sections[i]; s.Name == name && s.Size != 0 {
			return true
		}
	}
	return false
}

// object is the bytes of one input, checked against its digest.
func object(debug fs.FS, in compile.Input, archives map[string][]objfile.Member) ([]byte, error) {
	members, read := archives[in.Object]
	if !read {
		b, err := readPart(debug, in.Object)
		if err != nil {
			return nil, err
		}
		if objfile.IsArchive(b) {
			if members, err = objfile.Members(b); err != nil {
				return nil, err
			}
			archives[in.Object] = members
		} else {
			members = []objfile.Member{{Name: in.Member, Data: b}}
		}
	}
	for _, m := range members {
		if m.Name == in.Member && digest(m.Data) == in.Digest {
			return m.Data, nil
		}
	}
	return nil, fmt.Errorf("%s holds no object with digest %s", in.Object, in.Digest)
}

func isShared(b []byte) bool {
	return len(b) > 18 && bytes.HasPrefix(b, []byte(elf.ELFMAG)) && b[16] == byte(elf.ET_DYN) && b[17] == 0
}

// Origin is the component that the code at an address comes from, "" when the
// map does not say.
func (p *Program) Origin(addr uint64) string {
	if o := p.object(addr); o != nil {
		return o.Origin
	}
	return ""
}

func (p *Program) object(addr uint64) *Object {
	if p.Map == nil {
		return nil
	}
	at, ok := p.Map.At(addr)
	if !ok {
		return nil
	}
	i, ok := p.byFile[at.File]
	if !ok {
		return nil
	}
	return &p.Objects[i]
}

// sameCode checks that two files are one link: equal executable segments and
// equal build-ids.
func sameCode(a, b []byte) error {
	var text [2][]elf.ProgHeader
	var bytesOf [2][][]byte
	for i, f := range [2][]byte{a, b} {
		e, err := elf.NewFile(bytes.NewReader(f))
		if err != nil {
			return err
		}
		for _, p := range e.Progs {
			if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 {
				continue
			}
			if p.Off > uint64(len(f)) || p.Filesz > uint64(len(f))-p.Off {
				return fmt.Errorf("a segment lies outside the file")
			}
			text[i] = append(text[i], p.ProgHeader)
			bytesOf[i] = append(bytesOf[i], f[p.Off:p.Off+p.Filesz])
		}
	}
	if len(text[0]) == 0 || len(text[0]) != len(text[1]) {
		return fmt.Errorf("%d executable segments, and %d", len(text[0]), len(text[1]))
	}
	for k := range text[0] {
		if text[0][k].Vaddr != text[1][k].Vaddr || !bytes.Equal(bytesOf[0][k], bytesOf[1][k]) {
			return fmt.Errorf("different code")
		}
	}
	return nil
}

// maxFile bounds one file that is read whole.
const maxFile = 2 << 30

// readELF is the file's bytes, nil when it is no ELF file.
func readELF(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil, nil
	}
	return readRest(f, magic[:], name)
}

func readRest(f io.Reader, head []byte, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(head), f), maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: longer than %d bytes", name, maxFile)
	}
	return b, err
}

func readPart(part fs.FS, name string) ([]byte, error) {
	f, err := part.Open(strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRest(f, nil, name)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
