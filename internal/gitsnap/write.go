package gitsnap

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"time"
)

// Objects gives the objects of a repository and of its submodules. What it
// gives is read to its end before the next object is asked for.
type Objects interface {
	Object(ctx context.Context, id string) (kind string, size int64, content io.Reader, err error)
}

// maxTree bounds one tree object.
const maxTree = 64 << 20

// Write makes a snapshot of s.Commit, with s.Tag if it is not nil; the commits
// of all submodules must be in s.Modules, by path. It fills in the ids. It
// holds commits against the trees that pin them, and leaves everything else
// to [Read].
func Write(ctx context.Context, w io.Writer, s *Snapshot, objects Objects, limits Limits) error {
	f, c, pins, err := s.head()
	if err != nil {
		return err
	}
	x := &writer{out: encoder{tar.NewWriter(w), time.Unix(c.time, 0)}, format: f, pins: pins, objects: objects, limits: limits}
	if err := x.out.head(s); err != nil {
		return err
	}
	if err := x.tree(ctx, c.tree, "", ModeDir, 1); err != nil {
		return err
	}
	for _, m := range s.Modules {
		if !pins[m.Path].used {
			return malformed("no tree pins the submodule %q", m.Path)
		}
	}
	return x.out.tar.Close()
}

type writer struct {
	out     encoder
	format  format
	pins    map[string]*pin
	objects Objects
	limits  Limits
}

// tree writes a directory, whose path ends in a slash, and what is in it.
func (x *writer) tree(ctx context.Context, id, path, mode string, depth int) error {
	b, err := ReadObject(ctx, x.objects, id, "tree", maxTree)
	if err != nil {
		return err
	}
	entries, err := Entries(x.format.name, b)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if depth > x.limits.Depth || depth == x.limits.Depth && len(entries) > 0 {
		return fmt.Errorf("%q: %w of %d path elements", path, ErrTooLarge, x.limits.Depth)
	}
	if err := x.count(0); err != nil {
		return err
	}
	if err := x.out.entry(tar.TypeDir, path, "", modes[mode], 0); err != nil {
		return err
	}
	for _, e := range entries {
		name := path + e.Name
		switch e.Mode {
		case ModeDir:
			err = x.tree(ctx, e.ID, name+"/", e.Mode, depth+1)
		case ModeGitlink:
			p := x.pins[name]
			if p == nil || p.commit != e.ID {
				return malformed("submodule %q is pinned to commit %s, which is not there", name, e.ID)
			}
			p.used = true
			err = x.tree(ctx, p.tree, name+"/", e.Mode, depth+1)
		default:
			err = x.blob(ctx, e, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *writer) count(size int64) error {
	x.limits.Files--
	x.limits.Bytes -= size
	if x.limits.Files < 0 || x.limits.Bytes < 0 {
		return fmt.Errorf("%w in entries or bytes", ErrTooLarge)
	}
	return nil
}

func (x *writer) blob(ctx context.Context, e Entry, name string) error {
	if e.Mode == ModeLink {
		target, err := ReadObject(ctx, x.objects, e.ID, "blob", maxHead)
		if err != nil {
			return err
		}
		if err := x.count(int64(len(target))); err != nil {
			return err
		}
		return x.out.entry(tar.TypeSymlink, name, string(target), modes[e.Mode], 0)
	}
	kind, size, content, err := x.objects.Object(ctx, e.ID)
	if err != nil {
		return err
	}
	if kind != "blob" {
		return malformed("%q: %s is a %s, not a blob", name, e.ID, kind)
	}
	if err := x.count(size); err != nil {
		return err
	}
	if err := x.out.entry(tar.TypeReg, name, "", modes[e.Mode], size); err != nil {
		return err
	}
	_, err = io.Copy(x.out.tar, content)
	return err
}

// ReadObject reads an object of a kind, of up to most bytes.
func ReadObject(ctx context.Context, objects Objects, id, kind string, most int64) ([]byte, error) {
	k, size, content, err := objects.Object(ctx, id)
	if err != nil {
		return nil, err
	}
	if k != kind {
		return nil, malformed("%s is a %s, not a %s", id, k, kind)
	}
	if size > most {
		return nil, fmt.Errorf("%s: %w of %d bytes", id, ErrTooLarge, most)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(content, b); err != nil {
		return nil, err
	}
	return b, nil
}
