package source

import (
	"archive/zip"
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"
)

// Signatures, by APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16.
const (
	zipLocal      = "PK\x03\x04"
	zipDescriptor = "PK\x07\x08"
	zipDirectory  = "PK\x01\x02"
	zipEnd        = "PK\x05\x06"
	zip64End      = "PK\x06\x06"
	zip64Locator  = "PK\x06\x07"
)

// unpackZip adds the entries of a zip file. Since a zip says everything twice,
// in front of each file and in the directory at its end, readers can be made
// to see different files; so both must agree, and between the first byte and
// the last there must be nothing but them.
func (x *extraction) unpackZip(archive *io.SectionReader) error {
	start, err := x.zipDirectory(archive)
	if err != nil {
		return err
	}
	z, err := zip.NewReader(archive, archive.Size())
	if err != nil {
		return err
	}
	if strings.Contains(z.Comment, zipEnd) {
		return fmt.Errorf("%w: the comment could be taken for the end", ErrFormat)
	}
	files, err := inOrder(z.File)
	if err != nil {
		return err
	}
	at := int64(0)
	var unpacked uint64
	in := &inflater{}
	for n, f := range files {
		err := x.entry(n, f.Name, func() (err error) {
			if at, err = localZip(archive, f, at); err != nil {
				return err
			}
			unpacked += f.UncompressedSize64
			if unpacked > uint64(x.limits.Tree) {
				return fmt.Errorf("%w of %d bytes", ErrTooLarge, x.limits.Tree)
			}
			if err := x.limits.ratio(int64(unpacked), archive.Size()); err != nil {
				return err
			}
			return x.addZip(f, in)
		})
		if err != nil {
			return err
		}
	}
	if at != start {
		return fmt.Errorf("%w: %d bytes before its directory belong to nothing", ErrFormat, start-at)
	}
	return nil
}

// inOrder sorts the entries by where they lie.
func inOrder(files []*zip.File) ([]*zip.File, error) {
	offsets := make(map[*zip.File]int64, len(files))
	for _, f := range files {
		o, err := f.DataOffset()
		if err != nil {
			return nil, err
		}
		offsets[f] = o
	}
	slices.SortStableFunc(files, func(a, b *zip.File) int { return cmp.Compare(offsets[a], offsets[b]) })
	return files, nil
}

