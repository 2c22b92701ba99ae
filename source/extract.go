package source

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrUnsafe says that an archive holds an entry that no source release needs
// and that would not be safe to create.
var ErrUnsafe = errors.New("unsafe archive entry")

// extraction unpacks one archive into a directory that only it writes to.
type extraction struct {
	ctx     context.Context
	root    *os.Root
	limits  Limits
	entries map[string]*entry
	dirs    map[string]time.Time // of directories that the archive lists
	size    int64
	newest  time.Time
	buf     []byte
}

// extract unpacks archive into dir, which must be empty, and gives the
// manifest and the directory of the tree itself: dir, or the single top-level
// directory in it. Modes are final but for that of the tree's directory.
func extract(ctx context.Context, archive io.Reader, dir string, limits Limits) (*manifest, string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	x := &extraction{ctx: ctx, root: root, limits: limits, entries: map[string]*entry{}, dirs: map[string]time.Time{}, buf: make([]byte, step)}
	if err := x.unpack(archive); err != nil {
		return nil, "", err
	}
	top := x.top()
	m, err := x.manifest(top)
	if err != nil {
		return nil, "", err
	}
	if err := x.seal(top); err != nil {
		return nil, "", err
	}
	return m, filepath.Join(dir, filepath.FromSlash(top)), nil
}

