package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/internal/filelock"
)

// Removed is what a collection removed.
type Removed struct {
	Entries  int
	Contents int
	Bytes    int64 // of regular files
}

// GC removes every entry of the store in dir whose key is not among roots,
// and every content that no entry leads to. It waits until no process has
// the store open, and keeps others out meanwhile. An interrupted collection
// leaves a whole store.
func GC(ctx context.Context, dir string, roots []string) (Removed, error) {
	r, err := gc(ctx, dir, roots)
	if err != nil {
		return r, fmt.Errorf("collect store %s: %w", dir, err)
	}
	return r, nil
}

func gc(ctx context.Context, dir string, roots []string) (r Removed, err error) {
	keep := map[string]bool{}
	for _, k := range roots {
		if _, err := hexKey(k); err != nil {
			return r, err // a misspelt root must not cost its entry
		}
		keep[k] = true
	}
	s := &Store{dir: dir}
	if _, err := os.Stat(s.path("locks")); err != nil {
		return r, err
	}
	unlock, err := filelock.Lock(ctx, s.path("locks", "use"), false)
	if err != nil {
		return r, err
	}
	defer unlock()
	if err := s.claimTemp(ctx); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	live := map[string]bool{}
	keys, err := s.Keys()
	if err != nil {
		return r, err
	}
	for _, k := range keys {
		h, err := hexKey(k)
		if err != nil {
			return r, err
		}
		name := s.path("entries", h+".json")
		if keep[k] {
			e, err := readEntry(name, k)
			if err == nil {
				live[e.Content] = true
				continue
			}
			var damage *damageError
			if !errors.As(err, &damage) {
				return r, err
			}
		}
		if err := os.Remove(name); err != nil {
			return r, err
		}
		r.Entries++
	}
	if err := atomicfile.SyncDir(s.path("entries")); err != nil {
		return r, err
	}
	contents, err := os.ReadDir(s.path("contents"))
	if err != nil {
		return r, err
	}
	for _, de := range contents {
		if live[de.Name()] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return r, err
		}
		name := s.path("contents", de.Name())
		n, err := treeSize(name)
		if err != nil {
			return r, err
		}
		if err := s.drop(name); err != nil {
			return r, err
		}
		r.Contents++
		r.Bytes += n
	}
	return r, nil
}

func treeSize(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}
