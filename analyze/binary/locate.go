package binary

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/dwarfx"
)

// Code is one piece of live code of a function.
type Code struct {
	Program *Program
	Address uint64 // of its first instruction
	End     uint64 // Address for a row of a line table
	How     string // symbol, body, inlined, label or line-row
}

// Location is where the code of one mapped function lies in the image.
type Location struct {
	Verdict analyze.Verdict
	How     string // symbol, body, inlined, label, line-row; not-compiled, no-code
	Reason  string
	Code    []Code // sorted by program and address; empty unless Present
}

// Where lists the programs that hold the code, sorted.
func (l *Location) Where() []string {
	var out []string
	for _, c := range l.Code {
		if !slices.Contains(out, c.Program.Path) {
			out = append(out, c.Program.Path)
		}
	}
	slices.Sort(out)
	return out
}

// Locate finds the code of a function of a component. It is Absent only under
// the conditions of the package's essay.
func (w *World) Locate(component string, f advisory.Function) Location {
	c := w.components[component]
	if c == nil {
		return Location{Reason: "the record has no component " + component}
	}
	def, defErr := w.definition(c, f)
	var l Location
	elsewhere, compiled := "", false
	for _, p := range w.Programs {
		if p.Debug == nil {
			continue
		}
		for _, g := range p.Debug.Functions(f.Name) {
			same := false
			switch {
			case g.File != "":
				same = w.same(c, g.File, f.File)
			default: // only a symbol: whose object it is in decides
				same = slices.ContainsFunc(g.Instances, func(i dwarfx.Instance) bool {
					o := p.Origin(i.Low)
					return o == "" || o == component
				})
			}
			if !same {
				if len(g.Instances) > 0 && w.near(c, g.File) {
					elsewhere = g.File
				}
				continue
			}
			for _, i := range g.Instances {
				l.Code = append(l.Code, Code{p, i.Low, i.High, i.Kind.String()})
			}
		}
		for _, u := range p.Debug.Units {
			compiled = compiled || w.same(c, u.Name, f.File)
		}
		for _, src := range p.Debug.Sources() {
			if !w.same(c, src, f.File) {
				continue
			}
			compiled = true
			for _, r := range def.ranges {
				for _, row := range p.Debug.Rows(src, r[0], r[1]) {
					l.Code = append(l.Code, Code{p, row.Address, row.Address, "line-row"})
				}
			}
		}
	}
	if len(l.Code) > 0 {
		l.Verdict, l.How = analyze.Present, strongest(l.Code)
		l.Reason = fmt.Sprintf("%d pieces of its code are linked", len(l.Code))
		return l
	}
	merged := w.Merged(component, f, func(_ *Program, g *dwarfx.Function) bool { return len(g.Instances) > 0 })
	switch header := path.Ext(f.File) == ".h" || path.Ext(f.File) == ".hpp"; {
	case w.Gap(component) != "":
		l.Reason = w.Gap(component)
	case defErr != nil:
		l.Reason = defErr.Error()
	case !code(f.File):
		l.Reason = f.File + " is no C or C++ source file"
	case def.macro:
		l.Reason = f.Name + " is a macro, which leaves no trace"
	case def.redirected:
		l.Reason = f.File + " renames its lines"
	case len(def.ranges) == 0 && (compiled || header):
		l.Reason = fmt.Sprintf("%s holds no definition of %s", f.File, f.Name)
	case elsewhere != "" && !def.local:
		l.Reason = fmt.Sprintf("a function of this name is linked from %s", elsewhere)
	case merged != "":
		l.Reason = merged
	case !compiled:
		l.Verdict, l.How = analyze.Absent, "not-compiled"
		l.Reason = f.File + " is in no unit and no line table of the image"
	default:
		l.Verdict, l.How = analyze.Absent, "no-code"
		l.Reason = "no symbol, body, inlined copy or line of it is linked"
	}
	return l
}

