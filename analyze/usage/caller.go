package usage

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// caller is Present where live code refers to one of the names from outside
// the folders of the component, or an ELF file whose link is not the
// component's own imports one. An object whose source is not recorded leaves
// it Unknown: it may lie in the folders.
func (u *use) caller(component string, c advisory.Caller) (analyze.Verdict, string) {
	doubt := ""
	for _, p := range u.Programs {
		l := u.graphs[p]
		if l == nil {
			continue
		}
		for _, i := range l.graph.Referrers(c.API...) {
			o := &p.Objects[i]
			switch {
			case o.Origin != component:
				return analyze.Present, fmt.Sprintf("%s of %s, which is live in %s, uses it", o.Name(), o.Origin, p.Path)
			case o.Unit == nil:
				doubt = fmt.Sprintf("%s, which is live in %s, uses it, and its source is not recorded", o.Name(), p.Path)
			case !below(o.Unit.Source, c.Besides):
				return analyze.Present, fmt.Sprintf("%s, which is live in %s, uses it", o.Unit.Source, p.Path)
			}
		}
	}
	switch {
	case doubt != "":
		return analyze.Unknown, doubt
	case u.closed != analyze.Present:
		return analyze.Unknown, u.closedWhy
	}
	for _, name := range c.API {
		if why := u.Declared(component, name); why != "" {
			return analyze.Unknown, why
		}
		if why := u.Merged(component, advisory.Function{Name: name}, u.lives); why != "" {
			return analyze.Unknown, why
		}
	}
	return analyze.Absent, fmt.Sprintf("no live code outside %s of %s refers to %s", strings.Join(c.Besides, ", "), component, strings.Join(c.API, " or "))
}

// below reports whether a source file of a component lies in one of the
// folders.
func below(source string, folders []string) bool {
	source = path.Clean(source)
	return slices.ContainsFunc(folders, func(dir string) bool { return strings.HasPrefix(source, dir+"/") })
}
