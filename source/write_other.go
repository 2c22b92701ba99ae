//go:build !linux

package source

import (
	"errors"
	"os"
	"time"
)

type handle struct{}

func newHandle(*os.Root) (handle, error) { return handle{}, nil }

func (handle) close() error { return nil }

func (handle) small(d *os.Root, base string, mode os.FileMode, chmod bool, mtime time.Time, body []byte) error {
	f, err := d.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err = f.Write(body); err == nil && chmod {
		err = f.Chmod(mode)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return d.Chtimes(base, mtime, mtime)
}

func (handle) seal(d *os.Root, name string, mtime time.Time, dated, closed bool) error {
	if dated {
		if err := d.Chtimes(name, mtime, mtime); err != nil {
			return err
		}
	}
	if closed {
		return d.Chmod(name, 0o555)
	}
	return nil
}
