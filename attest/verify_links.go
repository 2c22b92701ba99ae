package attest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	prov "github.com/in-toto/attestation/go/predicates/provenance/v1"
	reference "github.com/in-toto/attestation/go/predicates/reference/v0"
	testresult "github.com/in-toto/attestation/go/predicates/test_result/v0"
	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	vulns "github.com/in-toto/attestation/go/predicates/vulns/v02"
	govex "github.com/openvex/go-vex/pkg/vex"
	"google.golang.org/protobuf/encoding/protojson"
)

// main is the verified statement about the whole of a kind, or nil.
func (c *checker) main(kind string) *payload {
	for i := range c.payloads[kind] {
		if p := &c.payloads[kind][i]; p.entry.Name == "" {
			return p
		}
	}
	return nil
}

// documents compares the unwrapped files with what was signed.
func (c *checker) documents() {
	for _, k := range Kinds() {
		name := "evidence/" + k.File
		b, err := c.read(name, maxLog)
		if err != nil {
			continue // told by files
		}
		p := c.main(k.Name)
		switch {
		case k.Name == Bundle:
			c.bundleLines(name, b)
		case p == nil: // told by entries
		case k.Name == BuildLog:
			var r reference.Reference
			if err := protojson.Unmarshal(p.st.Predicate, &r); err != nil {
				c.problem(k.Name, Forged, "", "predicate: %v", err)
			} else if len(r.References) != 1 || r.References[0].Digest["sha256"] != hexOf(digestOf(b)) {
				c.problem(k.Name, Forged, name, "is not the log that the statement refers to")
			}
		case k.Statement && !bytes.Equal(b, p.raw):
			c.problem(k.Name, Forged, name, "differs from the statement that was signed")
		case !k.Statement && !bytes.Equal(bytes.TrimSpace(b), bytes.TrimSpace(p.st.Predicate)):
			c.problem(k.Name, Forged, name, "differs from the predicate that was signed")
		}
	}
	sums, err1 := c.read("evidence/"+sumsFile, maxStatement)
	sig, err2 := c.read("evidence/"+sumsSig, maxManifest)
	if err1 == nil && err2 == nil {
		if err := c.openMessage(sig, sums); err != nil {
			c.problem(roleSums, Forged, "evidence/"+sumsSig, "%v", err)
		}
	}
}

// bundleLines checks that the bundle artifact holds every attestation of the
// set, each once, and nothing else.
func (c *checker) bundleLines(name string, b []byte) {
	want := map[string]string{}
	for _, list := range c.payloads {
		for _, p := range list {
			want[p.entry.Blob] = p.entry.Role
		}
	}
	for n, line := range bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
		d := digestOf(line)
		if _, ok := want[d]; !ok {
			c.problem(Bundle, Foreign, name, "line %d (%s) is no attestation of the set", n+1, d)
		}
		delete(want, d)
	}
	for _, d := range slices.Sorted(maps.Keys(want)) {
		c.problem(Bundle, Missing, name, "attestation %s (%s) is not in it", d, want[d])
	}
}

// links checks what the artifacts say against each other.
func (c *checker) links(m *Manifest) {
	c.linkComponents(m)
	c.linkProvenance()
	c.linkTests(m)
	c.linkVulnerabilities(m)
	c.linkSummary(m)
	c.linkImage()
}

func (c *checker) linkComponents(m *Manifest) {
	check := func(kind string, purls []string, err error) {
		switch {
		case err != nil:
			c.problem(kind, Forged, "", "%v", err)
		case len(purls) != m.Counts.Components || componentSet(purls) != m.ComponentSet:
			c.problem(kind, Forged, "", "its %d components are not the %d of the evidence manifest", len(purls), m.Counts.Components)
		}
	}
	if p := c.main(SBOMCycloneDX); p != nil {
		purls, err := cycloneDXPURLs(p.st.Predicate)
		check(SBOMCycloneDX, purls, err)
	}
	if p := c.main(SBOMSPDX); p != nil {
		purls, err := spdxPURLs(p.st.Predicate)
		check(SBOMSPDX, purls, err)
	}
	if p := c.main(Licenses); p != nil {
		var l licensePredicate
		err := strictJSON(p.st.Predicate, &l)
		var purls []string
		for _, lc := range l.Components {
			purls = append(purls, lc.PURL)
		}
		check(Licenses, purls, err)
	}
}

