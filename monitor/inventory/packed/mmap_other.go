//go:build !unix

package packed

import (
	"io"
	"os"
)

// view is the bytes of a file.
func view(f *os.File, size int64) (b []byte, done func() error, err error) {
	b = make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, size), b)
	return b, func() error { return nil }, err
}
