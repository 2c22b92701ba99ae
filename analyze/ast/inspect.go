package ast

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
)

// maxUnit bounds one preprocessed unit, unpacked.
const maxUnit = 256 << 20

// inspect reads one unit and answers the question.
func inspect(debug fs.FS, u compile.Unit, q question) facts {
	f := facts{unit: u}
	if u.Language != "c" {
		f.err = fmt.Errorf("language %q", u.Language)
		return f
	}
	src, err := preprocessed(debug, u)
	if err != nil {
		f.err = err
		return f
	}
	x := lex(src, q.macros, q.names)
	f.defined, f.doubt, f.macros = map[string]bool{}, map[string]bool{}, map[string]macro{}
	f.bodies, f.files, f.events = map[string][]Body{}, map[string]bool{}, map[string]bool{}
	for i, name := range x.files {
		if i > 0 {
			x.files[i] = inTree(u, name)
			f.files[x.files[i]] = true
		}
	}
	if len(x.files) > 1 && x.files[1] != path.Clean(u.Source) {
		f.err = fmt.Errorf("its text begins with %q", x.files[1])
		return f
	}
	for name := range q.macros {
		f.macros[name] = x.macro(name)
		f.events[name] = len(x.events[name]) > 0
	}
	var asked []string
	for name := range q.names {
		if x.mayDefine(name) {
			asked = append(asked, name)
		}
	}
	if len(asked) == 0 {
		return f
	}
	names, err := x.defined()
	found := map[string]int{}
	for _, b := range x.bodies() {
		found[b.Name]++
		if q.names[b.Name] {
			f.bodies[b.Name] = append(f.bodies[b.Name], b)
		}
	}
	for _, name := range asked {
		switch {
		case err != nil:
			f.parse = err
			f.doubt[name] = true
		case names[name] != found[name]:
			f.parse = errors.New("the parser and the scanner disagree")
			f.doubt[name] = true
			f.defined[name] = names[name] > 0
		case names[name] > 0:
			f.defined[name] = true
		}
		if f.doubt[name] {
			delete(f.bodies, name)
		}
	}
	return f
}

func preprocessed(debug fs.FS, u compile.Unit) ([]byte, error) {
	if u.Preprocessed == "" {
		return nil, errors.New("its preprocessed text was not recorded")
	}
	file, err := debug.Open(u.Preprocessed)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Preprocessed, err)
	}
	var b bytes.Buffer
	if info, err := file.Stat(); err == nil {
		b.Grow(int(min(8*info.Size(), maxUnit))) // about what such text is packed by
	}
	n, err := io.Copy(&b, io.LimitReader(z, maxUnit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Preprocessed, err)
	}
	if n > maxUnit {
		return nil, fmt.Errorf("%s: larger than %d bytes", u.Preprocessed, maxUnit)
	}
	if n == 0 {
		return nil, fmt.Errorf("%s: empty", u.Preprocessed)
	}
	return b.Bytes(), nil
}

// inTree is the path in the source tree of a file that a marker names, or the
// name as it is for files elsewhere.
func inTree(u compile.Unit, name string) string {
	if strings.HasPrefix(name, "<") {
		return name
	}
	if !path.IsAbs(name) {
		dir := u.Dir
		if !path.IsAbs(dir) {
			dir = path.Join(compile.SourceDir, dir)
		}
		name = path.Join(dir, name)
	}
	name = path.Clean(name)
	return strings.TrimPrefix(name, compile.SourceDir+"/")
}

// macro is what a unit says of one macro: Present when it is defined before
// the first body of the unit's own file and never undefined again, Absent when
// nothing in the unit ever defines it, Unknown otherwise.
type macro struct {
	verdict analyze.Verdict
	values  []string // of every definition, in order
}

func (u *unit) macro(name string) macro {
	if u.restores {
		return macro{}
	}
	evs := u.events[name]
	if len(evs) == 0 {
		if len(u.events["__STDC__"]) == 0 {
			return macro{} // the text does not list the compiler's own macros
		}
		return macro{verdict: analyze.Absent}
	}
	var m macro
	early := false
	for i, e := range evs {
		if e.undef {
			// undefined before it is defined again at once still leaves a gap
			if len(m.values) > 0 {
				return macro{values: m.values}
			}
			continue
		}
		if i == 0 || len(m.values) == 0 {
			early = u.first < 0 || e.at <= u.first
		}
		m.values = append(m.values, e.value)
	}
	if len(m.values) == 0 {
		return macro{verdict: analyze.Absent} // only ever undefined
	}
	if early {
		m.verdict = analyze.Present
	}
	return m
}

