package packed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// A posting is the sorted image numbers of one version. Below dense members it
// is their gaps, each a uvarint, which is one or two bytes; from there on it is
// a Roaring bitmap in its portable format, which can be united without being
// decoded.
const dense = 4096

// appendPosting encodes sorted, distinct numbers.
func appendPosting(b []byte, ids []uint32) ([]byte, error) {
	if len(ids) >= dense {
		set := roaring.BitmapOf(ids...)
		set.RunOptimize()
		raw, err := set.ToBytes()
		return append(b, raw...), err
	}
	last := uint32(0)
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id-last))
		last = id
	}
	return b, nil
}

var errPosting = errors.New("a posting is damaged")

// gaps appends the members of a posting of n < dense members.
func gaps(ids []uint32, post []byte, n uint32) ([]uint32, error) {
	ids = slices.Grow(ids, int(n))
	last := uint64(0)
	for i := 0; i < len(post); {
		d := uint64(post[i])
		i++
		if d >= 0x80 {
			d &= 0x7f
			for shift := 7; ; shift += 7 {
				if i == len(post) || shift > 28 {
					return nil, errPosting
				}
				c := post[i]
				i++
				d |= uint64(c&0x7f) << shift
				if c < 0x80 {
					break
				}
			}
		}
		if last += d; last > 1<<32-1 {
			return nil, errPosting
		}
		ids = append(ids, uint32(last))
		n--
	}
	if n != 0 {
		return nil, errPosting
	}
	return ids, nil
}

// bitmap reads a posting of dense members or more. It shares post's memory and
// must not be changed.
func bitmap(post []byte) (*roaring.Bitmap, error) {
	set := roaring.New()
	if _, err := set.FromUnsafeBytes(post); err != nil {
		return nil, fmt.Errorf("%w: %w", errPosting, err)
	}
	return set, nil
}

// members are the numbers of any posting.
func members(post []byte, n uint32) ([]uint32, error) {
	if n < dense {
		return gaps(nil, post, n)
	}
	set, err := bitmap(post)
	if err != nil {
		return nil, err
	}
	return set.ToArray(), nil
}
