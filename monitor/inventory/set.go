package inventory

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// A posting is kept in containers of 65,536 image numbers each, like those of
// a roaring bitmap: up to 4,096 numbers as a sorted list of their low halves,
// more as a bitmap of 8 KiB. One change rewrites one container.
const (
	listMax     = 4096
	bitmapBytes = 8192
)

// container is the encoded form: a list has an even number of bytes below
// bitmapBytes, a bitmap has exactly that many.
type container []byte

func (c container) check() error {
	if len(c) != bitmapBytes && (len(c) > 2*(listMax-1) || len(c)%2 != 0) {
		return fmt.Errorf("a container of %d bytes", len(c))
	}
	return nil
}

func (c container) bitmap() bool { return len(c) == bitmapBytes }

// with returns a container that holds low, and without one that does not. Both
// leave c alone.
func (c container) with(low uint16) container {
	if c.bitmap() {
		out := slices.Clone(c)
		out[low>>3] |= 1 << (low & 7)
		return out
	}
	list := c.list()
	i, ok := slices.BinarySearch(list, low)
	if ok {
		return slices.Clone(c)
	}
	return encodeSet(slices.Insert(list, i, low))
}

func (c container) without(low uint16) container {
	if c.bitmap() {
		out := slices.Clone(c)
		out[low>>3] &^= 1 << (low & 7)
		if list := out.list(); len(list) < listMax {
			return encodeSet(list)
		}
		return out
	}
	list := c.list()
	if i, ok := slices.BinarySearch(list, low); ok {
		list = slices.Delete(list, i, i+1)
	}
	return encodeSet(list)
}

// list is the sorted members.
func (c container) list() []uint16 {
	var out []uint16
	if c.bitmap() {
		for i, b := range c {
			for ; b != 0; b &= b - 1 {
				out = append(out, uint16(i*8+bits.TrailingZeros8(b)))
			}
		}
		return out
	}
	out = make([]uint16, 0, len(c)/2+1)
	for i := 0; i+1 < len(c); i += 2 {
		out = append(out, binary.BigEndian.Uint16(c[i:]))
	}
	return out
}

func encodeSet(list []uint16) container {
	if len(list) >= listMax {
		out := make(container, bitmapBytes)
		for _, v := range list {
			out[v>>3] |= 1 << (v & 7)
		}
		return out
	}
	out := make(container, 0, 2*len(list))
	for _, v := range list {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	return out
}
