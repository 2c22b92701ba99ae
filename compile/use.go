package compile

import (
	"errors"
	"io/fs"

	"go.yaml.in/yaml/v3"
)

// use puts the components that stand in files of their own in their places.
func (d *decoder) use(fsys fs.FS, doc *yaml.Node) {
	if doc.Kind != yaml.MappingNode {
		return // said later
	}
	for i := 0; i+1 < len(doc.Content); i += 2 {
		list := doc.Content[i+1]
		if doc.Content[i].Value != "components" || list.Kind != yaml.SequenceNode {
			continue
		}
		for j, n := range list.Content {
			if c := d.fromFile(fsys, n); c != nil {
				list.Content[j] = c
			}
		}
	}
}

// fromFile is what a component's use refers to, or nil where it has none or
// a wrong one.
func (d *decoder) fromFile(fsys fs.FS, n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, file := n.Content[i], n.Content[i+1]
		if key.Value != "use" {
			continue
		}
		if len(n.Content) > 2 {
			d.fail(key.Line, "write the whole component out, or change the file", "a component that is used from a file has other fields beside it")
			return nil
		}
		if file.Kind != yaml.ScalarNode || !fs.ValidPath(file.Value) || file.Value == "." {
			d.fail(file.Line, "name a file below the directory of the specification, with slashes and without ..", "use is %q: no name of a file", file.Value)
			return nil
		}
		b, err := readSpec(fsys, file.Value)
		if err != nil {
			d.fail(file.Line, "", "use: %v", err)
			return nil
		}
		c, err := document(file.Value, b)
		if e := (*SpecError)(nil); errors.As(err, &e) {
			d.failAt(place{e.File, e.Line}, e.Fix, "%s", e.Msg)
			return nil
		} else if err != nil {
			d.fail(file.Line, "", "use: %v", err)
			return nil
		}
		d.used[c] = file.Value
		return c
	}
	return nil
}
