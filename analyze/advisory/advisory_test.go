package advisory

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// rec makes a record from its affected entries and other members.
func rec(id, affected string, more ...string) string {
	return `{"id":"` + id + `","modified":"2026-01-02T03:04:05Z","affected":[` + affected + `]` +
		strings.Join(append([]string{""}, more...), ",") + `}`
}

// about makes an affected entry of component c.
func about(c, specific, rest string) string {
	if specific != "" {
		specific = "," + specific
	}
	return `{"ecosystem_specific":{"component":"` + c + `"` + specific + `},` + rest + `}`
}

const semver = `"ranges":[{"type":"SEMVER","events":[{"introduced":"1.0.0"},{"fixed":"1.2.0"}]}]`

func load(t *testing.T, files map[string]string) *DB {
	t.Helper()
	db, err := Load(tree(files))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func tree(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for n, s := range files {
		m[n] = &fstest.MapFile{Data: []byte(s)}
	}
	return m
}

func TestRange(t *testing.T) {
	ev := func(pairs ...string) []Event {
		var out []Event
		for i := 0; i < len(pairs); i += 2 {
			switch pairs[i] {
			case "i":
				out = append(out, Event{Introduced: pairs[i+1]})
			case "f":
				out = append(out, Event{Fixed: pairs[i+1]})
			case "l":
				out = append(out, Event{LastAffected: pairs[i+1]})
			}
		}
		return out
	}
	for _, c := range []struct {
		version string
		events  []Event
		want    verdict
	}{
		{"7.88.1", ev("i", "7.7", "f", "8.0.0"), inside},
		{"7.7", ev("i", "7.7", "f", "8.0.0"), inside},
		{"7.7.0", ev("i", "7.7", "f", "8.0.0"), inside},
		{"7.6.9", ev("i", "7.7", "f", "8.0.0"), outside},
		{"8.0.0", ev("i", "7.7", "f", "8.0.0"), outside},
		{"8.0", ev("i", "7.7", "f", "8.0.0"), outside},
		{"8.0.0-rc1", ev("i", "7.7", "f", "8.0.0"), inside},
		{"3.0.17", ev("i", "3.0.0", "f", "3.0.18"), inside},
		{"3.0.9", ev("i", "3.0.17", "f", "3.0.18"), outside},
		{"1.2", ev("i", "0", "l", "1.2"), inside},
		{"1.3", ev("i", "0", "l", "1.2"), outside},
		{"1.3", ev("i", "0", "l", "1.2", "i", "1.3"), inside},
		{"2.5", ev("f", "3.0", "i", "2.0", "f", "1.5", "i", "1.0"), inside}, // unsorted events
		{"1.7", ev("f", "3.0", "i", "2.0", "f", "1.5", "i", "1.0"), outside},
		{"9", ev("i", "0"), inside},
		// what is not a version cannot decide, or widens
		{"1.0.2k", ev("i", "1.0.0", "f", "1.0.1"), undecided},
		{"9.2p1", ev("i", "1.0.0", "f", "1.0.1"), undecided},
		{"", ev("i", "0", "f", "1"), undecided},
		{"1.2.3", ev("f", "1.2.5"), undecided},
		{"1.2.3", ev("i", "0.9.13", "f", "1.2.6 (commits after 1.2.5)"), inside},
		{"9.9.9", ev("i", "0.9.13", "f", "after 1.2.6"), inside},
		{"3.0.17", ev("i", "unknown", "f", "3.0.22"), inside},
		{"3.0.22", ev("i", "unknown", "f", "3.0.22"), outside},
		{"3.0.22", ev("i", "unknown", "f", "3.0.22", "i", "4.0", "f", "4.1"), undecided},
		{"4.0.5", ev("i", "unknown", "f", "3.0.22", "i", "4.0", "f", "4.1"), inside},
	} {
		if got := placed(Range{Type: "SEMVER", Events: c.events}, c.version, ""); got != c.want {
			t.Errorf("%s in %v = %v, want %v", c.version, Range{Events: c.events}, got, c.want)
		}
	}
}

func TestMatch(t *testing.T) {
	git := `"ranges":[{"type":"GIT","repo":"https://h.example/curl/curl.git","events":[{"introduced":"0"},{"fixed":"abc"}]}]`
	db := load(t, map[string]string{
		"a/CVE-2000-1.json": rec("CVE-2000-1", about("curl", "", semver)),
		"CVE-2000-2.json":   rec("CVE-2000-2", about("curl", "", git)),
		"CVE-2000-3.json":   rec("CVE-2000-3", `{`+git+`}`), // identity by repository
		"CVE-2000-4.json":   rec("CVE-2000-4", `{"package":{"ecosystem":"Debian:12","name":"curl","purl":"pkg:deb/debian/curl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}`),
		"CVE-2000-5.json":   rec("CVE-2000-5", about("curl", "", `"versions":["1.0.0","1.1.0"]`)),
		"CVE-2000-6.json":   rec("CVE-2000-6", about("curl", "", `"versions":["curl-1_0_0"],`+git)),
		"CVE-2000-7.json":   rec("CVE-2000-7", `{"package":{"name":"curl","purl":"pkg:generic/curl"},`+semver+`}`),
		"CVE-2000-8.json":   rec("CVE-2000-8", `{"package":{"ecosystem":"Go","name":"example.org/m"},`+semver+`}`),
		"CVE-2000-9.json":   rec("CVE-2000-9", about("curl", "", semver), `"withdrawn":"2026-01-01T00:00:00Z"`),
		"README.md":         "not a record",
		".git/x.json":       "{",
	})
	ids := func(name, version, purl string) (in, out []string) {
		t.Helper()
		ms, xs, err := db.Match(name, version, purl)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			s := m.Advisory.ID
			if m.Undecided {
				s += "?"
			}
			in = append(in, s)
		}
		for _, x := range xs {
			if x.Reason == "" {
				t.Errorf("%s excluded without a reason", x.Advisory.ID)
			}
			out = append(out, x.Advisory.ID)
		}
		return in, out
	}
	check := func(name, version, purl string, wantIn, wantOut []string) {
		t.Helper()
		in, out := ids(name, version, purl)
		if d := cmp.Diff([][]string{wantIn, wantOut}, [][]string{in, out}); d != "" {
			t.Errorf("%s %s %s: -want +got\n%s", name, version, purl, d)
		}
	}
	check("curl", "1.1.0", "pkg:generic/curl@1.1.0",
		[]string{"CVE-2000-1", "CVE-2000-2?", "CVE-2000-3?", "CVE-2000-5", "CVE-2000-6?", "CVE-2000-7"}, nil)
	check("Curl", "2.0.0", "",
		[]string{"CVE-2000-2?", "CVE-2000-3?", "CVE-2000-6?"}, []string{"CVE-2000-1", "CVE-2000-5", "CVE-2000-7"})
	check("libcurl", "1.1.0", "pkg:generic/curl@1.1.0", []string{"CVE-2000-7"}, nil)
	check("libcurl", "1.1.0", "pkg:generic/libcurl@1.1.0", nil, nil)
	check("m", "1.1.0", "pkg:golang/example.org/m@1.1.0", []string{"CVE-2000-8"}, nil)
	check("curl", "1.0.0k", "pkg:generic/curl",
		[]string{"CVE-2000-1?", "CVE-2000-2?", "CVE-2000-3?", "CVE-2000-5?", "CVE-2000-6?", "CVE-2000-7?"}, nil)
	db = load(t, map[string]string{
		"1.json": rec("CVE-2000-1", about("curl", "", semver)),
		"2.json": rec("GHSA-1", `{"package":{"ecosystem":"Go","name":"x","purl":"pkg:generic/curl"},"ranges":[{"type":"SEMVER","events":[{"introduced":"3"}]}]}`, `"aliases":["CVE-2000-1"]`),
		"9.json": rec("CVE-2000-9", about("curl", "", semver), `"withdrawn":"2026-01-01T00:00:00Z"`),
	})
	check("curl", "3.1", "pkg:generic/curl", []string{"CVE-2000-1"}, nil)
	check("curl", "1.1", "pkg:generic/curl", []string{"CVE-2000-1"}, nil)
	check("curl", "2.1", "pkg:generic/curl", nil, []string{"CVE-2000-1"})
	in, _, _ := db.Match("curl", "1.1", "")
	if got := in[0].Advisory.FixedAfter("1.1"); got != "1.2.0" {
		t.Errorf("FixedAfter = %q, want 1.2.0", got)
	}
	if got := in[0].Advisory.FixedAfter("1.2.0"); got != "" {
		t.Errorf("FixedAfter = %q, want none", got)
	}
	if d := cmp.Diff([]string{"CVE-2000-9"}, db.Withdrawn()); d != "" {
		t.Error(d)
	}
	if _, _, err := db.Match("curl", "1", "pkg:"); err == nil {
		t.Error("an invalid package URL hides matches silently")
	}
}

