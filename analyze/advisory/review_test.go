package advisory

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func rawRecord(m string) string {
	return `{"schema_version":"1.7.3","id":"CVE-1-1","modified":"2026-01-01T00:00:00Z","affected":[{"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
	"ecosystem_specific":{"component":"c","map":"` + m + `","imports":[{"path":"a.c","symbols":["f"]}]}}]}`
}

var (
	needsX  = Condition{Quote: "only with X", Macro: &Macro{File: "a.c", Name: "X"}}
	reviews = []Review{{ID: "CVE-1-1", Component: "C", Versions: []string{"1.2"}, Conditions: []Condition{needsX}}}
)

func matchOne(t *testing.T, record string, rs []Review, version string) *Advisory {
	t.Helper()
	db, err := LoadReviewed(fstest.MapFS{"a.json": {Data: []byte(record)}}, rs)
	if err != nil {
		t.Fatal(err)
	}
	in, _, err := db.Match("c", version, "")
	if err != nil || len(in) != 1 {
		t.Fatalf("Match = %v, %v", in, err)
	}
	return in[0].Advisory
}

// TestReview: a review speaks of the versions whose source was read and of no
// others, and raises a map only where it says itself which functions matter.
func TestReview(t *testing.T) {
	withFunctions := slices.Clone(reviews)
	withFunctions[0].Functions = []Function{{"b.c", "g"}}
	for _, c := range []struct {
		name, record, version string
		reviews               []Review
		conditions, functions int
		completeness          Completeness
	}{
		{"its version", rawRecord("reviewed"), "1.2", reviews, 1, 1, Reviewed},
		{"another version", rawRecord("reviewed"), "1.2.1", reviews, 0, 1, Reviewed},
		{"no review", rawRecord("reviewed"), "1.2", nil, 0, 1, Reviewed},
		{"derived functions stay derived", rawRecord("derived"), "1.2", reviews, 1, 1, Derived},
		{"functions of its own", rawRecord("derived"), "1.2", withFunctions, 1, 2, Reviewed},
		{"functions of its own elsewhere", rawRecord("derived"), "2", withFunctions, 0, 1, Derived},
	} {
		m := matchOne(t, c.record, c.reviews, c.version).Map
		if len(m.Conditions) != c.conditions || len(m.Functions) != c.functions || m.Completeness != c.completeness {
			t.Errorf("%s: %+v", c.name, m)
		}
	}
}

// TestReviewLeavesTheRecord: what a match adds is not seen by another.
func TestReviewLeavesTheRecord(t *testing.T) {
	db, err := LoadReviewed(fstest.MapFS{"a.json": {Data: []byte(rawRecord("reviewed"))}}, reviews)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		in, _, err := db.Match("c", "1.2", "")
		if err != nil || len(in[0].Advisory.Map.Conditions) != 1 {
			t.Fatalf("%+v, %v", in, err)
		}
	}
	if n := len(db.Advisories()[0].Map.Conditions); n != 0 {
		t.Errorf("the record has %d conditions", n)
	}
}

func TestParseReviewsRefuses(t *testing.T) {
	const ok = `{"component":"c","versions":["1"],"reviews":[{"id":"CVE-1-1","conditions":[{"quote":"q","file":"a.c"}]}]}`
	if _, err := ParseReviews([]byte(ok)); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"no quote":       {`"quote":"q",`, ``},
		"unknown key":    {`"file":"a.c"`, `"fyle":"a.c"`},
		"two predicates": {`"file":"a.c"`, `"file":"a.c","api":["f"]`},
		"no version":     {`"versions":["1"],`, ``},
		"no component":   {`"component":"c",`, ``},
		"no id":          {`"id":"CVE-1-1",`, ``},
		"path leaves":    {`"file":"a.c"`, `"file":"../a.c"`},
		"caller bare":    {`"file":"a.c"`, `"caller":{"api":["f"],"besides":[]}`},
		"caller all":     {`"file":"a.c"`, `"caller":{"api":["f"],"besides":["."]}`},
		"no option":      {`"file":"a.c"`, `"option":"--prefix=/usr"`},
		"twice":          {`]}]}`, `]},{"id":"CVE-1-1"}]}`},
		"more":           {`]}]}`, `]}]}{}`},
	} {
		bad := strings.Replace(ok, edit[0], edit[1], 1)
		if bad == ok {
			t.Fatalf("%s: edits nothing", name)
		}
		if _, err := ParseReviews([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestOwnReviews: every review that the package carries is about exact
// versions and quotes a page.
func TestOwnReviews(t *testing.T) {
	count := map[string]int{}
	for _, r := range Reviews() {
		count[r.Component]++
		if len(r.Conditions) == 0 && len(r.Functions) == 0 && r.Note == "" {
			t.Errorf("%s says nothing", r.ID)
		}
		for _, c := range r.Conditions {
			if !strings.HasPrefix(c.URL, "https://") || len(c.Quote) < 20 {
				t.Errorf("%s: quotes %q of %q", r.ID, c.Quote, c.URL)
			}
		}
	}
	if count["curl"] < 48 || count["openssl"] < 26 || count["zlib"] < 2 {
		t.Errorf("reviews: %v", count)
	}
}

func TestConfigured(t *testing.T) {
	for _, c := range []struct {
		args          []string
		option        string
		same, settled bool
	}{
		{[]string{"--disable-ldap"}, "--disable-ldap", true, true},
		{[]string{"--disable-ldap"}, "--enable-ldap", false, true},
		{[]string{"--disable-ldap", "--enable-ldap"}, "--disable-ldap", false, true},
		{[]string{"--enable-ldap=no"}, "--disable-ldap", true, true},
		{[]string{"--with-ssl=/usr"}, "--with-ssl", true, true},
		{[]string{"--with-ssl=/usr"}, "--without-ssl", false, true},
		{[]string{"--with-sslx"}, "--with-ssl", false, false},
		{nil, "--with-ssl", false, false},
		{[]string{"-DENABLE_X:BOOL=OFF"}, "-DENABLE_X=0", true, true},
		{[]string{"no-cms"}, "no-cms", true, true},
		{[]string{"no-cms", "enable-cms"}, "no-cms", false, true},
		{[]string{"--disable-ldap=yes"}, "--disable-ldap", false, false},
		{[]string{"--disable-ldap"}, "nonsense", false, false},
	} {
		if same, settled := Configured(c.args, c.option); same != c.same || settled != c.settled {
			t.Errorf("Configured(%q, %q) = %v, %v, want %v, %v", c.args, c.option, same, settled, c.same, c.settled)
		}
	}
}

func FuzzParseReviews(f *testing.F) {
	f.Add([]byte(`{"component":"c","versions":["1"],"reviews":[{"id":"CVE-1-1","conditions":[{"quote":"q","all":[{"file":"a.c"},{"not":{"option":"no-x"}}]}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, err := ParseReviews(b)
		for _, r := range rs {
			if err == nil && r.check() != nil {
				t.Fatalf("%+v was accepted", r)
			}
		}
	})
}
