package compile

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/cleanstart/cleanstart/compile/harden"
)

// OriginToolchain is Input.Origin of an object that comes with the compiler.
const OriginToolchain = "toolchain"

// RuntimeObjects are the files of the toolchain that may be linked into an
// image: the compiler's start-up and support code. The C library is not among
// them: it is a component.
func RuntimeObjects() []string {
	return []string{
		"crtbegin.o", "crtbeginS.o", "crtbeginT.o", "crtend.o", "crtendS.o",
		"libgcc.a", "libgcc_eh.a",
	}
}

// UnexplainedError is a byte of the image that the record does not trace to
// a component's source or to the compiler's runtime.
type UnexplainedError struct {
	Component string // that the file or link belongs to
	File      string // of the image
	Input     string // object that was linked in; empty when the file itself is unexplained
	Why       string
}

func (e *UnexplainedError) Error() string {
	if e.Input != "" {
		return fmt.Sprintf("zero inheritance: %s of %s holds %s: %s", e.File, e.Component, e.Input, e.Why)
	}
	return fmt.Sprintf("zero inheritance: %s of %s: %s", e.File, e.Component, e.Why)
}

// VerifyOrigins checks that a record explains its image: every file of every
// layer is a file of that component's runtime part, byte for byte, and every
// object linked into one of them is a translation unit of the component
// itself or of one it needs, by digest, or one of [RuntimeObjects]. The error
// joins one *UnexplainedError for each that is not. Whether a file without a
// recorded link is machine code is not seen from a record: [Build] looks at
// the files.
func VerifyOrigins(r *Record) error {
	o := origins{byName: map[string]*ComponentRecord{}, units: map[string]map[string]bool{}}
	for i := range r.Components {
		c := &r.Components[i]
		o.byName[c.Component.Name] = c
		set := map[string]bool{}
		for _, u := range c.Result.Units {
			if u.Digest != "" {
				set[u.Digest] = true
			}
		}
		o.units[c.Component.Name] = set
	}
	seen := map[string]string{}
	for _, l := range r.Image.Layers {
		o.layer(l, seen)
	}
	for i := range r.Components {
		for _, l := range r.Components[i].Result.Links {
			o.link(&r.Components[i], l)
		}
	}
	return errors.Join(o.errs...)
}

type origins struct {
	byName map[string]*ComponentRecord
	units  map[string]map[string]bool // component → digests of its objects
	errs   []error
}

func (o *origins) fail(component, file, input, format string, args ...any) {
	o.errs = append(o.errs, &UnexplainedError{component, file, input, fmt.Sprintf(format, args...)})
}

func (o *origins) layer(l LayerRecord, seen map[string]string) {
	c := o.byName[l.Component]
	if c == nil {
		o.fail(l.Component, "layer "+l.Digest, "", "the record has no such component")
		return
	}
	files := map[string]File{}
	for _, f := range c.Result.Output.Parts[PartRuntime].Files {
		files[f.Path] = f
	}
	for _, f := range l.Files {
		have, ok := files[f.Path]
		switch {
		case !ok:
			o.fail(l.Component, f.Path, "", "the component's output has no such file")
		case have != f:
			o.fail(l.Component, f.Path, "", "differs from the component's output (%s)", have.Digest)
		case seen[f.Path] != "":
			o.fail(l.Component, f.Path, "", "is also a file of %s", seen[f.Path])
		}
		seen[f.Path] = l.Component
	}
}

func (o *origins) link(c *ComponentRecord, l Link) {
	name := c.Component.Name
	if len(l.Inputs) == 0 {
		o.fail(name, l.Output, "", "its link names no input")
	}
	for _, in := range l.Inputs {
		label := in.Path
		if in.Member != "" {
			label += "(" + in.Member + ")"
		}
		isNeed := slices.ContainsFunc(c.Action.Needs, func(n Need) bool { return n.Name == in.Origin })
		switch {
		case in.Digest == "":
			o.fail(name, l.Output, label, "it has no digest")
		case in.Origin == OriginToolchain:
			if !slices.Contains(RuntimeObjects(), path.Base(in.Path)) {
				o.fail(name, l.Output, label, "the toolchain may give only its compiler's runtime objects")
			}
		case in.Origin != name && !isNeed:
			o.fail(name, l.Output, label, "its origin %q is neither the component nor a need of it", in.Origin)
		case !o.units[in.Origin][in.Digest]:
			o.fail(name, l.Output, label, "no translation unit of %s gave an object with digest %s", in.Origin, in.Digest)
		}
	}
}

// checkResult is what a result must show before it is stored, and when it
// comes from the store.
func checkResult(c *Component, a *Action, gcc int, r *Result) error {
	if r.Hermetic.Reached {
		return errors.New("the build could reach a network: it is not hermetic")
	}
	profile, err := harden.Lookup(a.Flags.Profile)
	if err != nil {
		return err
	}
	var units []harden.Unit
	for _, u := range r.Units {
		units = append(units, harden.Unit{Source: u.Source, Language: u.Language, Args: u.Args})
	}
	var links []harden.Link
	for _, l := range r.Links {
		links = append(links, harden.Link{Output: l.Output, Args: l.Args})
	}
	return harden.Closure(profile, gcc, c.Provides, units, links).Err()
}
