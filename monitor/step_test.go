package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
)

// TestSurgicalRebuild is the main case: an advisory against OpenSSL arrives.
func TestSurgicalRebuild(t *testing.T) {
	w := newWorld(t)
	base := w.add(w.app("web"))
	if r := w.step(); len(r.Opened) != 0 || !r.Complete || len(r.Released) != 0 {
		t.Fatalf("an image without advisories: %+v", r)
	}
	quiet := len(w.kinds(0))
	w.now = start.Add(time.Hour)
	w.advise("CVE-2026-1", "openssl", "3.0.20")
	w.advise("CVE-2026-2", "sqlite", "9.9.9") // nothing of ours
	r := w.step()
	if len(r.Released) != 1 || len(r.Failed) != 0 || len(r.Open) != 0 {
		t.Fatalf("released %d, failed %v, open %v", len(r.Released), r.Failed, openKeys(r.Open))
	}
	rel := r.Released[0]
	if diff := cmp.Diff([]string{"openssl", "curl"}, rel.Rebuilt); diff != "" {
		t.Errorf("rebuilt: %s", diff)
	}
	if diff := cmp.Diff([]string{"musl", "zlib"}, rel.Kept); diff != "" {
		t.Errorf("kept: %s", diff)
	}
	if want := start.Add(24 * time.Hour); !rel.Deadline.Equal(want) || !rel.Met {
		t.Errorf("deadline %s, met %t, want %s: a day after the image came, for an older advisory", rel.Deadline, rel.Met, want)
	}
	live := w.live("web")
	if live.Digest != rel.Image.Digest || live.Digest == base.Digest || versions(live)["openssl"] != "3.0.20" {
		t.Errorf("live is %s %v", live.Digest, versions(live))
	}
	for _, keep := range []string{"musl", "zlib"} {
		a, _ := base.Component(keep)
		b, _ := live.Component(keep)
		if a.Layer != b.Layer {
			t.Errorf("%s has another layer", keep)
		}
	}
	if diff := cmp.Diff([]string{KindFinding, KindPoll, KindPlan, KindRebuild, KindReleased, KindReplaced}, w.kinds(quiet)); diff != "" {
		t.Errorf("ledger: %s", diff)
	}
	n := len(w.kinds(0))
	for range 2 {
		if r := w.step(); len(r.Released)+len(r.Plans)+len(r.Opened)+len(r.Retracted) != 0 {
			t.Errorf("a step with nothing new: %+v", r)
		}
	}
	if got := w.kinds(n); len(got) != 0 {
		t.Errorf("a step with nothing new wrote %q", got)
	}
}

func TestSeveralImagesAndComponents(t *testing.T) {
	w := newWorld(t)
	w.add(w.app("a"))
	w.add(w.app("b"))
	w.advise("CVE-1", "openssl", "3.0.18")
	w.advise("CVE-2", "openssl", "3.0.21")
	w.advise("CVE-3", "zlib", "1.2.14")
	r := w.step()
	if len(r.Released) != 2 || len(r.Plans) != 2 || len(r.Opened) != 6 {
		t.Fatalf("released %d, plans %d, opened %d", len(r.Released), len(r.Plans), len(r.Opened))
	}
	for _, name := range []string{"a", "b"} {
		v := versions(w.live(name))
		if v["openssl"] != "3.0.22" || v["zlib"] != "1.2.14" {
			t.Errorf("%s has %v", name, v)
		}
	}
	if r.Plans[0].Key == r.Plans[1].Key {
		t.Error("plans of two images have one key")
	}
}

func TestImageThatComesLaterIsCompared(t *testing.T) {
	w := newWorld(t)
	w.advise("CVE-1", "openssl", "3.0.20")
	if r := w.step(); len(r.Opened) != 0 {
		t.Fatalf("findings without images: %v", openKeys(r.Opened))
	}
	w.add(w.app("late"))
	if r := w.step(); len(r.Opened) != 1 || len(r.Released) != 1 {
		t.Errorf("a later image: opened %d, released %d", len(r.Opened), len(r.Released))
	}
}

