package advisory

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// entry is one advisory with what its records say of versions.
type entry struct {
	adv    *Advisory
	groups []group
	purls  []string
	cpes   []string
	repos  []string
	parts  []part
}

// merge makes one advisory per vulnerability and component. Records name the
// same vulnerability when they share a CVE id, directly or through an id that
// both know; a record that names two CVE ids counts for each of them, so that
// an umbrella record never joins two vulnerabilities into one.
func merge(recs []*record) []entry {
	keys := vulnerabilities(recs)
	type key struct{ id, component string }
	parts := map[key][]part{}
	for i, r := range recs {
		for _, p := range r.parts() {
			for _, id := range keys[i] {
				k := key{id, p.identity()}
				parts[k] = append(parts[k], p)
			}
		}
	}
	var out []entry
	for k, ps := range parts {
		slices.SortFunc(ps, func(a, b part) int { return cmp.Compare(a.rec.ID, b.rec.ID) })
		out = append(out, join(k.id, ps))
	}
	slices.SortFunc(out, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.adv.Component, b.adv.Component), cmp.Compare(a.adv.ID, b.adv.ID),
			cmp.Compare(a.adv.PURL, b.adv.PURL))
	})
	return out
}

// vulnerabilities gives, for each record, the ids of the advisories it counts
// for: its CVE ids, else those of upstream that it is about, else those that
// another record gives to one of its names,
// else the least of the names that hang together.
func vulnerabilities(recs []*record) [][]string {
	parent := map[string]string{}
	var find func(string) string
	find = func(s string) string {
		p, ok := parent[s]
		if !ok || p == s {
			parent[s] = s
			return s
		}
		root := find(p)
		parent[s] = root
		return root
	}
	for _, r := range recs {
		first := ""
		for _, n := range r.names() {
			if isCVE(n) {
				continue
			}
			if first == "" {
				first = find(n)
			} else if a, b := find(first), find(n); a != b {
				parent[max(a, b)] = min(a, b)
			}
		}
	}
	cves := map[string]map[string]bool{}
	for _, r := range recs {
		for _, n := range r.names() {
			if isCVE(n) {
				continue
			}
			root := find(n)
			for _, c := range r.names() {
				if isCVE(c) {
					if cves[root] == nil {
						cves[root] = map[string]bool{}
					}
					cves[root][c] = true
				}
			}
		}
	}
	out := make([][]string, len(recs))
	for i, r := range recs {
		set := map[string]bool{}
		for _, n := range r.names() {
			if isCVE(n) {
				set[n] = true
			}
		}
		if len(set) == 0 {
			for _, n := range r.Upstream { // a distribution's record of upstream's flaws
				if isCVE(n) {
					set[n] = true
				}
			}
		}
		if len(set) == 0 {
			root := find(r.ID)
			if set = cves[root]; len(set) == 0 {
				set = map[string]bool{root: true}
			}
		}
		out[i] = slices.Sorted(maps.Keys(set))
	}
	return out
}

func isCVE(s string) bool { return strings.HasPrefix(s, "CVE-") }

func (r *record) names() []string { return append([]string{r.ID}, r.Aliases...) }

// part is what one record says of one component.
type part struct {
	rec       *record
	component string
	purls     []string
	cpes      []string
	repos     []string
	groups    []group
	codeMap   Map
}

func (p part) identity() string {
	if p.component != "" {
		return strings.ToLower(p.component)
	}
	if len(p.purls) == 0 {
		return strings.Join(p.cpes, " ")
	}
	return strings.Join(p.purls, " ")
}

// parts joins the affected entries of a record by component. Where entries
// disagree, what could prove a negative is dropped: the weaker map stands, and
// only conditions and fixes that all entries state remain.
func (r *record) parts() []part {
	var out []part
	for _, a := range r.Affected {
		p := part{rec: r, component: a.component, codeMap: a.codeMap}
		if a.purl != "" {
			p.purls = []string{a.purl}
		}
		p.groups = []group{{r.ID, a.Package.Ecosystem, a.Ranges, a.Versions, a.open, a.none}}
		for _, c := range a.cpes {
			p.cpes = append(p.cpes, baseCPE(c))
		}
		p.repos = a.repositories()
		i := slices.IndexFunc(out, func(q part) bool { return q.identity() == p.identity() })
		if i < 0 {
			out = append(out, p)
			continue
		}
		q := &out[i]
		q.groups = append(q.groups, p.groups...)
		q.purls = append(q.purls, p.purls...)
		q.cpes = append(q.cpes, p.cpes...)
		q.repos = append(q.repos, p.repos...)
		q.codeMap.Completeness = weaker(q.codeMap.Completeness, p.codeMap.Completeness)
		q.codeMap.Functions = union(q.codeMap.Functions, p.codeMap.Functions)
		if !reflect.DeepEqual(q.codeMap.Conditions, p.codeMap.Conditions) {
			q.codeMap.Conditions = nil
		}
		if !reflect.DeepEqual(q.codeMap.Fixes, p.codeMap.Fixes) {
			q.codeMap.Fixes = nil
		}
	}
	return out
}

