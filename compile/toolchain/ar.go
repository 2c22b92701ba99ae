package toolchain

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// dataMember finds data.tar.* in a binary package (deb(5)) and gives its
// decompressed stream. The stream is valid while r is.
func dataMember(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	magic := make([]byte, 8)
	if _, err := io.ReadFull(br, magic); err != nil || string(magic) != "!<arch>\n" {
		return nil, errors.New("not an ar archive")
	}
	for n := 0; ; n++ {
		name, size, err := arHeader(br)
		if err == io.EOF {
			return nil, errors.New("no data.tar in the package")
		}
		if err != nil {
			return nil, err
		}
		body := io.LimitReader(br, size)
		switch {
		case n == 0:
			v, err := io.ReadAll(io.LimitReader(body, 16))
			if err != nil {
				return nil, err
			}
			if name != "debian-binary" || !strings.HasPrefix(string(v), "2.") {
				return nil, errors.New("not a Debian package of format 2")
			}
		case strings.HasPrefix(name, "data.tar"):
			return decompress(strings.TrimPrefix(name, "data.tar"), body)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return nil, err
		}
		if size%2 == 1 {
			if _, err := br.Discard(1); err != nil {
				return nil, errors.New("truncated ar archive")
			}
		}
	}
}

// arHeader reads one member header of the common format.
func arHeader(r io.Reader) (name string, size int64, err error) {
	var h [60]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if err == io.EOF {
			return "", 0, err
		}
		return "", 0, errors.New("truncated ar archive")
	}
	if h[58] != '`' || h[59] != '\n' {
		return "", 0, errors.New("malformed ar header")
	}
	size, err = strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
	if err != nil || size < 0 {
		return "", 0, errors.New("malformed size in ar header")
	}
	return strings.TrimSuffix(strings.TrimSpace(string(h[:16])), "/"), size, nil
}

func decompress(ext string, r io.Reader) (io.ReadCloser, error) {
	switch ext {
	case "":
		return io.NopCloser(r), nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		x, err := xz.NewReader(r, 128<<20)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("data.tar%s: unknown compression", ext)
}
