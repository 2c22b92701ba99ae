package attest

import (
	"bytes"
	"crypto/sha1"
	"net/url"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/google/uuid"
)

// buildCycloneDX is artifact 1: a CycloneDX 1.6 bill of materials. It holds no
// vulnerabilities: those have artifacts of their own, and change without it.
func buildCycloneDX(in *Input, f *facts, _ *Evidence) (*product, error) {
	root := cdx.Component{
		BOMRef:     f.purl,
		Type:       cdx.ComponentTypeContainer,
		Name:       f.name,
		Version:    f.manifest,
		PackageURL: f.purl,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hexOf(f.manifest)}},
		Supplier:   &cdx.OrganizationalEntity{Name: in.Builder.ID, URL: &[]string{in.Builder.ID}},
	}
	var comps []cdx.Component
	var deps []cdx.Dependency
	all := f.purls()
	deps = append(deps, cdx.Dependency{Ref: root.BOMRef, Dependencies: &all})
	for _, c := range f.components {
		comps = append(comps, cdxComponent(c))
		needs := append([]string{}, c.needs...)
		deps = append(deps, cdx.Dependency{Ref: c.purl, Dependencies: &needs})
	}
	refs := []cdx.BOMReference{cdx.BOMReference(root.BOMRef)}
	for _, p := range all {
		refs = append(refs, cdx.BOMReference(p))
	}

	bom := cdx.NewBOM()
	bom.Version = 1
	bom.Metadata = &cdx.Metadata{
		Supplier:   &cdx.OrganizationalEntity{Name: in.Builder.ID, URL: &[]string{in.Builder.ID}},
		Timestamp:  in.Time.Format(time.RFC3339),
		Lifecycles: &[]cdx.Lifecycle{{Phase: cdx.LifecyclePhaseBuild}},
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{
			Type: cdx.ComponentTypeApplication, Group: "github.com/cleanstart", Name: "cleanstart", Version: in.Builder.Version,
			ExternalReferences: &[]cdx.ExternalReference{{Type: cdx.ERTypeWebsite, URL: toolURI}},
		}}},
		Component: &root,
	}
	bom.Components = &comps
	bom.Dependencies = &deps
	// Complete is measured, not hoped: every byte of the image is explained by
	// the record, or building it failed.
	bom.Compositions = &[]cdx.Composition{{Aggregate: cdx.CompositionAggregateComplete, Assemblies: &refs, Dependencies: &refs}}
	if tools := cdxToolchain(f); len(tools) > 0 {
		bom.Formulation = &[]cdx.Formula{{BOMRef: "formula", Components: &tools, Workflows: &[]cdx.Workflow{cdxWorkflow(f)}}}
	}

	// The serial number names the content: of the bytes with a serial number of
	// zeros, which it then takes the place of.
	bom.SerialNumber = uuid.Nil.URN()
	b, err := cdxEncode(bom)
	if err != nil {
		return nil, err
	}
	serial := uuid.NewHash(sha1.New(), uuid.NameSpaceURL, b, 5).URN()
	return &product{predicate: bytes.Replace(b, []byte(bom.SerialNumber), []byte(serial), 1)}, nil
}

func cdxEncode(bom *cdx.BOM) ([]byte, error) {
	var b bytes.Buffer
	e := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
	if err := e.EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func cdxComponent(c component) cdx.Component {
	out := cdx.Component{
		BOMRef:     c.purl,
		Type:       cdx.ComponentTypeLibrary,
		Name:       c.name,
		Version:    c.version,
		Scope:      cdx.ScopeRequired,
		PackageURL: c.purl,
		Licenses:   cdxLicence(c.license.Declared, cdx.LicenseAcknowledgementDeclared),
		Supplier:   &cdx.OrganizationalEntity{Name: supplier(&c)},
	}
	out.Evidence = cdxEvidence(c)
	var nested []cdx.Component
	for _, s := range c.files {
		nested = append(nested, cdx.Component{Type: cdx.ComponentTypeFile, Name: "/" + s.path, Hashes: &[]cdx.Hash{
			{Algorithm: cdx.HashAlgoSHA256, Value: s.sha256}, {Algorithm: cdx.HashAlgoSHA512, Value: s.sha512}}})
	}
	for _, o := range c.objects {
		nested = append(nested, cdx.Component{Type: cdx.ComponentTypeFile, Name: o.name, Hashes: &[]cdx.Hash{
			{Algorithm: cdx.HashAlgoSHA256, Value: o.digest}}})
	}
	if len(nested) > 0 {
		out.Components = &nested
	}
	if c.record == nil {
		return out
	}
	out.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hexOf(c.record.Archive)}}
	props := []cdx.Property{
		{Name: "cleanstart:tree", Value: c.record.Tree},
		{Name: "cleanstart:action", Value: c.record.Key},
		{Name: "cleanstart:output", Value: c.record.Result.Output.Digest},
	}
	for _, p := range c.record.Proofs {
		props = append(props, cdx.Property{Name: "cleanstart:proof", Value: p.Grade.String() + " " + p.Mechanism + " " + p.Signer})
	}
	out.Properties = &props
	if u := c.record.Place.Archive; u != "" {
		out.ExternalReferences = &[]cdx.ExternalReference{{Type: cdx.ERTypeSourceDistribution, URL: u,
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hexOf(c.record.Archive)}}}}
	}
	return out
}

