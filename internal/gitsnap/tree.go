package gitsnap

import (
	"bytes"
	"encoding/hex"
	"strings"
)

// Modes that git records.
const (
	ModeDir     = "40000"
	ModeFile    = "100644"
	ModeGroup   = "100664" // of old repositories
	ModeExec    = "100755"
	ModeLink    = "120000"
	ModeGitlink = "160000"
)

// modes are the permissions that an archive gives each mode.
var modes = map[string]int64{ModeDir: 0o755, ModeFile: 0o644, ModeGroup: 0o664, ModeExec: 0o755, ModeLink: 0o777, ModeGitlink: 0o755}

// Entry is one line of a tree object.
type Entry struct {
	Mode, Name string
	ID         string // hexadecimal
}

// Entries reads a tree object. Anything that git would not have written is an
// error.
func Entries(format string, tree []byte) ([]Entry, error) {
	f, err := formatOf(format)
	if err != nil {
		return nil, err
	}
	var out []Entry
	o := &order{}
	for len(tree) > 0 {
		head, rest, ok := bytes.Cut(tree, []byte{0})
		mode, name, two := strings.Cut(string(head), " ")
		if !ok || !two || len(rest) < f.size {
			return nil, malformed("tree object is malformed")
		}
		if _, known := modes[mode]; !known {
			return nil, malformed("entry %q has mode %q", name, mode)
		}
		if err := o.next(mode, name); err != nil {
			return nil, err
		}
		out = append(out, Entry{mode, name, hex.EncodeToString(rest[:f.size])})
		tree = rest[f.size:]
	}
	return out, nil
}

// order checks that the names of a tree are in git's order, in which a
// directory is followed by a slash, and different.
type order struct {
	last string
	any  bool
	all  map[string]bool
}

func (o *order) next(mode, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	key := name
	if mode == ModeDir {
		key += "/"
	}
	if o.any && key <= o.last {
		return malformed("entry %q is out of order", name)
	}
	if o.all == nil {
		o.all = map[string]bool{}
	}
	if o.all[name] {
		return malformed("entry %q is there twice", name)
	}
	o.last, o.any, o.all[name] = key, true, true
	return nil
}

// checkName refuses names that no working tree may hold.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.EqualFold(name, ".git") || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return malformed("name %q", name)
	}
	return nil
}

// checkPath does so for every element of a slash-separated path.
func checkPath(path string) error {
	for name := range strings.SplitSeq(path, "/") {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}