func strongest(code []Code) string {
	for _, how := range []string{"symbol", "body", "inlined", "label"} {
		if slices.ContainsFunc(code, func(c Code) bool { return c.How == how }) {
			return how
		}
	}
	return "line-row"
}

// code reports whether a file is compiled as C or C++ or included there.
func code(file string) bool {
	return slices.Contains([]string{".c", ".h", ".cc", ".cpp", ".cxx", ".hpp"}, path.Ext(file))
}

// root is where the debug information puts the component's tree.
func root(c *compile.ComponentRecord) string {
	return fmt.Sprintf("%s/%s-%s/", compile.DebugRoot, c.Component.Name, c.Component.Version)
}

// same reports whether a path of the debug information is a file of the
// component's tree: by its place in the tree, as a copy or generated file of
// the same name that the tree does not have, or by its place below the root
// of another component or below none.
func (w *World) same(c *compile.ComponentRecord, p, file string) bool {
	if rel, ok := strings.CutPrefix(p, root(c)); ok {
		return rel == file || path.Base(rel) == path.Base(file) && !w.inTree(c, rel)
	}
	if strings.HasPrefix(p, compile.DebugRoot+"/") {
		return strings.HasSuffix(p, "/"+file)
	}
	return path.Base(p) == path.Base(file)
}

// near reports whether a path may be of the component: not below the root of
// another.
func (w *World) near(c *compile.ComponentRecord, p string) bool {
	return p != "" && (strings.HasPrefix(p, root(c)) || !strings.HasPrefix(p, compile.DebugRoot+"/"))
}

func (w *World) inTree(c *compile.ComponentRecord, rel string) bool {
	t := w.image.Tree(c.Component.Name)
	if t == nil || !fs.ValidPath(rel) {
		return false
	}
	_, err := fs.Stat(t.FS(), rel)
	return err == nil
}

// maxSource bounds a source file.
const maxSource = 64 << 20

// definition reads the function's definition in the verified tree. The error
// says why absence cannot be shown.
func (w *World) definition(c *compile.ComponentRecord, f advisory.Function) (definition, error) {
	t := w.image.Tree(c.Component.Name)
	if t == nil {
		return definition{}, fmt.Errorf("the source of %s is not at hand", c.Component.Name)
	}
	if !fs.ValidPath(f.File) {
		return definition{}, fmt.Errorf("%q is no path in a source tree", f.File)
	}
	src, err := t.FS().Open(f.File)
	if err != nil {
		return definition{}, fmt.Errorf("the tree of %s has no %s", c.Component.Name, f.File)
	}
	defer src.Close()
	b, err := io.ReadAll(io.LimitReader(src, maxSource+1))
	if err != nil || len(b) > maxSource {
		return definition{}, fmt.Errorf("%s of %s cannot be read", f.File, c.Component.Name)
	}
	return define(b, f.Name), nil
}

// Provides is what a component stands in for, such as "libc".
func (w *World) Provides(component string) string {
	if c := w.components[component]; c != nil {
		return c.Component.Provides
	}
	return ""
}

// Declared says why the absence of references to a function of the component
// would prove nothing: its source does not define it, or defines a macro of
// that name, which no object can show. It is empty where neither is so.
func (w *World) Declared(component, name string) string {
	c := w.components[component]
	if c == nil {
		return "the record has no component " + component
	}
	t := w.image.Tree(component)
	if t == nil {
		return "the source of " + component + " is not at hand"
	}
	found, why := false, ""
	err := fs.WalkDir(t.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !code(p) {
			return err
		}
		b, err := readPart(t.FS(), p)
		if err != nil {
			return err
		}
		if !bytes.Contains(b, []byte(name)) {
			return nil
		}
		def := define(b, name)
		found = found || len(def.ranges) > 0
		if def.macro {
			why = fmt.Sprintf("%s is a macro in %s, which leaves no trace", name, p)
			return fs.SkipAll
		}
		return nil
	})
	switch {
	case err != nil:
		return err.Error()
	case why == "" && !found:
		return fmt.Sprintf("the source of %s defines no function %s", component, name)
	}
	return why
}