func cycloneDXPURLs(raw []byte) ([]string, error) {
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(raw), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return nil, err
	}
	if bom.Vulnerabilities != nil {
		return nil, fmt.Errorf("holds vulnerabilities, which belong into a report of their own")
	}
	var purls []string
	if bom.Components != nil {
		for _, comp := range *bom.Components {
			purls = append(purls, comp.PackageURL)
		}
	}
	return purls, nil
}

// spdxPURLs reads no more than it needs: the SPDX library's decoder panics on
// documents that it does not expect.
func spdxPURLs(raw []byte) ([]string, error) {
	var doc struct {
		Packages []struct {
			Purpose string `json:"primaryPackagePurpose"`
			Refs    []struct {
				Type    string `json:"referenceType"`
				Locator string `json:"referenceLocator"`
			} `json:"externalRefs"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	var purls []string
	for _, p := range doc.Packages {
		if p.Purpose == "CONTAINER" {
			continue
		}
		for _, r := range p.Refs {
			if r.Type == "purl" {
				purls = append(purls, r.Locator)
			}
		}
	}
	return purls, nil
}

func (c *checker) linkProvenance() {
	p := c.main(Provenance)
	if p == nil {
		return
	}
	var pr prov.Provenance
	if err := protojson.Unmarshal(p.st.Predicate, &pr); err != nil {
		c.problem(Provenance, Forged, "", "predicate: %v", err)
		return
	}
	if err := pr.Validate(); err != nil {
		c.problem(Provenance, Forged, "", "predicate: %v", err)
		return
	}
	log, err := c.read("evidence/build-log.jsonl", maxLog)
	if by := pr.RunDetails.Byproducts; err == nil && (len(by) != 1 || by[0].Digest["sha256"] != hexOf(digestOf(log))) {
		c.problem(Provenance, Forged, "", "its build log is not artifact 4")
	}
	have := map[string]bool{}
	for _, d := range pr.BuildDefinition.ResolvedDependencies {
		have[d.Uri] = true
	}
	if b := c.main(SBOMCycloneDX); b != nil {
		purls, _ := cycloneDXPURLs(b.st.Predicate)
		for _, purl := range purls {
			if !have[purl] && !strings.HasPrefix(purl, "pkg:generic/"+runtimeName+"@") {
				c.problem(Provenance, Forged, "", "names no source of component %s", purl)
			}
		}
	}
}

func (c *checker) linkTests(m *Manifest) {
	p := c.main(TestReport)
	if p == nil {
		return
	}
	var r testresult.TestResult
	if err := protojson.Unmarshal(p.st.Predicate, &r); err != nil {
		c.problem(TestReport, Forged, "", "predicate: %v", err)
		return
	}
	all := slices.Concat(r.PassedTests, r.WarnedTests, r.FailedTests)
	slices.Sort(all)
	if n := len(slices.Compact(slices.Clone(all))); n != len(all) || n != m.Counts.Tests || len(r.FailedTests) != m.Counts.Failed {
		c.problem(TestReport, Forged, "", "%d tests, %d of them different, %d failed; the evidence manifest says %d, %d failed", len(all), n, len(r.FailedTests), m.Counts.Tests, m.Counts.Failed)
	}
}

// linkVulnerabilities: every candidate of artifact 6 has exactly one statement
// in artifact 7, with the same status, and a document of its own.
func (c *checker) linkVulnerabilities(m *Manifest) {
	rp, vp := c.main(VulnerabilityReport), c.main(VEX)
	if rp == nil || vp == nil {
		return
	}
	var r vulns.Vulns
	if err := protojson.Unmarshal(rp.st.Predicate, &r); err != nil {
		c.problem(VulnerabilityReport, Forged, "", "predicate: %v", err)
		return
	}
	var doc govex.VEX
	if err := json.Unmarshal(vp.st.Predicate, &doc); err != nil {
		c.problem(VEX, Forged, "", "predicate: %v", err)
		return
	}
	results := r.GetScanner().GetResult()
	if len(results) != m.Counts.CVEs {
		c.problem(VulnerabilityReport, Forged, "", "%d candidates, the evidence manifest says %d", len(results), m.Counts.CVEs)
	}
	if len(doc.Statements) != m.Counts.VEX {
		c.problem(VEX, Forged, "", "%d statements, the evidence manifest says %d", len(doc.Statements), m.Counts.VEX)
	}
	used := make([]bool, len(doc.Statements))
	for _, res := range results {
		if len(res.Annotations) != 1 {
			c.problem(VulnerabilityReport, Forged, "", "%s has %d annotations, want one", res.Id, len(res.Annotations))
			continue
		}
		note := res.Annotations[0].AsMap()
		purl, _ := note["purl"].(string)
		status, _ := note["status"].(string)
		just, _ := note["justification"].(string)
		matches := 0
		for i := range doc.Statements {
			s := &doc.Statements[i]
			if used[i] || !sameVulnerability(s, res.Id, note["aliases"]) || !mentions(s, purl) {
				continue
			}
			used[i] = true
			matches++
			if string(s.Status) != status || string(s.Justification) != just {
				c.problem(VEX, Forged, "", "%s in %s is %s %s, the vulnerability report says %s %s", res.Id, purl, s.Status, s.Justification, status, just)
			}
		}
		if matches != 1 {
			c.problem(VEX, Missing, "", "%d statements about %s in %s, want one", matches, res.Id, purl)
		}
	}
	for i, u := range used {
		if !u {
			c.problem(VEX, Foreign, "", "the statement about %s has no candidate in the vulnerability report", doc.Statements[i].Vulnerability.Name)
		}
	}
	c.singleDocuments(&doc)
}

func (c *checker) singleDocuments(doc *govex.VEX) {
	left := map[string]int{}
	for i := range doc.Statements {
		left[statementKey(&doc.Statements[i])]++
	}
	for _, p := range c.payloads[VEX] {
		if p.entry.Name == "" {
			continue
		}
		var one govex.VEX
		if err := json.Unmarshal(p.st.Predicate, &one); err != nil || len(one.Statements) != 1 {
			c.problem(VEX, Forged, blobPath(p.entry.Blob), "document about %s: %d statements, %v", p.entry.Name, len(one.Statements), err)
			continue
		}
		key := statementKey(&one.Statements[0])
		if left[key] == 0 {
			c.problem(VEX, Foreign, blobPath(p.entry.Blob), "document about %s says what the merged document does not", p.entry.Name)
		}
		left[key]--
	}
	for i := range doc.Statements {
		if left[statementKey(&doc.Statements[i])] > 0 {
			c.problem(VEX, Missing, "", "no document of its own about %s", doc.Statements[i].Vulnerability.Name)
		}
	}
}

func sameVulnerability(s *govex.Statement, id string, aliases any) bool {
	names := []string{id}
	if list, ok := aliases.([]any); ok {
		for _, a := range list {
			if n, ok := a.(string); ok {
				names = append(names, n)
			}
		}
	}
	return slices.Contains(names, string(s.Vulnerability.Name))
}

// mentions says whether a statement is about a component: named as a product
// or as part of one.
func mentions(s *govex.Statement, purl string) bool {
	is := func(c *govex.Component) bool {
		return c.ID == purl || c.Identifiers[govex.PURL] == purl
	}
	for i := range s.Products {
		p := &s.Products[i]
		if is(&p.Component) {
			return true
		}
		for j := range p.Subcomponents {
			if is(&p.Subcomponents[j].Component) {
				return true
			}
		}
	}
	return false
}

// linkSummary: the verification summary's inputs are the whole set.
func (c *checker) linkSummary(m *Manifest) {
	if len(c.payloads[roleVSA]) != 1 {
		return
	}
	var s vsa.VerificationSummary
	if err := protojson.Unmarshal(c.payloads[roleVSA][0].st.Predicate, &s); err != nil {
		c.problem(roleVSA, Forged, "", "predicate: %v", err)
		return
	}
	want := map[string]bool{}
	for _, e := range m.Entries {
		if e.PredicateType != "" && e.Role != roleVSA {
			want[hexOf(e.Blob)] = true
		}
	}
	for _, in := range s.InputAttestations {
		if !want[in.Digest["sha256"]] {
			c.problem(roleVSA, Foreign, "", "input attestation %s is not in the set", in.Digest["sha256"])
		}
		delete(want, in.Digest["sha256"])
	}
	if len(want) > 0 {
		c.problem(roleVSA, Missing, "", "%d attestations of the set are not among its inputs", len(want))
	}
	for _, l := range s.VerifiedLevels {
		if l == "SLSA_BUILD_LEVEL_4" {
			c.problem(roleVSA, Forged, "", "claims %s, which does not exist", l)
		}
	}
}
