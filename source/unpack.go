package source

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// ErrFormat says that an archive is not in a format that can be unpacked, or
// is damaged.
var ErrFormat = errors.New("not a readable tar archive")

// maxWindow bounds the memory of the zstd decompressor: zstd -22 --ultra
// needs as much.
const maxWindow = 128 << 20

// decompress recognises gzip, bzip2, xz and zstd by their first bytes;
// anything else passes through.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	magic, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(magic, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(b)), nil
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		// A block's header may ask for a dictionary of 4 GiB; the pages of it
		// that are touched are bounded by what is unpacked.
		x, err := xz.NewReader(b)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// countReader counts what passes.
type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// meter bounds what comes out of a decompressor, absolutely and in
// proportion to what went in. Small archives may expand freely.
type meter struct {
	r      io.Reader
	in     *countReader
	limits Limits
	n      int64
}

const freeExpansion = 16 << 20

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	// Headers and padding come on top of the files themselves.
	if most := m.limits.Tree + int64(m.limits.Files)*4096; m.n > most {
		return 0, fmt.Errorf("%w of %d bytes unpacked", ErrTooLarge, m.limits.Tree)
	}
	if m.n > freeExpansion && m.n/m.limits.Ratio > m.in.n {
		return 0, fmt.Errorf("%w of %d bytes unpacked for each byte packed", ErrTooLarge, m.limits.Ratio)
	}
	return n, err
}
