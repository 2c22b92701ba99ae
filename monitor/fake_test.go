package monitor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
	"github.com/cleanstart/cleanstart/source"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

var errCrash = errors.New("crash")

// world is everything around a step. Its files outlive a crash; its fakes fail
// where a test asks them to.
type world struct {
	t      *testing.T
	dir    string
	files  fstest.MapFS
	now    time.Time
	offers map[string][]string // component → versions that can be built
	specs  map[string]compile.Spec
	stable map[string]bool // components whose output never changes

	rebuilds  map[string]int // plan key → calls that gave an image
	published map[string]map[string]bool
	onRebuild func(Plan) error
	onRecord  func(*compile.Record)

	fuse int // effects until the crash; negative: never
	late bool
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, dir: t.TempDir(), files: fstest.MapFS{}, now: start, fuse: -1,
		offers: map[string][]string{"openssl": {"3.0.17", "3.0.20", "3.0.22", "3.1.0"}, "zlib": {"1.2.14", "1.3.1"}},
		specs:  map[string]compile.Spec{}, stable: map[string]bool{},
		rebuilds: map[string]int{}, published: map[string]map[string]bool{},
	}
	return w
}

// app is the specification of the surgical example: curl needs all others.
func (w *world) app(name string) *compile.Record {
	spec := compile.Spec{Name: name}
	for _, c := range []struct {
		name, version string
		needs         []string
	}{
		{"musl", "1.2.3", nil},
		{"zlib", "1.2.13", []string{"musl"}},
		{"openssl", "3.0.17", []string{"musl"}},
		{"curl", "7.88.1", []string{"musl", "zlib", "openssl"}},
	} {
		spec.Components = append(spec.Components, compile.Component{
			Component: source.Component{Name: c.name, Version: c.version, PURL: "pkg:generic/" + c.name + "@" + c.version}, Needs: c.needs,
		})
	}
	w.specs[name] = spec
	return w.compile(spec)
}

// compile is a build that only counts: an action's key covers version and the
// outputs it needs, an output covers its key.
func (w *world) compile(spec compile.Spec) *compile.Record {
	rec := &compile.Record{Spec: spec}
	outputs := map[string]string{}
	all := spec.Name
	for _, c := range spec.Components {
		id := c.Name + c.Version
		for _, n := range c.Needs {
			id += outputs[n]
		}
		key := digest([]byte(id))
		outputs[c.Name] = digest([]byte("output" + key))
		if w.stable[c.Name] {
			outputs[c.Name] = digest([]byte("output" + c.Name))
		}
		rec.Components = append(rec.Components, compile.ComponentRecord{
			Component: c, Key: key, Result: compile.Result{Output: compile.Output{Digest: outputs[c.Name]}},
		})
		rec.Image.Layers = append(rec.Image.Layers, compile.LayerRecord{Component: c.Name, Digest: digest([]byte("layer" + outputs[c.Name]))})
		all += c.Version + outputs[c.Name]
	}
	rec.Image.Manifest = digest([]byte(all))
	return rec
}

func (w *world) Candidates(_ context.Context, component, _ string) ([]source.Component, error) {
	var list []source.Component
	for _, v := range w.offers[component] {
		list = append(list, source.Component{Name: component, Version: v, PURL: "pkg:generic/" + component + "@" + v, Policy: source.Policy{Least: source.Pinned}})
	}
	return list, nil
}

func (w *world) Rebuild(_ context.Context, plan Plan) (*Rebuilt, error) {
	if err := w.spark(false); err != nil {
		return nil, err
	}
	if w.onRebuild != nil {
		if err := w.onRebuild(plan); err != nil {
			return nil, err
		}
	}
	spec := w.specs[plan.Image]
	spec.Components = slices.Clone(spec.Components)
	for _, u := range plan.Upgrades {
		for i := range spec.Components {
			if spec.Components[i].Name == u.Component {
				spec.Components[i].Component = u.To
			}
		}
	}
	rec := w.compile(spec)
	if w.onRecord != nil {
		w.onRecord(rec)
	}
	w.rebuilds[plan.Key]++
	return &Rebuilt{Record: rec, Executed: plan.Rebuild}, w.spark(true)
}

func (w *world) Publish(_ context.Context, plan Plan, r *Rebuilt) error {
	if err := w.spark(false); err != nil {
		return err
	}
	if w.published[plan.Key] == nil {
		w.published[plan.Key] = map[string]bool{}
	}
	w.published[plan.Key][r.Record.Image.Manifest] = true
	return w.spark(true)
}

