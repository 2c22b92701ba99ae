package monitor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/monitor/embedded"
	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// house is a service around a world: a pipeline that only counts.
type house struct {
	*world
	store   *embedded.Store
	service *Service

	mu        sync.Mutex
	did       []string        // "stage image", in order
	answers   map[string]bool // advisories that do not apply
	failTests bool
	fault     func(Task) error
	vex       map[string][]string // image digest → advisories that a VEX document silences
	tags      map[string]string   // image → digest that users get
}

func newHouse(t *testing.T, change ...func(*Config)) *house {
	h := &house{world: newWorld(t), answers: map[string]bool{}, vex: map[string][]string{}, tags: map[string]string{}}
	h.start(change...)
	return h
}

// start opens the store as a new process would.
func (h *house) start(change ...func(*Config)) {
	h.t.Helper()
	if h.store != nil {
		check(h.t, h.store.Close())
	}
	store, err := embedded.Open(filepath.Join(h.dir, "monitor.db"))
	check(h.t, err)
	h.t.Cleanup(func() { store.Close() })
	h.store = store
	c := Config{
		FeedName: "test", Feed: feed.Dir{FS: h.files}, Store: store, Upgrades: h, Pipeline: h,
		Now: func() time.Time { return h.now },
	}
	for _, f := range change {
		f(&c)
	}
	h.service, err = NewService(h.t.Context(), c)
	check(h.t, err)
}

func (h *house) Do(_ context.Context, t Task) (Output, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	image := ""
	if t.Base != nil {
		image = t.Base.Name
	}
	h.did = append(h.did, string(t.Stage)+" "+image)
	if h.fault != nil {
		if err := h.fault(t); err != nil {
			return Output{}, err
		}
	}
	assess := func() (out []Assessment) {
		for _, f := range t.Findings {
			a := Assessment{Component: f.Component, Advisory: f.Advisory, Status: "affected", Rule: "D9"}
			if h.answers[f.Advisory] {
				a.Status, a.Rule, a.Evidence = "not_affected", "D4", "sha256:e"
			}
			out = append(out, a)
		}
		return out
	}
	switch t.Stage {
	case StageAssess, StageAnalyze:
		return Output{Assessments: assess()}, nil
	case StageVEX:
		for _, a := range assess() {
			if a.silences() {
				h.vex[t.Base.Digest] = append(h.vex[t.Base.Digest], a.Advisory)
			}
		}
	case StageCompile:
		return Output{Executed: t.Plan.Rebuild}, nil
	case StageAssemble:
		spec := h.specs[t.Plan.Image]
		spec.Components = slices.Clone(spec.Components)
		for _, u := range t.Plan.Upgrades {
			for i := range spec.Components {
				if spec.Components[i].Name == u.Component {
					spec.Components[i].Component = u.To
				}
			}
		}
		img, err := inventory.FromRecord(h.compile(spec), h.now)
		return Output{Image: img}, err
	case StageTest:
		if h.failTests {
			return Output{Tests: &Tests{Executed: Suite, Passed: Suite - 1, Failed: []string{"HARD-03: no RELRO"}, Evidence: "sha256:t"}}, nil
		}
		return Output{Tests: &Tests{Executed: Suite, Passed: Suite, Evidence: "sha256:t"}}, nil
	case StagePublish:
		h.tags[t.Plan.Image] = t.Image().Digest
	}
	return Output{}, nil
}

func (h *house) drain() {
	h.t.Helper()
	check(h.t, h.service.Drain(h.t.Context()))
}

// later lets time pass, so that the next turn is due.
func (h *house) later(d time.Duration) {
	h.now = h.now.Add(d)
	h.drain()
}

func (h *house) put(name string) *inventory.Image {
	h.t.Helper()
	img, err := inventory.FromRecord(h.app(name), h.now)
	check(h.t, err)
	check(h.t, h.store.Swap(h.t.Context(), name, "", img))
	h.tags[name] = img.Digest
	return img
}

func (h *house) now1(name string) *inventory.Image {
	h.t.Helper()
	img, err := h.store.Live(h.t.Context(), name)
	check(h.t, err)
	return img
}