func TestAliases(t *testing.T) {
	reviewed := `"map":"reviewed","imports":[{"path":"a.c","symbols":["f"]}]`
	derived := `"map":"derived","imports":[{"path":"b.c","symbols":["g"]}]`
	db := load(t, map[string]string{
		"1.json": rec("CURL-CVE-2001-1", about("curl", reviewed, semver), `"aliases":["CVE-2001-1"]`),
		"2.json": rec("GHSA-x", about("curl", "", `"ranges":[{"type":"SEMVER","events":[{"introduced":"1.5.0"}]}]`), `"aliases":["CURL-CVE-2001-1"]`),
		"3.json": rec("CVE-2001-1", about("curl", "", semver)),
		"4.json": rec("GHSA-umbrella", about("curl", derived, semver), `"aliases":["CVE-2001-2","CVE-2001-3"]`),
		"5.json": rec("CVE-2001-3", about("curl", reviewed, semver)),
	})
	got := map[string]Map{}
	for _, a := range db.Advisories() {
		got[a.ID] = a.Map
	}
	want := map[string]Map{
		"CVE-2001-1": {Completeness: Reviewed, Functions: []Function{{"a.c", "f"}}},
		"CVE-2001-2": {Completeness: Derived, Functions: []Function{{"b.c", "g"}}},
		"CVE-2001-3": {Completeness: Derived, Functions: []Function{{"a.c", "f"}, {"b.c", "g"}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	in, _, err := db.Match("curl", "1.6.0", "") // outside two of three records
	if err != nil || len(in) != 1 || in[0].Advisory.ID != "CVE-2001-1" {
		t.Errorf("Match = %v, %v; one record that says affected is enough", in, err)
	}
	if d := cmp.Diff([]string{"CURL-CVE-2001-1", "GHSA-x"}, in[0].Advisory.Aliases); d != "" {
		t.Error(d)
	}
}

// Entries of one record that disagree keep nothing that could prove a negative.
func TestEntriesOfOneRecord(t *testing.T) {
	cond := `"conditions":[{"quote":"q","file":"a.c"}]`
	fix := `"fixes":[{"file":"a.c","name":"f","body":"sha256:` + strings.Repeat("0", 64) + `"}]`
	one := `"map":"reviewed","imports":[{"path":"a.c","symbols":["f"]}]`
	db := load(t, map[string]string{
		"x.json": rec("CVE-1-1", about("c", one+","+cond+","+fix, semver)+","+about("c", `"map":"derived","imports":[{"path":"b.c","symbols":["g"]}]`, semver)),
	})
	want := Map{Completeness: Derived, Functions: []Function{{"a.c", "f"}, {"b.c", "g"}}}
	if d := cmp.Diff(want, db.Advisories()[0].Map); d != "" {
		t.Error(d)
	}
}

func TestLoadRefuses(t *testing.T) {
	ok := about("c", "", semver)
	spec := func(s string) string { return rec("CVE-1-1", about("c", s, semver)) }
	deep := `{"quote":"q","file":"a"}`
	for range 10 {
		deep = `{"quote":"q","not":` + deep + `}`
	}
	for name, body := range map[string]string{
		"not JSON":           `{"id":`,
		"empty":              ``,
		"an empty array":     `[]`,
		"an array with junk": `[` + rec("CVE-1-1", ok) + `,{}]`,
		"trailing bytes":     rec("CVE-1-1", ok) + `{}`,
		"no id":              `{"modified":"2026-01-01T00:00:00Z","affected":[` + ok + `]}`,
		"strange id":         rec("CVE 1", ok),
		"no modified":        `{"id":"CVE-1-1","affected":[` + ok + `]}`,
		"bad time":           rec("CVE-1-1", ok, `"withdrawn":"yesterday"`),
		"nothing affected":   `{"id":"CVE-1-1","modified":"2026-01-01T00:00:00Z"}`,
		"no component":       rec("CVE-1-1", `{`+semver+`}`),
		"unknown range type": rec("CVE-1-1", about("c", "", `"ranges":[{"type":"MAGIC","events":[{"introduced":"0"}]}]`)),
		"no events":          rec("CVE-1-1", about("c", "", `"ranges":[{"type":"SEMVER","events":[]}]`)),
		"two in one event":   rec("CVE-1-1", about("c", "", `"ranges":[{"type":"SEMVER","events":[{"introduced":"0","fixed":"1"}]}]`)),
		"GIT without repo":   rec("CVE-1-1", about("c", "", `"ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]`)),
		"bad package URL":    rec("CVE-1-1", `{"package":{"name":"c","purl":"curl"},`+semver+`}`),
		"unknown map":        spec(`"map":"verified"`),
		"map of no symbol":   spec(`"map":"reviewed","imports":[{"path":"a.c"}]`),
		"import of no path":  spec(`"map":"reviewed","imports":[{"symbols":["f"]}]`),
		"unknown predicate":  spec(`"conditions":[{"quote":"q","option":"x"}]`),
		"no predicate":       spec(`"conditions":[{"quote":"q"}]`),
		"two predicates":     spec(`"conditions":[{"quote":"q","file":"a","platform":"linux/amd64"}]`),
		"no quote":           spec(`"conditions":[{"file":"a.c"}]`),
		"unclean path":       spec(`"conditions":[{"quote":"q","file":"lib/../a.c"}]`),
		"too deep":           spec(`"conditions":[` + deep + `]`),
		"bad fix":            spec(`"fixes":[{"file":"a.c","name":"f","body":"abc"}]`),
		"not UTF-8":          rec("CVE-1-1", ok, "\"summary\":\"\xff\""),
	} {
		_, err := Load(tree(map[string]string{"dir/it.json": body, "good.json": rec("CVE-9-9", ok)}))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), "dir/it.json") {
			t.Errorf("%s: %v does not name the file", name, err)
		}
	}
	for name, files := range map[string]map[string]string{
		"no record at all":  {"README": ""},
		"compressed record": {"a.json": rec("CVE-9-9", ok), "b.json.gz": ""},
		"same id twice":     {"a.json": rec("CVE-9-9", ok), "b.json": rec("CVE-9-9", ok)},
	} {
		if _, err := Load(tree(files)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDigestIgnoresLayout(t *testing.T) {
	a, b := rec("CVE-1-1", about("c", "", semver)), rec("CVE-1-2", about("c", "", semver))
	one := load(t, map[string]string{"x.json": a, "y.json": b})
	two := load(t, map[string]string{"sub/b.json": b, "a.json": a})
	if one.Digest() != two.Digest() || one.Records() != 2 || one.Modified().IsZero() {
		t.Errorf("digests %s and %s", one.Digest(), two.Digest())
	}
	three := load(t, map[string]string{"x.json": a, "y.json": b + "\n"})
	if one.Digest() == three.Digest() {
		t.Error("changed bytes keep the digest")
	}
}

func TestSharedData(t *testing.T) {
	dir := os.Getenv("CLEANSTART_ADVISORIES")
	if dir == "" {
		t.Skip("no CLEANSTART_ADVISORIES")
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join("..", "..", dir)
	}
	for _, c := range []struct {
		name, version string
		records       int
	}{{"curl", "7.88.1", 48}, {"openssl", "3.0.17", 31}, {"zlib", "1.2.13", 3}, {"musl", "1.2.3", 2}} {
		db, err := Load(os.DirFS(filepath.Join(dir, c.name)))
		if err != nil {
			t.Fatal(err)
		}
		in, out, err := db.Match(c.name, c.version, "")
		if err != nil || len(in) != c.records || len(out) != 0 {
			t.Errorf("%s %s: %d match, %d excluded, %v; want %d, 0", c.name, c.version, len(in), len(out), err, c.records)
		}
		for _, m := range in {
			if len(m.Advisory.Map.Functions) == 0 {
				t.Errorf("%s: no functions", m.Advisory.ID)
			}
		}
	}
	db, err := Load(os.DirFS(filepath.Join(dir, "openssl")))
	if err != nil {
		t.Fatal(err)
	}
	if in, _, _ := db.Match("openssl", "3.0.20", ""); len(in) != 15 {
		t.Errorf("openssl 3.0.20: %d match, want 15", len(in))
	}
	if in, _, _ := db.Match("openssl", "3.0.22", ""); len(in) != 0 {
		t.Errorf("openssl 3.0.22: %d match, want none", len(in))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(rec("CVE-1-1", about("c", `"map":"reviewed","imports":[{"path":"a.c","symbols":["f"]}],"conditions":[{"quote":"q","not":{"macro":{"file":"a.c","name":"X"}}}]`, semver))))
	f.Add([]byte(rec("CVE-1-2", `{"package":{"ecosystem":"Alpine:v3.18","name":"curl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"last_affected":"8.0-r1"}]}]}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		advs, err := Parse(b)
		if err != nil {
			return
		}
		if len(advs) == 0 {
			r, _ := decode(b)
			if r.Withdrawn.IsZero() {
				t.Fatal("a live record gave no advisory and no error")
			}
		}
		for _, a := range advs {
			for _, g := range a.Ranges {
				placed(g, "1.2.3", "")
				placed(g, "1.2.3-r4", "Alpine:v3.18")
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	files := fstest.MapFS{}
	for i := range 2000 {
		id := "CVE-2000-" + string(rune('a'+i%26)) + strings.Repeat("0", i/26%7) + string(rune('a'+i/182))
		files[id+".json"] = &fstest.MapFile{Data: []byte(rec(id, about("c"+string(rune('a'+i%20)), "", semver)))}
	}
	db, err := Load(files)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if in, _, _ := db.Match("ca", "1.1.0", "pkg:generic/ca@1.1.0"); len(in) == 0 {
			b.Fatal("no match")
		}
	}
}

// The records that the quickstart ships are of the form that is read here, and
// reach what the quickstart builds.
func TestQuickstartAdvisories(t *testing.T) {
	db, err := Load(os.DirFS(filepath.Join("..", "..", "examples", "quickstart", "advisories")))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, version string
		in, out       int
	}{{"curl", "7.88.1", 17, 0}, {"zlib", "1.2.13", 2, 1}, {"musl", "1.2.3", 1, 1}} {
		in, out, err := db.Match(c.name, c.version, "pkg:generic/"+c.name+"@"+c.version)
		if err != nil || len(in) != c.in || len(out) != c.out {
			t.Errorf("%s %s: %d match, %d excluded, %v; want %d, %d", c.name, c.version, len(in), len(out), err, c.in, c.out)
		}
		for _, m := range in {
			if m.Undecided || m.Advisory.Map.Completeness != Reviewed || len(m.Advisory.Map.Functions) == 0 {
				t.Errorf("%s: %+v", m.Advisory.ID, m)
			}
			if m.Advisory.FixedAfter(c.version) == "" && m.Advisory.ID != "CVE-2023-45853" {
				t.Errorf("%s names no fixed version", m.Advisory.ID)
			}
		}
	}
}

func TestFourthFieldIsUndecided(t *testing.T) {
	r := Range{Type: "SEMVER", Events: []Event{{Introduced: "1.2.3"}, {Fixed: "1.2.4"}}}
	if got := placed(r, "1.2.3.1", ""); got == outside {
		t.Errorf("eval(1.2.3.1) in [1.2.3, 1.2.4) = outside, want a candidate")
	}
}
