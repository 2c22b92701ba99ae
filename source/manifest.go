package source

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// entry is one name of a tree.
type entry struct {
	name   string // slash-separated, relative to the tree's root
	kind   byte   // 'd' directory, 'f' file, 'x' executable file, 'l' symbolic link
	size   int64  // files
	sum    string // files: hexadecimal SHA-256
	target string // links
	mtime  time.Time
}

// appendLine appends the entry's part of the tree digest.
func (e entry) appendLine(b []byte) []byte {
	b = append(b, e.kind, ' ')
	switch e.kind {
	case 'f', 'x':
		b = append(append(b, e.sum...), ' ')
		b = append(strconv.AppendInt(b, e.size, 10), ' ')
	case 'l':
		b = append(appendQuoted(b, e.target), ' ')
	}
	return append(appendQuoted(b, e.name), '\n')
}

// appendQuoted is strconv.AppendQuoteToASCII, quickly where nothing needs an
// escape.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return strconv.AppendQuoteToASCII(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

const (
	digestHeader   = "cleanstart tree v1\n"
	manifestHeader = "cleanstart manifest v3"
	maxManifest    = 512 << 20
)

// treeDigest is the SHA-256 of the line "cleanstart tree v1" and one line for
// each entry but the root, sorted by the bytes of their names. A line is
// "d NAME", "f SHA256 SIZE NAME" ("x" when the owner may execute it) or
// "l TARGET NAME"; names and targets are quoted as Go strings in ASCII.
// Times, owners and other mode bits are not part of it.
func treeDigest(entries []entry) string {
	h := sha256.New()
	io.WriteString(h, digestHeader)
	var line []byte
	for _, e := range entries {
		line = e.appendLine(line[:0])
		h.Write(line)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func sortEntries(entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
}

// manifest is what an extraction left: enough to tell later, by one lstat a
// file, that nobody touched it, as long as the machine has not gone down since.
// Nothing was made durable, and a file that lost its content may have kept its
// size and its time; so the first use after a restart reads all of it.
type manifest struct {
	boot    string // of the machine that wrote or last read all of it; empty where the system does not say
	archive string // hexadecimal SHA-256 of what was unpacked
	root    string // directory of the archive that holds the tree, or "."
	digest  string
	epoch   time.Time
	entries []entry // sorted
}

func (m *manifest) write(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s %s %s %d %d %q %s\n", manifestHeader, m.digest, m.archive, m.epoch.Unix(), len(m.entries), m.boot, strconv.QuoteToASCII(m.root))
	var line []byte
	for _, e := range m.entries {
		line = strconv.AppendInt(line[:0], e.mtime.Unix(), 10)
		line = fmt.Appendf(line, ".%09d ", e.mtime.Nanosecond())
		b.Write(e.appendLine(line))
	}
	return b.Flush()
}

var errManifest = errors.New("manifest is damaged")

func readManifest(r io.Reader) (*manifest, error) {
	s := bufio.NewScanner(io.LimitReader(r, maxManifest))
	s.Buffer(make([]byte, 64<<10), 1<<20)
	if !s.Scan() {
		return nil, errManifest
	}
	rest, ok := strings.CutPrefix(s.Text(), manifestHeader+" ")
	f := strings.SplitN(rest, " ", 6)
	if !ok || len(f) != 6 {
		return nil, errManifest
	}
	epoch, err1 := strconv.ParseInt(f[2], 10, 64)
	count, err2 := strconv.Atoi(f[3])
	boot, err3 := strconv.Unquote(f[4])
	root, err4 := strconv.Unquote(f[5])
	if err := errors.Join(err1, err2, err3, err4); err != nil || count < 0 || strings.Contains(boot, " ") {
		return nil, errManifest
	}
	m := &manifest{boot: boot, archive: f[1], root: root, digest: f[0], epoch: time.Unix(epoch, 0).UTC()}
	for s.Scan() {
		e, err := parseEntry(s.Text())
		if err != nil {
			return nil, err
		}
		m.entries = append(m.entries, e)
	}
	if s.Err() != nil || len(m.entries) != count || treeDigest(m.entries) != m.digest {
		return nil, errManifest
	}
	return m, nil
}

func parseEntry(line string) (e entry, err error) {
	when, rest, ok := strings.Cut(line, " ")
	secs, nanos, ok2 := strings.Cut(when, ".")
	s, err1 := strconv.ParseInt(secs, 10, 64)
	n, err2 := strconv.ParseInt(nanos, 10, 64)
	if !ok || !ok2 || err1 != nil || err2 != nil || len(rest) < 3 || rest[1] != ' ' {
		return e, errManifest
	}
	e.mtime = time.Unix(s, n)
	e.kind, rest = rest[0], rest[2:]
	switch e.kind {
	case 'd':
	case 'l':
		q, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return e, errManifest
		}
		if e.target, err = strconv.Unquote(q); err != nil {
			return e, errManifest
		}
		rest = strings.TrimPrefix(rest[len(q):], " ")
	case 'f', 'x':
		f := strings.SplitN(rest, " ", 3)
		if len(f) != 3 {
			return e, errManifest
		}
		e.sum, rest = f[0], f[2]
		if e.size, err = strconv.ParseInt(f[1], 10, 64); err != nil {
			return e, errManifest
		}
	default:
		return e, errManifest
	}
	if e.name, err = strconv.Unquote(rest); err != nil {
		return e, errManifest
	}
	return e, nil
}

// ErrModified says that a tree on disk is not what was extracted.
var ErrModified = errors.New("tree was modified after extraction")

// check compares the directory with the manifest, by names, kinds, modes,
// sizes, link targets and times, and by content too when deep is set.
func (m *manifest) check(dir string, deep func(name string) (string, error)) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	children := map[string][]*entry{} // directory → what it should hold
	for i := range m.entries {
		e := &m.entries[i]
		parent := path.Dir(e.name)
		children[parent] = append(children[parent], e)
		if e.kind == 'd' && children[e.name] == nil {
			children[e.name] = nil // empty so far
		}
	}
	var g errgroup.Group
	g.SetLimit(min(runtime.GOMAXPROCS(0), 8))
	for name, entries := range children {
		g.Go(func() error { return checkDir(root, name, entries) })
	}
	if err := g.Wait(); err != nil || deep == nil {
		return err
	}
	for _, e := range m.entries {
		if e.kind != 'f' && e.kind != 'x' {
			continue
		}
		sum, err := deep(e.name)
		if err != nil {
			return err
		}
		if sum != e.sum {
			return fmt.Errorf("%w: content of %s", ErrModified, e.name)
		}
	}
	return nil
}

