package source

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// ErrFormat says that an archive is not in a format that can be unpacked, or
// is damaged.
var ErrFormat = errors.New("not a readable archive")

// maxWindow bounds the memory of the zstd and xz decompressors: zstd -22
// --ultra needs as much, xz -9 half of it. Both allocate what an archive
// claims, if not more than this.
const maxWindow = 128 << 20

// decompress recognises gzip, bzip2, xz and zstd by their first bytes;
// anything else passes through. Concatenated streams are one; anything else
// behind a stream is an error, as is a sum that does not hold.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, step)
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
		x, err := xz.NewReader(b, maxWindow)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// unpack adds all entries of the archive, a zip file by its first bytes or
// else a tar, and gives the hexadecimal SHA-256 of the archive as it was read.
func (x *extraction) unpack(archive packed, sum bool) (digest string, err error) {
	var magic [4]byte
	if _, err := archive.ReadAt(magic[:], 0); err != nil && err != io.EOF {
		return "", err
	}
	all := io.Reader(io.NewSectionReader(archive, 0, math.MaxInt64))
	h := sha256.New()
	if sum {
		all = io.TeeReader(all, h)
	}
	if string(magic[:]) == zipLocal {
		size, serr := archive.Size()
		if serr != nil {
			return "", serr
		}
		err = x.unpackZip(io.NewSectionReader(archive, 0, size))
		if err == nil && sum {
			_, err = copyBounded(x.ctx, io.Discard, all, size, nil)
		}
	} else {
		err = x.unpackTar(all)
	}
	if err != nil {
		return "", formatError(err)
	}
	if x.files == 0 {
		return "", fmt.Errorf("%w: it holds no files", ErrFormat)
	}
	if !sum {
		return "", nil
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// unpackTar hashes and decompresses in goroutines of their own, so that they
// go on while files are made.
func (x *extraction) unpackTar(archive io.Reader) error {
	packed := readAhead(archive)
	defer packed.Close()
	in := &countReader{r: packed}
	z, err := decompress(in)
	if err != nil {
		return err
	}
	defer z.Close()
	out := readAhead(&meter{r: z, in: in, limits: x.limits})
	defer out.Close()
	if err := x.tar(out); err != nil {
		return err
	}
	// The decompressor was read to its end, and so the archive.
	if n, err := io.Copy(io.Discard, packed); n != 0 || err != nil {
		return errors.Join(errTrailing, err)
	}
	return nil
}

var errTrailing = errors.New("something follows the end of the archive")

// entry adds one more entry, the nth.
func (x *extraction) entry(n int, name string, add func() error) error {
	if err := context.Cause(x.ctx); err != nil {
		return err
	}
	if n >= x.limits.Files {
		return fmt.Errorf("%w of %d entries", ErrTooLarge, x.limits.Files)
	}
	if err := add(); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	return nil
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
	if err := m.limits.ratio(m.n, m.in.n); err != nil {
		return 0, err
	}
	return n, err
}

// ratio refuses what unpacks to too much.
func (l Limits) ratio(unpacked, packed int64) error {
	if unpacked > freeExpansion && unpacked/l.Ratio > packed {
		return fmt.Errorf("%w of %d bytes unpacked for each byte packed", ErrTooLarge, l.Ratio)
	}
	return nil
}

// ahead reads in a goroutine of its own, a few buffers ahead of its reader.
type ahead struct {
	full chan chunk
	free chan []byte
	stop chan struct{}
	now  chunk
	rest []byte // of now
}

// chunk is what one or more reads gave; err comes after b.
type chunk struct {
	b   []byte
	err error
}

const aheadBuffers = 6

func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan chunk, aheadBuffers), free: make(chan []byte, aheadBuffers), stop: make(chan struct{})}
	for range aheadBuffers {
		a.free <- nil // made when first needed
	}
	go func() {
		defer close(a.full)
		for {
			var b []byte
			select {
			case b = <-a.free:
			case <-a.stop:
				return
			}
			if b == nil {
				b = make([]byte, step)
			}
			n, err := readFull(r, b)
			a.full <- chunk{b[:n], err}
			if err != nil {
				return
			}
		}
	}()
	return a
}

// readFull fills b unless r ends or fails.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

func (a *ahead) Read(p []byte) (n int, err error) {
	for len(a.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.b != nil {
			a.free <- a.now.b[:cap(a.now.b)]
		}
		a.now = <-a.full
		a.rest = a.now.b
	}
	n = copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close ends the goroutine and waits for it; what it reads is not closed.
func (a *ahead) Close() error {
	close(a.stop)
	for range a.full {
	}
	a.now.err = io.ErrClosedPipe
	return nil
}