func (h *house) entries(kind string) (out []ledger.Entry) {
	h.t.Helper()
	for e, err := range h.store.Entries(h.t.Context(), 0) {
		check(h.t, err)
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func (h *house) jobs(kind string) map[queue.State]int {
	h.t.Helper()
	n := map[queue.State]int{}
	for j, err := range h.store.Jobs(h.t.Context()) {
		check(h.t, err)
		if j.Kind == kind {
			n[j.State]++
		}
	}
	return n
}

func (h *house) job(kind string, state queue.State) *queue.Job {
	h.t.Helper()
	for j, err := range h.store.Jobs(h.t.Context()) {
		check(h.t, err)
		if j.Kind == kind && j.State == state {
			return j
		}
	}
	h.t.Fatalf("no %s is %s; there are %v", kind, state, h.jobs(kind))
	return nil
}

func TestServiceReleases(t *testing.T) {
	h := newHouse(t)
	base := h.put("web")
	h.drain()
	h.advise("CVE-1", "openssl", "3.0.20")
	h.later(time.Hour)
	live := h.now1("web")
	if live.Digest == base.Digest || versions(live)["openssl"] != "3.0.20" || h.tags["web"] != live.Digest {
		t.Fatalf("live is %v, users get %s", versions(live), h.tags["web"])
	}
	want := []string{"verify web", "compile web", "assemble web", "analyze web", "test web", "attest web", "publish web", "announce "}
	if diff := cmp.Diff(want, h.did); diff != "" {
		t.Errorf("stages: %s", diff)
	}
	if n := len(h.entries(KindStage)); n != 9 {
		t.Errorf("%d stages in the ledger, want 9", n)
	}
	released := h.entries(KindReleased)
	if len(released) != 1 {
		t.Fatalf("%d releases", len(released))
	}
	check(t, with(released[0], func(r Release) {
		if !r.Met || !slices.Equal(r.Executed, []string{"openssl", "curl"}) || !slices.Equal(r.Advisories, []string{"CVE-1"}) {
			t.Errorf("release: %+v", r)
		}
	}))
	var n int
	for range h.store.Entries(t.Context(), 0) {
		n++
	}
	h.later(time.Hour)
	h.start()
	h.later(time.Hour)
	for e, err := range h.store.Entries(t.Context(), uint64(n)) {
		check(t, err)
		t.Errorf("a turn with nothing new wrote %s %s", e.Kind, e.Data)
	}
	if len(h.did) != len(want) {
		t.Errorf("something was done again: %q", h.did[len(want):])
	}
}

func TestServiceAnswersByVEX(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Assess = true })
	base := h.put("web")
	h.answers["CVE-1"] = true
	h.advise("CVE-1", "openssl", "3.0.20")
	h.drain()
	if h.now1("web").Digest != base.Digest || len(h.jobs(JobRelease)) != 0 {
		t.Error("an image was rebuilt for what does not affect it")
	}
	if diff := cmp.Diff([]string{"CVE-1"}, h.vex[base.Digest]); diff != "" {
		t.Errorf("VEX: %s", diff)
	}
	a, err := h.service.Admit(t.Context(), "web", base.Digest)
	check(t, err)
	if !a.ZeroCVE() || len(a.Answered) != 1 {
		t.Errorf("admission: %+v", a)
	}
	// The same answer stands until the record changes, and then is asked anew.
	h.later(time.Hour)
	if n := len(h.entries(KindAssessed)); n != 1 {
		t.Errorf("%d answers", n)
	}
	h.answers["CVE-1"] = false
	h.advise("CVE-1", "openssl", "3.0.22")
	h.later(time.Hour)
	if got := versions(h.now1("web"))["openssl"]; got != "3.0.22" {
		t.Errorf("after the record changed, OpenSSL is %s", got)
	}
}

// TestServiceBelievesNoHalfAnswer has an analysis answer without evidence, and
// not at all.
func TestServiceBelievesNoHalfAnswer(t *testing.T) {
	f := Finding{Component: "openssl", Advisory: "CVE-1", Aliases: []string{"GHSA-1"}}
	yes := Assessment{Component: "openssl", Advisory: "GHSA-1", Status: "not_affected", Rule: "D4", Evidence: "sha256:e"}
	for _, c := range []struct {
		name string
		said []Assessment
		want bool
	}{
		{"whole", []Assessment{yes}, true},
		{"nothing", nil, false},
		{"of another component", []Assessment{{Component: "zlib", Advisory: "CVE-1", Status: "not_affected", Rule: "D4", Evidence: "x"}}, false},
		{"no rule", []Assessment{{Component: "openssl", Advisory: "CVE-1", Status: "not_affected", Evidence: "x"}}, false},
		{"no evidence", []Assessment{{Component: "openssl", Advisory: "CVE-1", Status: "not_affected", Rule: "D4"}}, false},
		{"under investigation", []Assessment{{Component: "openssl", Advisory: "CVE-1", Status: "under_investigation", Rule: "D8", Evidence: "x"}}, false},
		{"two that differ", []Assessment{yes, {Component: "openssl", Advisory: "CVE-1", Status: "affected", Rule: "D9"}}, false},
		{"two that differ, turned", []Assessment{{Component: "openssl", Advisory: "CVE-1", Status: "affected", Rule: "D9"}, yes}, false},
	} {
		if got := answer(f, c.said).Silenced; got != c.want {
			t.Errorf("%s: silenced is %t", c.name, got)
		}
	}
}

