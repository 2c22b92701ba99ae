package harden

import (
	"fmt"
	"slices"
	"strings"
)

// Place says where the compiler wrapper puts a flag.
type Place string

const (
	PlaceBefore  Place = "before"  // before the caller's arguments, so the caller's win
	PlaceCompile Place = "compile" // after the caller's arguments, so these win
	PlaceLink    Place = "link"    // links only, after the caller's arguments
)

// Flag is one measure: arguments that belong together.
type Flag struct {
	Args    []string `json:"args"`    // in this order
	Place   Place    `json:"place"`   // where the wrapper puts them
	Purpose string   `json:"purpose"` // what it is good for, one clause
	GCC     int      `json:"gcc"`     // first major version that knows all of Args; 0: any in use
	Musl    string   `json:"musl"`    // what it does against musl
	// Cancels holds arguments that undo this flag when they come after it.
	// "P*" stands for every argument with prefix P.
	Cancels []string `json:"cancels,omitempty"`
	// Equals holds arguments that are as good as the flag's own, such as
	// -fPIC for -fPIE.
	Equals []string `json:"equals,omitempty"`
}

// String is the arguments as one line.
func (f Flag) String() string { return strings.Join(f.Args, " ") }

// Profile is a named list of flags.
type Profile struct {
	Name    string `json:"name"`
	Purpose string `json:"purpose"`
	Flags   []Flag `json:"flags"`
}

// OptOut moves a flag before the caller's arguments, for components that
// stand in for something the flag relies on.
type OptOut struct {
	Provides string `json:"provides"` // Component.Provides
	Args     string `json:"args"`     // Flag.String
	Reason   string `json:"reason"`
}

// OptOuts is the whole list of exceptions.
func OptOuts() []OptOut {
	return []OptOut{
		{"libc", "-fstack-protector-strong",
			"the C library's start-up units run before the canary exists and carry their own -fno-stack-protector, which must win"},
		{"libc", "-O2",
			"the C library picks the optimisation of each unit itself (-Os, or -O3 for string functions)"},
		{"libc", "-fno-strict-aliasing", "the C library states its own aliasing rules per unit"},
	}
}

// excused reports whether a component that provides something may override a
// flag.
func excused(provides string, f Flag) bool {
	return provides != "" && slices.ContainsFunc(OptOuts(), func(o OptOut) bool {
		return o.Provides == provides && o.Args == f.String()
	})
}

// Resolved is a profile for one compiler and one component: what the wrapper
// adds to command lines.
type Resolved struct {
	Before, Compile, Link []string
	Omitted               []Flag // unknown to this compiler
}

// Resolve selects the flags that GCC of the given major version knows.
// Provides is the component's field of that name, empty for most.
func (p Profile) Resolve(gcc int, provides string) Resolved {
	var r Resolved
	for _, f := range p.Flags {
		place := f.Place
		if place == PlaceCompile && excused(provides, f) {
			place = PlaceBefore
		}
		switch {
		case f.GCC > gcc:
			r.Omitted = append(r.Omitted, f)
		case place == PlaceBefore:
			r.Before = append(r.Before, f.Args...)
		case place == PlaceCompile:
			r.Compile = append(r.Compile, f.Args...)
		case place == PlaceLink:
			r.Link = append(r.Link, f.Args...)
		}
	}
	return r
}

// DefaultProfile is the profile of a specification that names none.
const DefaultProfile = "openssf"

// Profiles lists every profile, the default first.
func Profiles() []Profile {
	return []Profile{
		{DefaultProfile, "the production set of the OpenSSF compiler options guide that does not change the meaning of correct programs",
			slices.Concat(analysis(), production(), links())},
		{"openssf-max", "openssf, and the guide's options that some programs must be adapted to",
			slices.Concat(analysis(), production(), strict(), links(), strictLinks())},
		{"none", "no hardening: only what analysis needs; for comparison, never for release",
			slices.Concat(analysis(), analysisLinks())},
	}
}

// Lookup finds a profile by name.
func Lookup(name string) (Profile, error) {
	var names []string
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("unknown hardening profile %q: want one of %s", name, strings.Join(names, ", "))
}
