package first

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// devices are bound from the host: a device node cannot be made without
// privilege.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// opened is a mount whose host paths are open: what happens later to the
// paths themselves, such as another mount over them, no longer matters.
type opened struct {
	Mount
	source, upper, work int
	lower               []int
}

// mountAll makes the mount table in this process's own mount namespace and
// moves into it; the host's tree is gone afterwards.
func mountAll(mounts []Mount) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return &SetupError{Stage: "private", Path: "/", Err: err}
	}
	table := make([]opened, len(mounts))
	for i, m := range mounts {
		var err error
		if table[i], err = open(m); err != nil {
			return err
		}
	}
	nodes := make(map[string]int)
	for _, d := range devices {
		fd, err := openPath("/dev/" + d)
		if err != nil {
			return &SetupError{Stage: "open", Path: "/dev/" + d, Err: err}
		}
		nodes[d] = fd
	}
	stage, err := staging()
	if err != nil {
		return err
	}
	root := stage + "/root"
	if err := skeleton(stage, table); err != nil {
		return err
	}
	for i := range table {
		if err := table[i].attach(root, stage+"/skeleton", nodes); err != nil {
			return err
		}
	}
	if mounts[0].ReadOnly {
		if err := setAttr(root, unix.MOUNT_ATTR_RDONLY, 0); err != nil {
			return &SetupError{Stage: "read-only", Path: "/", Err: err}
		}
	}
	if err := unix.Chdir(root); err != nil {
		return &SetupError{Stage: "pivot", Path: "/", Err: err}
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return &SetupError{Stage: "pivot", Path: "/", Err: err}
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return &SetupError{Stage: "pivot", Path: "/", Err: err}
	}
	if err := unix.Chdir("/"); err != nil {
		return &SetupError{Stage: "pivot", Path: "/", Err: err}
	}
	return nil
}

func openPath(p string) (int, error) {
	return unix.Open(p, unix.O_PATH|unix.O_CLOEXEC, 0)
}

func open(m Mount) (opened, error) {
	o := opened{Mount: m, source: -1, upper: -1, work: -1}
	get := func(p string, fd *int) error {
		if p == "" {
			return nil
		}
		var err error
		if *fd, err = openPath(p); err != nil {
			return &SetupError{Stage: "open the source of mount", Path: m.Target, Err: fmt.Errorf("%s: %w", p, err)}
		}
		return nil
	}
	for _, e := range []error{get(m.Source, &o.source), get(m.Upper, &o.upper), get(m.Work, &o.work)} {
		if e != nil {
			return o, e
		}
	}
	for _, l := range m.Lower {
		fd := -1
		if err := get(l, &fd); err != nil {
			return o, err
		}
		o.lower = append(o.lower, fd)
	}
	return o, nil
}

// staging mounts a small tmpfs over a directory that every host has. Only
// this namespace sees it, and it goes with the host's tree.
func staging() (string, error) {
	var err error
	for _, dir := range []string{"/tmp", "/var", "/usr", "/home"} {
		if err = unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err == nil {
			return dir, nil
		}
	}
	return "", &SetupError{Stage: "staging", Err: err}
}

// skeleton makes the directory where the root goes, and a lowest layer for an
// overlay root that holds the mount points which its layers may lack.
func skeleton(stage string, mounts []opened) error {
	if err := os.Mkdir(stage+"/root", 0o755); err != nil {
		return &SetupError{Stage: "staging", Err: err}
	}
	for i := range mounts {
		m := &mounts[i]
		p := path.Join(stage, "skeleton", m.Target)
		if err := os.MkdirAll(path.Dir(p), 0o755); err != nil {
			return &SetupError{Stage: "staging", Path: m.Target, Err: err}
		}
		if err := point(p, m.file()); err != nil {
			return &SetupError{Stage: "staging", Path: m.Target, Err: err}
		}
	}
	return nil
}

