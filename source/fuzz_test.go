package source

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// A full disk is not the archive's fault.
func TestFormatErrorBlamesTheArchiveAlone(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for _, err := range []error{full, ErrTooLarge, context.Canceled} {
		if got := formatError(err); errors.Is(got, ErrFormat) || !errors.Is(got, err) {
			t.Errorf("formatError(%v) = %v", err, got)
		}
	}
	if got := formatError(tar.ErrHeader); !errors.Is(got, ErrFormat) {
		t.Errorf("formatError(%v) = %v, want ErrFormat", tar.ErrHeader, got)
	}
}

func section(b []byte) packed { return inMemory{bytes.NewReader(b)} }

type inMemory struct{ *bytes.Reader }

func (m inMemory) Size() (int64, error) {
	return m.Reader.Size(), nil
}

// FuzzExtract feeds archives to the extractor: whatever they hold, nothing
// appears outside the directory, nothing inside is anything but a file, a
// directory or a link, and what is accepted is what the manifest says.
func FuzzExtract(f *testing.F) {
	seed := func(headers ...tar.Header) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			w.WriteHeader(&h)
			w.Write(make([]byte, h.Size))
		}
		w.Close()
		f.Add(b.Bytes())
	}
	reg := tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o644, Size: 3}
	seed(reg)
	seed(tar.Header{Name: "../f", Typeflag: tar.TypeReg})
	seed(tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../../x"}, reg)
	seed(tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "."}, tar.Header{Name: "d/l/g", Typeflag: tar.TypeReg})
	seed(reg, tar.Header{Name: "d/h", Typeflag: tar.TypeLink, Linkname: "d/f"})
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Add([]byte{0xfd, '7', 'z', 'X', 'Z', 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0})
	f.Fuzz(checkExtract)
}

// FuzzZip is FuzzExtract from zip files.
func FuzzZip(f *testing.F) {
	seed := func(raw bool, headers ...zip.FileHeader) {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for _, h := range headers {
			body := []byte("some content")
			var out io.Writer
			var err error
			if raw {
				h.CRC32, h.CompressedSize64, h.UncompressedSize64 = crc32.ChecksumIEEE(body), uint64(len(body)), uint64(len(body))
				out, err = w.CreateRaw(&h)
			} else {
				out, err = w.CreateHeader(&h)
			}
			if err != nil {
				f.Fatal(err)
			}
			out.Write(body)
		}
		w.SetComment("comment")
		w.Close()
		f.Add(b.Bytes())
	}
	link := zip.FileHeader{Name: "d/l"}
	link.SetMode(fs.ModeSymlink | 0o777)
	seed(false, zip.FileHeader{Name: "d/f", Method: zip.Deflate}, link)
	seed(true, zip.FileHeader{Name: "d/f"}, zip.FileHeader{Name: "../g"})
	seed(true, link, zip.FileHeader{Name: "d/l/g"}, zip.FileHeader{Name: "d/"})
	seed(false)
	f.Fuzz(func(t *testing.T, archive []byte) {
		if bytes.HasPrefix(archive, []byte(zipLocal)) {
			checkExtract(t, archive)
		}
	})
}

