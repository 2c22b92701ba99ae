package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Bounds of what Unpack writes.
const (
	maxEntries = 1_000_000
	maxBytes   = 16 << 30
)

// ErrUnsafe is in the error of Unpack when an entry is refused for what it
// is: a name that leads out of the root, a device, a whiteout, a hard link,
// or more than the bounds.
var ErrUnsafe = errors.New("unsafe layer")

// Unpack writes the root file system of an image into dir, which must exist
// and should be empty. Ownership is not applied. Special files, hard links
// and whiteouts, which images of this project never hold, are refused. After
// an error dir holds a part of the files.
func Unpack(img v1.Image, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	u := unpacker{root: root, entries: maxEntries, bytes: maxBytes}
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			return fmt.Errorf("unpack layer %d: %w", i, err)
		}
		err = u.layer(r)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("unpack layer %d: %w", i, err)
		}
	}
	return nil
}

type unpacker struct {
	root           *os.Root
	entries, bytes int64 // left
}

func (u *unpacker) layer(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // let the layer verify itself to the end
			return err
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	u.entries--
	u.bytes -= h.Size
	switch {
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("%w: the name is not relative and clean", ErrUnsafe)
	case strings.HasPrefix(path.Base(name), ".wh."):
		return fmt.Errorf("%w: whiteout", ErrUnsafe)
	case u.entries < 0 || u.bytes < 0 || h.Size < 0:
		return fmt.Errorf("%w: more than %d entries or %d bytes", ErrUnsafe, maxEntries, int64(maxBytes))
	}
	perm := fs.FileMode(h.Mode & 0o777)
	switch h.Typeflag {
	case tar.TypeDir:
		return u.mkdir(name, perm)
	case tar.TypeSymlink:
		return u.root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		return u.file(name, perm, r)
	}
	return fmt.Errorf("%w: entry of type %q", ErrUnsafe, h.Typeflag)
}

// mkdir makes a directory, or accepts one that an earlier layer made.
func (u *unpacker) mkdir(name string, perm fs.FileMode) error {
	err := u.root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		if info, serr := u.root.Lstat(name); serr != nil || !info.IsDir() {
			return err
		}
	} else if err != nil {
		return err
	}
	return u.root.Chmod(name, perm)
}

func (u *unpacker) file(name string, perm fs.FileMode, r io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(perm)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
