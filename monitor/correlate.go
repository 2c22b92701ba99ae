package monitor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Affected is one advisory about one distinct (component, version), and the
// live images that hold it.
type Affected struct {
	Advisory  *advisory.Advisory
	Component string
	Version   string
	PURL      string
	Undecided bool // the ranges cannot place the version, so it counts as affected
	Reason    string
	Images    []inventory.ID
}

// Correlate finds what the new and changed records of a batch affect: each
// distinct version of the components they name is compared once, however many
// images hold it. Versions are evaluated one by one and never searched by
// bisection, because the version orders of some ecosystems are not transitive.
//
// The answer is about the batch alone. What an advisory is called may change
// when others name it as their alias, so [Step] takes its findings from all
// records together.
func Correlate(ctx context.Context, batch feed.Batch, index inventory.Index) ([]Affected, error) {
	db, err := database(batch.Changes)
	if err != nil {
		return nil, fmt.Errorf("correlate: %w", err)
	}
	if db == nil {
		return nil, nil
	}
	postings, err := named(ctx, db, batch.Changes, index)
	if err != nil {
		return nil, fmt.Errorf("correlate: %w", err)
	}
	var out []Affected
	for _, p := range postings {
		in, _, err := db.Match(p.Component, p.Version, p.PURL)
		if err != nil {
			return nil, fmt.Errorf("correlate: %w", err)
		}
		for _, m := range in {
			out = append(out, Affected{
				Advisory: m.Advisory, Component: p.Component, Version: p.Version, PURL: p.PURL,
				Undecided: m.Undecided, Reason: m.Reason, Images: p.Images,
			})
		}
	}
	return out, nil
}

// named are the postings of every component that the records name, each once.
func named(ctx context.Context, db *advisory.DB, changes []feed.Change, index inventory.Index) ([]inventory.Posting, error) {
	type query struct{ name, purl string }
	asked := map[query]bool{}
	seen := map[string]bool{}
	var out []inventory.Posting
	ask := func(q query) error {
		if asked[q] || q == (query{}) {
			return nil
		}
		asked[q] = true
		list, err := index.Versions(ctx, q.name, q.purl)
		if err != nil {
			return err
		}
		for _, p := range list {
			if key := strings.Join([]string{p.Component, p.Version, p.PURL}, "\x00"); !seen[key] {
				seen[key] = true
				out = append(out, p)
			}
		}
		return nil
	}
	for _, a := range db.Advisories() {
		if err := ask(query{name: strings.ToLower(a.Component)}); err != nil {
			return nil, err
		}
		if err := ask(query{purl: a.PURL}); err != nil {
			return nil, err
		}
	}
	for _, c := range changes {
		if c.Kind != feed.New && c.Kind != feed.Changed {
			continue
		}
		list, err := purls(c.Record)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", c.ID, err)
		}
		for _, p := range list {
			if err := ask(query{purl: p}); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(out, func(a, b inventory.Posting) int {
		return strings.Compare(a.Component+"\x00"+a.Version+"\x00"+a.PURL, b.Component+"\x00"+b.Version+"\x00"+b.PURL)
	})
	return out, nil
}
