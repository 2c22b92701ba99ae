// Package elfnote reads the notes of ELF files: the GNU build-id and the GNU
// property note, in which a file declares what control-flow protection it was
// compiled for (System V ABI, x86-64 psABI "program property"). Readers work
// on bounded bytes and refuse what does not fit.
package elfnote

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// Note is one entry of a note section or segment. Desc aliases the input.
type Note struct {
	Name string
	Type uint32
	Desc []byte
}

// maxNotes bounds the bytes of one note section or segment.
const maxNotes = 1 << 20

// Parse splits notes. Align is the alignment of the section or segment: names
// and descriptors are padded to 8 bytes where it is 8, to 4 otherwise.
func Parse(b []byte, order binary.ByteOrder, align uint64) ([]Note, error) {
	if align != 8 {
		align = 4
	}
	pad := func(n uint64) uint64 { return (n + align - 1) &^ (align - 1) }
	var out []Note
	for at := uint64(0); at < uint64(len(b)); {
		rest := b[at:]
		if len(rest) < 12 {
			return nil, fmt.Errorf("note at offset %d: %d bytes are no header", at, len(rest))
		}
		name, desc := uint64(order.Uint32(rest)), uint64(order.Uint32(rest[4:]))
		// the descriptor is aligned from the note's start, header included
		start := pad(12 + name)
		if 12+name > uint64(len(rest)) || start > uint64(len(rest)) || desc > uint64(len(rest))-start {
			return nil, fmt.Errorf("note at offset %d: %d bytes of name and %d of descriptor in %d bytes", at, name, desc, len(rest))
		}
		n := Note{Type: order.Uint32(rest[8:]), Desc: rest[start : start+desc]}
		if name > 0 {
			n.Name = string(rest[12 : 12+name-1])
		}
		out = append(out, n)
		at += pad(start + desc)
	}
	return out, nil
}

// Read returns the notes of a file: of its note segments, or of its note
// sections where it has no program header.
func Read(f *elf.File) ([]Note, error) {
	var out []Note
	add := func(r io.Reader, size, align uint64, where string) error {
		if size > maxNotes {
			return fmt.Errorf("%s claims %d bytes of notes, more than are read", where, size)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(r, b); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		notes, err := Parse(b, f.ByteOrder, align)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		out = append(out, notes...)
		return nil
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE {
			if err := add(p.Open(), p.Filesz, p.Align, "note segment"); err != nil {
				return nil, err
			}
		}
	}
	if len(f.Progs) != 0 {
		return out, nil
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_NOTE {
			if err := add(s.Open(), s.Size, s.Addralign, s.Name); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// BuildID is the descriptor of the GNU build-id note, nil when there is none.
func BuildID(f *elf.File) ([]byte, error) {
	const typeBuildID = 3
	notes, err := Read(f)
	if err != nil {
		return nil, err
	}
	for _, n := range notes {
		if n.Name == "GNU" && n.Type == typeBuildID {
			return n.Desc, nil
		}
	}
	return nil, nil
}

// Features of GNU_PROPERTY_X86_FEATURE_1_AND.
const (
	IBT   = 1 << 0
	SHSTK = 1 << 1
)

// X86Features is the file's GNU_PROPERTY_X86_FEATURE_1_AND, 0 when it has
// none.
func X86Features(f *elf.File) (uint32, error) {
	const typeProperty0, feature1And = 5, 0xc0000002
	notes, err := Read(f)
	if err != nil {
		return 0, err
	}
	align := uint64(4)
	if f.Class == elf.ELFCLASS64 {
		align = 8
	}
	for _, n := range notes {
		if n.Name != "GNU" || n.Type != typeProperty0 {
			continue
		}
		for d := n.Desc; len(d) > 0; {
			if len(d) < 8 {
				return 0, fmt.Errorf("property note: %d bytes are no property", len(d))
			}
			kind, size := f.ByteOrder.Uint32(d), uint64(f.ByteOrder.Uint32(d[4:]))
			if size > uint64(len(d)-8) {
				return 0, fmt.Errorf("property note: property %#x claims %d bytes of %d", kind, size, len(d)-8)
			}
			if kind == feature1And {
				if size != 4 {
					return 0, fmt.Errorf("property note: the feature word has %d bytes", size)
				}
				return f.ByteOrder.Uint32(d[8:]), nil
			}
			d = d[min(8+(size+align-1)&^(align-1), uint64(len(d))):]
		}
	}
	return 0, nil
}
