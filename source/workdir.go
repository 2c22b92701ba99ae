package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// workdir is a private directory below the cache's tmp. A process holds a
// lock on the file beside it for as long as it lives, so that whoever comes
// next can tell work in progress from the leavings of a crash.
type workdir struct {
	dir  string
	lock *os.File
}

// newWorkdir sweeps what dead processes left, then makes a directory.
func (c cache) newWorkdir() (*workdir, error) {
	tmp := filepath.Join(c.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return nil, err
	}
	gate, err := os.OpenFile(filepath.Join(tmp, "gate"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	defer gate.Close() // releases the lock
	if err := syscall.Flock(int(gate.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", gate.Name(), err)
	}
	if err := sweep(tmp); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(tmp, "work-*")
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o666)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &workdir{dir, lock}, nil
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
		lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			continue // another user's
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			removeAll(dir)
			os.Remove(dir + ".lock")
		}
		lock.Close()
	}
	return nil
}

func (w *workdir) Close() error {
	err := removeAll(w.dir)
	if rerr := os.Remove(w.lock.Name()); err == nil {
		err = rerr
	}
	if cerr := w.lock.Close(); err == nil {
		err = cerr
	}
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
