package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/google/osv-scalibr/semantic"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Rule is what one record says of one package: which of its versions are
// affected. It is what a correlation of everything with everything works on;
// what an advisory says beyond it (aliases, maps to code) is [advisory.DB]'s.
// It is a value: it marshals and may be kept.
type Rule struct {
	Advisory string            `json:"advisory"`
	Package  inventory.Package `json:"package"`
	Ranges   []advisory.Range  `json:"ranges,omitempty"`
	Versions []string          `json:"versions,omitempty"`
}

// Rules are a record's. The record must be one that [advisory.Parse] accepts;
// of one that is withdrawn there are none. Repeated entries about one package
// are rules of their own: a version is affected where any of them says so.
func Rules(record []byte) ([]Rule, error) {
	if _, err := advisory.Parse(record); err != nil {
		return nil, err
	}
	var r struct {
		ID        string `json:"id"`
		Withdrawn string `json:"withdrawn"`
		Affected  []struct {
			Package struct {
				Ecosystem string `json:"ecosystem"`
				Name      string `json:"name"`
				PURL      string `json:"purl"`
			} `json:"package"`
			Ranges   []advisory.Range `json:"ranges"`
			Versions []string         `json:"versions"`
		} `json:"affected"`
	}
	if err := json.Unmarshal(record, &r); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if r.ID == "" {
		return nil, errors.New("record: not in OSV's form")
	}
	if r.Withdrawn != "" {
		return nil, nil
	}
	var out []Rule
	for _, a := range r.Affected {
		if a.Package.Name == "" && a.Package.PURL == "" {
			continue // known by its repository alone, which no inventory is asked for
		}
		out = append(out, Rule{
			Advisory: r.ID, Package: inventory.Package{Ecosystem: a.Package.Ecosystem, Name: a.Package.Name, PURL: a.Package.PURL},
			Ranges: a.Ranges, Versions: a.Versions,
		})
	}
	return out, nil
}

// Orders parses versions once and remembers them. The zero value is ready. It
// may be used from several goroutines.
type Orders struct {
	mu     sync.RWMutex
	parsed map[orderKey]semantic.Version // nil for what is not a version
}

type orderKey struct{ order, version string }

// maxParsed bounds what is remembered; then all of it is forgotten.
const maxParsed = 1 << 20