// cdxEvidence says how a component is known: its identity by the digest of the
// archive that was compiled, its occurrences by the files that are shipped, its
// licences by their texts.
func cdxEvidence(c component) *cdx.Evidence {
	e := &cdx.Evidence{}
	if l := cdxLicence(c.license.Concluded, cdx.LicenseAcknowledgementConcluded); l != nil {
		e.Licenses = l
	}
	one := float32(1)
	if c.record != nil {
		e.Identity = &cdx.EvidenceIdentityChoice{Identities: &[]cdx.EvidenceIdentity{{
			Field: cdx.EvidenceIdentityFieldTypeHash, Confidence: &one, ConcludedValue: hexOf(c.record.Archive),
			Methods: &[]cdx.EvidenceIdentityMethod{{Technique: cdx.EvidenceIdentityTechniqueHashComparison, Confidence: &one, Value: c.record.Archive}},
		}}}
	}
	var places []cdx.EvidenceOccurrence
	for _, f := range c.files {
		places = append(places, cdx.EvidenceOccurrence{Location: "/" + f.path})
	}
	if len(places) > 0 {
		e.Occurrences = &places
	}
	if e.Licenses == nil && e.Identity == nil && e.Occurrences == nil {
		return nil
	}
	return e
}

// supplier is who stands behind a component: the host that its release comes
// from, or, for the toolchain's runtime, the kind of toolchain.
func supplier(c *component) string {
	if c.record == nil {
		return runtimeName
	}
	if u, err := url.Parse(c.record.Place.Archive); err == nil && u.Host != "" {
		return u.Hostname()
	}
	if scheme, _, ok := strings.Cut(c.record.Place.Archive, ":"); ok {
		return scheme
	}
	return c.name
}

// cdxLicence is nil for NOASSERTION: CycloneDX says nothing by leaving out.
func cdxLicence(expr string, ack cdx.LicenseAcknowledgement) *cdx.Licenses {
	if expr == "" || expr == noAssertion {
		return nil
	}
	if ok, id := spdxexp.ActiveLicense(expr); ok {
		return &cdx.Licenses{{License: &cdx.License{ID: id, Acknowledgement: ack}}}
	}
	return &cdx.Licenses{{Expression: expr, Acknowledgement: &ack}}
}

// cdxWorkflow is how the image was made: one build for each component, in order,
// with the action's digest as its name.
func cdxWorkflow(f *facts) cdx.Workflow {
	w := cdx.Workflow{BOMRef: "workflow", UID: f.record.SpecDigest, Name: "build of " + f.name,
		TaskTypes: &[]cdx.TaskType{cdx.TaskTypeBuild}}
	var tasks []cdx.Task
	for i := range f.record.Components {
		c := &f.record.Components[i]
		tasks = append(tasks, cdx.Task{BOMRef: "task:" + c.Component.PURL, UID: c.Key, Name: c.Component.Name,
			TaskTypes: &[]cdx.TaskType{cdx.TaskTypeBuild}})
	}
	if len(tasks) > 0 {
		w.Tasks = &tasks
	}
	return w
}

// cdxToolchain lists what compiled the components, as formulation: it is how
// the image was made, not what is in it.
func cdxToolchain(f *facts) []cdx.Component {
	var out []cdx.Component
	for _, p := range f.record.Toolchain.Packages {
		out = append(out, cdx.Component{Type: cdx.ComponentTypeApplication, Name: p.Name, Version: p.Version,
			PackageURL: packagePURL(f.record.Toolchain.Kind, p.Name, p.Version),
			Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: p.SHA256}}})
	}
	return out
}
