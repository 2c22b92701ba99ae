// Package tagmatch compares a release with the repository that it was made
// from.
//
// A release archive may hold what its project's version control does not:
// configure scripts, generated headers, translations. That is where the back
// door of xz 5.6.0 came in, as one m4 file more than the repository had. So
// every file that a release adds or changes must be explained, by its own
// name: a pattern such as m4/*.m4 would have explained that file too. What a
// release leaves out cannot do harm, and patterns may explain it.
//
// Blind spot: an explained file is explained, not read. A digest with the
// explanation pins its content.
package tagmatch

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ErrDiffers says that a release holds what the repository does not account
// for.
var ErrDiffers = errors.New("release is not what the repository holds")

// File is a file or symbolic link of a tree.
type File struct {
	Name string // slash-separated, relative to the tree
	Kind byte   // 'f' file, 'x' executable file, 'l' symbolic link
	Sum  string // files: hexadecimal SHA-256; links: the target
}

// Explained says why one file differs.
type Explained struct {
	// Path is the file's name in the tree. For Omitted it may be a pattern of
	// path.Match, and one that ends in /** means all below a directory.
	Path   string `json:"path"`
	Reason string `json:"reason"`
	// Digest pins the content as "sha256:HEX". Default: any.
	Digest string `json:"digest,omitempty"`
}

// Rules are the differences that are expected.
type Rules struct {
	Generated []Explained `json:"generated,omitempty"` // only in the release
	Changed   []Explained `json:"changed,omitempty"`   // in both, and not the same
	Omitted   []Explained `json:"omitted,omitempty"`   // only in the repository
}

// Validate says whether the rules are well formed.
func (r Rules) Validate() error {
	for _, g := range []struct {
		name string
		list []Explained
	}{{"generated", r.Generated}, {"changed", r.Changed}, {"omitted", r.Omitted}} {
		for i, e := range g.list {
			if err := e.validate(g.name == "omitted"); err != nil {
				return fmt.Errorf("%s[%d]: %w", g.name, i, err)
			}
		}
	}
	return nil
}

func (e Explained) validate(pattern bool) error {
	switch {
	case strings.TrimSpace(e.Reason) == "":
		return fmt.Errorf("%q: reason is empty", e.Path)
	case pattern:
		if _, err := path.Match(e.Path, ""); err != nil || e.Path == "" || e.Digest != "" {
			return fmt.Errorf("path %q is no pattern, or has a digest", e.Path)
		}
	case !fs.ValidPath(e.Path) || e.Path == ".":
		return fmt.Errorf("path %q is not a file's name in the tree", e.Path)
	case strings.ContainsAny(e.Path, "*?["):
		return fmt.Errorf("path %q is a pattern; what a release adds or changes is explained by name, file by file", e.Path)
	}
	if e.Digest != "" {
		h, ok := strings.CutPrefix(e.Digest, "sha256:")
		if !ok || len(h) != 64 || strings.Trim(h, "0123456789abcdef") != "" {
			return fmt.Errorf("%s: digest %q is not sha256: and 64 lower-case hexadecimal digits", e.Path, e.Digest)
		}
	}
	return nil
}

// Report is what a comparison found, sorted by name.
type Report struct {
	Same      int      `json:"same"`                // files that are equal
	Generated []string `json:"generated,omitempty"` // explained
	Changed   []string `json:"changed,omitempty"`
	Omitted   []string `json:"omitted,omitempty"`
	// Unexplained are "added NAME", "changed NAME", "mode of NAME" and
	// "omitted NAME".
	Unexplained []string `json:"unexplained,omitempty"`
	// Unused are explanations that explain nothing.
	Unused []string `json:"unused,omitempty"`
}

// Err wraps [ErrDiffers] and names what is unexplained, or is nil.
func (r *Report) Err() error {
	n := len(r.Unexplained)
	switch {
	case n == 0 && r.Same == 0:
		return fmt.Errorf("%w: no file is the same in both", ErrDiffers)
	case n == 0:
		return nil
	}
	const most = 20
	text := strings.Join(r.Unexplained[:min(n, most)], ", ")
	if n > most {
		text += fmt.Sprintf(" and %d more", n-most)
	}
	return fmt.Errorf("%w: %s", ErrDiffers, text)
}

// Compare holds a release against the tree of the repository. Both list each
// name once.
func Compare(release, repository []File, rules Rules) *Report {
	r := &Report{}
	origin := make(map[string]File, len(repository))
	for _, f := range repository {
		origin[f.Name] = f
	}
	used := map[string]bool{}
	for _, f := range release {
		o, both := origin[f.Name]
		delete(origin, f.Name)
		switch {
		case !both && explains(rules.Generated, f, used, "generated "):
			r.Generated = append(r.Generated, f.Name)
		case !both:
			r.Unexplained = append(r.Unexplained, "added "+f.Name)
		case f == o:
			r.Same++
		case explains(rules.Changed, f, used, "changed "):
			r.Changed = append(r.Changed, f.Name)
		case f.Sum == o.Sum && f.Kind != 'l' && o.Kind != 'l':
			r.Unexplained = append(r.Unexplained, "mode of "+f.Name)
		default:
			r.Unexplained = append(r.Unexplained, "changed "+f.Name)
		}
	}
	for name := range origin {
		if i := slices.IndexFunc(rules.Omitted, func(e Explained) bool { return matches(e.Path, name) }); i >= 0 {
			used["omitted "+rules.Omitted[i].Path] = true
			r.Omitted = append(r.Omitted, name)
			continue
		}
		r.Unexplained = append(r.Unexplained, "omitted "+name)
	}
	for kind, list := range map[string][]Explained{"generated ": rules.Generated, "changed ": rules.Changed, "omitted ": rules.Omitted} {
		for _, e := range list {
			if !used[kind+e.Path] {
				r.Unused = append(r.Unused, kind+e.Path)
			}
		}
	}
	for _, list := range [][]string{r.Generated, r.Changed, r.Omitted, r.Unexplained, r.Unused} {
		slices.Sort(list)
	}
	return r
}

// explains says whether a rule names the file and pins no other content.
func explains(list []Explained, f File, used map[string]bool, kind string) bool {
	for _, e := range list {
		if e.Path == f.Name && (e.Digest == "" || f.Kind != 'l' && e.Digest == "sha256:"+f.Sum) {
			used[kind+e.Path] = true
			return true
		}
	}
	return false
}

func matches(pattern, name string) bool {
	if dir, below := strings.CutSuffix(pattern, "/**"); below {
		return strings.HasPrefix(name, dir+"/")
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