// withValue narrows the verdict to definitions with one replacement list;
// empty asks for any.
func (m macro) withValue(want string) analyze.Verdict {
	if m.verdict != analyze.Present || want == "" {
		return m.verdict
	}
	same := 0
	for _, have := range m.values {
		if have == want {
			same++
		}
	}
	switch same {
	case len(m.values):
		return analyze.Present
	case 0:
		return analyze.Absent
	}
	return analyze.Unknown
}

// leaf answers a condition of kind file, macro, option or platform.
func (s *sources) leaf(l advisory.Condition) (analyze.Verdict, string) {
	switch {
	case l.Platform != "":
		have := s.record.Action.Platform
		if have == "" {
			have = s.build.record.Spec.Platform
		}
		switch have {
		case "":
			return analyze.Unknown, "the record names no platform"
		case l.Platform:
			return analyze.Present, "built for " + have
		}
		return analyze.Absent, "built for " + have
	case l.File != "":
		return s.compiled(l.File)
	case l.Option != "":
		return s.option(l.Option)
	}
	return s.macro(*l.Macro)
}

// compiled is the verdict on a source file being compiled into a shipped file.
func (s *sources) compiled(file string) (analyze.Verdict, string) {
	if why := s.unknownFile(file); why != "" {
		return analyze.Unknown, why
	}
	unclear := ""
	for _, u := range s.units {
		if !s.shipped.objects[u.unit.Digest] {
			continue
		}
		if path.Clean(u.unit.Source) == file {
			return analyze.Present, file + " is compiled into a shipped file"
		}
		switch {
		case u.unit.Language == "asm":
		case u.err != nil:
			unclear = fmt.Sprintf("what %s includes is not known: %v", u.unit.Source, u.err)
		case u.files[file]:
			unclear = fmt.Sprintf("%s is not compiled itself, but %s includes it", file, u.unit.Source)
		}
	}
	if unclear != "" {
		return analyze.Unknown, unclear
	}
	if why := s.incomplete(); why != "" {
		return analyze.Unknown, why
	}
	return analyze.Absent, fmt.Sprintf("%s is in none of the %d objects of %s that were linked", file, len(s.shipped.objects), s.component)
}

// macro is the verdict over all units of the file: Present or Absent only when
// all agree.
func (s *sources) macro(m advisory.Macro) (analyze.Verdict, string) {
	if why := s.unknownFile(m.File); why != "" {
		return analyze.Unknown, why
	}
	verdict, n := analyze.Unknown, 0
	for _, u := range s.units {
		if path.Clean(u.unit.Source) != m.File {
			continue
		}
		if u.err != nil {
			return analyze.Unknown, fmt.Sprintf("%s: %v", u.unit.Source, u.err)
		}
		v := u.macros[m.Name].withValue(m.Value)
		if n > 0 && v != verdict {
			v = analyze.Unknown
		}
		verdict = v
		n++
	}
	if n == 0 {
		if v, why := s.compiled(m.File); v != analyze.Absent {
			return analyze.Unknown, "no unit of " + m.File + " is recorded: " + why
		}
		return analyze.Absent, "no unit of " + m.File + " is compiled"
	}
	switch verdict {
	case analyze.Present:
		return verdict, fmt.Sprintf("%s is defined in the unit of %s", m.Name, m.File)
	case analyze.Absent:
		return verdict, fmt.Sprintf("%s is not defined%s in the unit of %s", m.Name, wanted(m.Value), m.File)
	}
	return verdict, fmt.Sprintf("the units of %s do not settle whether %s is defined throughout", m.File, m.Name)
}

func wanted(value string) string {
	if value == "" {
		return ""
	}
	return " as " + value
}

// unknownFile guards against a name that the tree does not hold: a misspelt
// condition must not read as proved false.
func (s *sources) unknownFile(file string) string {
	tree := s.build.tree(s.component)
	if tree == nil {
		return "the source tree of " + s.component + " is not at hand"
	}
	info, err := fs.Stat(tree, file)
	if err != nil || !info.Mode().IsRegular() {
		return fmt.Sprintf("the tree of %s has no file %s", s.component, file)
	}
	return ""
}
