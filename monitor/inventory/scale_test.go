//go:build linux

package inventory_test

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/inventory/packed"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
)

var scale = flag.String("scale", "0.01", "part of the full size that BenchmarkScale runs, or full for 0.01, 0.1 and 1 one after the other")

// raced is set where the race detector runs, which costs ten times the time.
var raced bool

// figures are what one size costs.
type figures struct {
	scale        float64
	stats        packed.Stats
	made         cost // making the portfolio alone, which is in load too
	load, reopen cost
	peak         int64 // bytes resident, of the whole process
	first, warm  []time.Duration
	everywhere   []time.Duration
	everyCount   int
	images       []time.Duration // one image read by its number
	add, replace []time.Duration
	retire       []time.Duration
	correlate    cost
	advisories   int
	affected     int64 // pairs of advisory and image
	compact      cost
}

// cost is wall time, and the processor time of all threads, which says what the
// wall time would be on a machine that nobody shares.
type cost struct{ wall, cpu time.Duration }

func (c cost) String() string {
	return fmt.Sprintf("%s, %s of processors", c.wall.Round(time.Millisecond), c.cpu.Round(time.Millisecond))
}

func measure(do func() error) (cost, error) {
	wall, cpu := time.Now(), cpuTime()
	err := do()
	return cost{time.Since(wall), cpuTime() - cpu}, err
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resetPeak and peakMemory are the kernel's high-water mark.
func resetPeak() {
	runtime.GC()
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // best effort: where it is refused, the mark is older and higher
}

func peakMemory() int64 {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// rule is an advisory of the portfolio as the monitor knows it.
func rule(a monitortest.Advisory) monitor.Rule {
	r := monitor.Rule{Affected: advisory.Affected{ID: a.ID, Ecosystem: a.Package.Ecosystem, Name: a.Package.Name, PURL: a.Package.PURL, Ranges: []advisory.Range{{Type: "ECOSYSTEM"}}}}
	for i, v := range a.Events {
		e := advisory.Event{Introduced: v}
		if i%2 == 1 {
			e = advisory.Event{Fixed: v}
		}
		r.Ranges[0].Events = append(r.Ranges[0].Events, e)
	}
	return r
}

// run takes the measures of one size in a directory of its own.
func run(ctx context.Context, dir string, part float64, logf func(string, ...any)) (f figures, err error) {
	f.scale = part
	p := monitortest.NewPortfolio(part)
	f.advisories = p.Advisories
	resetPeak()
	var sources []packed.Source
	parts := runtime.GOMAXPROCS(0)
	for i := range parts {
		sources = append(sources, p.Part(i*p.Images/parts, (i+1)*p.Images/parts))
	}
	f.made, _ = measure(func() error {
		var wg sync.WaitGroup
		for _, s := range sources {
			wg.Go(func() {
				for range s {
				}
			})
		}
		wg.Wait()
		return nil
	})
	f.load, err = measure(func() (err error) {
		f.stats, err = packed.Load(ctx, dir, packed.LoadOptions{}, sources...)
		return err
	})
	if err != nil {
		return f, err
	}
	logf("loaded: %+v in %v", f.stats, f.load)
	var inv *packed.Inventory
	if f.reopen, err = measure(func() (err error) { inv, err = packed.Open(dir); return err }); err != nil {
		return f, err
	}
	defer func() { inv.Close() }()
	if f.first, err = f.lookUps(ctx, inv, p); err != nil {
		return f, err
	}
	if f.warm, err = f.lookUps(ctx, inv, p); err != nil {
		return f, err
	}
	every := rule(p.Advisory(0))
	for range 20 {
		began := time.Now()
		set, err := inv.Select(ctx, every.Package(), every.Affects(&advisory.Orders{}))
		if err != nil {
			return f, err
		}
		f.everyCount = set.Len()
		f.everywhere = append(f.everywhere, time.Since(began))
	}
	if err := f.changes(ctx, inv, p); err != nil {
		return f, err
	}
	logf("looked up and changed; correlating %d advisories", p.Advisories)
	job := &monitor.Recorrelation{
		Name: "scale", Revision: "1", Index: inv, Positions: inv,
		Rules: func(from uint64) iter.Seq2[monitor.Rule, error] {
			return func(yield func(monitor.Rule, error) bool) {
				for i := int(from); i < p.Advisories; i++ {
					if !yield(rule(p.Advisory(i)), nil) {
						return
					}
				}
			}
		},
		Take: func(_ context.Context, _ uint64, found []monitor.Correlation) error {
			for _, c := range found {
				f.affected += int64(c.Images.Len())
			}
			return nil
		},
	}
	if f.correlate, err = measure(func() error { _, err := job.Run(ctx); return err }); err != nil {
		return f, err
	}
	f.peak = peakMemory()
	logf("correlated in %v; compacting\n%s", f.correlate, table([]figures{f}))
	f.compact, err = measure(func() error { _, err := inv.Compact(ctx, packed.LoadOptions{}); return err })
	return f, err
}

// lookUps asks for the affected images of 20,000 advisories.
func (f *figures) lookUps(ctx context.Context, inv *packed.Inventory, p *monitortest.Portfolio) ([]time.Duration, error) {
	const n = 20_000
	times := make([]time.Duration, 0, n)
	orders := &advisory.Orders{}
	for i := range n {
		r := rule(p.Advisory((1 + i*7919) % 800_000)) // any number is an advisory
		began := time.Now()
		if _, err := inv.Select(ctx, r.Package(), r.Affects(orders)); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}

// changes adds, replaces and retires images, each durably.
func (f *figures) changes(ctx context.Context, inv *packed.Inventory, p *monitortest.Portfolio) error {
	for i := range 200 {
		img := *p.Image(i)
		img.Name += "-new"
		old := p.Image(i * (p.Images / 400))
		next := *old
		next.Digest += "-next"
		gone := p.Image(i*(p.Images/400) + 1)
		for _, c := range []struct {
			to         *[]time.Duration
			name, prev string
			next       *inventory.Image
		}{
			{&f.add, img.Name, "", &img}, {&f.replace, old.Name, old.Digest, &next}, {&f.retire, gone.Name, gone.Digest, nil},
		} {
			began := time.Now()
			if err := inv.Swap(ctx, c.name, c.prev, c.next); err != nil {
				return err
			}
			*c.to = append(*c.to, time.Since(began))
		}
		began := time.Now()
		if _, err := inv.Image(ctx, inventory.ID(1+i*(p.Images/201)+3)); err != nil {
			return err
		}
		f.images = append(f.images, time.Since(began))
	}
	return nil
}

func at(list []time.Duration, part float64) time.Duration {
	s := slices.Sorted(slices.Values(list))
	return s[min(len(s)-1, int(float64(len(s))*part))].Round(100 * time.Nanosecond)
}

// table prints the sizes beside each other; the last column is what the issue
// asks of the full size.
func table(all []figures) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(what, want string, of func(figures) string) {
		fmt.Fprintf(w, "%s\t", what)
		for _, f := range all {
			fmt.Fprintf(w, "%s\t", of(f))
		}
		fmt.Fprintf(w, "%s\t\n", want)
	}
	count := func(of func(figures) int64) func(figures) string {
		return func(f figures) string { return strconv.FormatInt(of(f), 10) }
	}
	pct := func(of func(figures) []time.Duration, part float64) func(figures) string {
		return func(f figures) string { return at(of(f), part).String() }
	}
	perSecond := func(n int64, d time.Duration) string {
		return fmt.Sprintf("%.2f M/s", float64(n)/1e6/d.Seconds())
	}
	line("", "asked", func(f figures) string { return fmt.Sprintf("%g %%", 100*f.scale) })
	line("images", "834097", count(func(f figures) int64 { return f.stats.Images }))
	line("records", "281000000", count(func(f figures) int64 { return f.stats.Records }))
	line("distinct", "11.5 M", count(func(f figures) int64 { return f.stats.Pairs }))
	line("advisories", "809425", count(func(f figures) int64 { return int64(f.advisories) }))
	line("load", "", func(f figures) string { return f.load.wall.Round(time.Millisecond).String() })
	line("load, processor", "", func(f figures) string { return f.load.cpu.Round(time.Millisecond).String() })
	line("records loaded", "≥ 2 M/s", func(f figures) string { return perSecond(f.stats.Records, f.load.wall) })
	line("making them, in it", "", func(f figures) string { return f.made.wall.Round(time.Millisecond).String() })
	line("without that", "", func(f figures) string { return perSecond(f.stats.Records, f.load.wall-f.made.wall) })
	line("without that, two free cores", "", func(f figures) string { return perSecond(f.stats.Records, (f.load.cpu-f.made.cpu)/2) })
	line("bytes a record", "≤ 5", func(f figures) string { return fmt.Sprintf("%.2f", float64(f.stats.Bytes)/float64(f.stats.Records)) })
	line("peak memory", "< 8192 MiB", func(f figures) string { return fmt.Sprintf("%d MiB", f.peak>>20) })
	line("reopen", "< 3s", func(f figures) string { return f.reopen.wall.Round(time.Millisecond).String() })
	line("look-up, first, p50", "", pct(func(f figures) []time.Duration { return f.first }, 0.5))
	line("look-up, first, p99", "", pct(func(f figures) []time.Duration { return f.first }, 0.99))
	line("look-up, p50", "< 100µs", pct(func(f figures) []time.Duration { return f.warm }, 0.5))
	line("look-up, p99", "< 1ms", pct(func(f figures) []time.Duration { return f.warm }, 0.99))
	line("look-up, all images, p50", "< 3ms", pct(func(f figures) []time.Duration { return f.everywhere }, 0.5))
	line("its images", "all", count(func(f figures) int64 { return int64(f.everyCount) }))
	line("image by number, p50", "", pct(func(f figures) []time.Duration { return f.images }, 0.5))
	line("add, p50", "< 5ms", pct(func(f figures) []time.Duration { return f.add }, 0.5))
	line("add, p99", "", pct(func(f figures) []time.Duration { return f.add }, 0.99))
	line("replace, p50", "< 5ms", pct(func(f figures) []time.Duration { return f.replace }, 0.5))
	line("retire, p50", "< 5ms", pct(func(f figures) []time.Duration { return f.retire }, 0.5))
	line("re-correlation", "< 60s", func(f figures) string { return f.correlate.wall.Round(time.Millisecond).String() })
	line("re-correlation, processor", "", func(f figures) string { return f.correlate.cpu.Round(time.Millisecond).String() })
	line("pairs found", "", count(func(f figures) int64 { return f.affected }))
	line("compaction", "", func(f figures) string { return f.compact.wall.Round(time.Millisecond).String() })
	line("compaction, processor", "", func(f figures) string { return f.compact.cpu.Round(time.Millisecond).String() })
	w.Flush()
	return b.String()
}

// BenchmarkScale prints what a portfolio of the size in -scale costs. It runs
// once, whatever the benchmark's time.
func BenchmarkScale(b *testing.B) {
	sizes := []float64{0.01, 0.1, 1}
	if *scale != "full" {
		s, err := strconv.ParseFloat(*scale, 64)
		if err != nil || s <= 0 || s > 1 {
			b.Fatalf("-scale %q is neither full nor a part of it", *scale)
		}
		sizes = []float64{s}
	}
	if b.N > 1 {
		return // the figures are there
	}
	var all []figures
	for _, s := range sizes {
		dir, err := os.MkdirTemp(b.TempDir(), "")
		if err != nil {
			b.Fatal(err)
		}
		f, err := run(b.Context(), dir, s, func(format string, args ...any) { fmt.Printf("\n"+format, args...) })
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, f)
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
	fmt.Printf("\n%s", table(all)) // a log of a benchmark is cut
	last := all[len(all)-1]
	b.ReportMetric(float64(last.stats.Records)/last.load.wall.Seconds(), "records/s")
	b.ReportMetric(float64(last.stats.Bytes)/float64(last.stats.Records), "B/record")
	b.ReportMetric(float64(at(last.warm, 0.5).Nanoseconds()), "ns/lookup")
}

// TestScale runs one in a hundred of the full size, and compares some answers
// with looking at every image.
func TestScale(t *testing.T) {
	part := 0.01
	if testing.Short() || raced {
		part = 0.001
	}
	dir := t.TempDir()
	f, err := run(t.Context(), filepath.Join(dir, "measured"), part, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", table([]figures{f}))
	// One image more than there was for each that was added; as many were retired.
	if f.everyCount != int(f.stats.Images) {
		t.Errorf("a package that is in every image is in %d of %d", f.everyCount, f.stats.Images)
	}
	p := monitortest.NewPortfolio(part)
	inv := filepath.Join(dir, "compared")
	if _, err := packed.Load(t.Context(), inv, packed.LoadOptions{Memory: 8 << 20}, p.Part(0, p.Images/3), p.Part(p.Images/3, p.Images)); err != nil {
		t.Fatal(err)
	}
	index, err := packed.Open(inv)
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	orders := &advisory.Orders{}
	type question struct {
		monitor.Rule
		affects func(version string) bool
	}
	rules := map[inventory.Package][]question{}
	for i := range 2000 {
		r := rule(p.Advisory(i))
		rules[r.Package()] = append(rules[r.Package()], question{r, r.Affects(orders)})
	}
	want := map[string]inventory.List{}
	id := inventory.ID(0)
	for img, err := range p.Part(0, p.Images) {
		if err != nil {
			t.Fatal(err)
		}
		id++
		for _, c := range img.Components {
			for _, r := range rules[inventory.Package{Ecosystem: c.Ecosystem, Name: c.Name}] {
				if r.affects(c.Version) {
					want[r.ID] = append(want[r.ID], id)
				}
			}
		}
	}
	for _, list := range rules {
		for _, r := range list {
			set, err := index.Select(t.Context(), r.Package(), r.affects)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(slices.Collect(set.All()), want[r.ID]) {
				t.Errorf("%s: %d images, want %d", r.ID, set.Len(), len(want[r.ID]))
			}
		}
	}
	if len(want) < 100 {
		t.Errorf("only %d advisories affect an image", len(want))
	}
}
