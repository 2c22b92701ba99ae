package advisory

import (
	"regexp"
	"slices"
	"strings"

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

// bound parses an end of a range.
func (o order) bound(s string) (bound, bool) {
	if o.plain {
		if n, ok := numbers(s); ok {
			return bound{text: s, numbers: n}, true
		}
	}
	if v, ok := o.parse(s); ok {
		return bound{v: v, text: s}, true
	}
	if o.plain {
		if m := lettered.FindStringSubmatch(s); m != nil {
			if n, ok := numbers(m[1]); ok {
				return bound{text: m[1], numbers: n, fuzzy: true}, true
			}
		}
	}
	return bound{}, false
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
func (b bound) order(c bound) (int, bool) {
	if b.v == nil && c.v == nil {
		return slices.Compare(b.numbers[:], c.numbers[:]), true
	}
	x, y := b.v, c.v
	if x == nil {
		x = semantic.ParseSemverVersion(b.text)
	}
	if y == nil {
		y = semantic.ParseSemverVersion(c.text)
	}
	n, err := x.Compare(y)
	return n, err == nil
}

// compare places a version against the bound; not ok where that is not known.
func (b bound) compare(v bound) (c int, ok bool) {
	c, ok = v.order(b)
	return c, ok && !(b.fuzzy && c == 0)
}

// order compares versions of one kind of range.
type order struct {
	plain bool // numbers in upstream's own counting
	parse func(string) (semantic.Version, bool)
}

// orderOf is the order of a range's versions. A range of type ECOSYSTEM in
// upstream's own numbering is ordered like SEMVER.
func orderOf(typ, ecosystem string) order {
	if typ == "ECOSYSTEM" && !upstreamEcosystem(ecosystem) {
		return order{false, func(s string) (semantic.Version, bool) {
			if strings.ContainsAny(s, " \t\n()") {
				return nil, false
			}
			v, err := semantic.Parse(s, ecosystem)
			return v, err == nil
		}}
	}
	return order{true, func(s string) (semantic.Version, bool) {
		if !plain.MatchString(s) {
			return nil, false
		}
		return semantic.ParseSemverVersion(s), true
	}}
}

// verdict of a version against ranges: the zero value cannot decide, which
// downstream means a candidate.
type verdict int

const (
	undecided verdict = iota
	inside
	outside
)

// eval places version in one range of versions. It follows the OSV schema's
// evaluation but needs no sorting, because the comparators of some ecosystems
// are not transitive: the version is inside when some introduced event is at
// or below it with no fixed event in between and no last_affected event
// before it. Limits are ignored, which can only widen the range.
//
// A bound that is not a version ("unknown", "1.2.6 (commits after 1.2.5)")
// counts in the direction that keeps the candidate: an upper bound as absent,
// the lower bound of a plain introduced–fixed pair as the beginning, any other
// as undecided.
func (r Range) eval(version, ecosystem string) verdict {
	ord := orderOf(r.Type, ecosystem)
	v, ok := ord.bound(version)
	if !ok || v.fuzzy {
		return undecided
	}
	var (
		lower, fixed, last []bound
		beginning          bool
		introduced, upper  int
		unclear            bool
	)
	for _, e := range r.Events {
		switch {
		case e.Introduced == "0":
			introduced++
			beginning = true
		case e.Introduced != "":
			introduced++
			if x, ok := ord.bound(e.Introduced); ok {
				lower = append(lower, x)
			} else {
				unclear = true
			}
		case e.Fixed != "":
			upper++
			if x, ok := ord.bound(e.Fixed); ok {
				fixed = append(fixed, x)
			}
		case e.LastAffected != "":
			upper++
			if x, ok := ord.bound(e.LastAffected); ok {
				last = append(last, x)
			}
		}
	}
	if introduced == 0 {
		return undecided
	}
	if unclear && introduced == 1 && upper <= 1 {
		beginning, unclear = true, false
	}
	open := func(begin *bound) bool { // begin is nil for the beginning
		for _, f := range fixed {
			if within(begin, f, v, true, introduced == 1) {
				return false
			}
		}
		for _, l := range last {
			if within(begin, l, v, false, introduced == 1) {
				return false
			}
		}
		return true
	}
	if beginning && open(nil) {
		return inside
	}
	for _, b := range lower {
		c, ok := b.compare(v)
		if !ok {
			return undecided
		}
		if c >= 0 && open(&b) {
			return inside
		}
	}
	if unclear {
		return undecided
	}
	return outside
}

// within reports whether the upper bound x closes, for v, a range that begins
// at begin: begin < x ≤ v for a fixed event, begin ≤ x < v for last_affected.
// A comparison that fails closes nothing. A bound with the numbers of the
// beginning and letters behind them closes the range when that has only the
// one beginning (sole), whose end it then is.
func within(begin *bound, x, v bound, fixed, sole bool) bool {
	c, ok := x.compare(v)
	if !ok || c < 0 || (!fixed && c == 0) {
		return false
	}
	if begin == nil {
		return true
	}
	c, ok = x.order(*begin)
	return ok && (c > 0 || (!fixed && c == 0) || c == 0 && x.fuzzy && sole)
}

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
	ordered, out := 0, 0
	for _, r := range g.ranges {
		if r.Type == "GIT" {
			continue
		}
		ordered++
		switch r.eval(version, g.ecosystem) {
		case inside:
			return inside, "inside " + r.String()
		case outside:
			out++
		}
	}
	spelled := true
	for _, s := range g.versions {
		if s == version || strings.TrimPrefix(s, "v") == strings.TrimPrefix(version, "v") {
			return inside, "listed by " + g.id
		}
		spelled = spelled && plain.MatchString(s)
	}
	switch {
	case g.none:
		return outside, g.id + " lists nothing as affected"
	case g.open:
		return undecided, g.id + " leaves open what it does not list"
	case ordered > 0 && out == ordered && len(g.versions) > 0 && !plain.MatchString(version):
		return undecided, g.id + " lists versions that may be spelt otherwise"
	case ordered > 0 && out == ordered:
		return outside, "outside every range of " + g.id + ": " + rangesString(g.ranges)
	case ordered > 0:
		return undecided, "a range of " + g.id + " does not order this version: " + rangesString(g.ranges)
	case len(g.ranges) == 0 && len(g.versions) > 0 && spelled && plain.MatchString(version):
		return outside, "not among the versions that " + g.id + " lists"
	}
	return undecided, g.id + " has no range of versions, only commits or tags"
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
	ord := orderOf("SEMVER", "")
	v, ok := ord.parse(version)
	if !ok {
		return ""
	}
	best := ""
	for _, r := range a.Ranges {
		if r.Type == "GIT" {
			continue
		}
		for _, e := range r.Events {
			x, ok := ord.parse(e.Fixed)
			if !ok {
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
