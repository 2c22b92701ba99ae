// Package cyclonedx writes OpenVEX documents as CycloneDX VEX: a bill of
// materials that holds vulnerabilities with their analysis and refers to the
// components of another bill, or holds none itself.
package cyclonedx

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	govex "github.com/openvex/go-vex/pkg/vex"
)

// Ref gives the reference of a component by its OpenVEX name, a package URL
// where it has one. It is a bom-ref of the same bill or a BOM-Link to one of
// another.
type Ref func(component string) string

// Link makes references into another bill by BOM-Link (CycloneDX 1.5,
// urn:cdx), whose bom-refs are the components' package URLs.
func Link(serial string, version int) Ref {
	return func(component string) string {
		return fmt.Sprintf("urn:cdx:%s/%d#%s", strings.TrimPrefix(serial, "urn:uuid:"), version, escape(component))
	}
}

// escape quotes what may not stand in a URN's fragment.
func escape(s string) string {
	return strings.NewReplacer("%", "%25", "#", "%23", " ", "%20").Replace(s)
}

// From encodes an OpenVEX document; a nil ref takes the names as they are.
// Each statement is a vulnerability of its own, because CycloneDX has one
// analysis for each. A status or justification that CycloneDX cannot express
// is an error. The bill has neither serial number nor random parts: equal
// inputs give equal bills.
func From(doc *govex.VEX, ref Ref) (*cdx.BOM, error) {
	if doc == nil || doc.Timestamp == nil {
		return nil, errors.New("cyclonedx: a document with a time is needed")
	}
	if ref == nil {
		ref = func(s string) string { return s }
	}
	bom := cdx.NewBOM()
	bom.SpecVersion = cdx.SpecVersion1_6
	bom.Metadata = &cdx.Metadata{Timestamp: doc.Timestamp.UTC().Format(time.RFC3339)}
	bom.Metadata.Authors = &[]cdx.OrganizationalContact{{Name: doc.Author}}
	list := []cdx.Vulnerability{}
	for i := range doc.Statements {
		v, err := vulnerability(&doc.Statements[i], ref)
		if err != nil {
			return nil, fmt.Errorf("cyclonedx: statement %d, %s: %w", i, doc.Statements[i].Vulnerability.Name, err)
		}
		list = append(list, v)
	}
	bom.Vulnerabilities = &list
	return bom, nil
}

var states = map[govex.Status]cdx.ImpactAnalysisState{
	govex.StatusNotAffected: cdx.IASNotAffected, govex.StatusAffected: cdx.IASExploitable,
	govex.StatusFixed: cdx.IASResolved, govex.StatusUnderInvestigation: cdx.IASInTriage,
}

var justifications = map[govex.Justification]cdx.ImpactAnalysisJustification{
	govex.ComponentNotPresent: cdx.IAJCodeNotPresent, govex.VulnerableCodeNotPresent: cdx.IAJCodeNotPresent,
	govex.VulnerableCodeNotInExecutePath:              cdx.IAJCodeNotReachable,
	govex.InlineMitigationsAlreadyExist:               cdx.IAJProtectedByMitigatingControl,
	govex.VulnerableCodeCannotBeControlledByAdversary: cdx.IAJRequiresEnvironment,
}

func vulnerability(s *govex.Statement, ref Ref) (cdx.Vulnerability, error) {
	v := cdx.Vulnerability{BOMRef: s.ID, ID: string(s.Vulnerability.Name), Description: s.Vulnerability.Description}
	if v.ID == "" {
		return v, errors.New("no vulnerability")
	}
	state, ok := states[s.Status]
	if !ok {
		return v, fmt.Errorf("status %q", s.Status)
	}
	a := cdx.VulnerabilityAnalysis{State: state, Detail: strings.TrimSpace(s.ImpactStatement + "\n" + s.StatusNotes)}
	if s.Status == govex.StatusNotAffected {
		if s.Justification == "" && s.ImpactStatement == "" {
			return v, errors.New("not_affected without justification")
		}
		if s.Justification != "" {
			j, ok := justifications[s.Justification]
			if !ok {
				return v, fmt.Errorf("justification %q", s.Justification)
			}
			a.Justification = j
		}
	}
	if s.Status == govex.StatusAffected {
		v.Recommendation = s.ActionStatement
		if strings.HasPrefix(s.ActionStatement, "Rebuild with") {
			a.Response = &[]cdx.ImpactAnalysisResponse{cdx.IARUpdate}
		}
	}
	v.Analysis = &a
	if strings.HasPrefix(v.ID, "CVE-") {
		v.Source = &cdx.Source{Name: "CVE", URL: "https://www.cve.org/CVERecord?id=" + v.ID}
	}
	var refs []cdx.VulnerabilityReference
	for _, alias := range s.Vulnerability.Aliases {
		refs = append(refs, cdx.VulnerabilityReference{ID: string(alias), Source: &cdx.Source{Name: "alias"}})
	}
	if len(refs) > 0 {
		v.References = &refs
	}
	var names []string
	for _, p := range s.Products {
		for _, c := range p.Subcomponents {
			names = append(names, ref(c.ID))
		}
		if len(p.Subcomponents) == 0 {
			names = append(names, ref(p.ID))
		}
	}
	if len(names) == 0 {
		return v, errors.New("no product")
	}
	slices.Sort(names)
	var affects []cdx.Affects
	for _, n := range slices.Compact(names) {
		affects = append(affects, cdx.Affects{Ref: n})
	}
	v.Affects = &affects
	if s.Justification != "" {
		// CycloneDX folds two of OpenVEX's justifications into one
		v.Properties = &[]cdx.Property{{Name: "openvex:justification", Value: string(s.Justification)}}
	}
	return v, nil
}
