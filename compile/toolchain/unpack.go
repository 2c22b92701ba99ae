package toolchain

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
)

// Bounds on what a set of packages may unpack to.
const (
	maxEntries = 400_000
	maxBytes   = 8 << 30
)

// unpacker writes packages into one root. Its methods may be called for
// several packages at once.
type unpacker struct {
	root *os.Root

	mu    sync.Mutex
	tree  manifest
	bytes int64
}

// skipped are the subtrees that no build reads. Copyright files stay: parts
// of the toolchain are linked into images.
var skipped = []string{
	"usr/share/doc", "usr/share/doc-base", "usr/share/man", "usr/share/info", "usr/share/locale",
	"usr/share/lintian", "usr/share/bug", "usr/share/bash-completion", "usr/share/menu",
	"usr/share/gdb", "usr/share/pixmaps", "usr/share/applications", "etc/init.d", "etc/cron.daily",
	"usr/lib/systemd", "var/cache", "var/lib",
}

func skip(name string, typ byte) bool {
	for _, s := range skipped {
		if name == s || strings.HasPrefix(name, s+"/") {
			return !(s == "usr/share/doc" && typ == tar.TypeReg && path.Base(name) == "copyright")
		}
	}
	return false
}

// merged maps a packaged path to where it lies on a merged-/usr system.
func merged(name string) string {
	for _, d := range mergedDirs {
		if name == d || strings.HasPrefix(name, d+"/") {
			return "usr/" + name
		}
	}
	return name
}

// mergedDirs are links into usr at the top of the root.
var mergedDirs = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// local turns a name of the archive into a clean path below the root, "."
// for the root itself.
func local(name string) (string, error) {
	n := strings.TrimPrefix(name, "./")
	n = strings.TrimSuffix(n, "/")
	if n == "" || n == "." {
		return ".", nil
	}
	if !fs.ValidPath(n) || strings.ContainsAny(n, "\\\x00") {
		return "", fmt.Errorf("unsafe path %.200q", name)
	}
	return merged(n), nil
}

// unpack writes one package from its file.
func (u *unpacker) unpack(pkg, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := dataMember(f)
	if err != nil {
		return fmt.Errorf("package %s: %w", pkg, err)
	}
	defer data.Close()
	if err := u.unpackTar(pkg, data); err != nil {
		return fmt.Errorf("package %s: %w", pkg, err)
	}
	return nil
}

func (u *unpacker) unpackTar(pkg string, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := local(h.Name)
		if err != nil {
			return err
		}
		if name == "." || skip(name, h.Typeflag) {
			continue
		}
		e := entry{mode: modeFile, owner: pkg, size: h.Size}
		if h.Mode&0o111 != 0 {
			e.mode = modeExec
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = u.dir(pkg, name)
		case tar.TypeReg:
			e.kind = 'f'
			err = u.file(name, e, tr)
		case tar.TypeSymlink:
			err = u.link(name, entry{kind: 'l', target: h.Linkname, owner: pkg})
		case tar.TypeLink:
			err = u.hardLink(pkg, name, h.Linkname)
		default:
			err = fmt.Errorf("%s is neither file, directory nor link (type %q)", name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

// claim enters a name into the tree, together with its parent directories.
func (u *unpacker) claim(name string, e entry) (created bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if old, ok := u.tree[name]; ok {
		if old.kind == e.kind && (e.kind == 'd' || e.kind == 'l' && old.target == e.target) {
			return false, nil
		}
		return false, fmt.Errorf("%s is also in package %s", name, old.owner)
	}
	if u.bytes += e.size; u.bytes > maxBytes || len(u.tree) >= maxEntries {
		return false, fmt.Errorf("more than %d bytes or %d names in all", int64(maxBytes), maxEntries)
	}
	if p := path.Dir(name); p != "." {
		if err := u.parents(p, e.owner); err != nil {
			return false, err
		}
	}
	u.tree[name] = e
	return true, nil
}

// parents makes a directory and those above it; u.mu is held.
func (u *unpacker) parents(p, pkg string) error {
	if old, ok := u.tree[p]; ok {
		if old.kind != 'd' {
			return fmt.Errorf("%s is no directory in package %s", p, old.owner)
		}
		return nil
	}
	if up := path.Dir(p); up != "." {
		if err := u.parents(up, pkg); err != nil {
			return err
		}
	}
	u.tree[p] = entry{kind: 'd', owner: pkg}
	return u.root.Mkdir(p, 0o755)
}

func (u *unpacker) dir(pkg, name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.parents(name, pkg)
}

func (u *unpacker) file(name string, e entry, r io.Reader) error {
	if _, err := u.claim(name, e); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, e.size+1))
	if err == nil && n != e.size {
		err = fmt.Errorf("%s has %d bytes, its header says %d", name, n, e.size)
	}
	if err == nil {
		err = f.Chmod(fs.FileMode(e.mode))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = u.root.Chtimes(name, stamp, stamp)
	}
	if err != nil {
		return err
	}
	e.sha256 = hex.EncodeToString(h.Sum(nil))
	u.mu.Lock()
	u.tree[name] = e
	u.mu.Unlock()
	return nil
}

func (u *unpacker) link(name string, e entry) error {
	created, err := u.claim(name, e)
	if err != nil || !created {
		return err
	}
	return u.root.Symlink(e.target, name)
}

func (u *unpacker) hardLink(pkg, name, target string) error {
	t, err := local(target)
	if err != nil {
		return err
	}
	u.mu.Lock()
	e, ok := u.tree[t]
	u.mu.Unlock()
	if !ok || e.kind != 'f' || e.owner != pkg || e.sha256 == "" {
		return errors.New(name + " is a hard link to " + t + ", which the package has not unpacked")
	}
	if _, err := u.claim(name, e); err != nil {
		return err
	}
	return u.root.Link(t, name)
}
