package compile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/source"
)

// State says what a build would do with a component.
type State string

const (
	Hit     State = "hit"     // the result is in the store
	Miss    State = "build"   // it will be built
	Pending State = "pending" // it depends on an output that will be built: same bytes, a hit is possible
)

// Plan is what a build would do, before it does it.
type Plan struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"` // in dependency order
}

// Step is one component of a plan.
type Step struct {
	Component string   `json:"component"`
	Version   string   `json:"version"`
	State     State    `json:"state"`
	Key       string   `json:"key,omitempty"`    // empty while it cannot be known
	Reason    []string `json:"reason,omitempty"` // what changed since the previous record, or what it waits for
}

// String is one line for each component.
func (p *Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "%-8s %s %s", s.State, s.Component, s.Version)
		if len(s.Reason) > 0 {
			fmt.Fprintf(&b, "  (%s)", strings.Join(s.Reason, "; "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// NewPlan says what [Build] would do with the same arguments, and why, as
// the difference from a previous record, which may be nil. It builds
// nothing.
func NewPlan(ctx context.Context, spec *Spec, trees map[string]*source.Tree, m Machine, previous *Record) (*Plan, error) {
	return plan(ctx, spec, asTrees(trees), m, previous)
}

func plan(ctx context.Context, spec *Spec, trees map[string]tree, m Machine, previous *Record) (*Plan, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	w, err := newWalk(spec, trees, &m)
	if err != nil {
		return nil, err
	}
	before := map[string]*ComponentRecord{}
	if previous != nil {
		for i := range previous.Components {
			before[previous.Components[i].Component.Name] = &previous.Components[i]
		}
	}
	p := &Plan{Name: spec.Name}
	outputs := map[string]string{}
	output := func(name string) (string, bool) { d, ok := outputs[name]; return d, ok }
	for i := range spec.Components {
		c := &spec.Components[i]
		s := Step{Component: c.Name, Version: c.Version}
		action, err := w.action(c, output)
		var wait *errNotBuilt
		switch {
		case errors.As(err, &wait):
			s.State, s.Reason = Pending, []string{wait.Error()}
			if prev := before[c.Name]; prev != nil {
				s.Reason = append(differences(&prev.Action, action), s.Reason...)
			}
		case err != nil:
			return nil, fmt.Errorf("plan %s %s: %w", c.Name, c.Version, err)
		default:
			if err := s.look(ctx, m.Store, action, before, outputs); err != nil {
				return nil, fmt.Errorf("plan %s %s: %w", c.Name, c.Version, err)
			}
		}
		p.Steps = append(p.Steps, s)
	}
	return p, nil
}

func (s *Step) look(ctx context.Context, store Store, action *Action, before map[string]*ComponentRecord, outputs map[string]string) error {
	s.Key = action.Key()
	item, err := store.Get(ctx, s.Key)
	switch {
	case err == nil:
		s.State = Hit
		outputs[s.Component] = item.Result.Output.Digest
	case errors.Is(err, ErrNotStored):
		s.State = Miss
	default:
		return err
	}
	prev := before[s.Component]
	switch {
	case prev != nil:
		s.Reason = differences(&prev.Action, action)
	case s.State == Miss:
		s.Reason = []string{"never built"}
	}
	if prev != nil && s.State == Miss && len(s.Reason) == 0 {
		s.Reason = []string{"no longer in the store"}
	}
	return nil
}

// differences names what changed between two actions of one component.
// Outputs of needs that are not known yet are not compared.
func differences(old, now *Action) []string {
	var out []string
	changed := func(different bool, what string) {
		if different {
			out = append(out, "changed: "+what)
		}
	}
	name := now.Component
	if old.Version != now.Version {
		out = append(out, fmt.Sprintf("changed: %s version %s to %s", name, old.Version, now.Version))
	}
	changed(old.Tree != now.Tree, name+" source tree")
	changed(old.Toolchain != now.Toolchain, "toolchain")
	changed(digestJSON(old.Commands) != digestJSON(now.Commands), name+" recipe")
	changed(digestJSON(old.Env) != digestJSON(now.Env), name+" environment")
	changed(digestJSON(old.Flags) != digestJSON(now.Flags), "hardening flags")
	changed(old.Platform != now.Platform, "platform")
	changed(!slices.Equal(old.Runtime, now.Runtime) || !slices.Equal(old.Licenses, now.Licenses), name+" file lists")
	changed(old.Schema != now.Schema, "meaning of actions")
	outputs := map[string]string{}
	for _, n := range old.Needs {
		outputs[n.Name] = n.Output
	}
	for _, n := range now.Needs {
		was, ok := outputs[n.Name]
		delete(outputs, n.Name)
		switch {
		case !ok:
			out = append(out, "changed: needs "+n.Name+" now")
		case n.Output != "" && was != n.Output:
			out = append(out, "changed: output of "+n.Name)
		}
	}
	for _, n := range old.Needs {
		if _, ok := outputs[n.Name]; ok {
			out = append(out, "changed: no longer needs "+n.Name)
		}
	}
	return out
}
