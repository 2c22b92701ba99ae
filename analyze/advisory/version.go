package advisory

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/osv-scalibr/semantic"
)

// plain is a version of one to three numeric components, which orders by
// SemVer 2.0 rules. A fourth one is none of SemVer's: its comparator puts
// 1.2.3.1 before 1.2.3, so such a version stays undecided. Letters behind the
// numbers (OpenSSL 1.0.2k, OpenSSH
// 9.2p1) order differently in every project, so they do not count.
var plain = regexp.MustCompile(`^v?[0-9]{1,18}(\.[0-9]{1,18}){0,2}(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?(\+[0-9A-Za-z.-]+)?$`)

// lettered is a bound whose first three numbers are plain and whose rest is
// not: 1.1.1ze, 9.2p1, 1.2.0.4. A version with other numbers lies on the side
// that they say, whatever the rest means; one with the same numbers is not
// placed.
var lettered = regexp.MustCompile(`^(v?[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18})(\.[0-9]+)*[a-z]{0,3}[0-9]{0,4}$`)

// bound is a version, or an end of a range of versions. Up to three plain
// numbers are compared as such, which is nearly all; the rest by the semantic
// package.
type bound struct {
	v       semantic.Version // nil for plain numbers
	text    string
	numbers [3]uint64
	fuzzy   bool // only its numbers are known
}

// numbers are those of a version that is nothing else.
func numbers(s string) (n [3]uint64, ok bool) {
	s = strings.TrimPrefix(s, "v")
	part, digits := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9' && digits < 18:
			n[part] = n[part]*10 + uint64(c-'0')
			digits++
		case c == '.' && digits > 0 && part < 2:
			part, digits = part+1, 0
		default:
			return n, false
		}
	}
	return n, digits > 0
}

// order of two bounds by themselves.
func (b bound) order(c bound, o *Orders) (int, bool) {
	if b.v == nil && c.v == nil {
		return slices.Compare(b.numbers[:], c.numbers[:]), true
	}
	x, y := b.v, c.v
	if x == nil {
		x = o.parse("", b.text)
	}
	if y == nil {
		y = o.parse("", c.text)
	}
	if x == nil || y == nil {
		return 0, false
	}
	n, err := x.Compare(y)
	return n, err == nil
}

// compare places a version against the bound; not ok where that is not known.
func (b bound) compare(v bound, o *Orders) (c int, ok bool) {
	c, ok = v.order(b, o)
	return c, ok && !(b.fuzzy && c == 0)
}

// orderOf is the order of a range's versions: an ecosystem's, or "" for
// upstream's own numbering. A range of type ECOSYSTEM in upstream's own
// numbering is ordered like SEMVER.
func orderOf(typ, ecosystem string) string {
	if typ == "ECOSYSTEM" && !upstreamEcosystem(ecosystem) {
		return ecosystem
	}
	return ""
}

// Orders parses versions once and remembers them, so that many tests may ask
// about the same ones. The zero value is ready, nil remembers nothing; one may
// be used from several goroutines.
type Orders struct {
	mu     sync.RWMutex
	parsed map[orderKey]semantic.Version // nil for what is not a version
}

type orderKey struct{ order, version string }

// maxParsed bounds what is remembered; then all of it is forgotten.
const maxParsed = 1 << 20

// parse is a version in an order; nil for what is none.
func (o *Orders) parse(order, version string) semantic.Version {
	if o == nil {
		return parseVersion(order, version)
	}
	k := orderKey{order, version}
	o.mu.RLock()
	v, ok := o.parsed[k]
	o.mu.RUnlock()
	if ok {
		return v
	}
	v = parseVersion(order, version)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parsed == nil || len(o.parsed) >= maxParsed {
		o.parsed = map[orderKey]semantic.Version{}
	}
	o.parsed[orderKey{strings.Clone(order), strings.Clone(version)}] = v
	return v
}

func parseVersion(order, version string) semantic.Version {
	if order == "" {
		if !plain.MatchString(version) {
			return nil
		}
		return semantic.ParseSemverVersion(version)
	}
	if strings.ContainsAny(version, " \t\n()") {
		return nil
	}
	v, err := semantic.Parse(version, order)
	if err != nil {
		return nil
	}
	return v
}

// bound parses a version or an end of a range.
func (o *Orders) bound(order, s string) (bound, bool) {
	if order == "" {
		if n, ok := numbers(s); ok {
			return bound{text: s, numbers: n}, true
		}
	}
	if v := o.parse(order, s); v != nil {
		return bound{v: v, text: s}, true
	}
	if order == "" {
		if m := lettered.FindStringSubmatch(s); m != nil {
			if n, ok := numbers(m[1]); ok {
				return bound{text: m[1], numbers: n, fuzzy: true}, true
			}
		}
	}
	return bound{}, false
}

// verdict of a version against ranges: the zero value cannot decide, which
// downstream means a candidate.
type verdict int

const (
	undecided verdict = iota
	inside
	outside
)

// group is one affected entry of one record: what it says of versions.
type group struct {
	id        string
	ecosystem string
	ranges    []Range
	versions  []string
	open      bool // what is not listed may be affected
	none      bool // nothing is
}

// eval is the verdict of the whole entry, with what it rests on.
func (g group) eval(version string) (verdict, string) {
	t := newTest(nil, g)
	v, why := t.place(version)
	switch {
	case v == inside && why.listed:
		return v, "listed by " + g.id
	case v == inside:
		return v, "inside " + t.spans[why.span].source.String()
	case g.none:
		return v, g.id + " lists nothing as affected"
	case g.open:
		return v, g.id + " leaves open what it does not list"
	case v == outside && len(t.spans) > 0:
		return v, "outside every range of " + g.id + ": " + rangesString(g.ranges)
	case v == outside:
		return v, "not among the versions that " + g.id + " lists"
	case why.respelt:
		return v, g.id + " lists versions that may be spelt otherwise"
	case len(t.spans) > 0:
		return v, "a range of " + g.id + " does not order this version: " + rangesString(g.ranges)
	}
	return v, g.id + " has no range of versions, only commits or tags"
}

func (r Range) String() string {
	var b strings.Builder
	for i, e := range r.Events {
		if i > 0 {
			b.WriteString(", ")
		}
		switch {
		case e.Introduced != "":
			b.WriteString("introduced " + e.Introduced)
		case e.Fixed != "":
			b.WriteString("fixed " + e.Fixed)
		case e.LastAffected != "":
			b.WriteString("last affected " + e.LastAffected)
		default:
			b.WriteString("limit " + e.Limit)
		}
	}
	return b.String()
}

func rangesString(rs []Range) string {
	var out []string
	for _, r := range rs {
		if r.Type != "GIT" {
			out = append(out, r.String())
		}
	}
	return strings.Join(out, "; ")
}

// FixedAfter is the least version that the advisory names as fixed and that is
// above version, or "" when it names none that can be ordered.
func (a *Advisory) FixedAfter(version string) string {
	v := parseVersion("", version)
	if v == nil {
		return ""
	}
	best := ""
	for _, r := range a.Ranges {
		if r.Type == "GIT" {
			continue
		}
		for _, e := range r.Events {
			x := parseVersion("", e.Fixed)
			if x == nil {
				continue
			}
			if c, err := x.Compare(v); err != nil || c <= 0 {
				continue
			}
			if best != "" {
				if c, err := x.CompareStr(best); err != nil || c >= 0 {
					continue
				}
			}
			best = e.Fixed
		}
	}
	return best
}
