package source

import (
	"archive/tar"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// tar adds the entries of a tar in any of the formats that archive/tar reads:
// V7, ustar, pax and GNU, but for sparse files. It is stricter where readers
// differ, so that an archive holds the same for all: the two places for a size
// or a name must agree, and nothing but zeros may follow the end.
func (x *extraction) tar(r io.Reader) error {
	b := &blocks{r: r}
	tr := tar.NewReader(b)
	for n := 0; ; n++ {
		b.last = [512]byte{1}
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := x.entry(n, h.Name, func() error { return x.addTar(h, b.last[:], tr) }); err != nil {
			return err
		}
	}
	if b.last != [512]byte{} {
		return fmt.Errorf("it has no end mark: %w", io.ErrUnexpectedEOF)
	}
	// To the end, so that the decompressor checks its own sums.
	buf := x.out.buf
	for {
		n, err := r.Read(buf)
		if strings.Trim(string(buf[:n]), "\x00") != "" {
			return errTrailing
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// blocks remembers the last block that was read by itself, as archive/tar
// reads headers.
type blocks struct {
	r    io.Reader
	last [512]byte
}

func (b *blocks) Read(p []byte) (int, error) {
	if len(p) != len(b.last) {
		return b.r.Read(p)
	}
	n, err := readFull(b.r, p)
	if n == len(p) {
		copy(b.last[:], p)
		err = nil
	}
	return n, err
}

// addTar adds one entry, of which raw is the header itself.
func (x *extraction) addTar(h *tar.Header, raw []byte, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		for _, k := range []string{"path", "linkpath", "size"} {
			if _, ok := h.PAXRecords[k]; ok {
				return unsafeEntry("a global %s for all entries", k)
			}
		}
		return nil
	}
	if err := agrees(h, raw); err != nil {
		return err
	}
	i := item{name: h.Name, target: h.Linkname, mtime: h.ModTime, size: h.Size, body: body}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Mode&0o6000 != 0 {
			return unsafeEntry("set-user-ID or set-group-ID file")
		}
		i.kind = 'f'
		if h.Mode&0o100 != 0 {
			i.kind = 'x'
		}
	case tar.TypeDir:
		i.kind = 'd'
	case tar.TypeSymlink:
		i.kind = 'l'
	case tar.TypeLink:
		i.kind = 'h'
	default:
		return unsafeEntry("type %q is not a file, directory or link", h.Typeflag)
	}
	if i.kind != 'f' && i.kind != 'x' && h.Size != 0 {
		return unsafeEntry("%d bytes of content in what has none", h.Size)
	}
	return x.add(i)
}

// octalLimit is the first size that does not fit into a header's own field.
const octalLimit = 1 << 33

// agrees says whether a header and its extensions say the same: a reader that
// knows fewer of them would see other files.
func agrees(h *tar.Header, raw []byte) error {
	if p := h.PAXRecords["path"]; p != "" && p != h.Name {
		return unsafeEntry("also named %q", p)
	}
	if p := h.PAXRecords["linkpath"]; p != "" && p != h.Linkname {
		return unsafeEntry("it also links to %q", p)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return unsafeEntry("a sparse file")
		}
	}
	if _, ok := h.PAXRecords["size"]; ok && h.Size < octalLimit {
		own, err := strconv.ParseInt(strings.Trim(string(raw[124:136]), " \x00"), 8, 64)
		if err != nil || own != h.Size {
			return unsafeEntry("it is %d bytes long, its header says %q", h.Size, raw[124:136])
		}
	}
	return nil
}
