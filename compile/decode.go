package compile

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a specification.
const (
	maxSpecBytes = 1 << 20
	maxSpecNodes = 50_000 // after aliases are followed
	maxSpecDepth = 32
	maxSpecErrs  = 20
)

// decoder fills Go values from YAML nodes, strictly, and remembers the line
// of each value by its path, such as components[1].purl, so that later checks
// can point at it.
type decoder struct {
	files []string // the specification and those that it uses; the last one is being read
	where map[string]place
	used  map[*yaml.Node]string // mappings that stand in a file of their own
	nodes int
	errs  []error
}

// place is where a value stands.
type place struct {
	file string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

func (d *decoder) file() string { return d.files[len(d.files)-1] }

func (d *decoder) fail(line int, fix, format string, args ...any) {
	d.failAt(place{d.file(), line}, fix, format, args...)
}

func (d *decoder) failAt(at place, fix, format string, args ...any) {
	if len(d.errs) <= maxSpecErrs {
		d.errs = append(d.errs, &SpecError{File: at.file, Line: at.line, Msg: fmt.Sprintf(format, args...), Fix: fix})
	}
}

// place is that of a path, or of the nearest value around it.
func (d *decoder) place(path string) place {
	for path != "" {
		if p, ok := d.where[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		path = path[:max(i, 0)]
	}
	return place{d.files[0], max(1, d.where[""].line)}
}

// at reports a mistake at a path.
func (d *decoder) at(path, fix, format string, args ...any) {
	d.failAt(d.place(path), fix, format, args...)
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// decode fills v, a settable value of the kinds that Spec is made of.
func (d *decoder) decode(n *yaml.Node, path string, v reflect.Value, depth int) {
	d.nodes++
	if d.nodes > maxSpecNodes || depth > maxSpecDepth {
		if d.nodes <= maxSpecNodes+1 { // say it once
			d.fail(n.Line, "write values out instead of repeating aliases", "more than %d values or %d levels", maxSpecNodes, maxSpecDepth)
		}
		d.nodes = maxSpecNodes + 1
		return
	}
	if n.Kind == yaml.AliasNode {
		if n.Alias == nil {
			d.fail(n.Line, "", "alias without an anchor")
			return
		}
		d.decode(n.Alias, path, v, depth+1)
		return
	}
	if file, ok := d.used[n]; ok {
		d.files = append(d.files, file)
		defer func() { d.files = d.files[:len(d.files)-1] }()
	}
	d.where[path] = place{d.file(), n.Line}
	if v.CanAddr() && v.Addr().Type().Implements(textUnmarshaler) {
		if s, ok := d.scalar(n, path); ok {
			if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
				d.fail(n.Line, "", "%s: %v", path, err)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		e := reflect.New(v.Type().Elem())
		d.decode(n, path, e.Elem(), depth)
		v.Set(e)
	case reflect.Struct:
		d.object(n, path, v, depth)
	case reflect.Map:
		d.mapping(n, path, v)
	case reflect.Slice:
		d.list(n, path, v, depth)
	case reflect.String:
		if s, ok := d.scalar(n, path); ok {
			v.SetString(s)
		}
	case reflect.Int:
		s, ok := d.scalar(n, path)
		if !ok {
			return
		}
		i, err := strconv.Atoi(s)
		if err != nil {
			d.fail(n.Line, "", "%s is %q: want a number", path, s)
			return
		}
		v.SetInt(int64(i))
	default:
		panic("compile: no YAML form for " + v.Type().String()) // a new kind of field in Spec; a test decodes all of them
	}
}

// scalar is the text of a value as it is written, so that a version such as
// 1.10 needs no quotes.
func (d *decoder) scalar(n *yaml.Node, path string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.fail(n.Line, "", "%s is a %s: want text", path, kindName(n))
	case n.ShortTag() == "!!null":
		d.fail(n.Line, "write a value or remove the field", "%s is empty", path)
	case strings.ContainsRune(n.Value, 0):
		d.fail(n.Line, "", "%s holds a null byte", path)
	default:
		return n.Value, true
	}
	return "", false
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	case yaml.ScalarNode:
		return "single value"
	}
	return "document"
}

// pairs walks a mapping's entries; a key that is not plain text, or appears
// twice, is a mistake.
func (d *decoder) pairs(n *yaml.Node, path string, f func(key string, kn, vn *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, "", "%s is a %s: want a mapping", orSpec(path), kindName(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, vn := n.Content[i], n.Content[i+1]
		switch {
		case kn.Kind != yaml.ScalarNode:
			d.fail(kn.Line, "", "a key of %s is not plain text", orSpec(path))
		case kn.ShortTag() == "!!merge":
			d.fail(kn.Line, "write the fields out", "merge keys (<<) are not read")
		case seen[kn.Value] > 0:
			d.fail(kn.Line, "remove one", "%s appears twice, first on line %d", join(path, kn.Value), seen[kn.Value])
		default:
			seen[kn.Value] = kn.Line
			f(kn.Value, kn, vn)
		}
	}
}

func (d *decoder) object(n *yaml.Node, path string, v reflect.Value, depth int) {
	fields := fieldsOf(v)
	d.pairs(n, path, func(key string, kn, vn *yaml.Node) {
		f, ok := fields[key]
		if !ok {
			var names []string
			for name := range fields {
				names = append(names, name)
			}
			d.fail(kn.Line, didYouMean(key, names), "unknown field %q in %s", key, orSpec(path))
			return
		}
		d.decode(vn, join(path, key), f, depth+1)
	})
}

func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	m := reflect.MakeMap(v.Type())
	d.pairs(n, path, func(key string, kn, vn *yaml.Node) {
		p := join(path, key)
		d.where[p] = place{d.file(), kn.Line}
		d.nodes++
		for hops := 0; vn.Kind == yaml.AliasNode && vn.Alias != nil && hops < maxSpecDepth; hops++ {
			vn = vn.Alias
		}
		if s, ok := d.scalar(vn, p); ok {
			m.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(s))
		}
	})
	v.Set(m)
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value, depth int) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n.Line, "start each element with a dash", "%s is a %s: want a list", path, kindName(n))
		return
	}
	for i, c := range n.Content {
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(c, fmt.Sprintf("%s[%d]", path, i), e, depth+1)
		v.Set(reflect.Append(v, e))
	}
}

// fieldsOf gives the fields of a struct by JSON name, those of embedded
// structs included.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			for name, fv := range fieldsOf(v.Field(i)) {
				out[name] = fv
			}
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			out[name] = v.Field(i)
		}
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func orSpec(path string) string {
	if path == "" {
		return "the specification"
	}
	return path
}
