package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrUnsafe says that an archive holds an entry that no source release needs
// and that would not be safe to create.
var ErrUnsafe = errors.New("unsafe archive entry")

// item is one entry of an archive of any format, not yet believed.
type item struct {
	name   string
	kind   byte   // as entry's, or 'h' for a hard link
	target string // links, of both kinds
	mtime  time.Time
	size   int64
	body   io.Reader // yields size bytes, then io.EOF or what is wrong with them
}

// extraction unpacks one archive into a directory that only it writes to.
type extraction struct {
	ctx     context.Context
	out     *writer
	limits  Limits
	entries map[string]*entry
	dirs    map[string]time.Time // of directories that the archive lists
	spelt   map[string]string    // normal form → name, where one of them is not ASCII
	files   int                  // entries that are no directories
	size    int64
	newest  time.Time
}

// extract unpacks archive into dir, which must be empty, and gives the
// manifest and the directory of the tree itself: directory, when that is set,
// outside of which there must be nothing; else the single top-level directory,
// or dir where there is none. Modes are final but for that of the tree's
// directory. The manifest names the archive's digest where sum asks for it.
//
// Names that differ only in case are two names, for some releases hold such.
// A file system that folds case refuses to create the second, and with it the
// archive.
func extract(ctx context.Context, archive packed, sum bool, dir string, limits Limits, directory string) (m *manifest, tree string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	out, err := newWriter(root)
	if err != nil {
		return nil, "", err
	}
	x := &extraction{ctx: ctx, out: out, limits: limits,
		entries: map[string]*entry{}, dirs: map[string]time.Time{}, spelt: map[string]string{}}
	digest, err := x.unpack(archive, sum)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, "", err
	}
	top, err := x.top(directory)
	if err != nil {
		return nil, "", err
	}
	if err := x.seal(root, top); err != nil {
		return nil, "", err
	}
	if m, err = x.manifest(top); err != nil {
		return nil, "", err
	}
	m.archive = digest
	return m, filepath.Join(dir, filepath.FromSlash(top)), nil
}

// formatError says that the archive is to blame, unless a limit, the caller
// or this machine's file system is.
func formatError(err error) error {
	var local *fs.PathError
	if errors.As(err, &local) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnsafe) || errors.Is(err, ErrFormat) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

func unsafeEntry(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsafe, fmt.Sprintf(format, a...))
}