func TestNoFixStaysOpenAndRunsOut(t *testing.T) {
	w := newWorld(t)
	w.add(w.app("web"))
	w.advise("CVE-1", "curl", "8.0.0")
	r := w.step()
	if len(r.NoFix) != 1 || len(r.Open) != 1 || len(r.Overdue) != 0 || len(r.Released) != 0 {
		t.Fatalf("no fix %v, open %v, overdue %v", r.NoFix, openKeys(r.Open), openKeys(r.Overdue))
	}
	n := len(w.kinds(0))
	w.now = start.Add(25 * time.Hour)
	if r := w.step(); len(r.Overdue) != 1 {
		t.Errorf("overdue %v", openKeys(r.Overdue))
	}
	w.step()
	if diff := cmp.Diff([]string{KindOverdue}, w.kinds(n)); diff != "" {
		t.Errorf("ledger: %s", diff)
	}
	// Another series is taken only when it is allowed.
	w.offers["curl"] = []string{"8.5.0"}
	if r := w.step(); len(r.Released) != 0 || !strings.Contains(r.NoFix[0].Reason, "series") {
		t.Errorf("another series was taken: %+v", r.NoFix)
	}
	r = w.step(func(o *Options) { o.AnySeries = true })
	if len(r.Released) != 1 || r.Released[0].Met {
		t.Errorf("released %d, in time %t", len(r.Released), len(r.Released) > 0 && r.Released[0].Met)
	}
}

func TestClockNeverStartsLater(t *testing.T) {
	w := newWorld(t)
	w.add(w.app("web"))
	w.advise("CVE-1", "curl", "8.0.0")
	first := w.step().Open[0]
	// A rebuild for another reason makes a new revision with the same finding.
	w.now = start.Add(10 * time.Hour)
	w.advise("CVE-2", "openssl", "3.0.20")
	r := w.step()
	if len(r.Released) != 1 || len(r.Open) != 1 {
		t.Fatalf("released %d, open %v", len(r.Released), openKeys(r.Open))
	}
	got := r.Open[0]
	if got.Digest == first.Digest || !got.Start.Equal(first.Start) || !got.Deadline.Equal(first.Deadline) || !got.Seen.Equal(first.Seen) {
		t.Errorf("clock of the new revision: start %s, seen %s; was %s, %s", got.Start, got.Seen, first.Start, first.Seen)
	}
}

func TestWithdrawnAndVanished(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world)
		open   int
	}{
		{"withdrawn", func(w *world) {
			w.files["CVE-1.json"] = &fstest.MapFile{Data: monitortest.WithdrawnRecord("CVE-1")}
		}, 0},
		{"changed to exclude", func(w *world) { w.advise("CVE-1", "curl", "7.0.0") }, 0},
		{"deleted", func(w *world) { delete(w.files, "CVE-1.json") }, 1},
		{"deleted, another changed", func(w *world) {
			delete(w.files, "CVE-1.json")
			w.advise("CVE-9", "curl", "2.0")
		}, 1},
		{"unreadable", func(w *world) {
			w.files["CVE-1.json"] = &fstest.MapFile{Data: []byte("{")}
			w.advise("CVE-9", "curl", "2.0")
		}, 1},
	} {
		w := newWorld(t)
		w.add(w.app("web"))
		w.advise("CVE-1", "curl", "8.0.0")
		w.advise("CVE-9", "curl", "1.0")
		if r := w.step(); len(r.Open) != 1 {
			t.Fatalf("%s: open %v", c.name, openKeys(r.Open))
		}
		c.change(w)
		r := w.step()
		if len(r.Open) != c.open || len(r.Retracted) != 1-c.open {
			t.Errorf("%s: open %v, retracted %v", c.name, openKeys(r.Open), r.Retracted)
		}
		if bad := c.name == "unreadable"; r.Complete == bad {
			t.Errorf("%s: complete is %t", c.name, r.Complete)
		}
	}
}

