package gitsnap

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"
)

// Read reads a snapshot to its end and computes every id in it. Files are
// streamed; what is kept is the header and the entries of the directories
// that are open. Errors wrap [ErrFormat], [ErrCollision], [ErrTooLarge], the
// context's cause or what r gave.
func Read(ctx context.Context, r io.Reader, limits Limits) (*Snapshot, error) {
	in := &echo{ctx: ctx, r: r}
	x := &reader{in: in, tar: tar.NewReader(in), out: encoder{tar: tar.NewWriter(in)}, limits: limits, buf: make([]byte, 64<<10)}
	if err := x.read(); err != nil {
		return nil, err
	}
	return &x.snap, nil
}

type reader struct {
	in     *echo
	tar    *tar.Reader
	out    encoder
	limits Limits
	snap   Snapshot
	format format
	pins   map[string]*pin
	open   []*directory // the root first
	buf    []byte
}

// directory is a tree object in the making.
type directory struct {
	path   string
	mode   string
	order  order
	object []byte
}

func (x *reader) read() error {
	h, err := x.next()
	if err == io.EOF {
		return malformed("it is empty")
	}
	if err != nil {
		return err
	}
	if err := x.head(h); err != nil {
		return err
	}
	for n := 0; ; n++ {
		h, err := x.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if n >= x.limits.Files {
			return fmt.Errorf("%w of %d entries", ErrTooLarge, x.limits.Files)
		}
		if err := x.add(h); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	if err := encoded(x.out.tar.Close()); err != nil {
		return err
	}
	if n, err := io.ReadFull(x.in, x.buf[:1]); n > 0 {
		return malformed("bytes follow its end")
	} else if err != io.EOF {
		return err
	}
	if len(x.open) == 0 {
		return malformed("it has no %s", top)
	}
	for len(x.open) > 0 {
		if err := x.leave(); err != nil {
			return err
		}
	}
	for _, m := range x.snap.Modules {
		if !x.pins[m.Path].used {
			return malformed("no tree pins the submodule %q", m.Path)
		}
	}
	return nil
}

// encoded is the error of the encoder, which has nothing to blame but what
// was read.
func encoded(err error) error {
	if err == nil || errors.Is(err, ErrFormat) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

// next is the archive's next header. The end that an archive has too early is
// found by the encoder.
func (x *reader) next() (*tar.Header, error) {
	h, err := x.tar.Next()
	switch {
	case err == nil, err == io.EOF:
		return h, err
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil, err
}

// head reads the records of the global header.
func (x *reader) head(h *tar.Header) error {
	if h.Typeflag != tar.TypeXGlobalHeader {
		return malformed("no global header")
	}
	s := &x.snap
	for name, value := range h.PAXRecords {
		switch {
		case name == prefix+"format":
			s.Format = value
		case name == prefix+"commit":
			s.Commit = []byte(value)
		case name == prefix+"tag":
			s.Tag = []byte(value)
		case strings.HasPrefix(name, module):
			path := unescape.Replace(strings.TrimPrefix(name, module))
			if err := checkPath(path); err != nil {
				return err
			}
			s.Modules = append(s.Modules, Module{Path: path, Commit: []byte(value)})
		default:
			return malformed("record %q", name)
		}
	}
	slices.SortFunc(s.Modules, func(a, b Module) int { return cmp.Compare(a.Path, b.Path) })
	f, c, pins, err := s.head()
	if err != nil {
		return err
	}
	x.format, x.pins = f, pins
	x.out.time = time.Unix(c.time, 0)
	return encoded(x.out.head(s))
}

// add takes one entry of the archive into its directory.
func (x *reader) add(h *tar.Header) error {
	path, ok := strings.CutPrefix(h.Name, top)
	if !ok {
		return malformed("outside %s", top)
	}
	if h.Typeflag == tar.TypeDir {
		return x.enter(path)
	}
	if strings.Count(h.Name, "/")+1 > x.limits.Depth {
		return fmt.Errorf("%w of %d path elements", ErrTooLarge, x.limits.Depth)
	}
	mode, size := ModeLink, int64(len(h.Linkname))
	if h.Typeflag == tar.TypeReg {
		if mode, size = modeOf(h.Mode), h.Size; mode == "" {
			return malformed("mode %o", h.Mode)
		}
	} else if h.Typeflag != tar.TypeSymlink {
		return malformed("type %q", h.Typeflag)
	}
	d, name, err := x.parent(path)
	if err != nil {
		return err
	}
	if err := d.order.next(mode, name); err != nil {
		return err
	}
	if x.limits.Bytes -= size; x.limits.Bytes < 0 {
		return fmt.Errorf("%w in bytes", ErrTooLarge)
	}
	if err := encoded(x.out.entry(h.Typeflag, path, h.Linkname, modes[mode], h.Size)); err != nil {
		return err
	}
	sum := x.format.begin("blob", size)
	if mode == ModeLink {
		io.WriteString(sum, h.Linkname)
	} else if err := x.copy(io.MultiWriter(sum, x.out.tar)); err != nil {
		return err
	}
	return d.add(mode, name, sum)
}

func (x *reader) copy(w io.Writer) error {
	for {
		n, err := x.tar.Read(x.buf)
		if n > 0 {
			if _, err := w.Write(x.buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w: %w", ErrFormat, err)
		case err != nil:
			return err
		}
	}
}

// modeOf is the git mode of a file with these permissions.
func modeOf(permissions int64) string {
	for _, mode := range []string{ModeFile, ModeExec, ModeGroup} {
		if modes[mode] == permissions {
			return mode
		}
	}
	return ""
}

// enter opens a directory. With a submodule's commit for it, it is a gitlink.
func (x *reader) enter(path string) error {
	d := &directory{mode: ModeDir}
	if path == "" {
		if len(x.open) > 0 {
			return malformed("the root is there twice")
		}
	} else {
		var slash bool
		if d.path, slash = strings.CutSuffix(path, "/"); !slash {
			return malformed("a directory's name ends in a slash")
		}
		if strings.Count(d.path, "/")+2 > x.limits.Depth {
			return fmt.Errorf("%w of %d path elements", ErrTooLarge, x.limits.Depth)
		}
		up, name, err := x.parent(d.path)
		if err != nil {
			return err
		}
		if x.pins[d.path] != nil {
			d.mode = ModeGitlink
		}
		if err := up.order.next(d.mode, name); err != nil {
			return err
		}
	}
	if err := encoded(x.out.entry(tar.TypeDir, path, "", modes[d.mode], 0)); err != nil {
		return err
	}
	x.open = append(x.open, d)
	return nil
}

// parent closes the directories that the path is not in, and gives the one
// that it is in, which must have come before.
func (x *reader) parent(path string) (*directory, string, error) {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		dir, name = path[:i], path[i+1:]
	}
	for len(x.open) > 0 {
		if d := x.open[len(x.open)-1]; d.path == dir {
			return d, name, nil
		}
		if len(x.open) == 1 {
			break // the root stays open
		}
		if err := x.leave(); err != nil {
			return nil, "", err
		}
	}
	return nil, "", malformed("its directory is not before it")
}

// leave closes the innermost directory: its id goes into the one above, or is
// held against the commit.
func (x *reader) leave() error {
	d := x.open[len(x.open)-1]
	x.open = x.open[:len(x.open)-1]
	id, err := x.format.id("tree", d.object)
	if err != nil {
		return fmt.Errorf("directory %q: %w", d.path, err)
	}
	if d.path == "" {
		if id != x.snap.TreeID {
			return malformed("its files make tree %s, the commit is of %s", id, x.snap.TreeID)
		}
		return nil
	}
	if p := x.pins[d.path]; p != nil {
		if id != p.tree {
			return malformed("the files of submodule %q make tree %s, its commit is of %s", d.path, id, p.tree)
		}
		id, p.used = p.commit, true
	}
	up := x.open[len(x.open)-1]
	return up.append(d.mode, d.path[strings.LastIndexByte(d.path, '/')+1:], id)
}

func (d *directory) add(mode, name string, h hash.Hash) error {
	id, err := sum(h)
	if err != nil {
		return err
	}
	return d.append(mode, name, id)
}

func (d *directory) append(mode, name, id string) error {
	d.object = append(append(append(d.object, mode...), ' '), name...)
	var err error
	d.object, err = hex.AppendDecode(append(d.object, 0), []byte(id))
	return err
}
