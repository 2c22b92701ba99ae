package suite

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/source"
)

// The provenance tests that judge how components were built and linked.

func inputsTraced(_ context.Context, s *Subject) Outcome {
	units := map[string]map[string]bool{} // component → object digest
	for _, c := range s.Record.Components {
		m := map[string]bool{}
		for _, u := range c.Result.Units {
			if u.Digest != "" {
				m[u.Digest] = true
			}
		}
		units[c.Component.Name] = m
	}
	var wrong []string
	links, inputs := 0, 0
	for _, c := range s.Record.Components {
		reach := s.closure(c.Component.Name)
		for _, l := range c.Result.Links {
			links++
			for _, in := range l.Inputs {
				inputs++
				if why := untraced(in, reach, units); why != "" {
					wrong = append(wrong, fmt.Sprintf("%s of %s: %s: %s", l.Output, c.Component.Name, inputName(in), why))
				}
			}
		}
	}
	if links == 0 {
		return notApplicable("nothing was linked")
	}
	return verdict(wrong, "%d inputs of %d links traced", inputs, links)
}

func untraced(in compile.Input, reach map[string]bool, units map[string]map[string]bool) string {
	switch {
	case in.Digest == "":
		return "has no digest"
	case in.Origin == compile.OriginToolchain:
		return ""
	case units[in.Origin] == nil:
		return fmt.Sprintf("comes from %q, which is no component", in.Origin)
	case !reach[in.Origin]:
		return fmt.Sprintf("comes from %s, which is not needed", in.Origin)
	case in.Source == "" && !units[in.Origin][in.Digest]:
		return "no translation unit of " + in.Origin + " made it"
	}
	return ""
}

func inputName(in compile.Input) string {
	if in.Member != "" {
		return fmt.Sprintf("%s(%s)", in.Path, in.Member)
	}
	return in.Path
}

// closure is a component and everything it needs, directly or not.
func (s *Subject) closure(name string) map[string]bool {
	reach := map[string]bool{}
	for todo := []string{name}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if reach[n] {
			continue
		}
		reach[n] = true
		if c := s.component(n); c != nil {
			todo = append(todo, s.needs(c)...)
		}
	}
	return reach
}

// needs are the components that c is built against: those it names, and the C
// library, which every other component needs without naming it.
func (s *Subject) needs(c *compile.ComponentRecord) []string {
	list := slices.Clone(c.Component.Needs)
	for _, x := range s.Record.Spec.Components {
		if x.Provides == "libc" && x.Name != c.Component.Name && !slices.Contains(list, x.Name) {
			list = append(list, x.Name)
		}
	}
	return list
}

// libcObject matches what a toolchain's own C library brings to a link.
var libcObject = regexp.MustCompile(`^(r?crt1|[SgM]crt1|crti|crtn)\.o$|^(libc|libm|libpthread|libdl|librt|libc_nonshared|libmvec|libm-[0-9.]+)\.(a|so|so\.[0-9]+)$|^ld-linux.*\.so\.[0-9]+$`)

func toolchainRuntimeOnly(_ context.Context, s *Subject) Outcome {
	libc := false
	for _, c := range s.Record.Spec.Components {
		libc = libc || c.Provides == "libc"
	}
	var wrong []string
	links, objects := 0, map[string]bool{}
	for _, c := range s.Record.Components {
		for _, l := range c.Result.Links {
			links++
			for _, in := range l.Inputs {
				if in.Origin != compile.OriginToolchain {
					continue
				}
				base := path.Base(in.Path)
				if slices.Contains(compile.RuntimeObjects(), base) || !libc && libcObject.MatchString(base) {
					objects[in.Digest] = true
					continue
				}
				wrong = append(wrong, fmt.Sprintf("%s of %s: %s comes from the toolchain", l.Output, c.Component.Name, inputName(in)))
			}
		}
	}
	if links == 0 {
		return notApplicable("nothing was linked")
	}
	return verdict(wrong, "%d objects of the toolchain's runtime", len(objects))
}

func elfLinked(_ context.Context, s *Subject) Outcome {
	if len(s.ELF) == 0 {
		return notApplicable("the image holds no ELF file")
	}
	linked := map[string]int{} // path → inputs
	for _, l := range s.Record.Image.Layers {
		c := s.component(l.Component)
		if c == nil {
			continue
		}
		mine := byPath(l.Files)
		for _, k := range c.Result.Links {
			if _, ok := mine[clean(k.Output)]; ok {
				linked[clean(k.Output)] = len(k.Inputs)
			}
		}
	}
	var wrong []string
	for _, e := range s.ELF {
		if n, ok := linked[e.Path]; !ok {
			wrong = append(wrong, e.Path+": no link of its component made it")
		} else if n == 0 {
			wrong = append(wrong, e.Path+": its link has no input")
		}
	}
	return verdict(wrong, "%d ELF files with their links", len(s.ELF))
}

func proofsMeetPolicy(_ context.Context, s *Subject) Outcome {
	var wrong []string
	for _, c := range s.Record.Components {
		if why := s.unproven(c); why != "" {
			wrong = append(wrong, c.Component.Name+": "+why)
		}
	}
	if len(s.Record.Components) == 0 {
		return notApplicable("the record names no component")
	}
	return verdict(wrong, "%d components proven", len(s.Record.Components))
}