// cleanName gives the entry's name without a leading ./ and a trailing /.
func (x *extraction) cleanName(name string) (string, error) {
	switch {
	case name == "":
		return "", unsafeEntry("empty name")
	case strings.HasPrefix(name, "/"):
		return "", unsafeEntry("absolute name")
	case !utf8.ValidString(name):
		return "", unsafeEntry("name is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return "", unsafeEntry("name holds a control character")
	}
	depth := 0
	for p := range strings.SplitSeq(name, "/") {
		if p == ".." {
			return "", unsafeEntry("name holds a parent step")
		}
		if len(p) > 255 {
			return "", unsafeEntry("name element longer than 255 bytes")
		}
		depth++
	}
	if depth > x.limits.Depth {
		return "", fmt.Errorf("%w of %d path elements", ErrTooLarge, x.limits.Depth)
	}
	return path.Clean(name), nil
}

func (x *extraction) add(i item) error {
	name, err := x.cleanName(i.name)
	if err != nil {
		return err
	}
	mtime := i.mtime.UTC()
	if mtime.Before(time.Unix(0, 0)) || mtime.Year() > 9999 {
		return unsafeEntry("modification time %s", mtime)
	}
	if mtime.After(x.newest) {
		x.newest = mtime
	}
	if i.kind == 'd' {
		if name != "." {
			x.dirs[name] = mtime
		}
		return x.mkdir(name)
	}
	switch {
	case name == ".":
		return unsafeEntry("the root is not a directory")
	case strings.HasSuffix(i.name, "/"):
		return unsafeEntry("a directory's name for something else")
	case x.entries[name] != nil:
		return unsafeEntry("listed twice")
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := x.spell(name); err != nil {
		return err
	}
	e := &entry{name: name, kind: i.kind, mtime: mtime}
	switch i.kind {
	case 'f', 'x':
		e.size = i.size
		err = x.file(e, i.body)
	case 'l':
		if i.target == "" || len(i.target) > maxTarget || !utf8.ValidString(i.target) || strings.ContainsFunc(i.target, unicode.IsControl) {
			return unsafeEntry("link target %q", i.target)
		}
		if path.IsAbs(i.target) {
			return unsafeEntry("link to the absolute path %q", i.target)
		}
		e.target = i.target
		err = x.out.symlink(e)
	case 'h':
		err = x.hardLink(e, i.target)
	}
	if err != nil {
		return err
	}
	x.entries[name] = e
	x.files++
	return nil
}

// maxTarget is the longest target of a symbolic link, as on Linux.
const maxTarget = 4095

// spell refuses names that Unicode calls the same: they would be two files on
// one file system and one on another.
func (x *extraction) spell(name string) error {
	normal := norm.NFC.String(name)
	other, ok := x.spelt[normal]
	if !ok && normal != name && x.entries[normal] != nil {
		other, ok = normal, true
	}
	if ok && other != name {
		return unsafeEntry("the same name as %+q", other)
	}
	if !isASCII(name) {
		x.spelt[normal] = name
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// mkdir makes a directory and its parents. A name that exists as anything
// else is refused: nothing is ever created through a link.
func (x *extraction) mkdir(name string) error {
	if name == "." {
		return nil
	}
	if e := x.entries[name]; e != nil {
		if e.kind != 'd' {
			return unsafeEntry("%s is not a directory", name)
		}
		return nil
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := x.spell(name); err != nil {
		return err
	}
	if len(x.entries) >= 2*x.limits.Files {
		return fmt.Errorf("%w of %d entries", ErrTooLarge, x.limits.Files)
	}
	if err := x.out.mkdir(name); err != nil {
		return err
	}
	x.entries[name] = &entry{name: name, kind: 'd'}
	return nil
}

func (x *extraction) file(e *entry, r io.Reader) error {
	if e.size > x.limits.Tree-x.size {
		return fmt.Errorf("%w of %d bytes", ErrTooLarge, x.limits.Tree)
	}
	x.size += e.size
	return x.out.file(x.ctx, e, r)
}

// hardLink copies the file it names, which must have come before.
func (x *extraction) hardLink(e *entry, to string) error {
	target, err := x.cleanName(to)
	if err != nil {
		return fmt.Errorf("link to %q: %w", to, err)
	}
	from := x.entries[target]
	if from == nil || from.kind != 'f' && from.kind != 'x' {
		return unsafeEntry("hard link to %q, which is no file before it", to)
	}
	f, err := x.out.open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	e.kind, e.size, e.mtime = from.kind, from.size, from.mtime
	return x.file(e, f)
}

// top is the directory that holds the tree: the one that is asked for, or the
// single one at the top, or "." where there is none.
func (x *extraction) top(directory string) (string, error) {
	tops := map[string]bool{}
	single := true
	var stray string // a name, the first, that is neither above nor below directory
	for name, e := range x.entries {
		first, _, below := strings.Cut(name, "/")
		tops[first] = true
		single = single && (below || e.kind == 'd')
		inside := name == directory || strings.HasPrefix(name, directory+"/") || strings.HasPrefix(directory, name+"/")
		if !inside && (stray == "" || name < stray) {
			stray = name
		}
	}
	if directory == "" {
		for first := range tops {
			if single && len(tops) == 1 {
				return first, nil
			}
		}
		return ".", nil
	}
	if e := x.entries[directory]; stray == "" && e != nil && e.kind == 'd' {
		return directory, nil
	}
	names := make([]string, 0, len(tops))
	for first := range tops {
		names = append(names, fmt.Sprintf("%q", first))
	}
	slices.Sort(names)
	if stray == "" {
		return "", fmt.Errorf("%w: the archive holds no directory %q but %s", ErrPolicy, directory, names[0])
	}
	more := ""
	if len(names) > 3 {
		more, names = fmt.Sprintf(" and %d more", len(names)-3), names[:3]
	}
	return "", fmt.Errorf("%w: the archive must hold the directory %q alone, it holds %s%s at its top, among them %q",
		ErrPolicy, directory, strings.Join(names, ", "), more, stray)
}

// manifest lists the tree below top and refuses links that leave it. The
// extraction's own list is spent.
func (x *extraction) manifest(top string) (*manifest, error) {
	m := &manifest{root: top, epoch: x.newest.Truncate(time.Second), entries: make([]entry, 0, len(x.entries))}
	links := links{targets: map[string]string{}, steps: 100_000 + 64*len(x.entries)}
	for name, e := range x.entries {
		if top != "." {
			var below bool
			if name, below = strings.CutPrefix(name, top+"/"); !below {
				continue
			}
		}
		e.name = name
		m.entries = append(m.entries, *e)
		if e.kind == 'l' {
			links.targets[name] = e.target
		}
	}
	x.entries = nil
	sortEntries(m.entries)
	for _, e := range m.entries {
		if e.kind == 'l' {
			if err := links.stayInside(e.name); err != nil {
				return nil, fmt.Errorf("link %q to %q: %w", e.name, e.target, err)
			}
		}
	}
	m.digest = treeDigest(m.entries)
	return m, nil
}

// links are the symbolic links of a tree.
type links struct {
	targets map[string]string
	steps   int // that following all of them may still cost
}

// stayInside follows the link as a kernel would and fails if a step leaves
// the tree. What does not exist is followed by name.
func (l *links) stayInside(link string) error {
	at := path.Dir(link)
	rest := strings.Split(l.targets[link], "/")
	for hops := 0; len(rest) > 0; {
		if l.steps--; l.steps < 0 {
			return fmt.Errorf("%w of steps to follow all links", ErrTooLarge)
		}
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return unsafeEntry("it leaves the tree")
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, step)
		target, ok := l.targets[next]
		if !ok {
			at = next
			continue
		}
		if hops++; hops > 40 {
			return unsafeEntry("it is a loop")
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// seal sets the times of directories and makes all but top read-only.
func (x *extraction) seal(root *os.Root, top string) (err error) {
	h, err := newHandle(root)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := h.close(); err == nil {
			err = cerr
		}
	}()
	for name, e := range x.entries {
		if e.kind != 'd' {
			continue
		}
		t, dated := x.dirs[name]
		closed := name != top && !strings.HasPrefix(top, name+"/")
		if err := h.seal(root, name, t, dated, closed); err != nil {
			return err
		}
	}
	return nil
}
