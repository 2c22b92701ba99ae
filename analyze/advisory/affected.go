package advisory

import (
	"slices"
	"strings"
)

// Affected is one entry of one record: which versions of one package it calls
// affected. It is for a correlation of every record with every version, where
// no record's map to code is needed. It is a value: it marshals and may be
// kept.
type Affected struct {
	ID        string   `json:"id"`
	Ecosystem string   `json:"ecosystem,omitempty"` // "" is upstream's own numbering
	Name      string   `json:"name,omitempty"`
	PURL      string   `json:"purl,omitempty"`
	Ranges    []Range  `json:"ranges,omitempty"`
	Versions  []string `json:"versions,omitempty"`
	Open      bool     `json:"open,omitempty"` // what it does not list may be affected
	None      bool     `json:"none,omitempty"` // it lists nothing as affected
}

// ParseAffected reads the entries of a record, which is one that [Parse]
// accepts: OSV, or the CVE list's own form. Of a withdrawn one there are none.
// Repeated entries about one package stay apart: a version is affected where
// any of them says so.
func ParseAffected(b []byte) ([]Affected, error) {
	rec, err := decode(b)
	if err != nil {
		return nil, err
	}
	if !rec.Withdrawn.IsZero() {
		return nil, nil
	}
	out := make([]Affected, 0, len(rec.Affected))
	for _, a := range rec.Affected {
		name := a.Package.Name
		if name == "" {
			name = a.upstream
		}
		out = append(out, Affected{rec.ID, a.Package.Ecosystem, name, a.Package.PURL, a.Ranges, a.Versions, a.open, a.none})
	}
	return out, nil
}

// Test is the entry compiled.
func (a *Affected) Test(o *Orders) *Test {
	return newTest(o, group{a.ID, a.Ecosystem, a.Ranges, a.Versions, a.Open, a.None})
}

// Test answers which versions an affected entry holds. It is the one place
// that decides this: [DB.Find] asks it too. It is immutable and may be used
// from several goroutines.
//
// An answer about a version says nothing about another one: the orders of some
// ecosystems (Alpine, Maven) are not transitive, so every version is asked.
type Test struct {
	orders   *Orders
	spans    []span
	versions []string
	plain    bool // every listed version is
	whole    bool // the list is all that the entry says
	open     bool
	none     bool
}

// Holds reports whether the version is affected, or cannot be placed, which
// counts as affected. Decided is false for the latter.
func (t *Test) Holds(version string) (holds, decided bool) {
	v, _ := t.place(version)
	return v != outside, v != undecided
}

func newTest(o *Orders, g group) *Test {
	t := &Test{orders: o, versions: g.versions, plain: true, open: g.open, none: g.none}
	for i := range g.ranges {
		if r := &g.ranges[i]; r.Type != "GIT" {
			t.spans = append(t.spans, o.span(r, orderOf(r.Type, g.ecosystem)))
		}
	}
	for _, s := range g.versions {
		t.plain = t.plain && plain.MatchString(s)
	}
	t.whole = len(g.ranges) == 0 && len(g.versions) > 0
	return t
}

// reason is what an answer rests on.
type reason struct {
	span    int  // that holds the version
	listed  bool // it is in the list
	respelt bool // the list may hold it in another spelling
}

func (t *Test) place(version string) (verdict, reason) {
	out := 0
	for i := range t.spans {
		switch t.spans[i].place(t.orders, version) {
		case inside:
			return inside, reason{span: i}
		case outside:
			out++
		}
	}
	for _, s := range t.versions {
		if strings.TrimPrefix(s, "v") == strings.TrimPrefix(version, "v") {
			return inside, reason{listed: true}
		}
	}
	switch {
	case t.none:
		return outside, reason{}
	case t.open:
		return undecided, reason{}
	case len(t.spans) > 0 && out == len(t.spans):
		if len(t.versions) > 0 && !plain.MatchString(version) {
			return undecided, reason{respelt: true}
		}
		return outside, reason{}
	case len(t.spans) == 0 && t.whole && t.plain && plain.MatchString(version):
		return outside, reason{}
	}
	return undecided, reason{}
}