// addZip adds one entry.
func (x *extraction) addZip(f *zip.File, in *inflater) error {
	const encrypted = 1<<0 | 1<<6 | 1<<13
	switch {
	case f.Flags&encrypted != 0:
		return fmt.Errorf("%w: it is encrypted", ErrFormat)
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return fmt.Errorf("%w: compression method %d is neither store nor deflate", ErrFormat, f.Method)
	case strings.Contains(f.Name, `\`):
		return unsafeEntry("backslash in the name")
	}
	if name, ok := unicodeName(f); ok && name != f.Name {
		return unsafeEntry("also named %q", name)
	}
	i := item{name: f.Name, mtime: f.Modified, size: int64(f.UncompressedSize64)}
	if dos := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); f.ModifiedDate == 0 && f.Modified.Before(dos) {
		i.mtime = dos // it states none
	}
	mode := f.Mode()
	if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 && !mode.IsDir() {
		return unsafeEntry("set-user-ID or set-group-ID file")
	}
	body, err := in.open(f)
	if err != nil {
		return err
	}
	switch mode.Type() {
	case 0:
		i.kind, i.body = 'f', body
		if mode&0o100 != 0 {
			i.kind = 'x'
		}
	case fs.ModeDir:
		if i.kind = 'd'; i.size != 0 {
			return unsafeEntry("%d bytes of content in what has none", i.size)
		}
		if err := readExactly(body, nil); err != nil {
			return err
		}
	case fs.ModeSymlink:
		if i.size > maxTarget {
			return unsafeEntry("link target of %d bytes", i.size)
		}
		target := make([]byte, i.size)
		if err := readExactly(body, target); err != nil {
			return err
		}
		i.kind, i.target = 'l', string(target)
		if strings.Contains(i.target, `\`) {
			return unsafeEntry("link target %q", i.target)
		}
	default:
		return unsafeEntry("type %v is not a file, directory or link", mode.Type())
	}
	return x.add(i)
}

// unicodeName is the name that an Info-ZIP Unicode path extra field gives,
// which some readers prefer.
func unicodeName(f *zip.File) (string, bool) {
	field := extraField(f.Extra, 0x7075)
	if len(field) < 5 {
		return "", field != nil
	}
	return string(field[5:]), true
}

// extraField finds a field of an extra block.
func extraField(extra []byte, id uint16) []byte {
	for len(extra) >= 4 {
		size := int(binary.LittleEndian.Uint16(extra[2:]))
		if size > len(extra)-4 {
			return nil
		}
		if binary.LittleEndian.Uint16(extra) == id {
			return extra[4 : 4+size]
		}
		extra = extra[4+size:]
	}
	return nil
}

// inflater reads the content of one entry after another.
type inflater struct {
	packed *bufio.Reader
	z      io.ReadCloser
}

// open reads an entry, and fails unless its packed content ends with it and
// sizes and sum are as the directory says.
func (in *inflater) open(f *zip.File) (io.Reader, error) {
	raw, err := f.OpenRaw()
	if err != nil {
		return nil, err
	}
	if in.packed == nil {
		in.packed = bufio.NewReaderSize(nil, 64<<10)
		in.z = flate.NewReader(in.packed)
	}
	in.packed.Reset(raw)
	c := &content32{r: in.packed, packed: in.packed, n: f.UncompressedSize64, want: f.CRC32, h: crc32.NewIEEE()}
	if f.Method == zip.Deflate {
		c.r = in.z
		return c, in.z.(flate.Resetter).Reset(in.packed, nil)
	}
	return c, nil
}

// content32 checks what it reads at its end.
type content32 struct {
	r      io.Reader
	packed *bufio.Reader
	n      uint64 // bytes to come
	want   uint32
	h      hash.Hash32
}

func (c *content32) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if uint64(n) > c.n {
		return 0, errLonger
	}
	c.n -= uint64(n)
	c.h.Write(p[:n])
	if err != io.EOF {
		return n, err
	}
	if _, err := c.packed.ReadByte(); err == nil {
		return n, errTrailing
	}
	if c.n != 0 {
		return n, io.ErrUnexpectedEOF
	}
	if c.h.Sum32() != c.want {
		return n, zip.ErrChecksum
	}
	return n, io.EOF
}

// localZip holds what lies at an offset against an entry of the directory, and
// gives the offset behind it.
func localZip(r io.ReaderAt, f *zip.File, at int64) (int64, error) {
	differs := func(what string) (int64, error) {
		return 0, fmt.Errorf("%w: its own header and the directory differ in %s", ErrFormat, what)
	}
	var h [30]byte
	if _, err := r.ReadAt(h[:], at); err != nil {
		return 0, unexpected(err)
	}
	names := make([]byte, int(binary.LittleEndian.Uint16(h[26:]))+int(binary.LittleEndian.Uint16(h[28:])))
	if _, err := r.ReadAt(names, at+int64(len(h))); err != nil {
		return 0, unexpected(err)
	}
	name, extra := names[:binary.LittleEndian.Uint16(h[26:])], names[binary.LittleEndian.Uint16(h[26:]):]
	body := at + int64(len(h)+len(names))
	if offset, err := f.DataOffset(); err != nil || string(h[:4]) != zipLocal || offset != body {
		return differs("place, so entries overlap or leave a gap")
	}
	crc, packed, size := binary.LittleEndian.Uint32(h[14:]), uint64(binary.LittleEndian.Uint32(h[18:])), uint64(binary.LittleEndian.Uint32(h[22:]))
	if z64 := extraField(extra, 1); len(z64) >= 16 {
		if size == 1<<32-1 {
			size = binary.LittleEndian.Uint64(z64)
		}
		if packed == 1<<32-1 {
			packed = binary.LittleEndian.Uint64(z64[8:])
		}
	}
	const streamed = 1 << 3 // sum and sizes follow the content
	late := f.Flags&streamed != 0
	same := func(own, want uint64) bool { return own == want || late && own == 0 }
	switch {
	case string(name) != f.Name:
		return differs(fmt.Sprintf("name: %q", name))
	case binary.LittleEndian.Uint16(h[6:]) != f.Flags:
		return differs("flags")
	case binary.LittleEndian.Uint16(h[8:]) != f.Method:
		return differs("compression method")
	case !same(uint64(crc), uint64(f.CRC32)):
		return differs("sum")
	case !same(packed, f.CompressedSize64), !same(size, f.UncompressedSize64):
		return differs("size")
	case f.CompressedSize64 > 1<<62 || f.UncompressedSize64 > 1<<62:
		return 0, fmt.Errorf("%w of 2⁶² bytes", ErrTooLarge)
	}
	if own := extraField(extra, 0x7075); len(own) >= 5 && string(own[5:]) != f.Name {
		return 0, unsafeEntry("also named %q", own[5:])
	}
	end := body + int64(f.CompressedSize64)
	if !late {
		return end, nil
	}
	n, err := descriptor(r, f, end)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return differs("what follows the content")
	}
	return end + n, nil
}

// descriptor gives the length of the data descriptor at an offset, in the form
// that agrees with the directory: with a signature or not, of 4 or 8 bytes a
// size. It is 0 where there is none that does.
func descriptor(r io.ReaderAt, f *zip.File, at int64) (int64, error) {
	var b [28]byte
	if _, err := r.ReadAt(b[:], at); err != nil && err != io.EOF {
		return 0, err
	}
	for _, signature := range []string{zipDescriptor, ""} {
		for _, width := range []int{4, 8} {
			want := binary.LittleEndian.AppendUint32([]byte(signature), f.CRC32)
			for _, size := range []uint64{f.CompressedSize64, f.UncompressedSize64} {
				want = binary.LittleEndian.AppendUint64(want, size)[:len(want)+width]
			}
			rest, ok := strings.CutPrefix(string(b[:]), string(want))
			if ok && (strings.HasPrefix(rest, zipLocal) || strings.HasPrefix(rest, zipDirectory)) {
				return int64(len(want)), nil
			}
		}
	}
	return 0, nil
}

// zipDirectory checks that the directory and the record that ends it fill the
// rest of the file, and that its entries are few enough to be read, before
// archive/zip allocates for each of them.
func (x *extraction) zipDirectory(r *io.SectionReader) (start int64, err error) {
	broken := func(what string) (int64, error) { return 0, fmt.Errorf("%w: %s", ErrFormat, what) }
	tail := make([]byte, min(r.Size(), 22+1<<16))
	if _, err := r.ReadAt(tail, r.Size()-int64(len(tail))); err != nil && err != io.EOF {
		return 0, err
	}
	i := strings.LastIndex(string(tail), zipEnd)
	if i < 0 || len(tail)-i < 22 {
		return broken("it has no end record")
	}
	end := r.Size() - int64(len(tail)-i)
	e := tail[i:]
	if len(e) != 22+int(binary.LittleEndian.Uint16(e[20:])) {
		return broken("something follows the end")
	}
	count, size, offset := uint64(binary.LittleEndian.Uint16(e[10:])), uint64(binary.LittleEndian.Uint32(e[12:])), uint64(binary.LittleEndian.Uint32(e[16:]))
	if binary.LittleEndian.Uint32(e[4:]) != 0 || uint64(binary.LittleEndian.Uint16(e[8:])) != count {
		return broken("it is one of several parts")
	}
	var locator [20]byte
	if end >= 76 && (count == 1<<16-1 || size == 1<<32-1 || offset == 1<<32-1) {
		if _, err := r.ReadAt(locator[:], end-20); err != nil {
			return 0, err
		}
	}
	if string(locator[:4]) == zip64Locator {
		var b [56]byte
		at := end - 20 - int64(len(b))
		if _, err := r.ReadAt(b[:], at); err != nil {
			return 0, err
		}
		if string(b[:4]) != zip64End || binary.LittleEndian.Uint64(b[4:]) != uint64(len(b)-12) ||
			binary.LittleEndian.Uint64(locator[8:]) != uint64(at) || binary.LittleEndian.Uint64(b[16:]) != 0 ||
			binary.LittleEndian.Uint64(b[24:]) != binary.LittleEndian.Uint64(b[32:]) {
			return broken("its zip64 end record is not where it should be")
		}
		for _, v := range []struct {
			own  *uint64
			none uint64
			at   int
		}{{&count, 1<<16 - 1, 32}, {&size, 1<<32 - 1, 40}, {&offset, 1<<32 - 1, 48}} {
			wide := binary.LittleEndian.Uint64(b[v.at:])
			if *v.own != v.none && *v.own != wide {
				return broken("its two end records differ")
			}
			*v.own = wide
		}
		end = at
	}
	switch {
	case count > uint64(x.limits.Files):
		return 0, fmt.Errorf("%w of %d entries", ErrTooLarge, x.limits.Files)
	case size > uint64(end) || offset != uint64(end)-size:
		return broken("its directory does not end where it should")
	}
	return int64(offset), walkDirectory(io.NewSectionReader(r, int64(offset), int64(size)), count)
}

// walkDirectory counts the directory's entries.
func walkDirectory(r io.Reader, count uint64) error {
	b := bufio.NewReaderSize(r, 64<<10)
	for range count {
		h, err := b.Peek(46)
		if err != nil || string(h[:4]) != zipDirectory {
			return fmt.Errorf("%w: its directory holds fewer entries than it says", ErrFormat)
		}
		more := int(binary.LittleEndian.Uint16(h[28:])) + int(binary.LittleEndian.Uint16(h[30:])) + int(binary.LittleEndian.Uint16(h[32:]))
		if _, err := b.Discard(46 + more); err != nil {
			return unexpected(err)
		}
	}
	if _, err := b.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: its directory holds more entries than it says", ErrFormat)
	}
	return nil
}
