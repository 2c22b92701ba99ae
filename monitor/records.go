package monitor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/feed"
)

// database is the live records of a batch as package advisory reads them; nil
// where there is none.
func database(changes []feed.Change) (*advisory.DB, error) {
	files := memory{}
	for i, c := range changes {
		if c.Kind == feed.New || c.Kind == feed.Changed {
			files[fmt.Sprintf("%09d.json", i)] = c.Record
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	return advisory.Load(files)
}

// purls are the package URLs that a record names.
func purls(record []byte) ([]string, error) {
	var r struct {
		Affected []struct {
			Package struct {
				PURL string `json:"purl"`
			} `json:"package"`
		} `json:"affected"`
	}
	if err := json.Unmarshal(record, &r); err != nil {
		return nil, err
	}
	var out []string
	for _, a := range r.Affected {
		if a.Package.PURL != "" {
			out = append(out, a.Package.PURL)
		}
	}
	return out, nil
}

// memory is a directory of files by name.
type memory map[string][]byte

func (m memory) Open(name string) (fs.File, error) {
	if name == "." {
		entries, _ := m.ReadDir(name)
		return &memoryDir{entries: entries}, nil
	}
	b, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memoryFile{Reader: bytes.NewReader(b), info: memoryInfo{name, int64(len(b))}}, nil
}

func (m memory) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	entries := make([]fs.DirEntry, 0, len(m))
	for _, n := range slices.Sorted(maps.Keys(m)) {
		entries = append(entries, fs.FileInfoToDirEntry(memoryInfo{n, int64(len(m[n]))}))
	}
	return entries, nil
}

type memoryFile struct {
	*bytes.Reader
	info memoryInfo
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *memoryFile) Close() error               { return nil }

type memoryDir struct{ entries []fs.DirEntry }

func (d *memoryDir) Stat() (fs.FileInfo, error) { return memoryInfo{name: "."}, nil }
func (d *memoryDir) Close() error               { return nil }
func (d *memoryDir) Read([]byte) (int, error)   { return 0, io.EOF }
func (d *memoryDir) ReadDir(n int) ([]fs.DirEntry, error) {
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

type memoryInfo struct {
	name string
	size int64
}

func (i memoryInfo) Name() string       { return i.name }
func (i memoryInfo) Size() int64        { return i.size }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) IsDir() bool        { return i.name == "." }
func (i memoryInfo) Sys() any           { return nil }
func (i memoryInfo) Mode() fs.FileMode {
	if i.IsDir() {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
