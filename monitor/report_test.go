package monitor

import (
	"fmt"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
)

// TestReport runs the loop over three days: one flaw fixed in time, one late,
// one retracted, one that stays open.
func TestReport(t *testing.T) {
	w := newWorld(t)
	w.add(w.app("app"))
	w.step()
	day := func(n int, hours float64) time.Time {
		return start.Add(time.Duration(n)*24*time.Hour + time.Duration(hours*float64(time.Hour)))
	}
	w.now = day(0, 1)
	w.advise("CVE-2026-0001", "openssl", "3.0.20")
	w.step()               // found and fixed
	spec := w.specs["app"] // goes on from what was released
	spec.Components = slices.Clone(spec.Components)
	spec.Components[2].Version, spec.Components[2].PURL = "3.0.20", "pkg:generic/openssl@3.0.20"
	w.specs["app"] = spec
	w.now = day(1, 0)
	w.offers["zlib"] = nil
	w.advise("CVE-2026-0002", "zlib", "1.2.14")
	w.advise("CVE-2026-0003", "musl", "9.9")
	w.advise("CVE-2026-0004", "curl", "9.9")
	w.step()
	w.now = day(1, 2)
	w.files["CVE-2026-0004.json"] = &fstest.MapFile{Data: monitortest.WithdrawnRecord("CVE-2026-0004")}
	w.step()
	w.now = day(3, 0)
	w.offers["zlib"] = []string{"1.2.14"}
	w.step()

	report := func(from, to time.Time) (r *Report) {
		t.Helper()
		w.open(func(_ *inventory.Bolt, l *ledger.File) {
			var err error
			r, err = NewReport(t.Context(), l, from, to)
			check(t, err)
		})
		return r
	}
	lines := func(r *Report) []string {
		var out []string
		for _, x := range r.Exposures {
			out = append(out, fmt.Sprintf("%s %s %s decided=%t", x.Finding.Advisory, x.State, x.Window, !x.Decided.IsZero()))
		}
		return append(out, fmt.Sprintf("fixed %d, open %d, missed %d, releases %d, polls %d", r.Fixed, r.Open, r.Missed, r.Releases, r.Polls))
	}
	all := report(start, day(4, 0))
	want := []string{
		"CVE-2026-0001 fixed 1h0m0s decided=true",
		"CVE-2026-0004 retracted-late 25h0m0s decided=false",
		"CVE-2026-0003 late 95h0m0s decided=false",
		"CVE-2026-0002 fixed-late 71h0m0s decided=true",
		"fixed 2, open 1, missed 3, releases 2, polls 3",
	}
	slices.Sort(want)
	got := lines(all)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	first := report(start, day(1, 0))
	if diff := cmp.Diff([]string{"CVE-2026-0001 fixed 1h0m0s decided=true", "fixed 1, open 0, missed 0, releases 1, polls 1"}, lines(first)); diff != "" {
		t.Error(diff)
	}
	third := report(day(2, 0), day(3, 0))
	if third.Open != 2 || third.Fixed != 0 || third.Missed != 2 || third.Longest != 71*time.Hour {
		t.Errorf("the third day: %v", lines(third))
	}
	if again := report(start, day(4, 0)); cmp.Diff(all, again) != "" {
		t.Error("two reports of one period differ")
	}
	w.open(func(_ *inventory.Bolt, l *ledger.File) {
		if _, err := NewReport(t.Context(), l, day(1, 0), day(1, 0)); err == nil {
			t.Error("an empty period was reported on")
		}
	})
}
