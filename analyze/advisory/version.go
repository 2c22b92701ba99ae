package advisory

import (
	"regexp"
	"strings"

	"github.com/google/osv-scalibr/semantic"
)

// plain is a version of one to three numeric components, which orders by
// SemVer 2.0 rules. A fourth one is none of SemVer's: its comparator puts
// 1.2.3.1 before 1.2.3, so such a version stays undecided. Letters behind the
// numbers (OpenSSL 1.0.2k, OpenSSH
// 9.2p1) order differently in every project, so they do not count.
var plain = regexp.MustCompile(`^v?[0-9]{1,18}(\.[0-9]{1,18}){0,2}(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?(\+[0-9A-Za-z.-]+)?$`)

// order compares versions of one kind of range.
type order struct {
	parse func(string) (semantic.Version, bool)
}

// orderOf is the order of a range's versions. A range of type ECOSYSTEM in
// upstream's own numbering is ordered like SEMVER.
func orderOf(typ, ecosystem string) order {
	if typ == "ECOSYSTEM" && !upstreamEcosystem(ecosystem) {
		return order{func(s string) (semantic.Version, bool) {
			if strings.ContainsAny(s, " \t\n()") {
				return nil, false
			}
			v, err := semantic.Parse(s, ecosystem)
			return v, err == nil
		}}
	}
	return order{func(s string) (semantic.Version, bool) {
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
	v, ok := ord.parse(version)
	if !ok {
		return undecided
	}
	var (
		lower, fixed, last []semantic.Version
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
			if x, ok := ord.parse(e.Introduced); ok {
				lower = append(lower, x)
			} else {
				unclear = true
			}
		case e.Fixed != "":
			upper++
			if x, ok := ord.parse(e.Fixed); ok {
				fixed = append(fixed, x)
			}
		case e.LastAffected != "":
			upper++
			if x, ok := ord.parse(e.LastAffected); ok {
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
	open := func(begin semantic.Version) bool { // begin is nil for the beginning
		for _, f := range fixed {
			if within(begin, f, v, true) {
				return false
			}
		}
		for _, l := range last {
			if within(begin, l, v, false) {
				return false
			}
		}
		return true
	}
	if beginning && open(nil) {
		return inside
	}
	for _, b := range lower {
		c, err := v.Compare(b)
		if err != nil {
			return undecided
		}
		if c >= 0 && open(b) {
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
// A comparison that fails closes nothing.
func within(begin, x, v semantic.Version, fixed bool) bool {
	c, err := v.Compare(x)
	if err != nil || c < 0 || (!fixed && c == 0) {
		return false
	}
	if begin == nil {
		return true
	}
	c, err = x.Compare(begin)
	return err == nil && (c > 0 || (!fixed && c == 0))
}

// group is one affected entry of one record: what it says of versions.
type group struct {
	id        string
	ecosystem string
	ranges    []Range
	versions  []string
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