func TestRenamedByAlias(t *testing.T) {
	w := newWorld(t)
	w.add(w.app("web"))
	w.advise("GHSA-aaaa", "curl", "8.0.0")
	first := w.step().Open[0]
	w.now = start.Add(5 * time.Hour)
	rec := strings.Replace(string(monitortest.Record("CVE-7", "curl", "8.0.0")), `"id":"CVE-7"`, `"id":"CVE-7","aliases":["GHSA-aaaa"]`, 1)
	w.files["CVE-7.json"] = &fstest.MapFile{Data: []byte(rec)}
	r := w.step()
	if len(r.Open) != 1 || r.Open[0].Advisory != "CVE-7" || !r.Open[0].Deadline.Equal(first.Deadline) {
		t.Errorf("renamed: open %v, deadline %v, was %s", openKeys(r.Open), r.Open, first.Deadline)
	}
}

func TestRebuildThatIsNotAsPlanned(t *testing.T) {
	for name, change := range map[string]func(*compile.Record){
		"kept component built anew": func(r *compile.Record) { r.Components[0].Key = "other" },
		"kept component, other layer": func(r *compile.Record) {
			r.Image.Layers[1].Digest = "other"
		},
		"exchange not made":   func(r *compile.Record) { r.Components[2].Component.Version = "3.0.17" },
		"exchange not built":  func(r *compile.Record) { r.Components[2].Key = baseKey(t, 2) },
		"dependent not built": func(r *compile.Record) { r.Components[3].Key = baseKey(t, 3) },
		"component gone":      func(r *compile.Record) { r.Components = r.Components[:3] },
		"component more":      func(r *compile.Record) { r.Components = append(r.Components, more()) },
		"other needs":         func(r *compile.Record) { r.Components[3].Component.Needs = nil },
		"other image":         func(r *compile.Record) { r.Spec.Name = "other" },
		"no digest":           func(r *compile.Record) { r.Image.Manifest = "" },
		"another version exchanged": func(r *compile.Record) {
			r.Components[1].Component.Version = "1.3.1"
		},
	} {
		w := newWorld(t)
		base := w.add(w.app("web"))
		w.advise("CVE-1", "openssl", "3.0.20")
		w.onRecord = change
		r := w.step()
		if len(r.Released) != 0 || len(r.Failed) != 1 || r.Failed[0].Stage != "check" {
			t.Errorf("%s: released %d, failed %v", name, len(r.Released), r.Failed)
		}
		if w.live("web").Digest != base.Digest || len(w.published) != 0 {
			t.Errorf("%s: a bad image was released or published", name)
		}
		w.onRecord = nil
		if r := w.step(); len(r.Released) != 1 {
			t.Errorf("%s: the next step released %d", name, len(r.Released))
		}
	}
}

func baseKey(t *testing.T, i int) string { return newWorld(t).app("web").Components[i].Key }

func more() compile.ComponentRecord {
	var c compile.ComponentRecord
	c.Component.Name, c.Component.Version, c.Key, c.Result.Output.Digest = "extra", "1", "k", "o"
	return c
}

func TestEarlyCutoffIsAccepted(t *testing.T) {
	w := newWorld(t)
	w.stable["openssl"] = true // the fix does not change its output
	w.add(w.app("web"))
	w.advise("CVE-1", "openssl", "3.0.20")
	r := w.step()
	if len(r.Released) != 1 || !slices.Equal(r.Released[0].Rebuilt, []string{"openssl"}) || !slices.Equal(r.Released[0].CutOff, []string{"curl"}) {
		t.Errorf("released %+v, failed %v", r.Released, r.Failed)
	}
}

// TestAdvisoryDuringTheBuild lets an advisory against the fixed version arrive
// while it is built: what was planned against stands, and nothing is released
// that the newest advisories do not know to be fixed.
func TestAdvisoryDuringTheBuild(t *testing.T) {
	w := newWorld(t)
	base := w.add(w.app("web"))
	w.advise("CVE-1", "openssl", "3.0.20")
	w.onRebuild = func(Plan) error { w.advise("CVE-1", "openssl", "3.0.22"); return nil }
	r := w.step()
	if len(r.Released) != 0 || len(r.Failed) != 1 || r.Failed[0].Stage != "rescan" || w.live("web").Digest != base.Digest {
		t.Fatalf("released %d, failed %v", len(r.Released), r.Failed)
	}
	w.onRebuild = nil
	if r := w.step(); len(r.Released) != 1 || versions(w.live("web"))["openssl"] != "3.0.22" {
		t.Errorf("the next step: released %d", len(r.Released))
	}
}

