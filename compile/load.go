package compile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// LoadSpec reads the specification in a YAML file, strictly: every mistake
// is a *SpecError with its line and the fix, and all of them are returned
// together. The result has its defaults filled in and its components in
// dependency order, otherwise in the order of the file. Field names are those
// of the JSON form; [SpecSchema] is their JSON Schema.
//
// A component that is "use: FILE", and nothing else, is the component which
// that file holds. Its name is relative to the root of fsys, as those of key
// files are, so that many specifications can share a catalogue of components.
func LoadSpec(fsys fs.FS, name string) (*Spec, error) {
	b, err := readSpec(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("load specification: %w", err)
	}
	return parseSpec(fsys, name, b)
}

// readSpec reads no more than one byte too many.
func readSpec(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSpecBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

func parseSpec(fsys fs.FS, name string, b []byte) (*Spec, error) {
	d := &decoder{files: []string{name}, where: map[string]place{}, used: map[*yaml.Node]string{}}
	doc, err := document(name, b)
	if err != nil {
		return nil, err
	}
	if d.use(fsys, doc); len(d.errs) > 0 {
		return nil, d.join()
	}
	var s Spec
	d.decode(doc, "", reflect.ValueOf(&s).Elem(), 0)
	if len(d.errs) == 0 { // what is missing because it was misspelt is not reported twice
		d.check(&s)
	}
	if len(d.errs) > 0 {
		return nil, d.join()
	}
	s.defaults()
	s.Components = ordered(s.Components, s.needs)
	return &s, nil
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// document is the one document of a YAML file.
func document(name string, b []byte) (*yaml.Node, error) {
	if len(b) > maxSpecBytes {
		return nil, &SpecError{File: name, Line: 1, Msg: fmt.Sprintf("larger than %d bytes", maxSpecBytes), Fix: "a specification is a page of text"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &SpecError{File: name, Line: 1, Msg: "the file is empty", Fix: "start with name: and components:"}
	case err != nil:
		line := 1
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		return nil, &SpecError{File: name, Line: line, Msg: err.Error(), Fix: "make it valid YAML 1.2"}
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &SpecError{File: name, Line: max(1, more.Line), Msg: "more than one document", Fix: "put each specification into a file of its own"}
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, &SpecError{File: name, Line: 1, Msg: "not a YAML document"}
	}
	return doc.Content[0], nil
}

// join gives the errors in the order of their lines, those of the
// specification itself first.
func (d *decoder) join() error {
	slices.SortStableFunc(d.errs, func(a, b error) int {
		x, y := a.(*SpecError), b.(*SpecError)
		other := func(e *SpecError) string {
			if e.File == d.files[0] {
				return ""
			}
			return e.File
		}
		return cmp.Or(cmp.Compare(other(x), other(y)), cmp.Compare(x.Line, y.Line))
	})
	return errors.Join(d.errs...)
}

func (s *Spec) defaults() {
	s.Profile = s.profile()
	if s.Platform == "" {
		s.Platform = onlyPlatform
	}
	if s.Image.User == "" {
		s.Image.User = DefaultUser
	}
}

// ordered sorts components so that each stands after its needs; of those
// that may come next, the first in the file does. The graph has no cycle.
func ordered(list []Component, needs func(*Component) []string) []Component {
	var out []Component
	done := map[string]bool{}
	for len(out) < len(list) {
		for i := range list {
			c := &list[i]
			ready := !done[c.Name] && !slices.ContainsFunc(needs(c), func(n string) bool { return !done[n] })
			if ready {
				done[c.Name] = true
				out = append(out, *c)
				break
			}
		}
	}
	return out
}

// cycle gives a path of needs that leads back to its start, or nil.
func cycle(list []Component, needs func(*Component) []string) []string {
	byName := map[string]*Component{}
	for i := range list {
		byName[list[i].Name] = &list[i]
	}
	const (
		open = 1
		shut = 2
	)
	state := map[string]int{}
	var path []string
	var visit func(name string) []string
	visit = func(name string) []string {
		switch state[name] {
		case shut:
			return nil
		case open:
			return append(slices.Clone(path[slices.Index(path, name):]), name)
		}
		state[name] = open
		path = append(path, name)
		for _, n := range needs(byName[name]) {
			if byName[n] == nil {
				continue
			}
			if c := visit(n); c != nil {
				return c
			}
		}
		path = path[:len(path)-1]
		state[name] = shut
		return nil
	}
	for i := range list {
		if c := visit(list[i].Name); c != nil {
			return c
		}
	}
	return nil
}
