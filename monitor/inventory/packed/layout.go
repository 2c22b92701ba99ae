package packed

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
)

// A base begins with magic, then come the sections in the order of their
// numbers, then the trailer: for each section offset, length and CRC-32C, each
// of eight bytes; the CRC-32C of all that; and magic again. Integers are
// little-endian.
const magic = "cleanstart-base/1"

type section int

const (
	postings section = iota // of the pairs, in order
	forwards                // per image: number of pairs, gaps of their popularity, as uvarints
	docs                    // images with evidence: JSON, zstd
	names                   // of the images
	digests                 // of the images; what begins with sha256: as 32 bytes
	images                  // imageSize bytes each, by number, and one more for the ends
	byName                  // places of images, sorted by name; four bytes each
	versions                // per package: blocks of its versions
	keys                    // of the packages: folded name, NUL, ecosystem, NUL, base purl, NUL, name
	groups                  // groupSize bytes for each package, and one more for the ends
	byPURL                  // places of packages with a base purl, sorted by it; four bytes each
	byPop                   // popularity → pair; four bytes each
	sections
)

const (
	trailerSize = int(sections)*24 + 8 + len(magic)
	imageSize   = 36 // id u32, added i64, forward u64, doc u64, name u32, digest u32
	groupSize   = 24 // first pair u32, key u32, versions u64, postings u64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writer writes a base section by section.
type writer struct {
	f    *os.File
	w    *bufio.Writer
	crc  hash.Hash32
	n    int64 // of the section
	off  int64
	head []byte // of the trailer
	next section
}

func newWriter(f *os.File) (*writer, error) {
	w := &writer{f: f, w: bufio.NewWriterSize(f, 1<<20), crc: crc32.New(castagnoli), off: int64(len(magic))}
	_, err := w.w.WriteString(magic)
	return w, err
}

func (w *writer) Write(b []byte) (int, error) {
	w.crc.Write(b)
	w.n += int64(len(b))
	return w.w.Write(b)
}

// end closes a section.
func (w *writer) end(s section) error {
	if s != w.next {
		return fmt.Errorf("section %d was written as %d", w.next, s)
	}
	w.next++
	for _, v := range []uint64{uint64(w.off), uint64(w.n), uint64(w.crc.Sum32())} {
		w.head = binary.LittleEndian.AppendUint64(w.head, v)
	}
	w.off += w.n
	w.n = 0
	w.crc.Reset()
	return nil
}

func (w *writer) close() error {
	if w.next != sections {
		return errors.New("a section is missing")
	}
	w.head = binary.LittleEndian.AppendUint64(w.head, uint64(crc32.Checksum(w.head, castagnoli)))
	if _, err := w.w.Write(append(w.head, magic...)); err != nil {
		return err
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	return w.f.Sync()
}

// split checks magic, trailer and checksums and returns the sections.
func split(b []byte) (out [sections][]byte, err error) {
	if len(b) < len(magic)+trailerSize || !bytes.HasPrefix(b, []byte(magic)) || !bytes.HasSuffix(b, []byte(magic)) {
		return out, errors.New("not a whole base of this format")
	}
	body := b[:len(b)-trailerSize]
	head := b[len(body) : len(b)-len(magic)-8]
	if uint64(crc32.Checksum(head, castagnoli)) != binary.LittleEndian.Uint64(b[len(body)+len(head):]) {
		return out, errors.New("the trailer is damaged")
	}
	at := uint64(len(magic))
	sums := [sections]uint32{}
	for s := range sections {
		h := head[24*int(s):]
		off, n := binary.LittleEndian.Uint64(h), binary.LittleEndian.Uint64(h[8:])
		if off != at || n > uint64(len(body))-at {
			return out, errors.New("the trailer is damaged")
		}
		out[s], sums[s], at = body[off:off+n:off+n], uint32(binary.LittleEndian.Uint64(h[16:])), off+n
	}
	if at != uint64(len(body)) {
		return out, errors.New("the trailer is damaged")
	}
	return out, checkSums(out, sums)
}

// checkSums compares the checksums of parts of sections on several goroutines.
func checkSums(parts [sections][]byte, want [sections]uint32) error {
	var bad [sections]bool
	parallel(int(sections), func(i int) { bad[i] = crc32.Checksum(parts[i], castagnoli) != want[i] })
	for s, b := range bad {
		if b {
			return fmt.Errorf("section %d is damaged", s)
		}
	}
	return nil
}

func copyFile(w io.Writer, f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}
