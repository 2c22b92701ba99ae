package toolchain

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Every file of a root has one of two modes, and every directory the same.
const (
	modeFile = 0o444
	modeExec = 0o555
	modeDir  = 0o555
)

// stamp is the modification time of every file: 2000-01-01.
var stamp = time.Unix(946684800, 0)

// entry is one name of a tree.
type entry struct {
	kind   byte // 'd', 'f' or 'l'
	mode   uint32
	size   int64
	sha256 string
	target string
	owner  string // package, not part of the tree's identity
}

// manifest is a tree by slash-separated path, without the root itself.
type manifest map[string]entry

// encode is the canonical form: one line for each name, sorted. Its SHA-256
// is the tree's digest.
func (m manifest) encode() []byte {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	var b bytes.Buffer
	for _, n := range names {
		switch e := m[n]; e.kind {
		case 'd':
			fmt.Fprintf(&b, "d %s\n", strconv.Quote(n))
		case 'f':
			fmt.Fprintf(&b, "f %s %04o %d %s\n", strconv.Quote(n), e.mode, e.size, e.sha256)
		case 'l':
			fmt.Fprintf(&b, "l %s %s\n", strconv.Quote(n), strconv.Quote(e.target))
		}
	}
	return b.Bytes()
}

func digest(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// decode reads what encode wrote. The caller has compared its digest, so it
// need not be lenient or clever.
func decode(b []byte) (manifest, error) {
	m := manifest{}
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		if len(line) < 2 {
			return nil, errors.New("malformed manifest")
		}
		quoted, err := strconv.QuotedPrefix(line[2:])
		if err != nil {
			return nil, errors.New("malformed manifest")
		}
		name, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, errors.New("malformed manifest")
		}
		rest := strings.TrimPrefix(line[2+len(quoted):], " ")
		e := entry{kind: line[0]}
		switch e.kind {
		case 'd':
		case 'f':
			if _, err := fmt.Sscanf(rest, "%o %d %s", &e.mode, &e.size, &e.sha256); err != nil {
				return nil, errors.New("malformed manifest")
			}
		case 'l':
			if e.target, err = strconv.Unquote(rest); err != nil {
				return nil, errors.New("malformed manifest")
			}
		default:
			return nil, errors.New("malformed manifest")
		}
		m[name] = e
	}
	return m, s.Err()
}

// check compares the tree in root with the manifest: names, kinds, modes,
// sizes, times and link targets. With rehash it also reads every file.
func (m manifest) check(root *os.Root, rehash bool) error {
	seen := 0
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		want, ok := m[name]
		if !ok {
			return fmt.Errorf("%s is not in the manifest", name)
		}
		seen++
		info, err := d.Info()
		if err != nil {
			return err
		}
		changed := fmt.Errorf("%s was changed", name)
		switch want.kind {
		case 'd':
			if !info.IsDir() || info.Mode().Perm() != modeDir {
				return changed
			}
		case 'l':
			if info.Mode().Type() != fs.ModeSymlink {
				return changed
			}
			if t, err := root.Readlink(name); err != nil || t != want.target {
				return changed
			}
		case 'f':
			if !info.Mode().IsRegular() || uint32(info.Mode()) != want.mode || info.Size() != want.size || !info.ModTime().Equal(stamp) {
				return changed
			}
			if rehash {
				got, err := hashFile(root, name)
				if err != nil {
					return err
				}
				if got != want.sha256 {
					return changed
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if seen != len(m) {
		return fmt.Errorf("%d names are missing", len(m)-seen)
	}
	return nil
}

func hashFile(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// whole reports a name whose parent is no directory of the tree: something
// was written through a link.
func (m manifest) whole() error {
	for n, e := range m {
		p := path.Dir(n)
		if p != "." && m[p].kind != 'd' {
			return fmt.Errorf("%s (package %s) lies below %s, which is no directory", n, e.owner, p)
		}
	}
	return nil
}

// seal makes the tree read-only. Directories come last, deepest first.
func (m manifest) seal(root *os.Root) error {
	var dirs []string
	for n, e := range m {
		if e.kind == 'd' {
			dirs = append(dirs, n)
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(dirs)))
	for _, n := range append(dirs, ".") {
		if err := root.Chmod(n, modeDir); err != nil {
			return err
		}
	}
	return nil
}
