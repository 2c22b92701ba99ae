package feed

import (
	"archive/zip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mirror is what mirrors of ecosystems hold, as one directory with one for each
// of them: records that were fetched alone stand before those of the zip, and
// of each only what the index names.
type mirror map[string]*mirrored

type mirrored struct {
	zip   *zip.ReadCloser // nil where there is none yet
	over  fs.FS
	alone map[string]bool
	ids   []string // sorted
}

func (v mirror) add(m ecoMirror) error {
	r := &mirrored{over: os.DirFS(filepath.Join(m.dir, overName)), alone: map[string]bool{}}
	z, err := zip.OpenReader(filepath.Join(m.dir, zipName))
	switch {
	case err == nil:
		r.zip = z
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	v[m.eco] = r
	entries, err := fs.ReadDir(r.over, ".")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			r.alone[id] = true
		}
	}
	for id := range m.held.Index {
		r.ids = append(r.ids, id)
	}
	slices.Sort(r.ids)
	return nil
}

func (v mirror) close() {
	for _, r := range v {
		if r.zip != nil {
			r.zip.Close()
		}
	}
}

// Open implements [fs.FS].
func (v mirror) Open(name string) (fs.File, error) {
	missing := &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	if name == "." {
		var entries []fs.DirEntry
		for eco := range v {
			entries = append(entries, mirrorEntry{eco, true})
		}
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		return &mirrorDir{mirrorEntry{".", true}, entries}, nil
	}
	eco, file, deep := strings.Cut(name, "/")
	r := v[eco]
	if r == nil {
		return nil, missing
	}
	if !deep {
		entries := make([]fs.DirEntry, len(r.ids))
		for i, id := range r.ids {
			entries[i] = mirrorEntry{id + ".json", false}
		}
		return &mirrorDir{mirrorEntry{path.Base(name), true}, entries}, nil
	}
	id, ok := strings.CutSuffix(file, ".json")
	if _, listed := slices.BinarySearch(r.ids, id); !ok || !listed {
		return nil, missing
	}
	if r.alone[id] {
		return r.over.Open(file)
	}
	if r.zip == nil {
		return nil, missing
	}
	return r.zip.Open(file)
}

// mirrorEntry is a name of a mirror.
type mirrorEntry struct {
	name string
	dir  bool
}

func (e mirrorEntry) Name() string               { return e.name }
func (e mirrorEntry) IsDir() bool                { return e.dir }
func (e mirrorEntry) Type() fs.FileMode          { return e.Mode().Type() }
func (e mirrorEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e mirrorEntry) Size() int64                { return 0 }
func (e mirrorEntry) ModTime() time.Time         { return time.Time{} }
func (e mirrorEntry) Sys() any                   { return nil }

func (e mirrorEntry) Mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

type mirrorDir struct {
	mirrorEntry
	entries []fs.DirEntry
}

func (d *mirrorDir) Stat() (fs.FileInfo, error) { return d.mirrorEntry, nil }
func (d *mirrorDir) Close() error               { return nil }

func (d *mirrorDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

// ReadDir implements [fs.ReadDirFile].
func (d *mirrorDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.entries) {
		n = len(d.entries)
	}
	out := d.entries[:n]
	d.entries = d.entries[n:]
	return out, nil
}