func TestServiceTestsStopARelease(t *testing.T) {
	h := newHouse(t)
	base := h.put("web")
	h.failTests = true
	h.advise("CVE-1", "openssl", "3.0.20")
	h.drain()
	h.later(time.Hour)
	if h.now1("web").Digest != base.Digest || h.tags["web"] != base.Digest || slices.Contains(h.did, "attest web") {
		t.Fatal("an image with a failed test was released")
	}
	incidents := h.entries(KindIncident)
	if len(incidents) != 1 || !strings.Contains(string(incidents[0].Data), "no RELRO") {
		t.Fatalf("incidents: %v", incidents)
	}
	j := h.job(JobRelease, queue.Failed)
	h.failTests = false
	if err := h.service.Order(t.Context(), OrderEvent{Order: OrderRetry, On: j.Key}); err == nil {
		t.Error("an order of nobody was obeyed")
	}
	check(t, h.service.Order(t.Context(), OrderEvent{Order: OrderRetry, On: j.Key, By: "ann", Reason: "the test was wrong"}))
	h.drain()
	if versions(h.now1("web"))["openssl"] != "3.0.20" {
		t.Error("it was not tried again")
	}
}

func TestOutputsThatStop(t *testing.T) {
	base := &inventory.Image{}
	for name, o := range map[string]Output{
		"no outcome": {}, "fewer tests": {Tests: &Tests{Executed: 77, Passed: 77}}, "one skipped": {Tests: &Tests{Executed: 78, Passed: 77}},
		"one failed": {Tests: &Tests{Executed: 78, Passed: 78, Failed: []string{"x"}}}, "more than there are": {Tests: &Tests{Executed: 79, Passed: 79}},
	} {
		if err := o.check(StageTest, nil, base); !errors.Is(err, ErrFinal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&Output{}).check(StageAssemble, &Plan{}, base); !errors.Is(err, ErrFinal) {
		t.Errorf("no image: %v", err)
	}
}

func TestServiceTriesAgain(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Attempts = 3 })
	h.put("web")
	h.advise("CVE-1", "openssl", "3.0.20")
	h.fault = func(t Task) error {
		if t.Stage == StageVerify {
			return errors.New("the archive is away")
		}
		return nil
	}
	h.drain()
	if n := len(h.entries(KindFailed)); n != 1 {
		t.Fatalf("%d failures at once", n)
	}
	h.later(time.Minute)
	h.later(2 * time.Minute)
	if len(h.entries(KindFailed)) != 3 || len(h.entries(KindIncident)) != 1 {
		t.Errorf("%d failures, %d incidents", len(h.entries(KindFailed)), len(h.entries(KindIncident)))
	}
	h.fault = nil
	check(t, h.service.Order(t.Context(), OrderEvent{Order: OrderRetry, On: h.job(JobBuild, queue.Failed).Key, By: "ann"}))
	h.drain()
	if versions(h.now1("web"))["openssl"] != "3.0.20" {
		t.Error("the release did not go on after its build")
	}
}

func TestServiceWaitsForApproval(t *testing.T) {
	for _, dry := range []bool{false, true} {
		h := newHouse(t, func(c *Config) {
			c.DryRun = dry
			c.Approve = func(Plan) bool { return true }
		})
		base := h.put("web")
		h.advise("CVE-1", "openssl", "3.0.20")
		h.drain()
		h.later(time.Hour)
		if h.now1("web").Digest != base.Digest || !slices.Contains(h.did, "test web") || slices.Contains(h.did, "attest web") {
			t.Fatalf("dry %t: did %q", dry, h.did)
		}
		j := h.job(JobRelease, queue.Held)
		check(t, h.service.Order(t.Context(), OrderEvent{Order: OrderApprove, On: j.Key, By: "ann"}))
		h.drain()
		if h.now1("web").Digest == base.Digest {
			t.Errorf("dry %t: it was approved and not released", dry)
		}
		if n := slices.Index(h.did, "test web"); slices.Contains(h.did[n+1:], "test web") {
			t.Error("it was tested twice")
		}
	}
}

