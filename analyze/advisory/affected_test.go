package advisory

import (
	"fmt"
	"slices"
	"testing"
)

// placed is what one range says of a version.
func placed(r Range, version, ecosystem string) verdict {
	var o *Orders
	s := o.span(&r, orderOf(r.Type, ecosystem))
	return s.place(o, version)
}

func TestParseAffected(t *testing.T) {
	for _, c := range []struct {
		name, record   string
		held, out, may []string
	}{
		{"osv", rec("CVE-1-1", about("c", "", semver)), []string{"1.1.0"}, []string{"0.9", "99.0.0"}, []string{"1.1.0p1"}},
		{"osv by ecosystem", rec("CVE-1-2", `{"package":{"ecosystem":"Alpine:v3.18","name":"curl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"8.0-r1"}]}]}`),
			[]string{"8.0-r0", "7.9-r9"}, []string{"8.0-r1", "8.0.1-r0"}, nil},
		{"cve 5", fmt.Sprintf(cve5, product(`{"version":"2","lessThan":"4","status":"affected","versionType":"semver"}`, "unaffected")),
			[]string{"2.0", "3.9.9"}, []string{"1.9", "4.0"}, nil},
		{"cve 5, open", fmt.Sprintf(cve5, product(`{"version":"2","lessThan":"4","status":"affected","versionType":"semver"}`, "unknown")),
			[]string{"2.0", "3.9.9"}, nil, []string{"1.9", "4.0"}},
		{"a list", rec("CVE-1-3", `{"package":{"ecosystem":"","name":"c"},"versions":["1.0","v1.1"]}`), []string{"1.0", "1.1"}, []string{"1.2"}, []string{"1.2p1"}},
	} {
		list, err := ParseAffected([]byte(c.record))
		if err != nil || len(list) != 1 {
			t.Errorf("%s: %d entries, %v", c.name, len(list), err)
			continue
		}
		for _, o := range []*Orders{nil, {}} {
			test := list[0].Test(o)
			for want, versions := range map[[2]bool][]string{{true, true}: c.held, {false, true}: c.out, {true, false}: c.may} {
				for _, v := range slices.Concat(versions, versions) { // the second time, it is remembered
					if holds, decided := test.Holds(v); [2]bool{holds, decided} != want {
						t.Errorf("%s: %s holds, decided = %v, %v, want %v", c.name, v, holds, decided, want)
					}
				}
			}
		}
	}
	if list, err := ParseAffected([]byte(rec("CVE-1-4", about("c", "", semver), `"withdrawn":"2026-01-01T00:00:00Z"`))); err != nil || len(list) != 0 {
		t.Errorf("a withdrawn record has %d entries, %v", len(list), err)
	}
	for _, bad := range []string{"", "{", "{}", `{"id":"CVE-1-1"}`, `[]`} {
		if _, err := ParseAffected([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// BenchmarkTest compiles an entry and asks it about twenty versions, as a
// correlation of everything with everything does.
func BenchmarkTest(b *testing.B) {
	list, err := ParseAffected([]byte(rec("CVE-1-1", about("c", "", semver))))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, form string }{{"plain", "1.%d.0"}, {"pre-release", "1.%d.0-rc1"}} {
		var versions []string
		for i := range 20 {
			versions = append(versions, fmt.Sprintf(c.form, i))
		}
		b.Run(c.name, func(b *testing.B) {
			var o Orders
			b.ReportAllocs()
			for b.Loop() {
				test := list[0].Test(&o)
				for _, v := range versions {
					test.Holds(v)
				}
			}
		})
	}
}