func (x *extraction) unpack(archive io.Reader) error {
	in := &countReader{r: archive}
	z, err := decompress(in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	defer z.Close()
	out := &meter{r: z, in: in, limits: x.limits}
	tr := tar.NewReader(out)
	for n := 0; ; n++ {
		if err := context.Cause(x.ctx); err != nil {
			return err
		}
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return formatError(err)
		}
		if n >= x.limits.Files {
			return fmt.Errorf("%w of %d entries", ErrTooLarge, x.limits.Files)
		}
		if err := x.add(h, tr); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
	if len(x.entries) == 0 {
		return fmt.Errorf("%w: it holds no entries", ErrFormat)
	}
	// To the end, so that the decompressor checks its own sums.
	if _, err := copyBounded(x.ctx, io.Discard, out, x.limits.Tree, nil); err != nil {
		return formatError(err)
	}
	return nil
}

// formatError says that the archive is to blame, unless a limit, the caller
// or this machine's file system is.
func formatError(err error) error {
	var local *fs.PathError
	if errors.As(err, &local) || errors.Is(err, ErrTooLarge) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

// cleanName gives the entry's name without a leading ./ and a trailing /.
func (x *extraction) cleanName(name string) (string, error) {
	switch {
	case name == "":
		return "", fmt.Errorf("%w: empty name", ErrUnsafe)
	case strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("%w: absolute name", ErrUnsafe)
	case !utf8.ValidString(name):
		return "", fmt.Errorf("%w: name is not UTF-8", ErrUnsafe)
	case strings.ContainsRune(name, 0):
		return "", fmt.Errorf("%w: name holds a NUL", ErrUnsafe)
	}
	parts := strings.Split(name, "/")
	for _, p := range parts {
		if p == ".." {
			return "", fmt.Errorf("%w: name holds a parent step", ErrUnsafe)
		}
		if len(p) > 255 {
			return "", fmt.Errorf("%w: name element longer than 255 bytes", ErrUnsafe)
		}
	}
	if len(parts) > x.limits.Depth {
		return "", fmt.Errorf("%w of %d path elements", ErrTooLarge, x.limits.Depth)
	}
	return path.Clean(name), nil
}

func (x *extraction) add(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := x.cleanName(h.Name)
	if err != nil {
		return err
	}
	mtime := h.ModTime.UTC()
	if mtime.Before(time.Unix(0, 0)) || mtime.Year() > 9999 {
		return fmt.Errorf("%w: modification time %s", ErrUnsafe, mtime)
	}
	if mtime.After(x.newest) {
		x.newest = mtime
	}
	if h.Typeflag == tar.TypeDir {
		if name != "." {
			x.dirs[name] = mtime
		}
		return x.mkdir(name)
	}
	if name == "." {
		return fmt.Errorf("%w: the root is not a directory", ErrUnsafe)
	}
	if x.entries[name] != nil {
		return fmt.Errorf("%w: listed twice", ErrUnsafe)
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		if h.Mode&0o6000 != 0 {
			return fmt.Errorf("%w: set-user-ID or set-group-ID file", ErrUnsafe)
		}
		return x.file(name, h.Mode&0o100 != 0, mtime, r)
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > 4095 || !utf8.ValidString(h.Linkname) {
			return fmt.Errorf("%w: link target %q", ErrUnsafe, h.Linkname)
		}
		if path.IsAbs(h.Linkname) {
			return fmt.Errorf("%w: link to the absolute path %q", ErrUnsafe, h.Linkname)
		}
		if err := x.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		x.entries[name] = &entry{name: name, kind: 'l', target: h.Linkname, mtime: mtime}
		return nil
	case tar.TypeLink:
		return x.hardLink(name, h.Linkname)
	}
	return fmt.Errorf("%w: type %q is not a file, directory or link", ErrUnsafe, h.Typeflag)
}

// mkdir makes a directory and its parents. A name that exists as anything
// else is refused: nothing is ever created through a link.
func (x *extraction) mkdir(name string) error {
	if name == "." {
		return nil
	}
	if e := x.entries[name]; e != nil {
		if e.kind != 'd' {
			return fmt.Errorf("%w: %s is not a directory", ErrUnsafe, name)
		}
		return nil
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if len(x.entries) >= 2*x.limits.Files {
		return fmt.Errorf("%w of %d entries", ErrTooLarge, x.limits.Files)
	}
	if err := x.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	x.entries[name] = &entry{name: name, kind: 'd'}
	return nil
}

// file writes a regular file, hashing on the way.
func (x *extraction) file(name string, exec bool, mtime time.Time, r io.Reader) (err error) {
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = x.root.Chtimes(name, mtime, mtime)
		}
	}()
	h := sha256.New()
	n, err := copyBuffer(x.ctx, io.MultiWriter(f, h), r, x.limits.Tree-x.size, x.buf, nil)
	if err != nil {
		return formatError(err)
	}
	x.size += n
	kind := byte('f')
	if exec {
		kind = 'x'
	}
	if err := f.Chmod(fileMode(kind)); err != nil {
		return err
	}
	x.entries[name] = &entry{name: name, kind: kind, size: n, sum: hex.EncodeToString(h.Sum(nil)), mtime: mtime}
	return nil
}

// hardLink copies the file it names, which must have come before.
func (x *extraction) hardLink(name, to string) error {
	target, err := x.cleanName(to)
	if err != nil {
		return fmt.Errorf("link to %q: %w", to, err)
	}
	e := x.entries[target]
	if e == nil || e.kind != 'f' && e.kind != 'x' {
		return fmt.Errorf("%w: hard link to %q, which is no file before it", ErrUnsafe, to)
	}
	f, err := x.root.Open(target)
	if err != nil {
		return err
	}
	defer f.Close()
	return x.file(name, e.kind == 'x', e.mtime, f)
}

// top is the single top-level directory, or "." where there is none.
func (x *extraction) top() string {
	top := ""
	for name, e := range x.entries {
		first, _, below := strings.Cut(name, "/")
		if !below && e.kind != 'd' || top != "" && first != top {
			return "."
		}
		top = first
	}
	return top
}

// manifest lists the tree below top and refuses links that leave it.
func (x *extraction) manifest(top string) (*manifest, error) {
	m := &manifest{epoch: x.newest.Truncate(time.Second)}
	kinds := make(map[string]*entry, len(x.entries))
	for name, e := range x.entries {
		if top != "." {
			if name == top {
				continue
			}
			name = strings.TrimPrefix(name, top+"/")
		}
		c := *e
		c.name = name
		m.entries = append(m.entries, c)
		kinds[name] = &c
	}
	sortEntries(m.entries)
	for _, e := range m.entries {
		if e.kind == 'l' {
			if err := staysInside(kinds, e.name); err != nil {
				return nil, fmt.Errorf("link %q to %q: %w", e.name, e.target, err)
			}
		}
	}
	m.digest = treeDigest(m.entries)
	return m, nil
}

// staysInside follows the link as a kernel would and fails if a step leaves
// the tree. What does not exist is followed by name.
func staysInside(entries map[string]*entry, link string) error {
	at := path.Dir(link)
	rest := strings.Split(entries[link].target, "/")
	for hops := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return fmt.Errorf("%w: it leaves the tree", ErrUnsafe)
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, step)
		e := entries[next]
		if e == nil || e.kind != 'l' {
			at = next
			continue
		}
		if hops++; hops > 40 {
			return fmt.Errorf("%w: it is a loop", ErrUnsafe)
		}
		rest = append(strings.Split(e.target, "/"), rest...)
	}
	return nil
}

// seal sets the times of directories and makes all but top read-only.
func (x *extraction) seal(top string) error {
	for name, e := range x.entries {
		if e.kind != 'd' {
			continue
		}
		if t, ok := x.dirs[name]; ok {
			if err := x.root.Chtimes(name, t, t); err != nil {
				return err
			}
		}
		if name == top {
			continue
		}
		if err := x.root.Chmod(name, 0o555); err != nil {
			return err
		}
	}
	return nil
}
