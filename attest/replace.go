package attest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// replaceDir fills a new directory and puts it in place of dir. On any error
// dir is as it was.
func replaceDir(dir string, fill func(tmp string) error) (err error) {
	dir = filepath.Clean(dir)
	old, err := ours(dir)
	if err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := fill(tmp); err != nil {
		return err
	}
	if old {
		if err := exchange(tmp, dir); err != nil {
			return err
		}
	} else if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return atomicfile.SyncDir(parent)
}

// ours says whether dir is there and was written by Write. An empty directory
// counts as absent; anything else is an error.
func ours(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case len(entries) == 0:
		return false, nil
	}
	for _, want := range []string{"oci/oci-layout", "evidence/manifest.json"} {
		if fi, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(want))); err != nil || !fi.Mode().IsRegular() {
			return false, fmt.Errorf("%s is not empty and not an output of an earlier run (no %s): choose another directory or remove it", dir, want)
		}
	}
	return true, nil
}

// exchangeByName swaps two directories in three renames, for systems that have
// no other way. After a crash between them the old one is at a+".old".
func exchangeByName(a, b string) error {
	if err := os.Rename(b, a+".old"); err != nil {
		return err
	}
	if err := os.Rename(a, b); err != nil {
		return errors.Join(err, os.Rename(a+".old", b))
	}
	return os.Rename(a+".old", a)
}
