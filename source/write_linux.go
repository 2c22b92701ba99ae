package source

import (
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// handle is a directory's descriptor. Four system calls make a small file:
// relative to it, under a name of one element, which must not exist and is not
// followed.
type handle struct{ f *os.File }

func newHandle(d *os.Root) (handle, error) {
	f, err := d.Open(".")
	return handle{f}, err
}

func (h handle) close() error { return h.f.Close() }

func (h handle) small(_ *os.Root, base string, mode os.FileMode, chmod bool, mtime time.Time, body []byte) error {
	dir := int(h.f.Fd())
	fail := func(op string, err error) error { return &fs.PathError{Op: op, Path: base, Err: err} }
	fd, err := again(func() (int, error) {
		return unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(mode.Perm()))
	})
	if err != nil {
		return fail("openat", err)
	}
	for len(body) > 0 {
		n, err := again(func() (int, error) { return unix.Write(fd, body) })
		if err != nil {
			unix.Close(fd)
			return fail("write", err)
		}
		body = body[n:]
	}
	if chmod {
		if err := unix.Fchmod(fd, uint32(mode.Perm())); err != nil {
			unix.Close(fd)
			return fail("fchmod", err)
		}
	}
	if err := unix.Close(fd); err != nil {
		return fail("close", err)
	}
	t, err := unix.TimeToTimespec(mtime)
	if err != nil {
		return fail("utimensat", err)
	}
	if err := unix.UtimesNanoAt(dir, base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail("utimensat", err)
	}
	return nil
}

// again repeats a call that a signal interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// seal sets the time of a directory below, if it is dated, and makes it
// read-only, if it is closed. All that is above it must be directories that
// nobody else can replace.
func (h handle) seal(_ *os.Root, name string, mtime time.Time, dated, closed bool) error {
	dir := int(h.f.Fd())
	fail := func(op string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }
	if dated {
		t, err := unix.TimeToTimespec(mtime)
		if err == nil {
			err = unix.UtimesNanoAt(dir, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil {
			return fail("utimensat", err)
		}
	}
	if closed {
		if err := unix.Fchmodat(dir, name, 0o555, 0); err != nil {
			return fail("fchmodat", err)
		}
	}
	return nil
}