func TestFailedRebuildStopsNoOther(t *testing.T) {
	w := newWorld(t)
	w.add(w.app("a"))
	w.add(w.app("b"))
	w.advise("CVE-1", "openssl", "3.0.20")
	w.onRebuild = func(p Plan) error {
		if p.Image == "a" {
			return errors.New("no space left on device")
		}
		return nil
	}
	r := w.step()
	if len(r.Released) != 1 || len(r.Failed) != 1 || r.Failed[0].Image != "a" || len(r.Open) != 1 {
		t.Errorf("released %d, failed %v, open %v", len(r.Released), r.Failed, openKeys(r.Open))
	}
}

func TestImageReplacedByHand(t *testing.T) {
	w := newWorld(t)
	base := w.add(w.app("web"))
	w.advise("CVE-1", "curl", "8.0.0")
	w.step()
	w.open(func(inv *inventory.Bolt, _ *ledger.File) {
		check(t, inv.Swap(t.Context(), "web", base.Digest, monitortest.Image("web", "by-hand", "curl 9.0.0")))
	})
	if r := w.step(); len(r.Open) != 0 || len(r.Retracted) != 1 {
		t.Errorf("open %v, retracted %v", openKeys(r.Open), r.Retracted)
	}
}

// TestCrashAnywhere cuts steps off before and after each of their effects, and
// lets further steps finish. However it was cut, there is one release, of one
// image, that is live, and no finding is lost.
func TestCrashAnywhere(t *testing.T) {
	crashes := 0
	for _, late := range []bool{false, true} {
		for fuse := 0; ; fuse++ {
			w := newWorld(t)
			base := w.add(w.app("web"))
			w.add(w.app("other"))
			w.advise("CVE-1", "openssl", "3.0.20")
			w.advise("CVE-2", "curl", "8.0.0") // cannot be fixed, must stay open
			w.fuse, w.late = fuse, late
			_, err := w.tryStep()
			whole := w.fuse > 0 // no effect was cut off
			if whole {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			crashes++
			w.fuse = -1
			w.now = w.now.Add(time.Minute)
			r := w.step()
			what := fmt.Sprintf("late %t, effect %d", late, fuse)
			if diff := cmp.Diff([]string{"other curl 7.88.1 CVE-2", "web curl 7.88.1 CVE-2"}, openKeys(r.Open)); diff != "" {
				t.Errorf("%s: open %s", what, diff)
			}
			live := w.live("web")
			if live.Digest == base.Digest || versions(live)["openssl"] != "3.0.20" {
				t.Errorf("%s: live is %v", what, versions(live))
			}
			releases := map[string]int{}
			w.open(func(_ *inventory.Bolt, l *ledger.File) {
				for e, err := range l.Entries(t.Context(), 0) {
					check(t, err)
					if e.Kind == KindReleased {
						check(t, with(e, func(r Release) { releases[r.Plan]++ }))
					}
				}
			})
			if len(releases) != 2 {
				t.Errorf("%s: %d plans released, want 2", what, len(releases))
			}
			for key, n := range releases {
				if n != 1 || len(w.published[key]) != 1 {
					t.Errorf("%s: plan %s released %d times, published as %d images", what, key, n, len(w.published[key]))
				}
			}
			for key, p := range w.state().plans {
				if p.release == nil || !p.replaced {
					t.Errorf("%s: plan %s is not finished", what, key)
				}
			}
			n := len(w.kinds(0))
			w.step()
			if got := w.kinds(n); len(got) != 0 {
				t.Errorf("%s: a step with nothing new wrote %q", what, got)
			}
		}
	}
	if crashes < 20 {
		t.Errorf("only %d crashes were tried", crashes)
	}
}

func TestStepRefuses(t *testing.T) {
	if _, err := Step(t.Context(), Options{}); err == nil {
		t.Error("a step without a feed ran")
	}
	w := newWorld(t)
	w.open(func(_ *inventory.Bolt, l *ledger.File) {
		_, err := l.Append(t.Context(), start, ledger.Event{Kind: KindReleased, Data: "not a release"})
		check(t, err)
	})
	if _, err := w.tryStep(); err == nil {
		t.Error("a ledger that cannot be understood was acted on")
	}
}
