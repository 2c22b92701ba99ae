package monitor

import (
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Rule is what one record says of one package: which of its versions are
// affected. It is what a correlation of everything with everything works on;
// what an advisory says beyond it (aliases, maps to code) is [advisory.DB]'s.
// It is a value: it marshals and may be kept.
type Rule struct{ advisory.Affected }

// Rules are a record's, in the order of its entries. What is not a record, as
// [advisory.Parse] has it, is an error; of one that is withdrawn there are none.
func Rules(record []byte) ([]Rule, error) {
	list, err := advisory.ParseAffected(record)
	if err != nil {
		return nil, err
	}
	var out []Rule
	for _, a := range list {
		if a.Name == "" && a.PURL == "" {
			continue // known by its repository alone, which no inventory is asked for
		}
		out = append(out, Rule{a})
	}
	return out, nil
}

// Package is what the inventory is asked for.
func (r *Rule) Package() inventory.Package {
	return inventory.Package{Ecosystem: r.Ecosystem, Name: r.Name, PURL: r.PURL}
}

// Affects is the rule as a question. A version that the rule cannot place is
// affected.
func (r *Rule) Affects(o *advisory.Orders) func(version string) bool {
	t := r.Test(o)
	return func(version string) bool {
		holds, _ := t.Holds(version)
		return holds
	}
}
