package attest

import (
	"bytes"
	"fmt"
	"slices"

	govex "github.com/openvex/go-vex/pkg/vex"
)

// buildVEX is artifact 7: one document with every statement, because scanners
// read the first they find, and one document for each, because a statement
// changes alone.
func buildVEX(in *Input, _ *facts, ev *Evidence) (*product, error) {
	merged, err := encodeVEX(in.VEX)
	if err != nil {
		return nil, err
	}
	p := &product{predicate: merged}
	for _, doc := range in.Each {
		if len(doc.Statements) != 1 {
			return nil, fmt.Errorf("document %s has %d statements, want one", doc.ID, len(doc.Statements))
		}
		s := doc.Statements[0]
		if !slices.ContainsFunc(in.VEX.Statements, func(m govex.Statement) bool { return statementKey(&m) == statementKey(&s) }) {
			return nil, fmt.Errorf("the statement about %s (%s) is not in the merged document", s.Vulnerability.Name, s.Status)
		}
		b, err := encodeVEX(doc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Vulnerability.Name, err)
		}
		p.more = append(p.more, named{string(s.Vulnerability.Name), b})
	}
	ev.Counts.VEX = len(in.VEX.Statements)
	return p, nil
}

// encodeVEX writes a valid document.
func encodeVEX(doc *govex.VEX) ([]byte, error) {
	if doc.ID == "" || doc.Author == "" || doc.Timestamp == nil {
		return nil, fmt.Errorf("VEX document %q needs an id, an author and a time", doc.ID)
	}
	for i := range doc.Statements {
		s := &doc.Statements[i]
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("VEX statement about %s: %w", s.Vulnerability.Name, err)
		}
	}
	var b bytes.Buffer
	if err := doc.ToJSON(&b); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// statementKey is what a statement says: vulnerability, products with their
// components, status and justification.
func statementKey(s *govex.Statement) string {
	key := fmt.Sprintf("%s|%s|%s", s.Vulnerability.Name, s.Status, s.Justification)
	for _, p := range s.Products {
		key += "|" + p.ID
		for _, c := range p.Subcomponents {
			key += ">" + c.ID
		}
	}
	return key
}
