package monitor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// ReleaseError says in what a rebuilt image is another than planned.
type ReleaseError struct {
	Image string
	Wrong []string // sorted
}

func (e *ReleaseError) Error() string {
	return fmt.Sprintf("rebuilt %s is not as planned: %s", e.Image, strings.Join(e.Wrong, "; "))
}

// outcome is how the components of a rebuilt image compare with its base.
type outcome struct{ rebuilt, cutOff, kept []string }

// compare checks a rebuilt image against its plan and its base. A component was
// rebuilt where its action has another key. Each component of plan.Rebuild must
// have been, unless nothing it needs came out differently (early cutoff); each
// component of plan.Keep must have the same key, version, output and layer.
func compare(plan *Plan, base, next *inventory.Image) (outcome, error) {
	var o outcome
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if next.Name != plan.Image {
		bad("it is called %s", next.Name)
	}
	if base.Digest != plan.Base {
		bad("the base is %s, planned for %s", base.Digest, plan.Base)
	}
	if next.Digest == base.Digest {
		bad("it is the base itself")
	}
	to := map[string]string{}
	for _, u := range plan.Upgrades {
		to[u.Component] = u.To.Version
	}
	for _, c := range base.Components {
		if _, ok := next.Component(c.Name); !ok {
			bad("%s is gone", c.Name)
		}
	}
	for _, c := range next.Components {
		was, ok := base.Component(c.Name)
		if !ok {
			bad("%s is new", c.Name)
			continue
		}
		version := was.Version
		if v, ok := to[c.Name]; ok {
			version = v
		}
		if c.Version != version {
			bad("%s is of version %s, not %s", c.Name, c.Version, version)
		}
		if !slices.Equal(c.Needs, was.Needs) {
			bad("%s needs others than before", c.Name)
		}
		planned := slices.Contains(plan.Rebuild, c.Name)
		switch {
		case !planned:
			if c.Key != was.Key || c.Output != was.Output || c.Layer != was.Layer {
				bad("%s was to be kept and was changed", c.Name)
			}
			o.kept = append(o.kept, c.Name)
		case c.Key != was.Key:
			o.rebuilt = append(o.rebuilt, c.Name)
		case to[c.Name] != "":
			bad("%s was exchanged and was not built", c.Name)
		default:
			for _, n := range c.Needs {
				if before, _ := base.Component(n); changedOutput(next, before) {
					bad("%s was not built against the new %s", c.Name, n)
				}
			}
			if c.Output != was.Output || c.Layer != was.Layer {
				bad("%s has the same action and another output", c.Name)
			}
			o.cutOff = append(o.cutOff, c.Name)
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return outcome{}, &ReleaseError{plan.Image, wrong}
	}
	return o, nil
}

func changedOutput(next *inventory.Image, before inventory.Component) bool {
	after, ok := next.Component(before.Name)
	return !ok || after.Output != before.Output
}
