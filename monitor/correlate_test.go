package monitor

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
)

func batchOf(t testing.TB, files fstest.MapFS) feed.Batch {
	t.Helper()
	b, err := feed.Dir{FS: files}.Since(t.Context(), nil)
	check(t, err)
	if !b.Complete() {
		t.Fatal(b.Problems)
	}
	return b
}

func portfolio(t testing.TB, images ...*inventory.Image) *inventory.Bolt {
	t.Helper()
	inv, err := inventory.Open(filepath.Join(t.TempDir(), "inventory"))
	check(t, err)
	t.Cleanup(func() { inv.Close() })
	check(t, inv.Import(t.Context(), slices.Values(images)))
	return inv
}

func TestCorrelate(t *testing.T) {
	inv := portfolio(t,
		monitortest.Image("a", "da", "zlib 1.2.13"),
		monitortest.Image("b", "db", "zlib 1.3.1"),
		monitortest.Image("c", "dc", "zlib 1.2.13", "curl 7.88.1"),
		monitortest.Image("d", "dd", "zlib snapshot-of-today"),
	)
	files := fstest.MapFS{
		"1.json": {Data: monitortest.Record("CVE-1", "ZLIB", "1.3")},
		"2.json": {Data: monitortest.Record("CVE-2", "nowhere", "9")},
		"3.json": {Data: monitortest.WithdrawnRecord("CVE-3")},
		"4.json": {Data: []byte(`{"id":"CVE-4","modified":"2026-01-02T03:04:05Z","affected":[
			{"package":{"ecosystem":"Debian:12","name":"x","purl":"pkg:deb/debian/x"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]},
			{"package":{"ecosystem":"","name":"","purl":"pkg:generic/curl"},"ranges":[{"type":"SEMVER","events":[{"introduced":"7.0.0"}]}]}]}`)},
	}
	got, err := Correlate(t.Context(), batchOf(t, files), inv)
	check(t, err)
	var lines []string
	for _, a := range got {
		lines = append(lines, fmt.Sprintf("%s %s %s undecided=%t images=%v", a.Advisory.ID, a.Component, a.Version, a.Undecided, a.Images))
	}
	want := []string{
		"CVE-4 curl 7.88.1 undecided=false images=[3]",
		"CVE-1 zlib 1.2.13 undecided=false images=[1 3]",
		"CVE-1 zlib snapshot-of-today undecided=true images=[4]",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if got, err := Correlate(t.Context(), feed.Batch{}, inv); err != nil || got != nil {
		t.Errorf("an empty batch: %v, %v", got, err)
	}
	if _, err := Correlate(t.Context(), feed.Batch{Changes: []feed.Change{{Kind: feed.New, ID: "x", Record: []byte("{")}}}, inv); err == nil {
		t.Error("a damaged record was correlated")
	}
}

// TestCorrelateEqualsBruteForce compares the index with looking at every image.
func TestCorrelateEqualsBruteForce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	names := []string{"musl", "zlib", "openssl", "curl", "expat"}
	var images []*inventory.Image
	for i := range 200 {
		var parts []string
		for _, n := range names {
			if rnd.IntN(3) > 0 {
				parts = append(parts, fmt.Sprintf("%s 1.%d.%d", n, rnd.IntN(3), rnd.IntN(5)))
			}
		}
		if len(parts) > 0 {
			images = append(images, monitortest.Image(fmt.Sprint("i", i), fmt.Sprint("d", i), parts...))
		}
	}
	inv := portfolio(t, images...)
	files := fstest.MapFS{}
	for i := range 60 {
		id := fmt.Sprintf("CVE-2026-%03d", i)
		files[id+".json"] = &fstest.MapFile{Data: monitortest.Record(id, names[rnd.IntN(len(names))], fmt.Sprintf("1.%d.%d", rnd.IntN(4), rnd.IntN(5)))}
	}
	batch := batchOf(t, files)
	got := map[string]bool{}
	list, err := Correlate(t.Context(), batch, inv)
	check(t, err)
	for _, a := range list {
		for _, id := range a.Images {
			img, err := inv.Image(t.Context(), id)
			check(t, err)
			got[img.Name+" "+a.Component+" "+a.Advisory.ID] = true
		}
	}
	db, err := database(batch.Changes)
	check(t, err)
	want := map[string]bool{}
	for _, img := range images {
		for _, c := range img.Components {
			in, _, err := db.Match(c.Name, c.Version, c.PURL)
			check(t, err)
			for _, m := range in {
				want[img.Name+" "+c.Name+" "+m.Advisory.ID] = true
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 1000 {
		t.Errorf("%d expected: %s", len(want), diff)
	}
}

func TestMemoryIsAFileSystem(t *testing.T) {
	if err := fstest.TestFS(memory{"a.json": []byte("1"), "b.json": []byte("22")}, "a.json", "b.json"); err != nil {
		t.Error(err)
	}
}

// BenchmarkCorrelate is one advisory against 20,000 images of 30 components:
// rare names an advisory about a component of few, hot one of every image.
func BenchmarkCorrelate(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	const n, components = 20_000, 30
	inv := portfolio(b)
	check(b, inv.Import(b.Context(), func(yield func(*inventory.Image) bool) {
		for i := range n {
			img := &inventory.Image{Name: fmt.Sprint("image", i), Digest: fmt.Sprint("sha256:", i)}
			for c := range components {
				name := "hot"
				if c > 0 {
					name = fmt.Sprintf("c%d-%d", c, rnd.IntN(1+c*c*c))
				}
				img.Components = append(img.Components, inventory.Component{
					Name: name, Version: fmt.Sprintf("1.%d.%d", rnd.IntN(4), rnd.IntN(10)), Key: "k", Output: "o",
				})
			}
			if !yield(img) {
				return
			}
		}
	}))
	for _, name := range []string{"hot", "c29-7", "absent"} {
		batch := batchOf(b, fstest.MapFS{"a.json": {Data: monitortest.Record("CVE-1", name, "1.2.0")}})
		b.Run(name, func(b *testing.B) {
			images := 0
			for b.Loop() {
				list, err := Correlate(b.Context(), batch, inv)
				if err != nil {
					b.Fatal(err)
				}
				images = 0
				for _, a := range list {
					images += len(a.Images)
				}
			}
			b.ReportMetric(float64(images), "images")
		})
	}
}
