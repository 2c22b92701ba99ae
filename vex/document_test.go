package vex

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	govex "github.com/openvex/go-vex/pkg/vex"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
)

var (
	when    = time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("x", 3600))
	product = Product{Name: "img", Repository: "registry.example/team/img", Digest: "sha256:" + strings.Repeat("ab", 32)}
)

func report() *analyze.Report {
	r := &analyze.Report{Image: product.Digest}
	for i, row := range rows() {
		f := finding()
		f.Advisory.ID = "CVE-2000-" + string(rune('9'-i))
		f.Advisory.Aliases = []string{"ALIAS-" + row.rule}
		row.prove(f)
		r.Findings = append(r.Findings, *f)
	}
	f := finding()
	f.Advisory.ID = "CVE-1999-1"
	f.Advisory.Ranges = []advisory.Range{{Type: "SEMVER", Events: []advisory.Event{{Introduced: "0"}, {Fixed: "1.0.2"}}}}
	g := finding()
	g.Advisory.ID = "CVE-1999-1"
	g.Component, g.PURL = "b", "pkg:generic/b@1.0"
	r.Findings = append(r.Findings, *f, *g)
	r.Protection = []analyze.Protection{{Path: "bin/c", Facts: []analyze.Feature{{Name: "pie", Verdict: present}, {Name: "cet-ibt", Verdict: unknown}}}}
	r.Coverage = analyze.Coverage{Armed: 10, Observed: 4, Runs: 2}
	return r
}

func TestDocument(t *testing.T) {
	r := report()
	ds, err := DecideAll(r)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := Document(r, ds, product, "author", when)
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Statements) != len(r.Findings) {
		t.Fatalf("%d statements for %d findings", len(doc.Statements), len(r.Findings))
	}
	ids := map[string]bool{}
	for _, s := range doc.Statements {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		ids[s.ID] = true
	}
	if len(ids) != len(doc.Statements) {
		t.Error("statement ids are not unique")
	}
	if a, b := doc.Statements[0], doc.Statements[1]; a.Products[0].Subcomponents[0].ID != "pkg:generic/b@1.0" ||
		b.Products[0].Subcomponents[0].ID != "pkg:generic/c@1.0" || b.ActionStatement != "Rebuild with c 1.0.2 or later." || a.ActionStatement == "" {
		t.Errorf("order or action: %+v\n%+v", a, b)
	}
	notes := doc.Statements[1].StatusNotes
	for _, want := range []string{"rule D9", "priority: low", "4 of 10", "protections of bin/c: pie; without: cet-ibt", "advisory=sha256:aa"} {
		if !strings.Contains(notes, want) {
			t.Errorf("status notes lack %q:\n%s", want, notes)
		}
	}
	hash := strings.Repeat("ab", 32)
	for _, name := range []string{
		"pkg:oci/img@sha256:" + hash, "pkg:oci/img@sha256%3A" + hash,
		"pkg:oci/img@sha256:" + hash + "?repository_url=registry.example/team/img&arch=amd64",
		"registry.example/team/img@sha256:" + hash, "sha256:" + hash, hash,
	} {
		if !doc.Statements[0].Matches("CVE-1999-1", name, []string{"pkg:generic/b@1.0"}) {
			t.Errorf("%s is not recognised", name)
		}
	}
	if doc.Statements[0].Matches("CVE-1999-1", "sha256:"+hash, []string{"pkg:generic/z@1.0"}) {
		t.Error("another component is taken for b")
	}
	each, err := Split(doc)
	if err != nil || len(each) != len(doc.Statements) || each[0].ID == each[1].ID || each[0].ID == doc.ID {
		t.Errorf("split: %d documents, %v", len(each), err)
	}
}

func TestDocumentIsDeterministic(t *testing.T) {
	write := func(r *analyze.Report, ds []Decision, at time.Time) string {
		doc, err := Document(r, ds, product, "author", at)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := doc.ToJSON(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	r := report()
	ds, err := DecideAll(r)
	if err != nil {
		t.Fatal(err)
	}
	first := write(r, ds, when)
	slices.Reverse(ds)
	slices.Reverse(r.Findings)
	if write(r, ds, when.UTC()) != first {
		t.Error("order of input or time zone changes the bytes")
	}
	if write(r, ds, when.Add(time.Hour)) == first {
		t.Error("another time gives the same document")
	}
}

func TestDocumentRefuses(t *testing.T) {
	r := report()
	ds, err := DecideAll(r)
	if err != nil {
		t.Fatal(err)
	}
	edited := func(edit func(d *Decision)) []Decision {
		out := slices.Clone(ds)
		edit(&out[0])
		return out
	}
	for name, f := range map[string]func() (*govex.VEX, error){
		"a gap": func() (*govex.VEX, error) { return Document(r, ds[1:], product, "a", when) },
		"a stranger": func() (*govex.VEX, error) {
			return Document(r, edited(func(d *Decision) { d.ID = "CVE-9-9" }), product, "a", when)
		},
		"one too many": func() (*govex.VEX, error) { return Document(r, append(slices.Clone(ds), ds[0]), product, "a", when) },
		"no author":    func() (*govex.VEX, error) { return Document(r, ds, product, "", when) },
		"no time":      func() (*govex.VEX, error) { return Document(r, ds, product, "a", time.Time{}) },
		"no digest":    func() (*govex.VEX, error) { return Document(r, ds, Product{Name: "x", Digest: "latest"}, "a", when) },
		"no justification": func() (*govex.VEX, error) {
			return Document(r, edited(func(d *Decision) { d.Justification = "" }), product, "a", when)
		},
		"no premises": func() (*govex.VEX, error) {
			return Document(r, edited(func(d *Decision) { d.Premises = nil }), product, "a", when)
		},
		"no status": func() (*govex.VEX, error) {
			return Document(r, edited(func(d *Decision) { d.Status = "" }), product, "a", when)
		},
	} {
		if doc, err := f(); err == nil {
			t.Errorf("%s: accepted: %v", name, doc.ID)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	f := finding()
	setFunctions(f, analyze.LayerBinary, absent)
	for b.Loop() {
		if _, err := Decide(f, Context{}); err != nil {
			b.Fatal(err)
		}
	}
}
