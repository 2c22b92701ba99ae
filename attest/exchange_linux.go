package attest

import (
	"errors"

	"golang.org/x/sys/unix"
)

// exchange swaps two directories in one step, so that there is no moment
// without one.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return exchangeByName(a, b) // a file system without it
	}
	return err
}
