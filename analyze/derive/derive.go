package derive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/binary"
)

// Request is what is known of a fix.
type Request struct {
	Fixes   []string // the cited commits
	Until   string   // the first release that is fixed
	Version string   // the release in hand
}

// Result is the proposal.
type Result struct {
	Commits    []Commit            // in the order of history
	Functions  []advisory.Function // at the release in hand; sorted
	Files      []string            // that change outside of functions and count whole; sorted
	Missing    []advisory.Function // changed functions that the release does not have: unknown; sorted
	Signatures []Signature         // of Functions, in their order
}

// Commit is one of the set, and why it is.
type Commit struct {
	ID  string
	Why string
}

// Signature is the text of a function at the release, hashed as
// [binary.Definitions] does: as it is and with the fix applied. Fixed is ""
// where the fix does not apply to the release, and equal to Vulnerable where
// it changes nothing there.
type Signature struct {
	advisory.Function
	Vulnerable string
	Fixed      string
}

// Map is the proposal as an advisory's map, which proves nothing.
func (r *Result) Map() advisory.Map {
	return advisory.Map{Completeness: advisory.Derived, Functions: slices.Clone(r.Functions)}
}

// maxCommits bounds how many commits the union may come to: a function that
// changes so often says nothing.
const maxCommits = 500

// Derive proposes by the rule of the package. A cited commit that is a merge,
// or that the fixed release does not contain, is an error.
func Derive(ctx context.Context, r *Repository, q Request) (*Result, error) {
	if len(q.Fixes) == 0 {
		return nil, errors.New("derive: no commit is cited")
	}
	d := &derivation{ctx: ctx, repo: r, changes: map[string]*change{}, touched: map[advisory.Function]bool{}, files: map[string]bool{}, added: map[advisory.Function]bool{}, introduced: map[string]bool{}}
	var err error
	if d.until, err = r.commit(ctx, q.Until); err != nil {
		return nil, fmt.Errorf("derive: the fixed release: %w", err)
	}
	if d.version, err = r.commit(ctx, q.Version); err != nil {
		return nil, fmt.Errorf("derive: the release in hand: %w", err)
	}
	if err := d.union(q.Fixes); err != nil {
		return nil, fmt.Errorf("derive: %w", err)
	}
	out, err := d.result()
	if err != nil {
		return nil, fmt.Errorf("derive: %w", err)
	}
	return out, nil
}

type derivation struct {
	ctx            context.Context
	repo           *Repository
	until, version string
	changes        map[string]*change
	commits        []Commit
	touched        map[advisory.Function]bool // functions that the set changes
	added          map[advisory.Function]bool // functions that the set makes
	introduced     map[string]bool            // symbols that the set makes
	files          map[string]bool            // changed outside of functions
}

// change is what one commit does.
type change struct {
	touched, added []advisory.Function
	files          []string // changed outside of functions
	names          []string // of all files of source
	symbols        []string // introduced
}

// union collects the commits until nothing is added.
func (d *derivation) union(cited []string) error {
	var queue []Commit
	for _, rev := range cited {
		id, err := d.repo.commit(d.ctx, rev)
		if err != nil {
			return err
		}
		if in, err := d.repo.lines(d.ctx, "rev-list", "-n1", id, "^"+d.until); err != nil {
			return err
		} else if len(in) > 0 {
			return fmt.Errorf("commit %s is not in the release that is to be fixed", id)
		}
		queue = append(queue, Commit{id, "cited"})
	}
	seen := map[string]bool{}
	for i := 0; i < len(queue); i++ {
		c := queue[i]
		if seen[c.ID] {
			continue
		}
		seen[c.ID] = true
		if d.commits = append(d.commits, c); len(d.commits) > maxCommits {
			return fmt.Errorf("the fix hangs together with more than %d commits: cite them by hand", maxCommits)
		}
		ch, err := d.change(c.ID)
		if err != nil {
			return err
		}
		for _, f := range ch.touched {
			d.touched[f] = true
		}
		for _, f := range ch.added {
			d.added[f] = true
		}
		for _, f := range ch.files {
			d.files[f] = true
		}
		for _, s := range ch.symbols {
			d.introduced[s] = true
		}
		if c.Why != "cited" && !strings.HasPrefix(c.Why, "uses") {
			continue // a later change of the same function does not draw in its own neighbours
		}
		more, err := d.followers(c.ID, ch)
		if err != nil {
			return err
		}
		queue = append(queue, more...)
	}
	return d.inOrder()
}

// followers are the commits between one and the fixed release that change its
// functions or use what it introduces.
func (d *derivation) followers(id string, ch *change) ([]Commit, error) {
	var out []Commit
	if len(ch.names) > 0 {
		args := append([]string{"rev-list", "--no-merges", "--reverse", id + ".." + d.until, "--"}, ch.names...)
		list, err := d.repo.lines(d.ctx, args...)
		if err != nil {
			return nil, err
		}
		for _, next := range list {
			other, err := d.change(next)
			if err != nil {
				return nil, err
			}
			for _, f := range other.touched {
				if slices.Contains(ch.touched, f) || slices.Contains(ch.added, f) {
					out = append(out, Commit{next, "changes " + f.Name + " of " + f.File})
					break
				}
			}
		}
	}
	for _, s := range ch.symbols {
		list, err := d.repo.lines(d.ctx, "log", "--no-merges", "--reverse", "--format=%H", "-G", `(^|[^A-Za-z0-9_])`+s+`([^A-Za-z0-9_]|$)`, "-E", id+".."+d.until)
		if err != nil {
			return nil, err
		}
		for _, next := range list {
			out = append(out, Commit{next, "uses " + s})
		}
	}
	return out, nil
}