// spark counts effects down to the crash. Each effect can be lost before it
// happened, or after it, before the caller heard of it.
func (w *world) spark(after bool) error {
	if w.fuse < 0 || w.late != after {
		return nil
	}
	if w.fuse == 0 {
		return errCrash
	}
	w.fuse--
	return nil
}

// fragile makes every durable effect of a step one that can crash.
type fragile struct {
	w *world
	*inventory.Bolt
	l ledger.Ledger
}

func (f fragile) Append(ctx context.Context, at time.Time, events ...ledger.Event) ([]ledger.Entry, error) {
	if len(events) == 0 {
		return nil, nil
	}
	if err := f.w.spark(false); err != nil {
		if len(events) > 1 { // a part of it may have reached the disk
			f.l.Append(ctx, at, events[:len(events)/2]...)
		}
		return nil, err
	}
	e, err := f.l.Append(ctx, at, events...)
	return e, errors.Join(err, f.w.spark(true))
}

func (f fragile) Entries(ctx context.Context, after uint64) iter.Seq2[ledger.Entry, error] {
	return f.l.Entries(ctx, after)
}

func (f fragile) Swap(ctx context.Context, name, prev string, next *inventory.Image) error {
	if err := f.w.spark(false); err != nil {
		return err
	}
	return errors.Join(f.Bolt.Swap(ctx, name, prev, next), f.w.spark(true))
}

func (f fragile) SetCursor(ctx context.Context, name string, cursor []byte) error {
	if err := f.w.spark(false); err != nil {
		return err
	}
	return errors.Join(f.Bolt.SetCursor(ctx, name, cursor), f.w.spark(true))
}

// open opens inventory and ledger as a new process would.
func (w *world) open(use func(inv *inventory.Bolt, l *ledger.File)) {
	w.t.Helper()
	inv, err := inventory.Open(filepath.Join(w.dir, "inventory"))
	check(w.t, err)
	l, err := ledger.Open(filepath.Join(w.dir, "ledger"))
	check(w.t, err)
	use(inv, l)
	check(w.t, errors.Join(inv.Close(), l.Close()))
}

func (w *world) add(rec *compile.Record) *inventory.Image {
	w.t.Helper()
	img, err := inventory.FromRecord(rec, w.now)
	check(w.t, err)
	w.open(func(inv *inventory.Bolt, _ *ledger.File) { check(w.t, inv.Swap(w.t.Context(), img.Name, "", img)) })
	return img
}

func (w *world) live(name string) (img *inventory.Image) {
	w.t.Helper()
	w.open(func(inv *inventory.Bolt, _ *ledger.File) {
		var err error
		img, err = inv.Live(w.t.Context(), name)
		check(w.t, err)
	})
	return img
}

func (w *world) tryStep(change ...func(*Options)) (r *Result, err error) {
	w.t.Helper()
	w.open(func(inv *inventory.Bolt, l *ledger.File) {
		f := fragile{w, inv, l}
		opts := Options{
			FeedName: "test", Feed: feed.Dir{FS: w.files}, Inventory: f, Cursors: f, Ledger: f,
			Upgrades: w, Rebuilder: w, Now: func() time.Time { return w.now },
		}
		for _, c := range change {
			c(&opts)
		}
		r, err = Step(w.t.Context(), opts)
	})
	return r, err
}

func (w *world) step(change ...func(*Options)) *Result {
	w.t.Helper()
	r, err := w.tryStep(change...)
	check(w.t, err)
	return r
}

// kinds are the kinds of the ledger's entries after the first n.
func (w *world) kinds(n int) (got []string) {
	w.open(func(_ *inventory.Bolt, l *ledger.File) {
		for e, err := range l.Entries(w.t.Context(), uint64(n)) {
			check(w.t, err)
			got = append(got, e.Kind)
		}
	})
	return got
}

func (w *world) advise(id, component, fixed string) {
	w.files[id+".json"] = &fstest.MapFile{Data: monitortest.Record(id, component, fixed)}
}

func (w *world) state() *state {
	s := newState()
	w.open(func(_ *inventory.Bolt, l *ledger.File) {
		for e, err := range l.Entries(w.t.Context(), 0) {
			check(w.t, err)
			check(w.t, s.apply(e))
		}
	})
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func versions(img *inventory.Image) map[string]string {
	m := map[string]string{}
	for _, c := range img.Components {
		m[c.Name] = c.Version
	}
	return m
}

func openKeys(list []Finding) []string {
	var out []string
	for _, f := range list {
		out = append(out, fmt.Sprintf("%s %s %s %s", f.Image, f.Component, f.Version, f.Advisory))
	}
	slices.Sort(out)
	return out
}
