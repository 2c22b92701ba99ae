package source

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
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

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
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
	limits := Limits{Tree: 1 << 20, Files: 100, Depth: 8, Ratio: 100}.orDefault()
	f.Fuzz(func(t *testing.T, archive []byte) {
		base := t.TempDir()
		dir := filepath.Join(base, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		defer removeAll(base)
		m, tree, err := extract(t.Context(), section(archive), dir, limits, "")
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
			return
		}
		if err := m.check(tree, nil); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := m.write(&b); err != nil {
			t.Fatal(err)
		}
		back, err := readManifest(&b)
		if err != nil || back.digest != m.digest || len(back.entries) != len(m.entries) {
			t.Fatalf("manifest does not survive: %v", err)
		}
	})
}

// FuzzManifest: a manifest that is accepted says what it is asked to say.
func FuzzManifest(f *testing.F) {
	m := &manifest{entries: []entry{{name: "a", kind: 'd'}, {name: "a/b \"", kind: 'l', target: "x y"},
		{name: "c", kind: 'x', sum: "00", size: 3}}}
	m.digest = treeDigest(m.entries)
	var b bytes.Buffer
	m.write(&b)
	f.Add(b.Bytes())
	f.Add([]byte(manifestHeader + " x 0 1\n0.0 d \"\n"))
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