// join makes one advisory of the parts that several records have of the same
// vulnerability. A record without a map says nothing about code and does not
// weaken another's; between maps the weaker completeness stands, functions are
// united, and fixes are kept only where one record alone lists them or all
// that have a map agree.
func join(id string, ps []part) entry {
	lead := ps[0]
	for _, p := range ps {
		if p.rec.ID == id {
			lead = p
		}
	}
	adv := &Advisory{
		ID: id, Summary: lead.rec.Summary, Details: lead.rec.Details, Severity: lead.rec.grade(),
		Component: lead.component, Source: lead.rec.source(),
		Published: lead.rec.Published.Time, Modified: lead.rec.Modified.Time,
		Map: Map{Completeness: None},
	}
	e := entry{adv: adv, parts: ps}
	aliases := map[string]bool{}
	var digests []string
	var versions []string
	mapped := false
	for _, p := range ps {
		for _, n := range p.rec.names() {
			if n != id && !isCVE(n) {
				aliases[n] = true
			}
		}
		if p.rec.Modified.After(adv.Modified) {
			adv.Modified = p.rec.Modified.Time
		}
		if adv.Component == "" {
			adv.Component = p.component
		}
		if adv.Severity == "" {
			adv.Severity = p.rec.grade()
		}
		digests = append(digests, p.rec.digest)
		e.groups = append(e.groups, p.groups...)
		e.purls = append(e.purls, p.purls...)
		e.cpes = append(e.cpes, p.cpes...)
		e.repos = append(e.repos, p.repos...)
		adv.Related = append(adv.Related, p.rec.Related...)
		for _, g := range p.groups {
			adv.Ranges = append(adv.Ranges, g.ranges...)
			versions = append(versions, g.versions...)
		}
		if p.codeMap.Completeness == None && len(p.codeMap.Functions) == 0 {
			continue
		}
		if !mapped {
			mapped = true
			adv.Map = p.codeMap
			adv.Map.Functions = slices.Clone(p.codeMap.Functions)
			adv.Map.Conditions = slices.Clone(p.codeMap.Conditions)
			continue
		}
		adv.Map.Completeness = weaker(adv.Map.Completeness, p.codeMap.Completeness)
		adv.Map.Functions = union(adv.Map.Functions, p.codeMap.Functions)
		for _, c := range p.codeMap.Conditions {
			if !slices.ContainsFunc(adv.Map.Conditions, func(d Condition) bool { return reflect.DeepEqual(c, d) }) {
				adv.Map.Conditions = append(adv.Map.Conditions, c)
			}
		}
		if !reflect.DeepEqual(adv.Map.Fixes, p.codeMap.Fixes) {
			adv.Map.Fixes = nil
		}
	}
	adv.Aliases = slices.Sorted(maps.Keys(aliases))
	slices.Sort(versions)
	adv.Versions = slices.Compact(versions)
	for _, list := range []*[]string{&e.purls, &e.cpes, &e.repos, &adv.Related} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	adv.CPEs, adv.Repos = e.cpes, e.repos
	if len(e.purls) > 0 {
		adv.PURL = e.purls[0]
	}
	slices.Sort(digests)
	digests = slices.Compact(digests)
	adv.Digest = digests[0]
	if len(digests) > 1 {
		sum := sha256.Sum256([]byte(strings.Join(digests, "\n")))
		adv.Digest = "sha256:" + hex.EncodeToString(sum[:])
	}
	return e
}

// repositories are the base addresses of the repositories that an affected
// entry names, its ranges included. A distribution's package is not upstream's
// repository, even where its record cites one.
func (a *affected) repositories() []string {
	if a.component == "" {
		return nil
	}
	var out []string
	for _, s := range append([]string{a.repo}, ranges(a.Ranges)...) {
		if s = baseRepo(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func ranges(rs []Range) []string {
	var out []string
	for _, r := range rs {
		if r.Type == "GIT" {
			out = append(out, r.Repo)
		}
	}
	return out
}

func weaker(a, b Completeness) Completeness {
	rank := func(c Completeness) int {
		return slices.Index([]Completeness{None, Derived, Reviewed}, c)
	}
	if rank(a) < rank(b) {
		return a
	}
	return b
}

func union(a, b []Function) []Function {
	out := slices.Clone(a)
	for _, f := range b {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// grade is the severity as the source grades it, else the first vector.
func (r *record) grade() string {
	if s, ok := r.DatabaseSpecific.Severity.(string); ok && s != "" {
		return s
	}
	if len(r.Severity) > 0 {
		return r.Severity[0].Score
	}
	return ""
}

func (r *record) source() string {
	switch s := r.DatabaseSpecific.Source.(type) {
	case nil:
		return ""
	case string:
		return s
	default:
		return fmt.Sprint(s)
	}
}