// span is a range with its bounds parsed, and with what can close each of its
// beginnings worked out.
//
// It follows the OSV schema's evaluation but needs no sorting, because the
// comparators of some ecosystems are not transitive: a version is inside when
// some introduced event is at or below it with no fixed event in between and
// no last_affected event before it. Limits are ignored, which can only widen
// the range.
//
// A bound that is not a version ("unknown", "1.2.6 (commits after 1.2.5)")
// counts in the direction that keeps the candidate: an upper bound as absent,
// the lower bound of a plain introduced–fixed pair as the beginning, any other
// as undecided.
type span struct {
	source  *Range
	order   string
	begins  []begin
	unknown bool // it has no beginning, so that nothing is known
	unclear bool // what no beginning holds is undecided
}

// begin is one beginning with the upper bounds that close it.
type begin struct {
	whole       bool // the beginning of all versions
	at          bound
	fixed, last []bound
}

func (o *Orders) span(r *Range, order string) span {
	s := span{source: r, order: order}
	var fixed, last []bound
	introduced, upper := 0, 0
	for _, e := range r.Events {
		switch {
		case e.Introduced == "0":
			introduced++
			s.begins = append(s.begins, begin{whole: true})
		case e.Introduced != "":
			introduced++
			if x, ok := o.bound(order, e.Introduced); ok {
				s.begins = append(s.begins, begin{at: x})
			} else {
				s.unclear = true
			}
		case e.Fixed != "":
			upper++
			if x, ok := o.bound(order, e.Fixed); ok {
				fixed = append(fixed, x)
			}
		case e.LastAffected != "":
			upper++
			if x, ok := o.bound(order, e.LastAffected); ok {
				last = append(last, x)
			}
		}
	}
	s.unknown = introduced == 0
	if s.unclear && introduced == 1 && upper <= 1 {
		s.begins, s.unclear = []begin{{whole: true}}, false
	}
	// The whole is asked first: it is inside even where another beginning
	// cannot be compared.
	slices.SortStableFunc(s.begins, func(a, b begin) int {
		switch {
		case a.whole == b.whole:
			return 0
		case a.whole:
			return -1
		}
		return 1
	})
	for i := range s.begins {
		b := &s.begins[i]
		for _, x := range fixed {
			if b.endedBy(x, false, introduced == 1, o) {
				b.fixed = append(b.fixed, x)
			}
		}
		for _, x := range last {
			if b.endedBy(x, true, introduced == 1, o) {
				b.last = append(b.last, x)
			}
		}
	}
	return s
}

// endedBy reports whether an upper bound can close what begins here: one above
// it, for last_affected also the beginning itself. A bound with the numbers of
// the beginning and letters behind them is its end where there is only this
// beginning. A comparison that fails closes nothing.
func (b *begin) endedBy(x bound, last, sole bool, o *Orders) bool {
	if b.whole {
		return true
	}
	c, ok := x.order(b.at, o)
	return ok && (c > 0 || c == 0 && (last || x.fuzzy && sole))
}

func (s *span) place(o *Orders, version string) verdict {
	v, ok := o.bound(s.order, version)
	if !ok || v.fuzzy || s.unknown {
		return undecided
	}
	for i := range s.begins {
		b := &s.begins[i]
		if !b.whole {
			c, ok := b.at.compare(v, o)
			if !ok {
				return undecided
			}
			if c < 0 {
				continue
			}
		}
		if !b.closed(v, o) {
			return inside
		}
	}
	if s.unclear {
		return undecided
	}
	return outside
}

func (b *begin) closed(v bound, o *Orders) bool {
	for _, x := range b.fixed {
		if c, ok := x.compare(v, o); ok && c >= 0 {
			return true
		}
	}
	for _, x := range b.last {
		if c, ok := x.compare(v, o); ok && c > 0 {
			return true
		}
	}
	return false
}
