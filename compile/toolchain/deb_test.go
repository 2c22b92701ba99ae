package toolchain_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// item is one member of a package's data.
type item struct {
	name string
	mode int64
	body string
	link string // symbolic
	hard string // hard link
	typ  byte   // overrides the type that follows from the rest
}

// deb makes a binary package; ext is the compression of its data.
func deb(t testing.TB, ext string, items ...item) []byte {
	t.Helper()
	var data bytes.Buffer
	w := io.WriteCloser(nopCloser{&data})
	var err error
	switch ext {
	case ".gz":
		w = gzip.NewWriter(&data)
	case ".xz":
		w, err = xz.NewWriter(&data)
	case ".zst":
		w, err = zstd.NewWriter(&data)
	}
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(w)
	for _, it := range items {
		h := &tar.Header{Name: it.name, Mode: it.mode, Typeflag: tar.TypeReg, Size: int64(len(it.body))}
		switch {
		case it.typ != 0:
			h.Typeflag = it.typ
		case it.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, it.link
		case it.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, it.hard
		case it.name[len(it.name)-1] == '/':
			h.Typeflag = tar.TypeDir
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, it.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		body []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", []byte("odd")}, {"data.tar" + ext, data.Bytes()}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.body))
		b.Write(m.body)
		if len(m.body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
