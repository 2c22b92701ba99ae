//go:build unix

package packed

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// view is the bytes of a file, read as they are touched, until done is called.
func view(f *os.File, size int64) (b []byte, done func() error, err error) {
	if size == 0 {
		return nil, func() error { return nil }, nil
	}
	if int64(int(size)) != size {
		return nil, nil, fmt.Errorf("%d bytes do not fit in the address space", size)
	}
	b, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map: %w", err)
	}
	return b, func() error { return unix.Munmap(b) }, nil
}
