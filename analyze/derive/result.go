package derive

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/binary"
)

// result places the set at the release in hand.
func (d *derivation) result() (*Result, error) {
	out := &Result{Commits: d.commits, Files: slices.Sorted(maps.Keys(d.files))}
	text := map[string][]byte{} // at the release
	defs := map[string][]binary.Definition{}
	read := func(name string) error {
		if _, ok := text[name]; ok {
			return nil
		}
		b, err := d.repo.file(d.ctx, d.version, name)
		text[name], defs[name] = b, binary.Definitions(b)
		return err
	}
	for _, f := range slices.SortedFunc(maps.Keys(d.touched), compare) {
		if err := read(f.File); err != nil {
			return nil, err
		}
		switch {
		case find(defs[f.File], f.Name) != "":
			out.Functions = append(out.Functions, f)
		case !d.added[f]:
			moved, err := d.elsewhere(f, read, defs)
			if err != nil {
				return nil, err
			}
			if len(moved) == 0 {
				out.Missing = append(out.Missing, f)
			}
			for _, m := range moved {
				out.Functions = appendNew(out.Functions, m)
			}
		}
	}
	slices.SortFunc(out.Functions, compare)
	fixed := map[string][]binary.Definition{}
	for _, f := range out.Functions {
		if _, ok := fixed[f.File]; !ok {
			b, err := d.apply(f.File, text[f.File])
			if err != nil {
				return nil, err
			}
			fixed[f.File] = binary.Definitions(b)
		}
		out.Signatures = append(out.Signatures, Signature{f, find(defs[f.File], f.Name), find(fixed[f.File], f.Name)})
	}
	return out, nil
}

// find is the body of a function; "" where it is not defined, or more than
// once with different bodies.
func find(defs []binary.Definition, name string) string {
	body := ""
	for _, f := range defs {
		if f.Name != name {
			continue
		}
		if body != "" && body != f.Body {
			body = "several"
			continue
		}
		body = f.Body
	}
	return body
}

// elsewhere looks for a function that another file of the release defines.
func (d *derivation) elsewhere(f advisory.Function, read func(string) error, defs map[string][]binary.Definition) ([]advisory.Function, error) {
	files, err := d.repo.lines(d.ctx, "ls-tree", "-r", "--name-only", d.version)
	if err != nil {
		return nil, err
	}
	var out []advisory.Function
	for _, name := range files {
		if !source(name) {
			continue
		}
		if err := read(name); err != nil {
			return nil, err
		}
		if find(defs[name], f.Name) != "" {
			out = append(out, advisory.Function{File: name, Name: f.Name})
		}
	}
	return out, nil
}

// apply gives a file of the release with what the set changes in it; nil where
// that does not apply.
func (d *derivation) apply(name string, text []byte) ([]byte, error) {
	for _, c := range d.commits {
		if !slices.Contains(d.changes[c.ID].names, name) {
			continue
		}
		base, err := d.repo.file(d.ctx, c.ID+"^", name)
		if err != nil {
			return nil, err
		}
		changed, err := d.repo.file(d.ctx, c.ID, name)
		if err != nil {
			return nil, err
		}
		if base == nil || changed == nil {
			return nil, nil
		}
		if text, err = d.repo.merge(d.ctx, text, base, changed); err != nil || text == nil {
			return nil, err
		}
	}
	return text, nil
}

func compare(a, b advisory.Function) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Name, b.Name))
}

// State is what a tree's text says of a fix. The zero value is Unknown.
type State int

const (
	Unknown    State = iota
	Vulnerable       // a function has the form that the fix changes
	Fixed            // every function has its fixed form, and nothing else is changed by the fix
)

func (s State) String() string {
	switch s {
	case Vulnerable:
		return "vulnerable"
	case Fixed:
		return "fixed"
	}
	return "unknown"
}

// Check compares a tree of source with the signatures. Fixed takes the whole
// fix: every function in its fixed form, none missing, and no change outside
// of functions, of which signatures say nothing. One function in the
// vulnerable form makes the tree vulnerable; everything else is unknown.
func Check(tree fs.FS, r *Result) (State, string, error) {
	if len(r.Signatures) == 0 {
		return Unknown, "there is no signature", nil
	}
	defs := map[string][]binary.Definition{}
	doubt := ""
	for _, s := range r.Signatures {
		if _, ok := defs[s.File]; !ok {
			b, err := readFile(tree, s.File)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return Unknown, "", fmt.Errorf("derive: %w", err)
			}
			defs[s.File] = binary.Definitions(b)
		}
		switch body := find(defs[s.File], s.Name); {
		case s.Fixed == s.Vulnerable && s.Fixed != "" && s.Fixed != "several":
			// the fix does not change it here
		case body == s.Vulnerable && body != "" && body != "several":
			return Vulnerable, s.Name + " of " + s.File + " has the form before the fix", nil
		case body == "" || body == "several" || body != s.Fixed:
			doubt = s.Name + " of " + s.File + " has neither form"
		}
	}
	switch {
	case doubt != "":
		return Unknown, doubt, nil
	case len(r.Missing) > 0:
		return Unknown, r.Missing[0].Name + " of " + r.Missing[0].File + " was not found in the release", nil
	case len(r.Files) > 0:
		return Unknown, r.Files[0] + " is changed outside of functions", nil
	case !slices.ContainsFunc(r.Signatures, func(s Signature) bool { return s.Fixed != s.Vulnerable }):
		return Unknown, "the fix changes no function of the release", nil
	}
	return Fixed, fmt.Sprintf("all %d functions have the fixed form", len(r.Signatures)), nil
}

func readFile(tree fs.FS, name string) ([]byte, error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return b, err
}
