package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
)

// TestRulesAreNeverNarrower compares rules with package advisory, over random
// ranges of every kind of bound and versions of every spelling.
func TestRulesAreNeverNarrower(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	spellings := []string{"0", "1.0", "1.0.0", "1.1", "v1.2.0", "1.2.3-rc1", "2.0", "2.0.1", "3", "1.0.2k", "unknown", "1.2.3.4", "1.2.6 (later)", "2.0-r1", "1:1.0-1", "1!2.0"}
	pick := func() string { return spellings[rnd.IntN(len(spellings))] }
	var orders advisory.Orders
	decided, wider := 0, 0
	for i := range 3000 {
		eco := []string{"", "Alpine:v3.20", "Debian:12", "PyPI", "Maven", "npm", "Nowhere"}[rnd.IntN(7)]
		type affected struct {
			Package  map[string]string `json:"package"`
			Ranges   []advisory.Range  `json:"ranges,omitempty"`
			Versions []string          `json:"versions,omitempty"`
		}
		a := affected{Package: map[string]string{"ecosystem": eco, "name": "x", "purl": "pkg:generic/x"}}
		for range rnd.IntN(3) {
			r := advisory.Range{Type: []string{"SEMVER", "ECOSYSTEM"}[rnd.IntN(2)]}
			for range 1 + rnd.IntN(4) {
				r.Events = append(r.Events, [...]advisory.Event{{Introduced: pick()}, {Fixed: pick()}, {LastAffected: pick()}}[rnd.IntN(3)])
			}
			a.Ranges = append(a.Ranges, r)
		}
		if rnd.IntN(5) == 0 {
			a.Ranges = append(a.Ranges, advisory.Range{Type: "GIT", Repo: "https://h.example/x", Events: []advisory.Event{{Introduced: "0"}}})
		}
		for range rnd.IntN(3) {
			a.Versions = append(a.Versions, pick())
		}
		record, err := json.Marshal(map[string]any{"id": fmt.Sprintf("CVE-2026-%04d", i), "modified": "2026-01-02T03:04:05Z", "affected": []affected{a}})
		check(t, err)
		rules, err := Rules(record)
		if err != nil {
			continue // neither takes it
		}
		db, err := advisory.Load(fstest.MapFS{"a.json": {Data: record}})
		check(t, err)
		if len(rules) != 1 {
			t.Fatalf("%s: %d rules", record, len(rules))
		}
		affects := rules[0].Affects(&orders)
		for _, v := range spellings {
			in, out, err := db.Match("", v, "pkg:generic/x")
			check(t, err)
			got, want := affects(v), len(in) > 0
			if want && !got {
				t.Errorf("%s: version %s is not affected, package advisory says that it is", record, v)
			}
			if got && !want {
				wider++
			}
			decided += len(out)
		}
	}
	if decided < 1000 || wider > decided/4 {
		t.Errorf("%d versions were outside, and %d only by package advisory", decided, wider)
	}
}

func TestRulesRefuse(t *testing.T) {
	for _, r := range []string{`{`, `{}`, `{"id":"CVE-1-1"}`} {
		if _, err := Rules([]byte(r)); err == nil {
			t.Errorf("%s gave rules", r)
		}
	}
	if rules, err := Rules(monitortest.WithdrawnRecord("CVE-1-1")); err != nil || len(rules) != 0 {
		t.Errorf("a withdrawn record gave %v, %v", rules, err)
	}
}

func FuzzRules(f *testing.F) {
	f.Add(monitortest.Record("CVE-1-1", "zlib", "1.0"), "1.0")
	f.Add([]byte(`{"id":"CVE-1-1","modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"Alpine:v3","name":"x"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"last_affected":"2.0.00_rc1"}]}]}]}`), "2.0-r0")
	f.Fuzz(func(t *testing.T, record []byte, version string) {
		rules, err := Rules(record)
		if err != nil {
			return
		}
		var o advisory.Orders
		for i := range rules {
			first, second := rules[i].Affects(&o)(version), rules[i].Affects(&o)(version)
			if first != second {
				t.Error("two answers")
			}
		}
	})
}

// TestRecorrelationGoesOn stops the job before and after each durable effect
// and runs it again: every rule is taken, in order, and equals asking alone.
func TestRecorrelationGoesOn(t *testing.T) {
	var images []*inventory.Image
	for i := range 50 {
		images = append(images, monitortest.Image(fmt.Sprint("i", i), fmt.Sprint("d", i), fmt.Sprintf("zlib 1.%d", i%7), fmt.Sprintf("curl 8.%d", i%5)))
	}
	inv := portfolio(t, images...)
	var rules []Rule
	for i := range 23 {
		r, err := Rules(monitortest.Record(fmt.Sprintf("CVE-1-%02d", i), []string{"zlib", "curl", "absent"}[i%3], fmt.Sprintf("%d.%d", 1+7*(i%3), i%8)))
		check(t, err)
		rules = append(rules, r...)
	}
	from := func(n uint64) iter.Seq2[Rule, error] {
		return func(yield func(Rule, error) bool) {
			for _, r := range rules[n:] {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
	for fuse := range 14 {
		got := map[uint64][]inventory.ID{}
		effects := 0
		crash := func() error {
			if effects++; effects == fuse {
				return errCrash
			}
			return nil
		}
		revision := fmt.Sprint("r", fuse)
		job := &Recorrelation{
			Name: "test", Revision: revision, Rules: from, Index: inv, Positions: crashing{inv, crash}, Every: 5,
			Take: func(_ context.Context, first uint64, found []Correlation) error {
				if err := crash(); err != nil {
					return err
				}
				for i, c := range found {
					if c.Rule.ID != rules[first+uint64(i)].ID {
						t.Fatalf("rule %d is %s", first+uint64(i), c.Rule.ID)
					}
					got[first+uint64(i)] = slices.Collect(c.Images.All())
				}
				return nil
			},
		}
		n, err := job.Run(t.Context())
		if fuse > 0 && fuse <= 10 && !errors.Is(err, errCrash) {
			t.Fatalf("fuse %d: %d, %v", fuse, n, err)
		}
		if n, err = job.Run(t.Context()); err != nil || n != uint64(len(rules)) {
			t.Fatalf("fuse %d: again: %d, %v", fuse, n, err)
		}
		var orders advisory.Orders
		for i := range rules {
			set, err := inventory.Select(t.Context(), inv, rules[i].Package(), rules[i].Affects(&orders))
			check(t, err)
			if want := slices.Collect(set.All()); !slices.Equal(got[uint64(i)], want) {
				t.Errorf("fuse %d: rule %d: %v, want %v", fuse, i, got[uint64(i)], want)
			}
		}
		before := effects
		if _, err := job.Run(t.Context()); err != nil || effects != before {
			t.Errorf("a revision that was done is done again: %v", err)
		}
	}
}

type crashing struct {
	inventory.Cursors
	crash func() error
}

func (c crashing) SetCursor(ctx context.Context, name string, b []byte) error {
	if err := c.crash(); err != nil {
		return err
	}
	return c.Cursors.SetCursor(ctx, name, b)
}