func TestServicePause(t *testing.T) {
	for _, on := range []string{"web", ""} {
		h := newHouse(t)
		h.put("web")
		check(t, h.service.Order(t.Context(), OrderEvent{Order: OrderPause, On: on, By: "ann", Reason: "freeze"}))
		h.advise("CVE-1", "openssl", "3.0.20")
		h.drain()
		h.later(time.Hour)
		if slices.Contains(h.did, "publish web") {
			t.Fatalf("on %q: released while it was paused", on)
		}
		check(t, h.service.Order(t.Context(), OrderEvent{Order: OrderResume, On: on, By: "ann"}))
		h.later(time.Hour)
		if versions(h.now1("web"))["openssl"] != "3.0.20" {
			t.Errorf("on %q: not released after it was resumed", on)
		}
	}
}

// TestServiceOrder has two images wait, the later one with a flaw that is
// exploited.
func TestServiceOrder(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.Exploited = func(cve string) (feed.Exploitation, bool) {
			return feed.Exploitation{Known: start}, cve == "CVE-2"
		}
	})
	h.put("a")
	h.put("b")
	h.advise("CVE-1", "openssl", "3.0.20")
	h.drain()
	h.did = nil
	h.advise("CVE-1", "openssl", "3.0.22")
	h.advise("CVE-2", "zlib", "1.2.14")
	h.drain()
	h.later(time.Hour)
	got := []int{h.service.rank(Finding{Advisory: "CVE-2"}), h.service.rank(Finding{Advisory: "GHSA", Aliases: []string{"CVE-2"}}), h.service.rank(Finding{Advisory: "CVE-1"})}
	if diff := cmp.Diff([]int{11, 11, 40}, got); diff != "" {
		t.Error(diff)
	}
}

func TestServiceImageReplacedByHand(t *testing.T) {
	h := newHouse(t)
	base := h.put("web")
	h.advise("CVE-1", "openssl", "3.0.20")
	h.fault = func(task Task) error {
		if task.Stage == StageTest {
			other := *base
			other.Digest = "sha256:by-hand"
			return h.store.Swap(t.Context(), "web", base.Digest, &other)
		}
		return nil
	}
	h.drain()
	if h.now1("web").Digest != "sha256:by-hand" && !slices.Contains(h.did, "test web") {
		t.Errorf("live is %s", h.now1("web").Digest)
	}
	if h.jobs(JobRelease)[queue.Cancelled] != 1 {
		t.Errorf("releases: %v", h.jobs(JobRelease))
	}
	h.fault = nil
	h.later(time.Hour)
	if versions(h.now1("web"))["openssl"] != "3.0.20" {
		t.Error("the image that came by hand was not mended")
	}
}

func TestServiceAdvisoryDuringTheBuild(t *testing.T) {
	h := newHouse(t)
	h.put("web")
	h.advise("CVE-1", "openssl", "3.0.20")
	h.fault = func(task Task) error {
		if task.Stage == StageTest {
			h.advise("CVE-1", "openssl", "3.0.22")
			h.fault = nil
		}
		return nil
	}
	h.drain()
	h.later(time.Hour)
	if got := versions(h.now1("web"))["openssl"]; got != "3.0.22" || len(h.entries(KindReleased)) != 1 {
		t.Errorf("OpenSSL is %s after %d releases", got, len(h.entries(KindReleased)))
	}
}

