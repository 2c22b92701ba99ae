package local

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// elfFile is what the collector needs to know about an ELF file.
type elfFile struct {
	linked  bool   // an executable or a shared object
	buildID string // raw bytes of the GNU build-id note
}

// readELF is nil for files that are not ELF. A damaged ELF file is an error.
func readELF(r io.ReaderAt) (*elfFile, error) {
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil, nil
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	e := &elfFile{linked: f.Type == elf.ET_EXEC || f.Type == elf.ET_DYN}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > 1<<20 {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			return nil, err
		}
		if id := gnuBuildID(b, f.ByteOrder, p.Align); id != "" {
			e.buildID = id
		}
	}
	return e, nil
}

// gnuBuildID finds the descriptor of NT_GNU_BUILD_ID in the notes of one
// segment.
func gnuBuildID(b []byte, order binary.ByteOrder, align uint64) string {
	const header, ntBuildID = 12, 3
	pad := 4
	if align == 8 {
		pad = 8
	}
	up := func(n uint32) int { return (int(n) + pad - 1) &^ (pad - 1) }
	for len(b) >= header {
		nameSize, descSize, kind := order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:])
		if nameSize > 1<<16 || descSize > 1<<16 {
			return ""
		}
		nameEnd := up(header + nameSize)
		descEnd := nameEnd + int(descSize)
		if descEnd > len(b) {
			return ""
		}
		if kind == ntBuildID && string(b[header:header+nameSize]) == "GNU\x00" {
			return string(b[nameEnd:descEnd])
		}
		next := (descEnd + pad - 1) &^ (pad - 1)
		if next > len(b) {
			return ""
		}
		b = b[next:]
	}
	return ""
}

func lutimes(p string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: p, Err: err}
	}
	return nil
}

// move renames a directory, or copies it where the target is on another file
// system, with modes and times.
func move(from, to string) error {
	err := os.Rename(from, to)
	if err == nil || !errors.Is(err, unix.EXDEV) {
		return err
	}
	var dirs []string
	err = filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		q := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			dirs = append(dirs, rel)
			return os.MkdirAll(q, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, q); err != nil {
				return err
			}
			return lutimes(q, info.ModTime())
		}
		if err := copyFile(p, q, info.Mode().Perm()); err != nil {
			return err
		}
		return os.Chtimes(q, info.ModTime(), info.ModTime())
	})
	if err != nil {
		return fmt.Errorf("copy to %s: %w", to, err)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		info, err := os.Stat(filepath.Join(from, dirs[i]))
		if err != nil {
			return err
		}
		if err := os.Chtimes(filepath.Join(to, dirs[i]), info.ModTime(), info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a regular file.
func copyFile(from, to string, perm fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeNew(to, in, perm)
}

// writeNew makes a file that did not exist, with exactly these permissions
// whatever the caller's umask.
func writeNew(to string, r io.Reader, perm fs.FileMode) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, r); err == nil {
		err = f.Chmod(perm)
	}
	return errors.Join(err, f.Close())
}

// copySource copies a verified tree, which is read-only, to where a build may
// change it. Times are kept: equal ones would make some builds regenerate
// files.
func copySource(from, to string) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer root.Close()
	type stamp struct {
		name string
		time time.Time
	}
	var dirs []stamp
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		q := filepath.Join(to, name)
		switch info.Mode().Type() {
		case fs.ModeDir:
			dirs = append(dirs, stamp{q, info.ModTime()})
			return os.MkdirAll(q, 0o755)
		case fs.ModeSymlink:
			target, err := root.Readlink(name)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, q); err != nil {
				return err
			}
			return lutimes(q, info.ModTime())
		case 0:
		default:
			return fmt.Errorf("%s is neither a file nor a symbolic link (%s)", name, info.Mode().Type())
		}
		perm := fs.FileMode(0o644)
		if info.Mode()&0o111 != 0 {
			perm = 0o755
		}
		in, err := root.Open(name)
		if err != nil {
			return err
		}
		err = writeNew(q, in, perm)
		in.Close()
		if err != nil {
			return err
		}
		return os.Chtimes(q, info.ModTime(), info.ModTime())
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		if err = os.Chmod(dirs[i].name, 0o755); err == nil {
			err = os.Chtimes(dirs[i].name, dirs[i].time, dirs[i].time)
		}
	}
	return err
}
