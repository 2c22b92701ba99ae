package vex

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	govex "github.com/openvex/go-vex/pkg/vex"
	packageurl "github.com/package-url/packageurl-go"

	"github.com/cleanstart/cleanstart/analyze"
)

// Product is the image that the statements are about.
type Product struct {
	Name       string // last part of its repository
	Repository string // whole repository without tag or digest; may be empty
	Digest     string // "sha256:HEX" of the manifest
}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Document is OpenVEX 0.2.0 with one statement for each finding of the report,
// sorted by vulnerability and component. Every finding must have exactly one
// decision and every decision a finding: a gap is an error, never a shorter
// document. Ids come from contents, so equal inputs give equal bytes.
//
// The product is named in the spellings that consumers look for: package URL
// with and without repository, repository digest, and bare digest.
func Document(r *analyze.Report, decisions []Decision, p Product, author string, at time.Time) (*govex.VEX, error) {
	if author == "" || at.IsZero() {
		return nil, errors.New("vex document: author and time are required")
	}
	if p.Name == "" || !digestPattern.MatchString(p.Digest) {
		return nil, fmt.Errorf("vex document: product %q at %q: want a name and sha256:HEX", p.Name, p.Digest)
	}
	type key struct{ id, component string }
	byKey := map[key]*Decision{}
	for i := range decisions {
		k := key{decisions[i].ID, decisions[i].Component}
		if byKey[k] != nil {
			return nil, fmt.Errorf("vex document: two decisions about %s in %s", k.id, k.component)
		}
		byKey[k] = &decisions[i]
	}
	var stmts []govex.Statement
	for i := range r.Findings {
		f := &r.Findings[i]
		k := key{f.Advisory.ID, f.Component}
		d := byKey[k]
		if d == nil {
			return nil, fmt.Errorf("vex document: no decision about %s in %s, or two findings of it", k.id, k.component)
		}
		delete(byKey, k)
		s, err := statement(d, f, p)
		if err != nil {
			return nil, fmt.Errorf("vex document: %s in %s: %w", k.id, k.component, err)
		}
		stmts = append(stmts, s)
	}
	for k := range byKey {
		return nil, fmt.Errorf("vex document: a decision about %s in %s, which is no finding of the report", k.id, k.component)
	}
	slices.SortFunc(stmts, func(a, b govex.Statement) int {
		return cmp.Or(cmp.Compare(a.Vulnerability.Name, b.Vulnerability.Name),
			cmp.Compare(a.Products[0].Subcomponents[0].ID, b.Products[0].Subcomponents[0].ID), cmp.Compare(a.ID, b.ID))
	})
	return document(stmts, author, at)
}

// Split gives each statement a document of its own, in order.
func Split(doc *govex.VEX) ([]*govex.VEX, error) {
	if doc.Timestamp == nil {
		return nil, errors.New("vex document: no time")
	}
	var out []*govex.VEX
	for _, s := range doc.Statements {
		one, err := document([]govex.Statement{s}, doc.Author, *doc.Timestamp)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func document(stmts []govex.Statement, author string, at time.Time) (*govex.VEX, error) {
	at = at.UTC().Truncate(time.Second)
	doc := &govex.VEX{
		Metadata: govex.Metadata{
			Context: govex.ContextLocator(), Author: author, Timestamp: &at, Version: 1,
			Tooling: "cleanstart vex, decision table D1-D9",
		},
		Statements: append([]govex.Statement{}, stmts...),
	}
	var b bytes.Buffer
	if err := doc.ToJSON(&b); err != nil {
		return nil, fmt.Errorf("vex document: %w", err)
	}
	sum := sha256.Sum256(b.Bytes())
	doc.ID = govex.PublicNamespace + "/public/vex-" + hex.EncodeToString(sum[:])
	return doc, nil
}

func statement(d *Decision, f *analyze.Finding, p Product) (govex.Statement, error) {
	s := govex.Statement{
		Vulnerability: govex.Vulnerability{Name: govex.VulnerabilityID(d.ID), Description: f.Advisory.Summary},
		Products:      products(p, d),
		Status:        d.Status,
	}
	for _, a := range d.Aliases {
		s.Vulnerability.Aliases = append(s.Vulnerability.Aliases, govex.VulnerabilityID(a))
	}
	lines := []string{"rule " + d.Rule, d.Reason} // not an impact statement: the schema takes that or a justification
	switch d.Status {
	case govex.StatusNotAffected:
		s.Justification = d.Justification
	case govex.StatusAffected:
		s.ActionStatement = action(f)
	}
	if d.Quote != "" {
		lines = append(lines, "upstream: “"+d.Quote+"”")
	}
	lines = append(lines, d.Notes...)
	for _, name := range slices.Sorted(maps.Keys(d.Premises)) {
		lines = append(lines, name+"="+d.Premises[name])
	}
	s.StatusNotes = strings.Join(lines, "\n")
	if d.Status == govex.StatusNotAffected && (d.Justification == "" || len(d.Premises) == 0) {
		return s, errors.New("not_affected needs a justification and its premises")
	}
	if err := s.Validate(); err != nil {
		return s, err
	}
	s.ID = govex.PublicNamespace + "/public/statement-" + strings.TrimPrefix(digestOf(s), "sha256:")
	return s, nil
}

// action is what an affected finding asks for.
func action(f *analyze.Finding) string {
	if v := f.Advisory.FixedAfter(f.Version); v != "" {
		return fmt.Sprintf("Rebuild with %s %s or later.", f.Component, v)
	}
	return fmt.Sprintf("The advisory names no later version of %s in which this is fixed: follow upstream, and build without the feature where the entrypoint does not need it.", f.Component)
}

func products(p Product, d *Decision) []govex.Product {
	hash := strings.TrimPrefix(p.Digest, "sha256:")
	sub := govex.Component{ID: d.PURL, Identifiers: map[govex.IdentifierType]string{govex.PURL: d.PURL}}
	if d.PURL == "" {
		sub = govex.Component{ID: d.Component + "@" + d.Version}
	}
	subs := []govex.Subcomponent{{Component: sub}}
	if bare, err := packageurl.FromString(d.PURL); err == nil && (len(bare.Qualifiers) > 0 || bare.Subpath != "") {
		// a consumer's bill may have other qualifiers, or none
		bare.Qualifiers, bare.Subpath = nil, ""
		id := bare.ToString()
		subs = append(subs, govex.Subcomponent{Component: govex.Component{ID: id, Identifiers: map[govex.IdentifierType]string{govex.PURL: id}}})
	}
	purl := func(repository string) govex.Component {
		var q packageurl.Qualifiers
		if repository != "" {
			q = packageurl.Qualifiers{{Key: "repository_url", Value: repository}}
		}
		id := packageurl.NewPackageURL("oci", "", p.Name, p.Digest, q, "").ToString()
		return govex.Component{
			ID: id, Identifiers: map[govex.IdentifierType]string{govex.PURL: id},
			Hashes: map[govex.Algorithm]govex.Hash{govex.SHA256: govex.Hash(hash)},
		}
	}
	names := []govex.Component{purl("")}
	repo := p.Name
	if p.Repository != "" {
		names = append(names, purl(p.Repository))
		repo = p.Repository
	}
	names = append(names, govex.Component{ID: repo + "@" + p.Digest}, govex.Component{ID: p.Digest})
	var out []govex.Product
	for _, c := range names {
		out = append(out, govex.Product{Component: c, Subcomponents: slices.Clone(subs)})
	}
	return out
}
