package usage

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cleanstart/cleanstart/internal/objfile"
)

// unwind reads an object's call frame information (.eh_frame, LSB 3.0 §10.6).
// It is no source of references itself, or everything would be live: a frame
// description adds to the section that it describes what unwinding through
// that section needs, the language-specific data and the personality routine.
func (g *Graph) unwind(object int, s *objfile.Section) error {
	relas := slices.Clone(s.Relas)
	slices.SortFunc(relas, func(a, b objfile.Rela) int { return int(int64(a.Offset) - int64(b.Offset)) })
	within := func(from, to uint64) []objfile.Rela {
		at := func(off uint64) int {
			i, _ := slices.BinarySearchFunc(relas, off, func(r objfile.Rela, o uint64) int { return int(int64(r.Offset) - int64(o)) })
			return i
		}
		return relas[at(from):at(to)]
	}
	o := g.inputs[object].Object
	common := map[uint64][]objfile.Rela{} // CIE → its relocations
	size := uint64(len(s.Data))
	for at := uint64(0); at+4 <= size; {
		start, length := at, uint64(binary.LittleEndian.Uint32(s.Data[at:]))
		at += 4
		if length == 0 {
			continue // a terminator; crtend.o holds nothing else
		}
		if length >= 0xfffffff0 || length < 4 || length > size-at {
			return fmt.Errorf(".eh_frame: record of %d bytes at offset %d", length, start)
		}
		end := at + length
		id := uint64(binary.LittleEndian.Uint32(s.Data[at:]))
		rs := within(start, end)
		if id == 0 {
			common[start] = rs
			at = end
			continue
		}
		shared, ok := common[at-id]
		if !ok {
			return fmt.Errorf(".eh_frame: the description at offset %d names no common part", start)
		}
		at = end
		if len(rs) == 0 {
			continue // describes an absolute address
		}
		function := o.Symbols[rs[0].Symbol].Section
		if int(function) >= len(o.Sections) || function == 0 {
			return fmt.Errorf(".eh_frame: the description at offset %d is of no section", start)
		}
		n := Node{object, int(function)}
		for _, r := range slices.Concat(rs[1:], shared) {
			g.frames[n] = append(g.frames[n], target{object, r.Symbol})
		}
	}
	return nil
}