// parse is a version in an order: an ecosystem's, or upstream's for "".
func (o *Orders) parse(order, version string) semantic.Version {
	k := orderKey{order, version}
	o.mu.RLock()
	v, ok := o.parsed[k]
	o.mu.RUnlock()
	if ok {
		return v
	}
	switch {
	case order == "":
		if plainVersion.MatchString(version) {
			v = semantic.ParseSemverVersion(version)
		}
	case !strings.ContainsAny(version, " \t\n()"):
		if p, err := semantic.Parse(version, order); err == nil {
			v = p
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parsed == nil || len(o.parsed) >= maxParsed {
		o.parsed = map[orderKey]semantic.Version{}
	}
	o.parsed[orderKey{strings.Clone(order), strings.Clone(version)}] = v
	return v
}

// Affects is the rule as a question. A version that the rule cannot place is
// affected: it is never narrower than package advisory, whose verdict is the
// last word. The answer about a version says nothing about another one: the
// orders of some ecosystems (Alpine, Maven) are not transitive.
func (o *Orders) Affects(r *Rule) func(version string) bool {
	var ranges []span
	for _, g := range r.Ranges {
		if g.Type != "GIT" {
			ranges = append(ranges, o.span(g, r.Package.Ecosystem))
		}
	}
	spelled := len(r.Ranges) == 0 && len(r.Versions) > 0
	for _, s := range r.Versions {
		spelled = spelled && plainVersion.MatchString(s)
	}
	return func(version string) bool {
		for i := range ranges {
			if ranges[i].holds(o, version) {
				return true
			}
		}
		for _, s := range r.Versions {
			if strings.TrimPrefix(s, "v") == strings.TrimPrefix(version, "v") {
				return true
			}
		}
		// Only ranges, or a whole list of plain versions, can leave one out, and
		// a list may spell a version that is not plain in another way.
		if len(ranges) > 0 {
			return len(r.Versions) > 0 && !plainVersion.MatchString(version)
		}
		return !spelled || !plainVersion.MatchString(version)
	}
}

// bound is an end of a range. Of a fuzzy one (1.1.1ze, 9.2p1) only the numbers
// are known: a version with other numbers lies on the side that they say, one
// with the same numbers is not placed.
type bound struct {
	v     semantic.Version
	fuzzy bool
}

// lettered is such a bound, as in package advisory.
var lettered = regexp.MustCompile(`^(v?[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18})(\.[0-9]+)*[a-z]{0,3}[0-9]{0,4}$`)

func (o *Orders) bound(order, s string) (bound, bool) {
	if v := o.parse(order, s); v != nil {
		return bound{v, false}, true
	}
	if m := lettered.FindStringSubmatch(s); order == "" && m != nil {
		if v := o.parse(order, m[1]); v != nil {
			return bound{v, true}, true
		}
	}
	return bound{}, false
}

// place compares a version with the bound; not ok where that is not known.
func (b bound) place(v semantic.Version) (int, bool) {
	c, err := v.Compare(b.v)
	return c, err == nil && !(b.fuzzy && c == 0)
}

// span is one range, with its bounds parsed and with what closes each beginning
// worked out.
type span struct {
	order   string
	begins  []begin
	unknown bool // holds every version
	unclear bool // holds every version that no beginning decides
}

// begin is one beginning and the upper bounds that close it; whole is the
// beginning of all versions.
type begin struct {
	whole       bool
	at          bound
	fixed, last []bound
}

// span follows package advisory: a version is inside when some introduced event
// is at or below it with no fixed event in between and no last_affected event
// before it; a bound that is not a version counts in the direction that keeps
// the version; limits can only narrow and are ignored.
func (o *Orders) span(r advisory.Range, ecosystem string) span {
	s := span{}
	if r.Type == "ECOSYSTEM" && !upstreamOrder(ecosystem) {
		s.order = ecosystem
	}
	var fixed, last []bound
	introduced, upper := 0, 0
	for _, e := range r.Events {
		switch {
		case e.Introduced == "0":
			introduced++
			s.begins = append(s.begins, begin{whole: true})
		case e.Introduced != "":
			introduced++
			if b, ok := o.bound(s.order, e.Introduced); ok {
				s.begins = append(s.begins, begin{at: b})
			} else {
				s.unclear = true
			}
		case e.Fixed != "":
			upper++
			if b, ok := o.bound(s.order, e.Fixed); ok {
				fixed = append(fixed, b)
			}
		case e.LastAffected != "":
			upper++
			if b, ok := o.bound(s.order, e.LastAffected); ok {
				last = append(last, b)
			}
		}
	}
	s.unknown = introduced == 0
	if s.unclear && introduced == 1 && upper <= 1 {
		s.begins, s.unclear = []begin{{whole: true}}, false
	}
	for i := range s.begins {
		b := &s.begins[i]
		for _, f := range fixed {
			if b.ends(f, false, introduced == 1) {
				b.fixed = append(b.fixed, f)
			}
		}
		for _, l := range last {
			if b.ends(l, true, introduced == 1) {
				b.last = append(b.last, l)
			}
		}
	}
	return s
}

// ends reports whether an upper bound can close what begins here: one above it,
// for last_affected also the beginning itself, and one with the same numbers
// and letters behind them where there is only this beginning.
func (b *begin) ends(x bound, last, sole bool) bool {
	if b.whole {
		return true
	}
	c, err := x.v.Compare(b.at.v)
	return err == nil && (c > 0 || c == 0 && (last || x.fuzzy && sole))
}

// holds reports whether a version is inside, or cannot be placed.
func (s *span) holds(o *Orders, version string) bool {
	v := o.parse(s.order, version)
	if v == nil || s.unknown || s.unclear {
		return true
	}
	for i := range s.begins {
		b := &s.begins[i]
		if !b.whole {
			c, ok := b.at.place(v)
			if !ok {
				return true
			}
			if c < 0 {
				continue
			}
		}
		if !b.closed(v) {
			return true
		}
	}
	return false
}

func (b *begin) closed(v semantic.Version) bool {
	for _, f := range b.fixed {
		if c, ok := f.place(v); ok && c >= 0 {
			return true
		}
	}
	for _, l := range b.last {
		if c, ok := l.place(v); ok && c > 0 {
			return true
		}
	}
	return false
}

// upstreamOrder reports whether versions of the ecosystem are upstream's own.
func upstreamOrder(ecosystem string) bool {
	switch base, _, _ := strings.Cut(ecosystem, ":"); base {
	case "", "GIT", "OSS-Fuzz", "Upstream", "generic":
		return true
	}
	return false
}