// change reads one commit.
func (d *derivation) change(id string) (*change, error) {
	if c := d.changes[id]; c != nil {
		return c, nil
	}
	parents, err := d.repo.lines(d.ctx, "rev-list", "--parents", "-n1", id)
	if err != nil {
		return nil, err
	}
	if len(parents) > 2 {
		return nil, fmt.Errorf("commit %s is a merge: cite what it merges", id)
	}
	hunks, err := d.repo.diff(d.ctx, id)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", id, err)
	}
	c := &change{}
	before, after := map[string][]binary.Definition{}, map[string][]binary.Definition{}
	read := func(into map[string][]binary.Definition, commit, name string) error {
		if _, ok := into[name]; ok || name == "" || !source(name) {
			return nil
		}
		b, err := d.repo.file(d.ctx, commit, name)
		into[name] = binary.Definitions(b)
		return err
	}
	for _, h := range hunks {
		name := cmp.Or(h.newName, h.oldName)
		if !source(name) {
			if builds(name) && !slices.Contains(c.files, name) {
				c.files = append(c.files, name)
			}
			continue
		}
		if !slices.Contains(c.names, name) {
			c.names = append(c.names, name)
		}
		if len(parents) == 2 {
			if err := read(before, parents[1], h.oldName); err != nil {
				return nil, err
			}
		}
		if err := read(after, id, h.newName); err != nil {
			return nil, err
		}
	}
	defined := map[string]bool{}
	for _, list := range before {
		for _, f := range list {
			defined[f.Name] = true
		}
	}
	for _, h := range hunks {
		name := cmp.Or(h.newName, h.oldName)
		if !source(name) {
			continue
		}
		within := covered(before[h.oldName], h.old)
		now := covered(after[h.newName], h.new)
		whole := (within == nil && h.old[0] < h.old[1]) || (now == nil && h.new[0] < h.new[1]) || within == nil && now == nil
		for _, f := range within {
			c.touched = appendNew(c.touched, advisory.Function{File: name, Name: f})
		}
		for _, f := range now {
			fn := advisory.Function{File: name, Name: f}
			if defined[f] {
				c.touched = appendNew(c.touched, fn)
			} else {
				c.added = appendNew(c.added, fn)
			}
		}
		if whole && h.oldName != "" { // a new file is no vulnerable one
			c.files = appendNew(c.files, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		for _, f := range after[name] {
			if !defined[f.Name] {
				c.symbols = appendNew(c.symbols, f.Name)
				c.added = appendNew(c.added, advisory.Function{File: name, Name: f.Name})
			}
		}
	}
	d.changes[id] = c
	return c, nil
}

// covered are the functions that hold all of a range; nil where one of its
// lines is in none. An empty range is in the function around it.
func covered(defs []binary.Definition, lines [2]int) []string {
	var out []string
	last := max(lines[0], lines[1]-1)
	for at := lines[0]; at <= last; {
		i := slices.IndexFunc(defs, func(f binary.Definition) bool { return f.First <= at && at <= f.Last })
		if i < 0 {
			return nil
		}
		out = appendNew(out, defs[i].Name)
		at = defs[i].Last + 1
	}
	return out
}

func appendNew[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// source reports whether a file holds C.
func source(name string) bool {
	return slices.Contains([]string{".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".inc"}, path.Ext(name)) && !test(name)
}

// builds reports whether a file has a part in the build without being C.
func builds(name string) bool {
	if test(name) {
		return false
	}
	base := path.Base(name)
	return slices.Contains([]string{".s", ".S", ".asm", ".pl", ".m4", ".ac", ".am", ".in", ".mk", ".cmake", ".y", ".l", ".def"}, path.Ext(name)) ||
		strings.HasPrefix(base, "Makefile") || strings.HasPrefix(base, "configure") || base == "CMakeLists.txt" || base == "meson.build"
}

// test reports whether a file is below a folder of tests.
func test(name string) bool {
	for _, dir := range strings.Split(path.Dir(name), "/") {
		if dir == "test" || dir == "tests" || dir == "fuzz" {
			return true
		}
	}
	return false
}

// inOrder sorts the commits as history has them.
func (d *derivation) inOrder() error {
	list, err := d.repo.lines(d.ctx, "rev-list", "--topo-order", "--reverse", d.until)
	if err != nil {
		return err
	}
	at := make(map[string]int, len(list))
	for i, id := range list {
		at[id] = i
	}
	slices.SortStableFunc(d.commits, func(a, b Commit) int { return cmp.Compare(at[a.ID], at[b.ID]) })
	return nil
}