func checkExtract(t *testing.T, archive []byte) {
	limits := Limits{Tree: 1 << 20, Files: 100, Depth: 8, Ratio: 100}.orDefault()
	base := t.TempDir()
	dir := filepath.Join(base, "in")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer removeAll(base)
	m, tree, err := extract(t.Context(), section(archive), true, dir, limits, "")
	if all, _ := os.ReadDir(base); len(all) != 1 {
		t.Fatalf("it made %v", all)
	}
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		if d.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 {
			t.Fatalf("%s is %v", name, d.Type())
		}
		if d.Type() == fs.ModeSymlink && m != nil {
			if to, err := filepath.EvalSymlinks(name); err == nil {
				if rel, err := filepath.Rel(tree, to); err != nil || !filepath.IsLocal(rel) {
					t.Fatalf("%s leads to %s", name, to)
				}
			}
		}
		return nil
	})
	if err != nil {
		if m != nil || !errors.Is(err, ErrFormat) && !errors.Is(err, ErrUnsafe) && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("extract = %v, %v, want nothing and one of the package's errors", m, err)
		}
		return
	}
	if sum := hexOf(string(archive)); m.archive != sum {
		t.Fatalf("archive is %s, want %s", m.archive, sum)
	}
	if err := m.check(tree, nil); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.write(&b); err != nil {
		t.Fatal(err)
	}
	back, err := readManifest(&b)
	if err != nil || back.digest != m.digest || back.root != m.root || len(back.entries) != len(m.entries) {
		t.Fatalf("manifest does not survive: %v", err)
	}
}

// The decompressors: whatever they are fed, what comes out is bounded, and the
// same however it is read.
func fuzzDecompress(f *testing.F, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)/2])
		f.Add(append(s[:len(s):len(s)], s...))
	}
	magic := seeds[0][:3]
	limits := Limits{Tree: 1 << 20, Files: 1, Ratio: 100}.orDefault()
	read := func(packed []byte, r func(io.Reader) io.Reader) ([]byte, error) {
		in := &countReader{r: bytes.NewReader(packed)}
		z, err := decompress(in)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return io.ReadAll(r(&meter{r: z, in: in, limits: limits}))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		if !bytes.HasPrefix(packed, magic) {
			return
		}
		one, err1 := read(packed, func(r io.Reader) io.Reader { return r })
		two, err2 := read(packed, func(r io.Reader) io.Reader {
			a := readAhead(iotest.HalfReader(r))
			t.Cleanup(func() { a.Close() })
			return a
		})
		if (err1 == nil) != (err2 == nil) || err1 == nil && !bytes.Equal(one, two) {
			t.Fatalf("%d bytes, %v; read ahead %d bytes, %v", len(one), err1, len(two), err2)
		}
		if len(one) > 1<<20+4096 {
			t.Fatalf("%d bytes came out", len(one))
		}
	})
}

func unbase64(f *testing.F, s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

func FuzzGzip(f *testing.F) {
	fuzzDecompress(f, unbase64(f, "H4sIAAAAAAACA8tIzcnJV8hAIgHttTEEEgAAAA=="))
}

func FuzzBzip2(f *testing.F) {
	fuzzDecompress(f, unbase64(f, "QlpoOTFBWSZTWVIckz8AAAQRAEAAAkSgACI/VGQZoKjkXHi7kinChIKQ5Jn4"))
}

func FuzzXz(f *testing.F) {
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		f.Fatal(err)
	}
	io.WriteString(w, "hello hello hello ")
	w.Close()
	fuzzDecompress(f, b.Bytes())
}

func FuzzZstd(f *testing.F) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		f.Fatal(err)
	}
	io.WriteString(w, "hello hello hello ")
	w.Close()
	fuzzDecompress(f, b.Bytes())
}

// FuzzManifest: a manifest that is accepted says what it is asked to say.
func FuzzManifest(f *testing.F) {
	m := &manifest{boot: "b-1", archive: "ab", root: "d e/f", entries: []entry{{name: "a", kind: 'd'}, {name: "a/b \"", kind: 'l', target: "x y"},
		{name: "c", kind: 'x', sum: "00", size: 3}}}
	m.digest = treeDigest(m.entries)
	var b bytes.Buffer
	m.write(&b)
	f.Add(b.Bytes())
	f.Add([]byte(manifestHeader + " x y 0 1 \".\"\n0.0 d \"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readManifest(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := m.write(&out); err != nil {
			t.Fatal(err)
		}
		if again, err := readManifest(&out); err != nil || again.digest != m.digest {
			t.Fatalf("accepted manifest does not survive: %v", err)
		}
	})
}
