package csaf

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	govex "github.com/openvex/go-vex/pkg/vex"
)

func document() *govex.VEX {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	st := func(cve, component string, status govex.Status) govex.Statement {
		s := govex.Statement{
			ID: "https://openvex.dev/docs/public/statement-" + cve + component, Vulnerability: govex.Vulnerability{Name: govex.VulnerabilityID(cve), Aliases: []govex.VulnerabilityID{"GHSA-x"}}, Status: status,
			StatusNotes: "rule D4\ntree=sha256:00",
			Products: []govex.Product{
				{Component: govex.Component{ID: "pkg:oci/x@sha256:aa", Identifiers: map[govex.IdentifierType]string{govex.PURL: "pkg:oci/x@sha256:aa"}, Hashes: map[govex.Algorithm]govex.Hash{govex.SHA256: "aa"}},
					Subcomponents: []govex.Subcomponent{{Component: govex.Component{ID: "pkg:generic/" + component + "@1"}}}},
				{Component: govex.Component{ID: "sha256:aa"}, Subcomponents: []govex.Subcomponent{{Component: govex.Component{ID: "pkg:generic/" + component + "@1"}}}},
			},
		}
		switch status {
		case govex.StatusNotAffected:
			s.Justification, s.ImpactStatement = govex.VulnerableCodeNotPresent, "not built"
		case govex.StatusAffected:
			s.ActionStatement = "Rebuild with c 2 or later."
		}
		return s
	}
	return &govex.VEX{Metadata: govex.Metadata{ID: "https://openvex.dev/docs/public/vex-1", Author: "a", Timestamp: &at}, Statements: []govex.Statement{
		st("CVE-2026-2", "c", govex.StatusAffected), st("CVE-2026-1", "c", govex.StatusNotAffected), st("CVE-2026-1", "d", govex.StatusUnderInvestigation), st("X-1", "c", govex.StatusFixed),
	}}
}

var publisher = Publisher{"P", "https://example.org"}

// conforms checks the mandatory tests of CSAF 2.0, section 6.1, and of the
// profile, 6.1.27, that a document of ours could break.
func conforms(d *Document) error {
	ids := map[string]bool{}
	for _, p := range d.ProductTree.FullProductNames {
		if ids[p.ProductID] {
			return fmt.Errorf("6.1.2: product %s is defined twice", p.ProductID)
		}
		ids[p.ProductID] = true
	}
	for _, r := range d.ProductTree.Relationships {
		if !ids[r.Reference] || !ids[r.RelatesTo] {
			return fmt.Errorf("6.1.1: %s relates what is not defined", r.Product.ProductID)
		}
	}
	for _, r := range d.ProductTree.Relationships {
		if ids[r.Product.ProductID] {
			return fmt.Errorf("6.1.2: product %s is defined twice", r.Product.ProductID)
		}
		ids[r.Product.ProductID] = true
	}
	if len(d.Vulnerabilities) == 0 {
		return fmt.Errorf("6.1.27.4: no vulnerability")
	}
	for _, v := range d.Vulnerabilities {
		all := map[string]bool{}
		for _, list := range [][]string{v.Status.Affected, v.Status.NotAffected, v.Status.Fixed, v.Status.Investigation} {
			for _, id := range list {
				if !ids[id] {
					return fmt.Errorf("6.1.1: product %s is not defined", id)
				}
				if all[id] {
					return fmt.Errorf("6.1.6: product %s has two statuses", id)
				}
				all[id] = true
			}
		}
		if len(all) == 0 || v.CVE == "" && len(v.IDs) == 0 || len(v.Notes) == 0 {
			return fmt.Errorf("6.1.27.5-8: %s lacks status, id or notes", v.CVE)
		}
		explained := map[string]bool{}
		for _, f := range v.Flags {
			for _, id := range f.Products {
				explained[id] = true
			}
		}
		for _, id := range v.Status.NotAffected {
			if !explained[id] {
				return fmt.Errorf("6.1.27.9: %s is not affected without a flag", id)
			}
		}
		remedied := map[string]bool{}
		for _, r := range v.Remediations {
			for _, id := range r.Products {
				remedied[id] = true
			}
		}
		for _, id := range v.Status.Affected {
			if !remedied[id] {
				return fmt.Errorf("6.1.27.10: %s is affected without action", id)
			}
		}
	}
	return nil
}

func TestFrom(t *testing.T) {
	d, err := From(document(), publisher)
	if err != nil {
		t.Fatal(err)
	}
	if err := conforms(d); err != nil {
		t.Error(err)
	}
	if len(d.Vulnerabilities) != 3 || d.Vulnerabilities[0].CVE != "CVE-2026-1" || len(d.Vulnerabilities[0].Status.NotAffected) != 2 || len(d.Vulnerabilities[0].Status.Investigation) != 2 {
		t.Errorf("vulnerabilities: %+v", d.Vulnerabilities)
	}
	if f := d.Vulnerabilities[0].Flags; len(f) != 1 || f[0].Label != "vulnerable_code_not_present" {
		t.Errorf("flags: %+v", f)
	}
	a, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := From(document(), publisher)
	if err != nil {
		t.Fatal(err)
	}
	b, err := again.Marshal()
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("two documents differ: %v", err)
	}
}

func TestFromRefuses(t *testing.T) {
	for name, edit := range map[string]func(*govex.VEX){
		"no statement":   func(d *govex.VEX) { d.Statements = nil },
		"no time":        func(d *govex.VEX) { d.Timestamp = nil },
		"no product":     func(d *govex.VEX) { d.Statements[0].Products = nil },
		"no action":      func(d *govex.VEX) { d.Statements[0].ActionStatement = "" },
		"no reason":      func(d *govex.VEX) { d.Statements[1].Justification, d.Statements[1].ImpactStatement = "", "" },
		"no name":        func(d *govex.VEX) { d.Statements[0].Vulnerability.Name = "" },
		"unknown status": func(d *govex.VEX) { d.Statements[0].Status = "" },
		"two statuses": func(d *govex.VEX) {
			s := d.Statements[1]
			s.Status = govex.StatusFixed
			d.Statements = append(d.Statements, s)
		},
	} {
		d := document()
		edit(d)
		if _, err := From(d, publisher); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
	if _, err := From(document(), Publisher{"P", "example"}); err == nil {
		t.Error("a publisher without address: encoded")
	}
}