// file reports whether the mount covers a file, not a directory.
func (o *opened) file() bool {
	var st unix.Stat_t
	return o.Kind == Bind && unix.Fstat(o.source, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR
}

// point makes a mount point, unless there is one.
func point(p string, file bool) error {
	if _, err := os.Lstat(p); err == nil {
		return nil
	}
	if !file {
		return os.Mkdir(p, 0o755)
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// attach mounts one entry below root. The target is resolved inside root, so
// that a link of the root's own cannot lead a mount elsewhere.
func (o *opened) attach(root, skeleton string, nodes map[string]int) error {
	fail := func(stage string, err error) error { return &SetupError{Stage: stage, Path: o.Target, Err: err} }
	at := root
	if o.Target != "/" {
		fd, err := inside(root, o.Target, o.file())
		if err != nil {
			return fail("mount point", err)
		}
		defer unix.Close(fd)
		at = fdPath(fd)
	}
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	switch o.Kind {
	case Bind:
		if err := unix.Mount(fdPath(o.source), at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fail("bind", err)
		}
		attrs := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
		if o.ReadOnly {
			attrs |= unix.MOUNT_ATTR_RDONLY
		}
		if err := o.reopenAttr(root, attrs, unix.AT_RECURSIVE); err != nil {
			return fail("bind options", err)
		}
	case Overlay:
		opts := []string{"userxattr"}
		var lower []string
		for _, fd := range o.lower {
			lower = append(lower, fdPath(fd))
		}
		if o.Target == "/" {
			lower = append(lower, skeleton)
		}
		flags := uintptr(safe)
		if o.Upper != "" {
			opts = append(opts, "volatile", "upperdir="+fdPath(o.upper), "workdir="+fdPath(o.work))
		} else {
			flags |= unix.MS_RDONLY
			if len(lower) == 1 {
				lower = append(lower, lower[0]) // a read-only overlay wants two
			}
		}
		opts = append(opts, "lowerdir="+strings.Join(lower, ":"))
		if err := unix.Mount("overlay", at, "overlay", flags, strings.Join(opts, ",")); err != nil {
			return fail("overlay", err)
		}
		if o.ReadOnly && o.Target != "/" {
			if err := o.reopenAttr(root, unix.MOUNT_ATTR_RDONLY, 0); err != nil {
				return fail("overlay options", err)
			}
		}
	case Tmpfs:
		size := o.Size
		if size <= 0 {
			size = 1 << 30
		}
		opts := fmt.Sprintf("mode=1777,size=%d", size)
		if o.Target == "/" {
			opts = fmt.Sprintf("mode=0755,size=%d", size)
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", safe, opts); err != nil {
			return fail("tmpfs", err)
		}
		if o.ReadOnly && o.Target != "/" {
			if err := o.reopenAttr(root, unix.MOUNT_ATTR_RDONLY, 0); err != nil {
				return fail("tmpfs options", err)
			}
		}
	case Proc:
		// Only the processes: the rest of /proc tells of the host, and parts of
		// it can be written by a caller who is root outside.
		if err := unix.Mount("proc", at, "proc", safe|unix.MS_NOEXEC, "subset=pid"); err != nil {
			return fail("proc", err)
		}
	case Dev:
		return o.dev(root, at, nodes)
	}
	return nil
}

// reopenAttr sets attributes of the mount that now covers the target.
func (o *opened) reopenAttr(root string, attrs uint64, flags uint) error {
	at := root
	if o.Target != "/" {
		fd, err := inside(root, o.Target, false)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|flags, &unix.MountAttr{Attr_set: attrs})
	}
	return setAttr(at, attrs&^unix.MOUNT_ATTR_RDONLY, flags) // the root turns read-only last
}

func setAttr(p string, attrs uint64, flags uint) error {
	return unix.MountSetattr(unix.AT_FDCWD, p, flags, &unix.MountAttr{Attr_set: attrs})
}

// inside opens target as seen from root, and makes what is missing of it.
func inside(root, target string, file bool) (int, error) {
	dir, err := openPath(root)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, target, how)
	if err != unix.ENOENT {
		return fd, err
	}
	parent, err := inside(root, path.Dir(target), false)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := point(fdPath(parent)+"/"+path.Base(target), file); err != nil {
		return -1, err
	}
	return unix.Openat2(dir, target, how)
}

// dev makes the smallest /dev that programs expect.
func (o *opened) dev(root, at string, nodes map[string]int) error {
	fail := func(what string, err error) error {
		return &SetupError{Stage: "dev", Path: path.Join(o.Target, what), Err: err}
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fail("", err)
	}
	for _, d := range devices {
		fd, err := inside(root, path.Join(o.Target, d), true)
		if err != nil {
			return fail(d, err)
		}
		err = unix.Mount(fdPath(nodes[d]), fdPath(fd), "", unix.MS_BIND, "")
		unix.Close(fd)
		if err != nil {
			return fail(d, err)
		}
	}
	dir, err := inside(root, o.Target, false)
	if err != nil {
		return fail("", err)
	}
	defer unix.Close(dir)
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}} {
		if err := unix.Symlinkat(l[1], dir, l[0]); err != nil {
			return fail(l[0], err)
		}
	}
	shm, err := inside(root, path.Join(o.Target, "shm"), false)
	if err != nil {
		return fail("shm", err)
	}
	defer unix.Close(shm)
	if err := unix.Mount("tmpfs", fdPath(shm), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=64m"); err != nil {
		return fail("shm", err)
	}
	if err := unix.MountSetattr(dir, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fail("", err)
	}
	return nil
}
