package compile

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// verifiedSource is what a resolution reads of a tree.
type verifiedSource interface {
	FS() fs.FS
	Dir() string
	Epoch() time.Time
}

// walk is a checked specification with its trees: what Build and NewPlan go
// through.
type walk struct {
	spec  *Spec
	trees map[string]tree
	tc    *Toolchain
	gcc   int
	mu    sync.Mutex
}

// newWalk checks what a specification that was not loaded from YAML might
// get wrong.
func newWalk(spec *Spec, trees map[string]tree, m *Machine) (*walk, error) {
	gcc, err := m.Toolchain.gcc()
	if err != nil {
		return nil, err
	}
	if len(spec.Components) == 0 {
		return nil, errors.New("build: the specification has no component")
	}
	seen := map[string]bool{}
	for i := range spec.Components {
		c := &spec.Components[i]
		if seen[c.Name] {
			return nil, fmt.Errorf("build: component %s appears twice", c.Name)
		}
		for _, n := range spec.needs(c) {
			if !seen[n] {
				return nil, fmt.Errorf("build: component %s needs %s, which does not stand before it: components must be in dependency order", c.Name, n)
			}
		}
		seen[c.Name] = true
		t := trees[c.Name]
		if t == nil {
			return nil, fmt.Errorf("build: no verified source of component %s", c.Name)
		}
		have := t.Component()
		if have.Name != c.Name || have.Version != c.Version || digestJSON(have.Policy) != digestJSON(c.Policy) {
			return nil, fmt.Errorf("build: the tree given for %s %s is %s %s, or was verified under another policy", c.Name, c.Version, have.Name, have.Version)
		}
	}
	return &walk{spec: spec, trees: trees, tc: m.Toolchain, gcc: gcc}, nil
}

// epoch is the newest of the trees.
func (w *walk) epoch() time.Time {
	var newest time.Time
	for _, c := range w.spec.Components {
		if e := w.trees[c.Name].Epoch(); e.After(newest) {
			newest = e
		}
	}
	return newest.UTC().Truncate(time.Second)
}

// errNotBuilt is the state of an action whose needs have no output yet.
type errNotBuilt struct{ needs []string }

func (e *errNotBuilt) Error() string {
	return "waits for the output of " + strings.Join(e.needs, ", ")
}

// action is a component's build with everything decided. Output gives the
// output digest of a need; while one is missing the error is *errNotBuilt.
func (w *walk) action(c *Component, output func(name string) (string, bool)) (*Action, error) {
	t := w.trees[c.Name]
	epoch := t.Epoch().Unix()
	r, err := resolve(w.spec, c, t.FS(), w.tc, epoch)
	if err != nil {
		return nil, err
	}
	a := &Action{
		Component: c.Name, Version: c.Version, Tree: t.Digest(), Toolchain: w.tc.Digest,
		Commands: r.commands, Env: r.env, Flags: r.flags, Platform: w.spec.Platform, Epoch: epoch,
		Runtime: slices.Clone(c.Runtime), Licenses: slices.Clone(c.Licenses), Schema: actionSchema,
		Excise: slices.Compact(slices.Sorted(slices.Values(c.Recipe.Excise))),
	}
	var missing errNotBuilt
	for _, n := range w.spec.needs(c) {
		digest, ok := output(n)
		if !ok {
			missing.needs = append(missing.needs, n)
		}
		a.Needs = append(a.Needs, Need{Name: n, Output: digest})
	}
	if len(missing.needs) > 0 {
		return a, &missing
	}
	return a, nil
}
