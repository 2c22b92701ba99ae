package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// RemoveTree removes dir and everything below it, also directories without
// write permission. A missing dir is no error.
func RemoveTree(dir string) error {
	if err := makeWritable(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// makeWritable gives every directory of a tree write permission. It follows
// no link.
func makeWritable(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var open func(name string) error
	open = func(name string) error {
		if err := root.Chmod(name, 0o700); err != nil {
			return err
		}
		d, err := root.Open(name)
		if err != nil {
			return err
		}
		list, err := d.ReadDir(-1)
		d.Close()
		if err != nil {
			return err
		}
		for _, de := range list {
			if de.IsDir() {
				if err := open(path.Join(name, de.Name())); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return open(".")
}
