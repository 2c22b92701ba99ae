package compile

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/cleanstart/cleanstart/compile/harden"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/tagmatch"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(SpecSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("spec.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("spec.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON reads YAML as the JSON values that a schema speaks of.
func asJSON(t *testing.T, b []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	// dates are text in the schema's world, as in an editor's
	v = plain(v)
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case interface{ Format(string) string }:
		return v.Format("2006-01-02")
	}
	return v
}

func TestSchemaAcceptsExamples(t *testing.T) {
	schema := compiledSchema(t)
	for _, name := range []string{"quickstart.yaml", "tls.yaml"} {
		b, err := os.ReadFile("../examples/quickstart/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(asJSON(t, b)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the schema refuses, LoadSpec refuses too.
func TestSchemaRefusals(t *testing.T) {
	schema := compiledSchema(t)
	for _, c := range mistakes {
		text := mutate(t, c.old, c.new)
		if _, err := document("x.yaml", []byte(text)); err != nil || c.notYAML {
			continue
		}
		err := schema.Validate(asJSON(t, []byte(text)))
		if c.schema != (err != nil) {
			t.Errorf("%s: schema refuses = %t, want %t", c.name, err != nil, c.schema)
		}
	}
}

// The schema and the types name the same fields.
func TestSchemaAgreesWithTypes(t *testing.T) {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]struct {
				Enum []string `json:"enum"`
			} `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(SpecSchema(), &s); err != nil {
		t.Fatal(err)
	}
	keys := func(v any) []string {
		var names []string
		for name := range fieldsOf(reflect.ValueOf(v).Elem()) {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	var top []string
	for k := range s.Properties {
		top = append(top, k)
	}
	slices.Sort(top)
	if d := cmp.Diff(keys(&Spec{}), top); d != "" {
		t.Errorf("specification (-type +schema):\n%s", d)
	}
	for def, v := range map[string]any{
		"component": &Component{}, "place": &source.Place{}, "policy": &source.Policy{}, "key": &source.Key{},
		"exception": &source.Exception{}, "authority": &source.Authority{}, "origin": &source.Origin{}, "explained": &tagmatch.Explained{}, "recipe": &Recipe{}, "image": &ImageSpec{}, "run": &Run{}, "waiver": &Waiver{},
	} {
		var have []string
		for k := range s.Defs[def].Properties {
			have = append(have, k)
		}
		slices.Sort(have)
		if d := cmp.Diff(keys(v), have); d != "" {
			t.Errorf("%s (-type +schema):\n%s", def, d)
		}
	}
	if d := cmp.Diff(systems, s.Defs["recipe"].Properties["system"].Enum); d != "" {
		t.Errorf("systems (-code +schema):\n%s", d)
	}
	var profile struct{ Enum []string }
	if err := json.Unmarshal(s.Properties["profile"], &profile); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range harden.Profiles() {
		names = append(names, p.Name)
	}
	if d := cmp.Diff(names, profile.Enum); d != "" {
		t.Errorf("profiles (-code +schema):\n%s", d)
	}
}
