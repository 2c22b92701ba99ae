package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sort"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/compile"
)

const stampsName = "stamps.json"

// stamps holds the modification times of a content's files, in nanoseconds.
// A changed time alone is no damage (a copied store has new ones): it only
// makes that file be read again.
type stamps map[string]int64

func scanStamps(dir string) (stamps, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	out := stamps{}
	for _, part := range parts {
		err := fs.WalkDir(root.FS(), part, func(name string, d fs.DirEntry, err error) error {
			if name == part && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				out[name] = info.ModTime().UnixNano()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func readStamps(dir string) (stamps, error) {
	b, err := os.ReadFile(filepath.Join(dir, stampsName))
	if err != nil {
		return nil, err
	}
	var s stamps
	if json.Unmarshal(b, &s) != nil {
		s = nil // every file is read
	}
	return s, nil
}

// checkContent compares a content with its entry. With hash it reads every
// file that others build against or ship; the debug part, which only analysis
// reads and which is most of the bytes, is read where a time has changed. A
// difference is a [damageError].
func checkContent(ctx context.Context, dir string, e *storedEntry, hash bool) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &damageError{"content is missing"}
	}
	if err != nil {
		return err
	}
	defer root.Close()
	times, err := readStamps(dir)
	if errors.Is(err, fs.ErrNotExist) {
		times, err = nil, nil
	}
	if err != nil {
		return err
	}
	c := checker{root: root, times: times}
	for _, part := range parts {
		if err := c.part(part, e.Result.Output.Parts[part], hash && part != compile.PartDebug); err != nil {
			return err
		}
	}
	info, err := root.Lstat(compile.LogName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() != e.LogSize) {
		return &damageError{"the build log is missing or was changed"}
	}
	if err != nil {
		return err
	}
	if hash {
		c.reads = append(c.reads, wanted{compile.LogName, e.Log, e.LogSize})
	}
	return c.hash(ctx)
}

type checker struct {
	root  *os.Root
	times stamps
	reads []wanted
}

// wanted is a file to read and what it must hold.
type wanted struct {
	name   string
	digest string
	size   int64
}

// part compares names, kinds, modes, sizes and links, and notes what is to
// be read.
func (c *checker) part(part string, want compile.Part, hash bool) error {
	seen := 0
	err := fs.WalkDir(c.root.FS(), part, func(name string, d fs.DirEntry, err error) error {
		if name == part && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		rel := name[len(part)+1:]
		i := sort.Search(len(want.Files), func(i int) bool { return want.Files[i].Path >= rel })
		if i == len(want.Files) || want.Files[i].Path != rel {
			return &damageError{name + " is not in the record"}
		}
		seen++
		f := &want.Files[i]
		info, err := d.Info()
		if err != nil {
			return err
		}
		if f.Digest == "" {
			if target, err := c.root.Readlink(name); err != nil || target != f.Link {
				return &damageError{name + " was changed"}
			}
			return nil
		}
		if !info.Mode().IsRegular() || uint32(info.Mode().Perm()) != f.Mode || info.Size() != f.Size {
			return &damageError{name + " was changed"}
		}
		if t, ok := c.times[name]; hash || !ok || t != info.ModTime().UnixNano() {
			c.reads = append(c.reads, wanted{name, f.Digest, f.Size})
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return &damageError{part + ": a file vanished"}
	}
	if err != nil {
		return err
	}
	if seen != len(want.Files) {
		return &damageError{fmt.Sprintf("%d files of part %s are missing", len(want.Files)-seen, part)}
	}
	return nil
}

// hash reads the noted files, several at a time, the large ones first.
func (c *checker) hash(ctx context.Context) error {
	sort.SliceStable(c.reads, func(i, j int) bool { return c.reads[i].size > c.reads[j].size })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, w := range c.reads {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			got, _, err := hashFile(c.root, w.name)
			if errors.Is(err, fs.ErrNotExist) || err == nil && got != w.digest {
				return &damageError{path.Clean(w.name) + " was changed"}
			}
			return err
		})
	}
	return g.Wait()
}

func hashFile(root *os.Root, name string) (digest string, size int64, err error) {
	f, err := root.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), size, err
}
