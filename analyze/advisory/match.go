package advisory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	packageurl "github.com/package-url/packageurl-go"
)

// Match is one advisory about a component at a version. Undecided says that
// the version could not be placed in the advisory's ranges, so that it counts
// as inside.
type Match struct {
	Advisory  *Advisory
	Undecided bool
	Reason    string
}

// Exclusion is one advisory about the component whose ranges do not hold the
// version.
type Exclusion struct {
	Advisory *Advisory
	Reason   string
}

// Match finds the advisories about a component by its upstream name (case is
// ignored) or its package URL (type, namespace and name), and splits them by
// version. Both lists are sorted by id and hold
// an id once. An invalid package URL
// is an error, so that it cannot hide a match.
func (db *DB) Match(name, version, purl string) ([]Match, []Exclusion, error) {
	return db.Find(Identity{Name: name, Version: version, PURL: purl}, nil)
}

// Find is Match by everything that is known of a component. Where the
// component's commit is known and the history of its repository is at hand,
// commit ranges decide what ranges of versions do not.
func (db *DB) Find(id Identity, h History) ([]Match, []Exclusion, error) {
	version := id.Version
	hits := slices.Clone(db.names[strings.ToLower(id.Name)])
	if id.PURL != "" {
		base, err := basePURL(id.PURL)
		if err != nil {
			return nil, nil, fmt.Errorf("match %s %s: %w", id.Name, version, err)
		}
		hits = append(hits, db.purls[base]...)
	}
	if id.CPE != "" {
		base := baseCPE(id.CPE)
		if base == "" {
			return nil, nil, fmt.Errorf("match %s %s: CPE %.120q", id.Name, version, id.CPE)
		}
		hits = append(hits, db.cpes[base]...)
	}
	if id.Repo != "" {
		base := baseRepo(id.Repo)
		if base == "" {
			return nil, nil, fmt.Errorf("match %s %s: repository %.120q", id.Name, version, id.Repo)
		}
		hits = append(hits, db.repos[base]...)
	}
	slices.Sort(hits)
	var in []Match
	var out []Exclusion
	hits = slices.Compact(hits)
	for n, i := range hits {
		e := &db.entries[i]
		same := func(j int) bool { return db.entries[j].adv.ID == e.adv.ID }
		if slices.ContainsFunc(hits[:n], same) {
			continue
		}
		for _, j := range hits[n+1:] {
			if same(j) { // one record knows the name, another the package URL
				both := join(e.adv.ID, append(slices.Clone(e.parts), db.entries[j].parts...))
				e = &both
			}
		}
		v, why := e.eval(version, id.Commit, h)
		if v == outside {
			out = append(out, Exclusion{e.adv, why})
		} else {
			in = append(in, Match{db.reviewed(e.adv, version), v == undecided, why})
		}
	}
	slices.SortFunc(in, func(a, b Match) int { return cmp.Compare(a.Advisory.ID, b.Advisory.ID) })
	slices.SortFunc(out, func(a, b Exclusion) int { return cmp.Compare(a.Advisory.ID, b.Advisory.ID) })
	return in, out, nil
}

// eval is inside when any record of the advisory says so, outside only when
// every one does.
func (e *entry) eval(version, commit string, h History) (verdict, string) {
	var why []string
	res := outside
	for _, g := range e.groups {
		v, s := g.eval(version)
		if v == undecided {
			if w, why := g.evalGIT(commit, h); w != undecided {
				v, s = w, why
			}
		}
		if v == inside {
			return inside, s
		}
		if v == undecided {
			if res == outside {
				why = why[:0]
			}
			res = undecided
		} else if res == undecided {
			continue
		}
		if !slices.Contains(why, s) {
			why = append(why, s)
		}
	}
	if len(e.groups) == 0 {
		return undecided, "no range"
	}
	return res, strings.Join(why, "; ")
}

func (db *DB) index() {
	db.names, db.purls = map[string][]int{}, map[string][]int{}
	db.cpes, db.repos = map[string][]int{}, map[string][]int{}
	for i := range db.entries {
		e := &db.entries[i]
		if n := strings.ToLower(e.adv.Component); n != "" {
			db.names[n] = append(db.names[n], i)
		}
		for _, p := range e.purls {
			db.purls[p] = append(db.purls[p], i)
		}
		for _, c := range e.cpes {
			db.cpes[c] = append(db.cpes[c], i)
		}
		for _, r := range e.repos {
			db.repos[r] = append(db.repos[r], i)
		}
	}
}

// basePURL is the package URL's type, namespace and name, normalised.
func basePURL(s string) (string, error) {
	p, err := packageurl.FromString(s)
	if err != nil {
		return "", fmt.Errorf("package URL %.120q: %w", s, err)
	}
	p.Version, p.Qualifiers, p.Subpath = "", nil, ""
	if err := p.Normalize(); err != nil {
		return "", fmt.Errorf("package URL %.120q: %w", s, err)
	}
	return p.ToString(), nil
}

// upstreamEcosystem reports whether names and versions of the ecosystem are
// upstream's own.
func upstreamEcosystem(ecosystem string) bool {
	switch base, _, _ := strings.Cut(ecosystem, ":"); base {
	case "", "GIT", "OSS-Fuzz", "Upstream", "generic":
		return true
	}
	return false
}

// ecosystemPURL is the package URL of a package of a language's registry; "" for
// the rest, which then need a purl of their own.
func ecosystemPURL(ecosystem, name string) string {
	typ := map[string]string{
		"Go": "golang", "PyPI": "pypi", "npm": "npm", "crates.io": "cargo",
		"RubyGems": "gem", "NuGet": "nuget", "Hex": "hex", "Packagist": "composer",
	}[ecosystem]
	if typ == "" {
		return ""
	}
	namespace, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		namespace, base = name[:i], name[i+1:]
	}
	p, err := basePURL(packageurl.NewPackageURL(typ, namespace, base, "", nil, "").ToString())
	if err != nil {
		return ""
	}
	return p
}
