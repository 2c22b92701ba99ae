package cyclonedx

import (
	"bytes"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	govex "github.com/openvex/go-vex/pkg/vex"
)

func document(status govex.Status, j govex.Justification) *govex.VEX {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := govex.Statement{ID: "s", Vulnerability: govex.Vulnerability{Name: "CVE-2026-1"}, Status: status, Justification: j, ActionStatement: "Rebuild with c 2 or later.",
		Products: []govex.Product{{Component: govex.Component{ID: "image"}, Subcomponents: []govex.Subcomponent{{Component: govex.Component{ID: "pkg:generic/c@1"}}}}}}
	return &govex.VEX{Metadata: govex.Metadata{Author: "a", Timestamp: &at}, Statements: []govex.Statement{s}}
}

func TestFrom(t *testing.T) {
	for _, c := range []struct {
		status govex.Status
		j      govex.Justification
		state  cdx.ImpactAnalysisState
		want   cdx.ImpactAnalysisJustification
	}{
		{govex.StatusNotAffected, govex.ComponentNotPresent, cdx.IASNotAffected, cdx.IAJCodeNotPresent},
		{govex.StatusNotAffected, govex.VulnerableCodeNotPresent, cdx.IASNotAffected, cdx.IAJCodeNotPresent},
		{govex.StatusNotAffected, govex.VulnerableCodeNotInExecutePath, cdx.IASNotAffected, cdx.IAJCodeNotReachable},
		{govex.StatusAffected, "", cdx.IASExploitable, ""},
		{govex.StatusFixed, "", cdx.IASResolved, ""},
		{govex.StatusUnderInvestigation, "", cdx.IASInTriage, ""},
	} {
		bom, err := From(document(c.status, c.j), nil)
		if err != nil {
			t.Errorf("%s: %v", c.status, err)
			continue
		}
		v := (*bom.Vulnerabilities)[0]
		if v.Analysis.State != c.state || v.Analysis.Justification != c.want || (*v.Affects)[0].Ref != "pkg:generic/c@1" {
			t.Errorf("%s %s: %+v", c.status, c.j, v)
		}
		var a, b bytes.Buffer
		for _, w := range []*bytes.Buffer{&a, &b} {
			bom, err := From(document(c.status, c.j), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: two bills differ", c.status)
		}
		if err := cdx.NewBOMDecoder(&a, cdx.BOMFileFormatJSON).Decode(new(cdx.BOM)); err != nil {
			t.Errorf("%s: %v", c.status, err)
		}
	}
}

func TestLink(t *testing.T) {
	bom, err := From(document(govex.StatusFixed, ""), Link("urn:uuid:0a", 1))
	if err != nil || (*(*bom.Vulnerabilities)[0].Affects)[0].Ref != "urn:cdx:0a/1#pkg:generic/c@1" {
		t.Errorf("%+v, %v", bom.Vulnerabilities, err)
	}
}

func TestFromRefuses(t *testing.T) {
	for name, d := range map[string]*govex.VEX{
		"nothing": nil, "status": document("odd", ""), "justification": document(govex.StatusNotAffected, "odd"), "silence": document(govex.StatusNotAffected, ""),
	} {
		if _, err := From(d, nil); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
	d := document(govex.StatusFixed, "")
	d.Statements[0].Products = nil
	if _, err := From(d, nil); err == nil {
		t.Error("no product: encoded")
	}
}
