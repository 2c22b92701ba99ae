package monitor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/monitor/monitortest"
	"github.com/cleanstart/cleanstart/source"
)

type offers []source.Component

func (o offers) Candidates(context.Context, string, string) ([]source.Component, error) {
	return o, nil
}

func offer(versions ...string) offers {
	var o offers
	for _, v := range versions {
		o = append(o, source.Component{Name: "openssl", Version: v, Policy: source.Policy{Least: source.Signed}})
	}
	return o
}

func TestPlannerChooses(t *testing.T) {
	img := monitortest.Image("web", "d", "musl 1.2.3", "openssl 3.0.17", "curl 7.88.1")
	img.Components[2].Needs = []string{"openssl"}
	f := fstest.MapFS{
		"1.json": {Data: monitortest.Record("CVE-1", "openssl", "3.0.19")},
		// 3.0.20 brought its own.
		"2.json": {Data: []byte(strings.Replace(string(monitortest.Record("CVE-2", "openssl", "3.0.21")), `"introduced":"0"`, `"introduced":"3.0.20"`, 1))},
	}
	db, err := database(batchOf(t, f).Changes)
	check(t, err)
	findings := []Finding{{Image: "web", Digest: "d", Component: "openssl", Version: "3.0.17", Advisory: "CVE-1", Deadline: start}}
	for _, c := range []struct {
		name     string
		offers   offers
		any      bool
		want, no string
	}{
		{"the lowest that fixes", offer("3.0.22", "3.0.19", "3.0.21"), false, "3.0.19", ""},
		{"not one that brings another", offer("3.0.20", "3.0.21"), false, "3.0.21", ""},
		{"not an older one", offer("3.0.7"), false, "", "is not newer"},
		{"not the same", offer("3.0.17"), false, "", "is not newer"},
		{"not one that does not fix", offer("3.0.18"), false, "", "is not known to fix CVE-1"},
		{"not another series", offer("3.1.0", "4.0.0"), false, "", "is of another series"},
		{"another series where allowed", offer("4.0.0", "3.1.0"), true, "3.1.0", ""},
		{"its own series first", offer("3.0.21", "3.0.19", "3.1.0"), true, "3.0.19", ""},
		{"a version that cannot be placed", offer("tomorrow (beta)"), false, "", "cannot be ordered"},
		{"nothing", nil, false, "", "no other version can be built"},
		{"not without a policy", offers{{Name: "openssl", Version: "3.0.19"}}, false, "", "names no grade"},
	} {
		p := Planner{Upgrades: c.offers, AnySeries: c.any}
		plan, without, err := p.Plan(t.Context(), img, findings, db)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		switch {
		case c.want == "":
			if len(plan.Upgrades) != 0 || len(without) != 1 || !strings.Contains(without[0].Reason, c.no) {
				t.Errorf("%s: upgrades %v, no fix %v, want %q", c.name, plan.Upgrades, without, c.no)
			}
		case len(plan.Upgrades) != 1 || plan.Upgrades[0].To.Version != c.want:
			t.Errorf("%s: upgrades %v, no fix %v, want %s", c.name, plan.Upgrades, without, c.want)
		default:
			if diff := cmp.Diff([]string{"openssl", "curl"}, plan.Rebuild); diff != "" {
				t.Errorf("%s: rebuild %s", c.name, diff)
			}
			if diff := cmp.Diff([]string{"musl"}, plan.Keep); diff != "" {
				t.Errorf("%s: keep %s", c.name, diff)
			}
		}
	}
}

func TestPlannerRefuses(t *testing.T) {
	img := monitortest.Image("web", "d", "openssl 3.0.17")
	f := []Finding{{Image: "web", Digest: "d", Component: "openssl", Version: "3.0.17", Advisory: "CVE-1"}}
	other := offer("3.0.19")
	other[0].Name = "libressl"
	if _, _, err := (&Planner{Upgrades: other}).Plan(t.Context(), img, f, nil); err == nil {
		t.Error("another component was taken for a version")
	}
	if _, _, err := (&Planner{Upgrades: broken{}}).Plan(t.Context(), img, f, nil); err == nil {
		t.Error("candidates that could not be listed were taken for none")
	}
	f[0].Digest = "other"
	if _, _, err := (&Planner{Upgrades: offer()}).Plan(t.Context(), img, f, nil); err == nil {
		t.Error("a finding about another image was planned")
	}
	// Without the advisory at hand nothing is known to fix it.
	f[0].Digest = "d"
	plan, without, err := (&Planner{Upgrades: offer("3.0.19")}).Plan(t.Context(), img, f, nil)
	if err != nil || len(plan.Upgrades) != 0 || len(without) != 1 {
		t.Errorf("without advisories: %v, %v, %v", plan, without, err)
	}
}

type broken struct{}

func (broken) Candidates(context.Context, string, string) ([]source.Component, error) {
	return nil, errors.New("no route to host")
}

func TestSeriesAndOrder(t *testing.T) {
	for v, want := range map[string]string{"3.0.17": "3.0", "1.2.13": "1.2", "1.0.2k": "1.0", "8.9": "8", "2024": "2024", "7.88.1": "7.88", "": ""} {
		if got := Series(v); got != want {
			t.Errorf("Series(%q) = %q, want %q", v, got, want)
		}
	}
	ordered := []string{"0.9", "1.0.0-rc1", "1.0.0", "1.0.2a", "1.0.2k", "1.0.2za", "1.2.9", "1.2.13", "3.0.9", "3.0.17", "3.0.17.1", "3.0.18", "10.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			got, err := compareVersions(a, b)
			if err != nil || (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("compareVersions(%q, %q) = %d, %v", a, b, got, err)
			}
		}
	}
}

func TestEarliest(t *testing.T) {
	hour := func(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }
	for _, c := range []struct {
		published, seen, added, want time.Time
	}{
		{hour(1), hour(3), hour(0), hour(1)},     // published before we saw it
		{hour(5), hour(3), hour(0), hour(3)},     // dated in the future
		{time.Time{}, hour(3), hour(0), hour(3)}, // without a date
		{hour(-9), hour(3), hour(2), hour(2)},    // older than the image
	} {
		if got := Earliest(c.published, c.seen, c.added); !got.Equal(c.want) {
			t.Errorf("Earliest(%s, %s, %s) = %s, want %s", c.published, c.seen, c.added, got, c.want)
		}
	}
	if got := (SLA{Window: time.Hour}).deadline(start); !got.Equal(hour(1)) {
		t.Errorf("deadline = %s", got)
	}
}
