package harden

import (
	"fmt"
	"slices"
	"strings"
)

// Unit is one translation unit as it was compiled.
type Unit struct {
	Source   string
	Language string   // c, c++ or asm; only c and c++ are judged
	Args     []string // the whole command line
}

// Link is one link as it was done.
type Link struct {
	Output string
	Args   []string
}

// Missing is a flag that did not take effect somewhere.
type Missing struct {
	Flag    Flag
	Where   string // source of the unit, or output of the link
	By      string // the argument that cancelled it; empty: it was never given
	Excused string // reason of the opt-out that allows it; empty: not allowed
}

func (m Missing) String() string {
	how := "was not given"
	if m.By != "" {
		how = "was cancelled by " + m.By
	}
	return fmt.Sprintf("%s: %s %s", m.Where, m.Flag, how)
}

// Result is what a closure check found.
type Result struct {
	Units, Links int       // judged
	Missing      []Missing // in the order of units, links and the profile's flags; excused ones included
}

// Unexcused are the missing flags that no opt-out allows.
func (r Result) Unexcused() []Missing {
	return slices.DeleteFunc(slices.Clone(r.Missing), func(m Missing) bool { return m.Excused != "" })
}

// Err is nil when nothing is missing without excuse. Its text names the first
// few places.
func (r Result) Err() error {
	bad := r.Unexcused()
	if len(bad) == 0 {
		return nil
	}
	const show = 5
	var lines []string
	for _, m := range bad[:min(show, len(bad))] {
		lines = append(lines, m.String())
	}
	if len(bad) > show {
		lines = append(lines, fmt.Sprintf("and %d more", len(bad)-show))
	}
	return fmt.Errorf("hardening did not reach every unit: %s", strings.Join(lines, "; "))
}

// Closure checks that every flag of a profile that the compiler knows took
// effect in every unit and every link. Provides is the component's field of
// that name.
func Closure(p Profile, gcc int, provides string, units []Unit, links []Link) Result {
	var r Result
	check := func(where string, args []string, place func(Place) bool) {
		for _, f := range p.Flags {
			if f.GCC > gcc || !place(f.Place) {
				continue
			}
			ok, by := effective(f, args)
			if ok {
				continue
			}
			m := Missing{Flag: f, Where: where, By: by}
			if by != "" && excused(provides, f) {
				m.Excused = reason(provides, f)
			}
			r.Missing = append(r.Missing, m)
		}
	}
	for _, u := range units {
		if u.Language != "c" && u.Language != "c++" {
			continue
		}
		r.Units++
		check(u.Source, u.Args, func(p Place) bool { return p != PlaceLink })
	}
	for _, l := range links {
		r.Links++
		check(l.Output, l.Args, func(p Place) bool { return p == PlaceLink })
	}
	return r
}

func reason(provides string, f Flag) string {
	for _, o := range OptOuts() {
		if o.Provides == provides && o.Args == f.String() {
			return o.Reason
		}
	}
	return ""
}

// effective reports whether all arguments of f are given and none is
// cancelled afterwards, and otherwise by which argument.
func effective(f Flag, args []string) (ok bool, by string) {
	for i, want := range f.Args {
		given := false
		for _, a := range args {
			switch {
			case a == want || i == 0 && len(f.Args) == 1 && slices.Contains(f.Equals, a):
				given, by = true, ""
			case slices.Contains(f.Args, a): // its own arguments do not cancel each other
			case cancels(f, a):
				given, by = false, a
			}
		}
		if !given {
			return false, by
		}
	}
	return true, ""
}

func cancels(f Flag, arg string) bool {
	for _, c := range f.Cancels {
		if p, ok := strings.CutSuffix(c, "*"); ok && strings.HasPrefix(arg, p) || c == arg {
			return true
		}
	}
	return false
}