// checkDir compares one directory, which it opens once, with its entries.
func checkDir(tree *os.Root, name string, entries []*entry) error {
	dir, err := tree.OpenRoot(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrModified, err)
	}
	defer dir.Close()
	for _, e := range entries {
		if err := checkEntry(dir, e); err != nil {
			return err
		}
	}
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	got, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	if len(got) != len(entries) {
		return fmt.Errorf("%w: %s holds %d entries, not %d", ErrModified, name, len(got), len(entries))
	}
	return nil
}

func checkEntry(dir *os.Root, e *entry) error {
	base := path.Base(e.name)
	info, err := dir.Lstat(base)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrModified, err)
	}
	var ok bool
	switch e.kind {
	case 'd':
		ok = info.IsDir() && info.Mode().Perm() == 0o555
	case 'f', 'x':
		ok = info.Mode().IsRegular() && info.Mode().Perm() == fileMode(e.kind) &&
			info.Size() == e.size && info.ModTime().Equal(e.mtime)
	case 'l':
		target, err := dir.Readlink(base)
		ok = err == nil && target == e.target
	}
	if !ok {
		return fmt.Errorf("%w: %s", ErrModified, e.name)
	}
	return nil
}

// bootID names this run of the machine, or is empty where there is no name.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) > 64 {
		return ""
	}
	return strings.TrimSpace(string(b))
})

// recheck is check, by content too where the machine may have lost some since
// the manifest was written, which is then written anew.
func (m *manifest) recheck(ctx context.Context, dir string) error {
	boot := bootID()
	if boot != "" && m.boot == boot {
		return m.check(dir, nil)
	}
	if err := m.check(dir, contentOf(ctx, dir)); err != nil || boot == "" {
		return err
	}
	m.boot = boot
	return put(dir+".manifest", m.write)
}

// contentOf hashes the files of a tree by name.
func contentOf(ctx context.Context, dir string) func(name string) (string, error) {
	return func(name string) (string, error) {
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum, _, err := digestReader(ctx, f, DefaultLimits().Tree)
		return sum, err
	}
}

func fileMode(kind byte) os.FileMode {
	if kind == 'x' {
		return 0o555
	}
	return 0o444
}