func TestAdmission(t *testing.T) {
	h := newHouse(t)
	base := h.put("web")
	admit := func(digest string) *Admission {
		t.Helper()
		a, err := h.service.Admit(t.Context(), "web", digest)
		check(t, err)
		return a
	}
	if a := admit(base.Digest); a.ZeroCVE() || a.Err() != nil {
		t.Errorf("before the feed was ever read: zero %t, %v", a.ZeroCVE(), a.Err())
	}
	h.drain()
	if a := admit(base.Digest); !a.ZeroCVE() || a.Err() != nil {
		t.Errorf("an image without findings: %+v", a)
	}
	// Nobody calls the scheduler any more, and only the clock goes on.
	h.now = h.now.Add(2*time.Hour + time.Minute)
	if a := admit(base.Digest); a.ZeroCVE() || !a.Silent {
		t.Error("a feed that nobody read for two hours still attests zero")
	}
	h.advise("CVE-1", "curl", "8.0.0")
	h.drain()
	if a := admit(base.Digest); a.ZeroCVE() || a.Err() != nil || len(a.Open) != 1 {
		t.Errorf("an open finding: %+v", a)
	}
	h.now = h.now.Add(25 * time.Hour)
	if a := admit(base.Digest); a.Err() == nil || len(a.Overdue) != 1 {
		t.Errorf("past the deadline, with a dead scheduler: %+v", a)
	}
	h.advise("CVE-1", "openssl", "3.0.20")
	h.drain()
	if a := admit(base.Digest); a.Err() == nil {
		t.Error("an image that was replaced for a flaw is admitted")
	}
	if a := admit(h.now1("web").Digest); a.Err() != nil || !a.ZeroCVE() {
		t.Errorf("the release: %+v, %v", a, a.Err())
	}
	if a := admit("sha256:unknown"); a.Err() == nil {
		t.Error("an image that nobody knows is admitted")
	}
}

type brokenFeed struct{ err error }

func (b *brokenFeed) Since(context.Context, []byte) (feed.Batch, error) { return feed.Batch{}, b.err }

func TestServiceSilentFeed(t *testing.T) {
	h := newHouse(t)
	h.put("web")
	h.drain()
	h.start(func(c *Config) { c.Feed = &brokenFeed{errors.New("no route to host")} })
	for range 4 {
		h.now = h.now.Add(time.Hour)
		if err := h.service.Drain(t.Context()); err == nil {
			t.Fatal("a feed that cannot be read is no error")
		}
	}
	if n := len(h.entries(KindSilent)); n != 1 {
		t.Errorf("silence was noted %d times", n)
	}
	h.start()
	h.later(time.Hour)
	if n := len(h.entries(KindHeard)); n != 1 {
		t.Errorf("its end was noted %d times", n)
	}
}

func TestServiceHoldsTheFeed(t *testing.T) {
	h := newHouse(t)
	h.put("web")
	for i := range 30 {
		h.advise(fmt.Sprintf("CVE-%d", i+1), "curl", "8.0.0")
	}
	h.drain()
	open := len(h.service.turn.open)
	clear(h.files)
	h.later(time.Hour)
	v, err := h.service.View(t.Context())
	check(t, err)
	if v.Feed.Held == "" || len(h.service.turn.open) != open || open != 30 {
		t.Fatalf("held %q, open %d of %d", v.Feed.Held, len(h.service.turn.open), open)
	}
	check(t, h.service.Order(t.Context(), OrderEvent{Order: OrderAccept, On: v.Feed.Key, By: "ann"}))
	h.later(time.Hour)
	if v, err = h.service.View(t.Context()); err != nil || v.Feed.Held != "" {
		t.Errorf("accepted and still held: %q, %v", v.Feed.Held, err)
	}
}

func TestServiceRecorrelates(t *testing.T) {
	h := newHouse(t)
	h.put("web")
	h.advise("CVE-1", "curl", "8.0.0")
	h.drain()
	// Something was missed: the finding is not there.
	st := h.service.stepper(h.service.turn)
	var missed Finding
	for _, f := range st.state.open {
		missed = f
	}
	check(t, st.record(t.Context(), st.retract(missed, "lost")))
	h.later(time.Hour)
	if len(h.service.turn.open) != 0 {
		t.Fatal("it was found without being looked for")
	}
	check(t, h.service.Recorrelate(t.Context()))
	if len(h.service.turn.open) != 1 {
		t.Errorf("open: %v", h.service.turn.open)
	}
	n := len(h.entries(KindFinding))
	check(t, h.service.Recorrelate(t.Context()))
	if len(h.entries(KindFinding)) != n {
		t.Error("a second time it wrote again")
	}
}

func TestServiceRefuses(t *testing.T) {
	if _, err := NewService(t.Context(), Config{}); err == nil {
		t.Error("a service without a feed was made")
	}
	h := newHouse(t)
	for _, o := range []OrderEvent{{Order: "x", By: "ann"}, {Order: OrderApprove, On: "none", By: "ann"}, {Order: OrderCancel, On: h.service.turnKey(), By: "ann"}} {
		if h.service.Order(t.Context(), o) == nil {
			t.Errorf("%+v was obeyed", o)
		}
	}
}
