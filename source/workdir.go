package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleanstart/cleanstart/internal/filelock"
)

// workdir is a private directory below the cache's tmp. A process holds a
// lock on the file beside it for as long as it lives, so that whoever comes
// next can tell work in progress from the leavings of a crash.
type workdir struct {
	dir    string
	unlock func()
}

// newWorkdir sweeps what dead processes left, then makes a directory.
func (c cache) newWorkdir(ctx context.Context) (*workdir, error) {
	tmp := filepath.Join(c.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return nil, err
	}
	open, err := filelock.Lock(ctx, filepath.Join(tmp, "gate"), false)
	if err != nil {
		return nil, err
	}
	defer open()
	if err := sweep(tmp); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(tmp, "work-*")
	if err != nil {
		return nil, err
	}
	unlock, ok, err := filelock.Try(dir+".lock", false)
	if err == nil && !ok {
		err = fmt.Errorf("lock %s.lock: another holds it", dir)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &workdir{dir, unlock}, nil
}

func sweep(tmp string) error {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(tmp, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "work-") {
			continue
		}
		unlock, ok, err := filelock.Try(dir+".lock", false)
		if err != nil || !ok {
			continue // another user's, or at work
		}
		removeAll(dir)
		os.Remove(dir + ".lock")
		unlock()
	}
	return nil
}

func (w *workdir) Close() error {
	err := removeAll(w.dir)
	if rerr := os.Remove(w.dir + ".lock"); err == nil {
		err = rerr
	}
	w.unlock()
	return err
}

// RemoveCache removes a cache directory with the read-only trees in it, which
// os.RemoveAll and rm leave behind for any user but root.
func RemoveCache(dir string) error { return removeAll(dir) }

// removeAll is os.RemoveAll that enters read-only directories.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	werr := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && err == nil {
			return os.Chmod(name, 0o700)
		}
		return err
	})
	if werr != nil && !errors.Is(werr, fs.ErrNotExist) {
		return errors.Join(err, werr)
	}
	return os.RemoveAll(dir)
}
