package vex_test

import (
	"testing"
	"testing/fstest"

	govex "github.com/openvex/go-vex/pkg/vex"

	"github.com/cleanstart/cleanstart/analyze/golang"
	"github.com/cleanstart/cleanstart/vex"
)

// TestGo decides about modules of Go programs as govulncheck does: called is
// affected, imported and required are not; a program of two that calls counts
// for both, and what is not known is affected.
func TestGo(t *testing.T) {
	record := func(id, imports string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(`{"id":"` + id + `","affected":[{"package":{"ecosystem":"Go","name":"m.example/m"},
			"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"2.0.0"}]}],"ecosystem_specific":{` + imports + `}}]}`)}
	}
	db, err := golang.Load(fstest.MapFS{
		"a.json": record("GO-1", `"imports":[{"path":"m.example/m/p","symbols":["F","T.G"]}]`),
		"b.json": record("GO-2", ``),
		"c.json": record("GO-3", `"imports":[{"path":"m.example/m/p"}]`),
	})
	if err != nil {
		t.Fatal(err)
	}
	find := func(id string, level golang.Level, symbol string) []golang.Finding {
		return []golang.Finding{{ID: id, Module: "m.example/m", Version: "v1.0.0", Level: level, Symbol: symbol}}
	}
	program := func(b, s []golang.Finding) golang.Program {
		return golang.Program{Path: "/prog", Digest: "sha256:aa", Binary: b, Source: s, Sourced: s != nil}
	}
	const f = "m.example/m/p.F"
	for _, c := range []struct {
		name     string
		programs []golang.Program
		status   govex.Status
		rule     string
	}{
		{"in the program", []golang.Program{program(find("GO-1", golang.Called, f), nil)}, govex.StatusAffected, "D9"},
		{"not in the program", []golang.Program{program(find("GO-1", golang.Imported, ""), nil)}, govex.StatusNotAffected, "D6"},
		{"package not built", []golang.Program{program(find("GO-1", golang.Required, ""), nil)}, govex.StatusNotAffected, "D6"},
		{"in the program, not reached", []golang.Program{program(find("GO-1", golang.Called, f), find("GO-1", golang.Imported, ""))}, govex.StatusNotAffected, "D7"},
		{"reached", []golang.Program{program(find("GO-1", golang.Called, f), find("GO-1", golang.Called, f))}, govex.StatusAffected, "D9"},
		{"stripped", []golang.Program{program(find("GO-1", golang.Called, ""), nil)}, govex.StatusAffected, "D9"},
		{"unknown", []golang.Program{program(find("GO-1", golang.Unknown, ""), nil)}, govex.StatusAffected, "D9"},
		{"one of two calls", []golang.Program{program(find("GO-1", golang.Imported, ""), nil), program(find("GO-1", golang.Called, f), nil)}, govex.StatusAffected, "D9"},
		{"one of two was not examined in source", []golang.Program{
			program(find("GO-1", golang.Called, f), find("GO-1", golang.Imported, "")), program(find("GO-1", golang.Called, f), nil)}, govex.StatusAffected, "D9"},
		{"source of another program", []golang.Program{program(nil, find("GO-1", golang.Imported, ""))}, govex.StatusAffected, "D9"},
		{"source disagrees upwards", []golang.Program{program(find("GO-1", golang.Imported, ""), find("GO-1", golang.Called, f))}, govex.StatusAffected, "D9"},
		{"whole module, none of it built", []golang.Program{program(find("GO-2", golang.Required, ""), nil)}, govex.StatusNotAffected, "D2"},
		{"whole module, some of it built", []golang.Program{program(find("GO-2", golang.Imported, ""), nil)}, govex.StatusAffected, "D9"},
		{"whole package, other packages of the module built", []golang.Program{program(find("GO-3", golang.Required, ""), nil)}, govex.StatusAffected, "D9"},
	} {
		fs := db.Findings(c.programs)
		if len(fs) != 1 {
			t.Errorf("%s: %d findings", c.name, len(fs))
			continue
		}
		d, err := vex.Decide(&fs[0], vex.Context{Image: "sha256:bb"})
		if err != nil || d.Status != c.status || d.Rule != c.rule {
			t.Errorf("%s: %s by %s (%s), %v; want %s by %s", c.name, d.Status, d.Rule, d.Reason, err, c.status, c.rule)
		}
	}
	two := append(find("GO-1", golang.Imported, ""), golang.Finding{ID: "GO-1", Module: "m.example/m", Version: "v1.1.0", Level: golang.Imported})
	if fs := db.Findings([]golang.Program{program(two, nil)}); len(fs) != 2 || fs[0].Component == fs[1].Component {
		t.Errorf("two versions of a module: %+v", fs)
	}
}