// unproven says why no proof of c meets its policy. A signature may cover the
// archive or its uncompressed form, so only a digest proof must name the
// archive's own digest.
func (s *Subject) unproven(c compile.ComponentRecord) string {
	pol := c.Component.Policy
	if pol.Least <= source.Ungraded {
		return "its policy names no grade"
	}
	if pol.Digest != "" && pol.Digest != c.Archive {
		return fmt.Sprintf("the archive is %s, the policy pins %s", c.Archive, pol.Digest)
	}
	why := "no proof was recorded"
	for _, p := range c.Proofs {
		switch {
		case p.Grade < pol.Least:
			why = fmt.Sprintf("its best proof is %s, the policy asks for %s", p.Grade, pol.Least)
		case p.Grade == source.Pinned && p.Digest != c.Archive:
			why = "the pinned digest is another archive's"
		case p.Grade == source.Signed && !slices.ContainsFunc(pol.Keys, func(k source.Key) bool {
			return strings.EqualFold(k.Fingerprint, p.Signer)
		}):
			why = fmt.Sprintf("signed by %s, which the policy does not pin", p.Signer)
		case p.Exception != nil && !s.holds(p.Exception.Until):
			why = fmt.Sprintf("its exception for %s expired on %s", p.Exception.Allow, p.Exception.Until)
		default:
			return ""
		}
	}
	return why
}

// holds tells whether a date, its last day included, has not passed.
func (s *Subject) holds(until string) bool {
	day, err := time.Parse(time.DateOnly, until)
	return err == nil && s.Now.Before(day.AddDate(0, 0, 1))
}

func inputsChained(_ context.Context, s *Subject) Outcome {
	var wrong []string
	for _, c := range s.Record.Components {
		name := c.Component.Name
		if c.Tree == "" || c.Action.Tree != c.Tree {
			wrong = append(wrong, fmt.Sprintf("%s was built from tree %q, verified was %q", name, c.Action.Tree, c.Tree))
		}
		if c.Action.Toolchain == "" || c.Action.Toolchain != s.Record.Toolchain.Digest {
			wrong = append(wrong, fmt.Sprintf("%s was built by toolchain %q, recorded is %q", name, c.Action.Toolchain, s.Record.Toolchain.Digest))
		}
		wanted, used := s.needs(&c), map[string]bool{}
		for _, n := range c.Action.Needs {
			used[n.Name] = true
			need := s.component(n.Name)
			if need == nil || n.Output == "" || need.Result.Output.Digest != n.Output {
				wrong = append(wrong, fmt.Sprintf("%s was built against %s %s, which is not the recorded output", name, n.Name, n.Output))
			}
			if !slices.Contains(wanted, n.Name) {
				wrong = append(wrong, fmt.Sprintf("%s was built against %s, which it does not need", name, n.Name))
			}
		}
		for _, n := range wanted {
			if !used[n] {
				wrong = append(wrong, fmt.Sprintf("%s needs %s and was built without it", name, n))
			}
		}
	}
	if len(s.Record.Components) == 0 {
		return notApplicable("the record names no component")
	}
	return verdict(wrong, "%d actions chained", len(s.Record.Components))
}

func commandsComplete(_ context.Context, s *Subject) Outcome {
	var wrong []string
	n := 0
	for _, c := range s.Record.Components {
		name := c.Component.Name
		ran, want := c.Result.Commands, c.Action.Commands
		if len(ran) != len(want) || len(want) == 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %d of %d commands ran", name, len(ran), len(want)))
			continue
		}
		for i := range ran {
			n++
			if !slices.Equal(ran[i].Args, want[i].Args) || ran[i].Dir != want[i].Dir {
				wrong = append(wrong, fmt.Sprintf("%s: command %d was another than in the action", name, i))
			}
			if ran[i].Exit != 0 {
				wrong = append(wrong, fmt.Sprintf("%s: command %d ended with %d", name, i, ran[i].Exit))
			}
		}
	}
	if len(s.Record.Components) == 0 {
		return notApplicable("the record names no component")
	}
	return verdict(wrong, "%d commands", n)
}

func hermetic(_ context.Context, s *Subject) Outcome {
	var wrong []string
	for _, c := range s.Record.Components {
		name, h := c.Component.Name, c.Result.Hermetic
		if h.Reached {
			wrong = append(wrong, name+": a connection got out")
		}
		for _, i := range h.Interfaces {
			if i != "lo" && i != "lo down" {
				wrong = append(wrong, fmt.Sprintf("%s: saw network interface %s", name, i))
			}
		}
		for _, ns := range []string{"mnt", "net", "pid", "user"} {
			if !slices.Contains(h.Namespaces, ns) {
				wrong = append(wrong, fmt.Sprintf("%s: shared the host's %s namespace", name, ns))
			}
		}
		if !h.Seccomp {
			wrong = append(wrong, name+": ran without a system-call filter")
		}
	}
	if len(s.Record.Components) == 0 {
		return notApplicable("the record names no component")
	}
	return verdict(wrong, "%d builds isolated", len(s.Record.Components))
}

func licencesKept(_ context.Context, s *Subject) Outcome {
	var wrong []string
	for _, c := range s.Record.Components {
		if c.Component.License == "" {
			wrong = append(wrong, c.Component.Name+": declares no licence")
		}
		texts := 0
		for _, f := range c.Result.Output.Parts[compile.PartLicenses].Files {
			if f.Size > 0 {
				texts++
			}
		}
		if texts == 0 {
			wrong = append(wrong, c.Component.Name+": no licence text was kept")
		}
	}
	if len(s.Record.Components) == 0 {
		return notApplicable("the record names no component")
	}
	return verdict(wrong, "%d components", len(s.Record.Components))
}
