package vex

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	govex "github.com/openvex/go-vex/pkg/vex"

	"github.com/cleanstart/cleanstart/analyze"
)

const someDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func foreign(signer, product string, status govex.Status) Foreign {
	s := govex.Statement{
		Vulnerability: govex.Vulnerability{Name: "CVE-1-1"}, Status: status,
		Products: []govex.Product{{Component: govex.Component{ID: product}}},
	}
	if status == govex.StatusNotAffected {
		s.Justification = govex.VulnerableCodeNotInExecutePath
	}
	return Foreign{&govex.VEX{Statements: []govex.Statement{s}}, signer, someDigest}
}

// TestConsider: nothing that others say silences, unless the policy lets that
// signer silence that vulnerability in that component by name.
func TestConsider(t *testing.T) {
	grant := Grant{"CVE-1-1", "c", "they maintain it"}
	trusted := []Trust{{"upstream", []Grant{grant}}}
	const product = "pkg:generic/c@1.0"
	not := foreign("upstream", product, govex.StatusNotAffected)
	for _, c := range []struct {
		name     string
		docs     []Foreign
		policy   []Trust
		edit     func(*analyze.Finding)
		silenced bool
	}{
		{"granted", []Foreign{not}, trusted, nil, true},
		{"fixed", []Foreign{foreign("upstream", product, govex.StatusFixed)}, trusted, nil, true},
		{"no policy", []Foreign{not}, nil, nil, false},
		{"trusted for nothing", []Foreign{not}, []Trust{{"upstream", nil}}, nil, false},
		{"another signer", []Foreign{foreign("other", product, govex.StatusNotAffected)}, trusted, nil, false},
		{"no signer", []Foreign{foreign("", product, govex.StatusNotAffected)}, trusted, nil, false},
		{"another vulnerability", []Foreign{not}, []Trust{{"upstream", []Grant{{"CVE-1-2", "c", "r"}}}}, nil, false},
		{"another component", []Foreign{not}, []Trust{{"upstream", []Grant{{"CVE-1-1", "d", "r"}}}}, nil, false},
		{"another version", []Foreign{foreign("upstream", "pkg:generic/c@1.1", govex.StatusNotAffected)}, trusted, nil, false},
		{"no version", []Foreign{foreign("upstream", "pkg:generic/c", govex.StatusNotAffected)}, trusted, nil, false},
		{"another package", []Foreign{foreign("upstream", "pkg:deb/debian/c@1.0", govex.StatusNotAffected)}, trusted, nil, false},
		{"qualified", []Foreign{foreign("upstream", product+"?arch=arm64", govex.StatusNotAffected)}, trusted, nil, false},
		{"affected", []Foreign{foreign("upstream", product, govex.StatusAffected)}, trusted, nil, false},
		{"contradicted", []Foreign{not, foreign("other", product, govex.StatusAffected)}, trusted, nil, false},
		{"contradicted by a rumour", []Foreign{not, foreign("", product, govex.StatusAffected)}, trusted, nil, true},
		{"observed", []Foreign{not}, trusted, func(f *analyze.Finding) { setFunctions(f, analyze.LayerReach, present) }, false},
	} {
		f := finding()
		if c.edit != nil {
			c.edit(f)
		}
		d, err := Decide(f, Context{})
		if err != nil {
			t.Fatal(err)
		}
		before := len(d.Notes)
		got, err := Consider([]Decision{d}, c.docs, c.policy)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if (got[0].Rule == "foreign") != c.silenced || silent(got[0].Status) != c.silenced {
			t.Errorf("%s: %s by %s", c.name, got[0].Status, got[0].Rule)
		}
		if c.silenced && (got[0].Premises["foreign/upstream"] != someDigest || !strings.Contains(got[0].Reason, "they maintain it")) {
			t.Errorf("%s: %+v", c.name, got[0])
		}
		if len(d.Notes) != before || d.Status != govex.StatusAffected {
			t.Errorf("%s: the decision given was changed", c.name)
		}
	}
	for _, g := range []Grant{{"*", "c", "r"}, {"CVE-1-1", "*", "r"}, {"CVE-1-1", "", "r"}, {"", "c", "r"}, {"CVE-1-1", "c", ""}} {
		if _, err := Consider(nil, nil, []Trust{{"upstream", []Grant{g}}}); !errors.Is(err, ErrGrant) {
			t.Errorf("%+v: %v", g, err)
		}
	}
}

