package advisory

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func dbOf(t testing.TB, records ...string) *DB {
	t.Helper()
	fsys := fstest.MapFS{}
	for i, r := range records {
		fsys[fmt.Sprintf("%d.json", i)] = &fstest.MapFile{Data: []byte(r)}
	}
	db, err := LoadReviewed(fsys, nil)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

const cve5 = `{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":"CVE-2026-1","state":"PUBLISHED","datePublished":"2026-01-02T03:04:05.000Z"},
"containers":{"cna":{"title":"T","datePublic":"2026-01-01","descriptions":[{"lang":"en","value":"D"}],"affected":[%s]}}}`

func product(versions, status string) string {
	return fmt.Sprintf(`{"vendor":"OpenSSL","product":"OpenSSL","defaultStatus":%q,"cpes":["cpe:2.3:a:openssl:openssl:*:*:*:*:*:*:*:*"],"repo":"https://github.com/openssl/openssl.git","versions":[%s]}`, status, versions)
}

// TestCVE5: a CNA's own record says of versions what it says, and what it
// leaves open stays a candidate.
func TestCVE5(t *testing.T) {
	ranges := `{"version":"3.0.0","lessThan":"3.0.19","status":"affected","versionType":"semver"},{"version":"1.1.1","lessThan":"1.1.1ze","status":"affected","versionType":"custom"}`
	for _, c := range []struct {
		name, affected, version string
		candidate               bool
	}{
		{"inside", product(ranges, "unaffected"), "3.0.17", true},
		{"fixed", product(ranges, "unaffected"), "3.0.19", false},
		{"behind letters", product(ranges, "unaffected"), "3.5.0", false},
		{"in the branch of letters", product(ranges, "unaffected"), "1.1.1w", true},
		{"no default", strings.Replace(product(ranges, "x"), `"defaultStatus":"x",`, "", 1), "3.5.0", true},
		{"default unknown", product(ranges, "unknown"), "3.5.0", true},
		{"default affected", product(ranges, "affected"), "3.5.0", true},
		{"nothing affected", product("", "unaffected"), "3.5.0", false},
		{"one version", product(`{"version":"3.1.0","status":"affected"}`, "unaffected"), "3.1.0", true},
		{"another version", product(`{"version":"3.1.0","status":"affected"}`, "unaffected"), "3.1.1", false},
		{"all", product(`{"version":"n/a","status":"affected"}`, "unaffected"), "3.1.1", true},
		{"up to", product(`{"version":"0","lessThanOrEqual":"3.1.1","status":"affected"}`, "unaffected"), "3.1.1", true},
		{"beyond up to", product(`{"version":"0","lessThanOrEqual":"3.1.1","status":"affected"}`, "unaffected"), "3.1.2", false},
		{"open end", product(`{"version":"3.0","lessThan":"*","status":"affected"}`, "unaffected"), "4.0.0", true},
		{"changed", product(`{"version":"3.0","lessThan":"*","status":"affected","changes":[{"at":"3.2","status":"unaffected"}]}`, "unaffected"), "3.3.0", false},
		{"before the change", product(`{"version":"3.0","lessThan":"*","status":"affected","changes":[{"at":"3.2","status":"unaffected"}]}`, "unaffected"), "3.1.0", true},
		{"unknown status", product(`{"version":"3.1.0","status":"unknown"}`, "unaffected"), "3.1.0", true},
		{"commits only", product(`{"version":"abc","lessThan":"def","status":"affected","versionType":"git"}`, "unaffected"), "3.1.0", true},
	} {
		in, out, err := dbOf(t, fmt.Sprintf(cve5, c.affected)).Match("openssl", c.version, "")
		if err != nil || len(in)+len(out) != 1 || (len(in) == 1) != c.candidate {
			t.Errorf("%s: Match(%s) = %v, %v, %v, want a candidate: %v", c.name, c.version, in, out, err, c.candidate)
		}
	}
	rejected := strings.Replace(fmt.Sprintf(cve5, ""), "PUBLISHED", "REJECTED", 1)
	if db := dbOf(t, rejected); !slices.Equal(db.Withdrawn(), []string{"CVE-2026-1"}) {
		t.Errorf("a rejected record: %v", db.Withdrawn())
	}
	for name, bad := range map[string]string{
		"form 4":     strings.Replace(fmt.Sprintf(cve5, product(ranges, "unaffected")), `"5.1"`, `"4.0"`, 1),
		"no product": fmt.Sprintf(cve5, `{"defaultStatus":"affected"}`),
		"nothing":    fmt.Sprintf(cve5, ""),
		"two ends":   fmt.Sprintf(cve5, product(`{"version":"1","lessThan":"2","lessThanOrEqual":"3","status":"affected"}`, "unaffected")),
		"no CVE":     strings.Replace(fmt.Sprintf(cve5, product(ranges, "unaffected")), "CVE-2026-1", "X-1", 1),
	} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestIdentity: a component is found by each of its names, and one advisory
// under several records and names is one match.
func TestIdentity(t *testing.T) {
	osv := `{"schema_version":"1.7.3","id":"GHSA-x","aliases":["CVE-2026-1"],"related":["CVE-2025-9"],"modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"generic","name":"libssl","purl":"pkg:generic/libssl"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`
	db := dbOf(t, fmt.Sprintf(cve5, product(`{"version":"0","lessThan":"4","status":"affected"}`, "unaffected")), osv)
	for _, c := range []struct {
		name string
		id   Identity
		want int
	}{
		{"name", Identity{Name: "OpenSSL", Version: "3.0.0"}, 1},
		{"CPE", Identity{Name: "x", Version: "3.0.0", CPE: "cpe:2.3:a:openssl:openssl:3.0.0:*:*:*:*:*:*:*"}, 1},
		{"old CPE", Identity{Version: "3.0.0", CPE: "cpe:/a:openssl:openssl:3.0.0"}, 1},
		{"another CPE", Identity{Version: "3.0.0", CPE: "cpe:2.3:a:other:openssl:3.0.0"}, 0},
		{"repository", Identity{Version: "3.0.0", Repo: "git@github.com:OpenSSL/openssl.git"}, 1},
		{"another repository", Identity{Version: "3.0.0", Repo: "https://github.com/openssl/tools"}, 0},
		{"PURL", Identity{Version: "3.0.0", PURL: "pkg:generic/libssl@3.0.0"}, 1},
		{"two records of one CVE", Identity{Name: "openssl", Version: "3.0.0", PURL: "pkg:generic/libssl"}, 1},
		{"no name at all", Identity{Version: "3.0.0"}, 0},
	} {
		in, _, err := db.Find(c.id, nil)
		if err != nil || len(in) != c.want {
			t.Errorf("%s: Find = %d matches, %v, want %d", c.name, len(in), err, c.want)
		}
		if len(in) == 1 && in[0].Advisory.ID != "CVE-2026-1" {
			t.Errorf("%s: %s", c.name, in[0].Advisory.ID)
		}
	}
	for _, id := range []Identity{{CPE: "x"}, {Repo: "x"}, {PURL: "x"}} {
		if _, _, err := db.Find(id, nil); err == nil {
			t.Errorf("Find(%+v) hides a match", id)
		}
	}
}

// TestRelatedIsNoAlias: what a source calls related stays another finding.
func TestRelatedIsNoAlias(t *testing.T) {
	rec := func(id, more string) string {
		return `{"schema_version":"1.7.3","id":"` + id + `",` + more + `"modified":"2026-01-01T00:00:00Z","affected":[{"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],"ecosystem_specific":{"component":"c"}}]}`
	}
	db := dbOf(t, rec("A-1", `"related":["B-1"],`), rec("B-1", ""), rec("DSA-1", `"upstream":["CVE-2026-3"],`), `[`+rec("CVE-2026-3", "")+`,`+rec("C-1", `"aliases":["CVE-2026-3"],`)+`]`)
	in, _, err := db.Match("c", "1.0", "")
	var ids []string
	for _, m := range in {
		ids = append(ids, m.Advisory.ID)
	}
	if err != nil || !slices.Equal(ids, []string{"A-1", "B-1", "CVE-2026-3"}) {
		t.Errorf("Match = %v, %v", ids, err)
	}
}

// line is a history: commits in order, and a branch.
type line struct{ parents map[string][]string }

func (l line) Contains(_, commit, ancestor string) (bool, bool) {
	if _, ok := l.parents[commit]; !ok {
		return false, false
	}
	if _, ok := l.parents[ancestor]; !ok {
		return false, false
	}
	if commit == ancestor {
		return true, true
	}
	for _, p := range l.parents[commit] {
		if in, _ := l.Contains("", p, ancestor); in {
			return true, true
		}
	}
	return false, true
}

// TestGIT: a—b—c—d—e, with a branch x from b.
func TestGIT(t *testing.T) {
	h := line{map[string][]string{"a": nil, "b": {"a"}, "c": {"b"}, "d": {"c"}, "e": {"d"}, "x": {"b"}}}
	for _, c := range []struct {
		events, commit string
		want           verdict
	}{
		{`i:0 f:c`, "b", inside}, {`i:0 f:c`, "c", outside}, {`i:0 f:c`, "d", outside}, {`i:0 f:c`, "x", inside},
		{`i:b f:d`, "a", outside}, {`i:b f:d`, "b", inside}, {`i:b f:d`, "x", inside}, {`i:c f:d`, "x", undecided},
		{`i:0 l:c`, "c", inside}, {`i:0 l:c`, "d", outside}, {`i:0 l:c`, "x", inside},
		{`i:0 m:c`, "b", inside}, {`i:0 m:c`, "d", outside}, {`i:0 m:c`, "x", inside}, {`i:0 m:*`, "e", inside},
		{`i:0 f:b i:d`, "c", outside}, {`i:0 f:b i:d`, "e", inside},
		{`i:0 f:unknown`, "b", undecided}, {`i:unknown f:d`, "b", undecided}, {`i:unknown f:b`, "d", undecided}, {`i:0`, "e", inside},
	} {
		r := Range{Type: "GIT", Repo: "r"}
		for _, s := range strings.Fields(c.events) {
			k, v, _ := strings.Cut(s, ":")
			r.Events = append(r.Events, map[string]Event{"i": {Introduced: v}, "f": {Fixed: v}, "l": {LastAffected: v}, "m": {Limit: v}}[k])
		}
		if got := r.evalGIT(c.commit, h); got != c.want {
			t.Errorf("%s at %s = %v, want %v", c.events, c.commit, got, c.want)
		}
	}
}

// TestLettered: letters behind a bound's numbers never move it across other
// numbers, and decide nothing among equal ones.
func TestLettered(t *testing.T) {
	ev := func(list ...string) (out []Event) {
		for _, s := range list {
			k, v, _ := strings.Cut(s, ":")
			out = append(out, map[string]Event{"i": {Introduced: v}, "f": {Fixed: v}, "l": {LastAffected: v}}[k])
		}
		return out
	}
	for _, c := range []struct {
		events  []Event
		version string
		want    verdict
	}{
		{ev("i:1.1.1", "f:1.1.1ze"), "3.0.0", outside}, {ev("i:1.1.1", "f:1.1.1ze"), "1.1.0", outside}, {ev("i:1.1.1", "f:1.1.1ze"), "1.1.1", inside},
		{ev("i:1.0.2k", "f:1.0.2zn"), "1.1.0", outside}, {ev("i:1.0.2k", "f:1.0.2zn"), "1.0.2", undecided},
		{ev("i:0", "f:1.2.0.4"), "1.2.13", outside}, {ev("i:0", "f:1.2.0.4"), "1.2.0", inside},
		{ev("i:0", "f:1.1.1rc1", "i:1.1.1"), "3.0.0", inside},
		{ev("i:0", "l:9.2p1"), "9.3.0", inside}, // 9.2p1 has two numbers, and is not placed
	} {
		if got := placed(Range{Type: "SEMVER", Events: c.events}, c.version, ""); got != c.want {
			t.Errorf("%v at %s = %v, want %v", c.events, c.version, got, c.want)
		}
	}
}

func FuzzParseCVE(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(cve5, product(`{"version":"0","lessThan":"4","status":"affected","changes":[{"at":"2","status":"unaffected"}]}`, "unknown"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeAll(b)
		if err != nil {
			return
		}
		for _, r := range list {
			for _, p := range r.parts() {
				for _, g := range p.groups {
					g.eval("1.2.3")
				}
			}
		}
	})
}

// BenchmarkSBOM matches a bill of 1,000 components against 800,000 advisories.
func BenchmarkSBOM(b *testing.B) {
	const records, components, packages = 800_000, 1000, 40_000
	recs := make([]*record, records)
	for i := range recs {
		name := fmt.Sprintf("pkg%d", i%packages)
		r := &record{ID: fmt.Sprintf("CVE-2026-%d", i), digest: "sha256:00"}
		a := affected{component: name, Ranges: []Range{{Type: "SEMVER", Events: []Event{{Introduced: "0"}, {Fixed: fmt.Sprintf("1.%d.0", i%50)}}}}}
		a.codeMap.Completeness = None
		r.Affected = []affected{a}
		recs[i] = r
	}
	db := &DB{}
	db.entries = merge(recs)
	db.index()
	recs = nil
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for k := range components {
			in, out, err := db.Match(fmt.Sprintf("pkg%d", k*37%packages), "1.20.0", "")
			if err != nil {
				b.Fatal(err)
			}
			n += len(in) + len(out)
		}
		if n != components*records/packages {
			b.Fatal(n)
		}
	}
}
