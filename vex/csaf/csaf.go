// Package csaf writes OpenVEX documents in CSAF 2.0, profile 5 (VEX), of
// OASIS. The statements keep their words: the justification is the flag, the
// impact the threat, and the notes, with the digests that a statement rests
// on, stay with each vulnerability.
package csaf

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	govex "github.com/openvex/go-vex/pkg/vex"
)

// Publisher is who issues the document.
type Publisher struct {
	Name      string
	Namespace string // URL under the publisher's control
}

// Document is a CSAF 2.0 document, as far as the VEX profile needs one.
type Document struct {
	Document        Head            `json:"document"`
	ProductTree     ProductTree     `json:"product_tree"`
	Vulnerabilities []Vulnerability `json:"vulnerabilities"`
}

// Head is the document's metadata.
type Head struct {
	Category    string        `json:"category"` // csaf_vex
	CSAFVersion string        `json:"csaf_version"`
	Title       string        `json:"title"`
	Lang        string        `json:"lang"`
	Publisher   HeadPublisher `json:"publisher"`
	Tracking    Tracking      `json:"tracking"`
}

// HeadPublisher is the publisher as the document has it.
type HeadPublisher struct {
	Category  string `json:"category"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// Tracking identifies the document among its versions.
type Tracking struct {
	ID       string     `json:"id"`
	Status   string     `json:"status"`
	Version  string     `json:"version"`
	Initial  string     `json:"initial_release_date"`
	Current  string     `json:"current_release_date"`
	Revision []Revision `json:"revision_history"`
}

// Revision is one entry of the history.
type Revision struct {
	Date    string `json:"date"`
	Number  string `json:"number"`
	Summary string `json:"summary"`
}

// ProductTree names every product that a vulnerability refers to.
type ProductTree struct {
	FullProductNames []Product      `json:"full_product_names"`
	Relationships    []Relationship `json:"relationships,omitempty"`
}

// Product is a full product name.
type Product struct {
	Name      string  `json:"name"`
	ProductID string  `json:"product_id"`
	Helper    *Helper `json:"product_identification_helper,omitempty"`
}

// Helper is how a product is recognised.
type Helper struct {
	PURL   string `json:"purl,omitempty"`
	Hashes []Hash `json:"hashes,omitempty"`
}

// Hash is of one file.
type Hash struct {
	FileHashes []FileHash `json:"file_hashes"`
	Filename   string     `json:"filename"`
}

// FileHash is a digest in hexadecimal.
type FileHash struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

// Relationship is a component in a product.
type Relationship struct {
	Category  string  `json:"category"`
	Product   Product `json:"full_product_name"`
	Reference string  `json:"product_reference"`
	RelatesTo string  `json:"relates_to_product_reference"`
}

// Vulnerability is one, with the status of each product.
type Vulnerability struct {
	CVE          string        `json:"cve,omitempty"`
	IDs          []ID          `json:"ids,omitempty"`
	Notes        []Note        `json:"notes"`
	Status       ProductStatus `json:"product_status"`
	Flags        []Flag        `json:"flags,omitempty"`
	Threats      []Threat      `json:"threats,omitempty"`
	Remediations []Remediation `json:"remediations,omitempty"`
}

// ID is a name that is not a CVE's.
type ID struct {
	System string `json:"system_name"`
	Text   string `json:"text"`
}

// Note is text about a vulnerability.
type Note struct {
	Category string `json:"category"`
	Title    string `json:"title,omitempty"`
	Text     string `json:"text"`
}

// ProductStatus are product ids by status, sorted.
type ProductStatus struct {
	Fixed         []string `json:"fixed,omitempty"`
	Affected      []string `json:"known_affected,omitempty"`
	NotAffected   []string `json:"known_not_affected,omitempty"`
	Investigation []string `json:"under_investigation,omitempty"`
}

// Flag is a machine-readable justification.
type Flag struct {
	Label    string   `json:"label"`
	Products []string `json:"product_ids"`
}

// Threat is the impact on products.
type Threat struct {
	Category string   `json:"category"`
	Details  string   `json:"details"`
	Products []string `json:"product_ids"`
}

// Remediation is what an affected product asks for.
type Remediation struct {
	Category string   `json:"category"`
	Details  string   `json:"details"`
	Products []string `json:"product_ids"`
}

// From encodes an OpenVEX document. Every statement must have a vulnerability,
// a product and a status that OpenVEX knows; what CSAF cannot express is an
// error, never a shorter document. Equal inputs give equal documents.
func From(doc *govex.VEX, pub Publisher) (*Document, error) {
	if doc == nil || doc.Timestamp == nil || doc.ID == "" {
		return nil, errors.New("csaf: a document with id and time is needed")
	}
	if u, err := url.Parse(pub.Namespace); pub.Name == "" || err != nil || u.Scheme == "" {
		return nil, fmt.Errorf("csaf: publisher %q at %q: want a name and a URL", pub.Name, pub.Namespace)
	}
	if len(doc.Statements) == 0 {
		return nil, errors.New("csaf: the profile needs a vulnerability, and the document has no statement")
	}
	at := doc.Timestamp.UTC().Format(time.RFC3339)
	out := &Document{Document: Head{
		Category: "csaf_vex", CSAFVersion: "2.0", Lang: "en",
		Title:     "Vulnerability exploitability of " + productName(doc),
		Publisher: HeadPublisher{"vendor", pub.Name, pub.Namespace},
		Tracking: Tracking{
			ID: doc.ID[strings.LastIndexByte(doc.ID, '/')+1:], Status: "final", Version: "1", Initial: at, Current: at,
			Revision: []Revision{{at, "1", "Made from OpenVEX document " + doc.ID}},
		},
	}}
	t := tree{products: map[string]Product{}, relations: map[string]Relationship{}}
	byName := map[string]*Vulnerability{}
	var names []string
	for i := range doc.Statements {
		s := &doc.Statements[i]
		name := string(s.Vulnerability.Name)
		if name == "" {
			return nil, fmt.Errorf("csaf: statement %d names no vulnerability", i)
		}
		v := byName[name]
		if v == nil {
			v = &Vulnerability{}
			byName[name] = v
			names = append(names, name)
			if strings.HasPrefix(name, "CVE-") {
				v.CVE = name
			} else {
				v.IDs = append(v.IDs, ID{"OpenVEX", name})
			}
			for _, a := range s.Vulnerability.Aliases {
				v.IDs = append(v.IDs, ID{"alias", string(a)})
			}
			text := s.Vulnerability.Description
			if text == "" {
				text = name
			}
			v.Notes = append(v.Notes, Note{"description", "", text})
		}
		ids, err := t.add(s)
		if err == nil {
			err = v.add(s, ids)
		}
		if err != nil {
			return nil, fmt.Errorf("csaf: %s: %w", name, err)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		v := byName[n]
		if id := v.contradiction(); id != "" {
			return nil, fmt.Errorf("csaf: %s: product %s has two statuses", n, id)
		}
		out.Vulnerabilities = append(out.Vulnerabilities, *v)
	}
	out.ProductTree = t.tree()
	return out, nil
}

// Marshal writes the document with indentation and a final newline.
func (d *Document) Marshal() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("csaf: %w", err)
	}
	return b.Bytes(), nil
}

// tree collects products. One image is one product, whatever spellings a
// statement gives of it: the first that is a package URL names it.
type tree struct {
	products  map[string]Product
	relations map[string]Relationship
}

func (t *tree) tree() ProductTree {
	var out ProductTree
	for _, p := range t.products {
		out.FullProductNames = append(out.FullProductNames, p)
	}
	for _, r := range t.relations {
		out.Relationships = append(out.Relationships, r)
	}
	slices.SortFunc(out.FullProductNames, func(a, b Product) int { return cmp.Compare(a.ProductID, b.ProductID) })
	slices.SortFunc(out.Relationships, func(a, b Relationship) int { return cmp.Compare(a.Product.ProductID, b.Product.ProductID) })
	return out
}

// add enters a statement's products and gives the ids that its status is
// about.
func (t *tree) add(s *govex.Statement) ([]string, error) {
	if len(s.Products) == 0 {
		return nil, errors.New("a statement without product")
	}
	var ids []string
	for _, p := range s.Products {
		image, err := t.product(p.Component)
		if err != nil {
			return nil, err
		}
		if len(p.Subcomponents) == 0 {
			ids = append(ids, image)
		}
		for _, c := range p.Subcomponents {
			part, err := t.product(c.Component)
			if err != nil {
				return nil, err
			}
			id := image + ":" + part
			t.relations[id] = Relationship{
				"default_component_of", Product{Name: t.products[part].Name + " in " + t.products[image].Name, ProductID: id}, part, image,
			}
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

func (t *tree) product(c govex.Component) (string, error) {
	id := c.ID
	if id == "" {
		id = c.Identifiers[govex.PURL]
	}
	if id == "" {
		return "", errors.New("a product without name")
	}
	p := Product{Name: id, ProductID: id}
	if purl := c.Identifiers[govex.PURL]; purl != "" {
		p.Helper = &Helper{PURL: purl}
	}
	if h := c.Hashes[govex.SHA256]; h != "" {
		if p.Helper == nil {
			p.Helper = &Helper{}
		}
		p.Helper.Hashes = []Hash{{[]FileHash{{"sha256", string(h)}}, "manifest.json"}}
	}
	t.products[id] = p
	return id, nil
}

func (v *Vulnerability) add(s *govex.Statement, ids []string) error {
	join := func(list *[]string) {
		*list = append(*list, ids...)
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if s.StatusNotes != "" {
		v.Notes = append(v.Notes, Note{"details", "Premises: " + s.ID, s.StatusNotes})
	}
	switch s.Status {
	case govex.StatusNotAffected:
		join(&v.Status.NotAffected)
		if s.Justification == "" && s.ImpactStatement == "" {
			return errors.New("not_affected without justification or impact")
		}
		if s.Justification != "" {
			v.Flags = append(v.Flags, Flag{string(s.Justification), ids})
		}
		if s.ImpactStatement != "" {
			v.Threats = append(v.Threats, Threat{"impact", s.ImpactStatement, ids})
		}
	case govex.StatusAffected:
		join(&v.Status.Affected)
		if s.ActionStatement == "" {
			return errors.New("affected without an action")
		}
		category := "workaround"
		if strings.HasPrefix(s.ActionStatement, "Rebuild with") {
			category = "vendor_fix"
		}
		v.Remediations = append(v.Remediations, Remediation{category, s.ActionStatement, ids})
	case govex.StatusFixed:
		join(&v.Status.Fixed)
	case govex.StatusUnderInvestigation:
		join(&v.Status.Investigation)
	default:
		return fmt.Errorf("status %q", s.Status)
	}
	return nil
}

// contradiction is a product in two groups (CSAF 2.0, 6.1.6), or "".
func (v *Vulnerability) contradiction() string {
	seen := map[string]bool{}
	for _, list := range [][]string{v.Status.Fixed, v.Status.Affected, v.Status.NotAffected, v.Status.Investigation} {
		for _, id := range list {
			if seen[id] {
				return id
			}
			seen[id] = true
		}
	}
	return ""
}

func productName(doc *govex.VEX) string {
	if ps := doc.Statements[0].Products; len(ps) > 0 && ps[0].ID != "" {
		return ps[0].ID
	}
	return doc.ID
}