// TestConsiderKeepsProof: a foreign affected does not undo a proof of ours.
func TestConsiderKeepsProof(t *testing.T) {
	f := finding()
	layer(f, analyze.LayerBinary).Linked = absent
	d, err := Decide(f, Context{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Consider([]Decision{d}, []Foreign{foreign("upstream", "pkg:generic/c@1.0", govex.StatusAffected)}, nil)
	if err != nil || got[0].Rule != "D2" || !strings.Contains(strings.Join(got[0].Notes, "\n"), "upstream says affected") {
		t.Errorf("%+v, %v", got, err)
	}
}

func release(version string, status govex.Status, notes string) *govex.VEX {
	at := time.Unix(0, 0)
	return &govex.VEX{Metadata: govex.Metadata{Timestamp: &at}, Statements: []govex.Statement{{
		Vulnerability: govex.Vulnerability{Name: "CVE-1-1"}, Status: status, StatusNotes: notes,
		Products: []govex.Product{{Component: govex.Component{ID: "image"}, Subcomponents: []govex.Subcomponent{{Component: govex.Component{ID: "pkg:generic/c@" + version}}}}},
	}}}
}

func TestDiff(t *testing.T) {
	other := strings.Replace(someDigest, "aa", "bb", 1)
	for _, c := range []struct {
		name          string
		before, after *govex.VEX
		want          Kind
		premises      []string
	}{
		{"the same", release("1", govex.StatusAffected, "tree="+someDigest+"\nimage="+someDigest), release("1", govex.StatusAffected, "tree="+someDigest+"\nimage="+other), "", nil},
		{"another premise", release("1", govex.StatusAffected, "tree="+someDigest), release("1", govex.StatusAffected, "tree="+other), Renewed, []string{"tree"}},
		{"another version", release("1", govex.StatusAffected, ""), release("2", govex.StatusAffected, ""), Renewed, nil},
		{"silenced", release("1", govex.StatusAffected, ""), release("2", govex.StatusFixed, ""), Silenced, nil},
		{"raised", release("1", govex.StatusNotAffected, ""), release("1", govex.StatusUnderInvestigation, ""), Raised, nil},
		{"restated", release("1", govex.StatusNotAffected, ""), release("1", govex.StatusFixed, ""), Restated, nil},
		{"gone", release("1", govex.StatusAffected, ""), nil, Gone, nil},
		{"appeared", nil, release("1", govex.StatusAffected, ""), Appeared, nil},
	} {
		got, err := Diff(c.before, c.after)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.want == "" {
			if len(got) != 0 {
				t.Errorf("%s: %v", c.name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Kind != c.want || got[0].Component != "pkg:generic/c" || !slices.Equal(got[0].Premises, c.premises) {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
	}
	twice := release("1", govex.StatusAffected, "")
	twice.Statements = append(twice.Statements, release("1", govex.StatusFixed, "").Statements...)
	if _, err := Diff(twice, nil); err == nil {
		t.Error("a document that contradicts itself was compared")
	}
}

func FuzzReadForeign(f *testing.F) {
	f.Add([]byte(`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x","author":"a","timestamp":"2026-01-01T00:00:00Z","version":1,"statements":[{"vulnerability":{"name":"CVE-1-1"},"products":[{"@id":"pkg:generic/c@1.0"}],"status":"fixed"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := ReadForeign(b, "s", someDigest)
		if err != nil {
			return
		}
		got, err := Consider([]Decision{{ID: "CVE-1-1", Component: "c", PURL: "pkg:generic/c@1.0", Status: govex.StatusAffected, Rule: "D9"}}, []Foreign{doc}, nil)
		if err != nil || got[0].Status != govex.StatusAffected {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}
