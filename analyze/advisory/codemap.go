package advisory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// Bounds of one map.
const (
	maxFunctions      = 10_000
	maxConditionDepth = 8
	maxConditions     = 256
)

var (
	fixBody      = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	macroName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	platformName = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+$`)
)

func (sp *specific) codeMap() (Map, error) {
	m := Map{Completeness: sp.Map}
	switch m.Completeness {
	case "":
		m.Completeness = None
	case None, Derived, Reviewed:
	default:
		return Map{}, fmt.Errorf("map %.40q: want reviewed, derived or none", m.Completeness)
	}
	for i, imp := range sp.Imports {
		if imp.Path == "" {
			return Map{}, fmt.Errorf("imports[%d]: no path", i)
		}
		if len(imp.Symbols) == 0 && m.Completeness != None {
			return Map{}, fmt.Errorf("imports[%d]: %s names no symbol, so the map is not %s", i, imp.Path, m.Completeness)
		}
		for _, s := range imp.Symbols {
			if strings.TrimSpace(s) == "" {
				return Map{}, fmt.Errorf("imports[%d]: an empty symbol", i)
			}
			m.Functions = append(m.Functions, Function{File: imp.Path, Name: s})
		}
	}
	if len(m.Functions) > maxFunctions {
		return Map{}, fmt.Errorf("more than %d functions", maxFunctions)
	}
	if err := strict(sp.Conditions, &m.Conditions); err != nil {
		return Map{}, fmt.Errorf("conditions: %w", err)
	}
	if err := checkConditions(m.Conditions); err != nil {
		return Map{}, err
	}
	if err := strict(sp.Fixes, &m.Fixes); err != nil {
		return Map{}, fmt.Errorf("fixes: %w", err)
	}
	for i, f := range m.Fixes {
		if f.File == "" || f.Name == "" || !fixBody.MatchString(f.Body) {
			return Map{}, fmt.Errorf("fixes[%d]: want file, name and body as sha256:HEX", i)
		}
	}
	return m, nil
}

// strict decodes with unknown fields refused: a predicate that this version
// does not know must not read as a condition without one.
func strict(raw json.RawMessage, v any) error {
	if len(raw) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("bytes after the value")
	}
	return nil
}

func checkConditions(cs []Condition) error {
	n := 0
	for i := range cs {
		if cs[i].Quote == "" {
			return fmt.Errorf("conditions[%d]: no quote of the upstream sentence it encodes", i)
		}
		if err := cs[i].check(1, &n); err != nil {
			return fmt.Errorf("conditions[%d]: %w", i, err)
		}
	}
	return nil
}

func (c *Condition) check(depth int, n *int) error {
	if depth > maxConditionDepth {
		return fmt.Errorf("nested deeper than %d", maxConditionDepth)
	}
	if *n++; *n > maxConditions {
		return fmt.Errorf("more than %d predicates", maxConditions)
	}
	if set := c.Predicates(); set != 1 {
		return fmt.Errorf("want exactly one predicate, got %d", set)
	}
	switch {
	case c.File != "":
		return cleanPath(c.File)
	case c.Macro != nil:
		if !macroName.MatchString(c.Macro.Name) {
			return fmt.Errorf("macro name %.40q", c.Macro.Name)
		}
		return cleanPath(c.Macro.File)
	case c.Function != nil:
		if c.Function.Name == "" {
			return errors.New("a function without name")
		}
		return cleanPath(c.Function.File)
	case len(c.API) > 0:
		for _, s := range c.API {
			if strings.TrimSpace(s) == "" {
				return errors.New("an empty API name")
			}
		}
	case c.Caller != nil:
		if len(c.Caller.API) == 0 || len(c.Caller.Besides) == 0 {
			return errors.New("caller: want names and the folders besides which they count")
		}
		for _, s := range c.Caller.API {
			if !macroName.MatchString(s) {
				return fmt.Errorf("caller: %.40q is no name of C", s)
			}
		}
		for _, dir := range c.Caller.Besides {
			if err := cleanPath(dir); err != nil || dir == "." {
				return fmt.Errorf("caller: folder %.80q: want a clean path below the upstream tree", dir)
			}
		}
	case c.Option != "":
		if _, ok := ParseOption(c.Option); !ok {
			return fmt.Errorf("option %.80q: want --enable-X, --disable-X, --with-X, --without-X, -DX=V, enable-X or no-X", c.Option)
		}
	case c.Platform != "":
		if !platformName.MatchString(c.Platform) {
			return fmt.Errorf("platform %.40q: want GOOS/GOARCH", c.Platform)
		}
	case c.Not != nil:
		return c.Not.check(depth+1, n)
	}
	for _, list := range [][]Condition{c.All, c.Any} {
		for i := range list {
			if err := list[i].check(depth+1, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func cleanPath(p string) error {
	if p == "" || path.IsAbs(p) || path.Clean(p) != p || strings.HasPrefix(p, "..") || strings.Contains(p, `\`) {
		return fmt.Errorf("file %.80q: want a clean slash-separated path in the upstream tree", p)
	}
	return nil
}
