package inventory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/source"
)

func image(i int, components int) *Image {
	img := &Image{Name: fmt.Sprintf("image-%07d", i), Digest: fmt.Sprintf("sha256:%064x", i)}
	for c := range components {
		img.Components = append(img.Components, Component{
			Name: fmt.Sprintf("component-%d", c), Version: fmt.Sprintf("1.%d", (i*7+c)%13), Key: "k", Output: "o",
		})
	}
	return img
}

func open(t testing.TB) *Bolt {
	t.Helper()
	b, err := Open(filepath.Join(t.TempDir(), "inventory"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestImportEqualsSwaps(t *testing.T) {
	const n = 300
	bulk, single := open(t), open(t)
	err := bulk.Import(t.Context(), func(yield func(*Image) bool) {
		for i := range n {
			if !yield(image(i, 5)) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := single.Swap(t.Context(), image(i, 5).Name, "", image(i, 5)); err != nil {
			t.Fatal(err)
		}
	}
	for c := range 5 {
		a, errA := bulk.Versions(t.Context(), fmt.Sprintf("component-%d", c), "")
		b, errB := single.Versions(t.Context(), fmt.Sprintf("component-%d", c), "")
		if errA != nil || errB != nil || !slices.EqualFunc(a, b, func(x, y Posting) bool {
			return x.Version == y.Version && slices.Equal(x.Images, y.Images)
		}) {
			t.Errorf("component %d: %v %v, imported and added differ", c, errA, errB)
		}
	}
	if err := bulk.Import(t.Context(), slices.Values([]*Image{{Name: "bad"}})); err == nil {
		t.Error("an image without components was imported")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "other")
	b, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name); err == nil {
		t.Error("an inventory was opened twice")
	}
	err = b.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put([]byte("format"), []byte("other/2")) })
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := Open(name); err == nil {
		t.Error("an inventory of another format was opened")
	}
	garbage := filepath.Join(dir, "garbage")
	os.WriteFile(garbage, slices.Repeat([]byte("x"), 1<<16), 0o644)
	if _, err := Open(garbage); err == nil {
		t.Error("garbage was opened")
	}
}

// TestDamageIsAnError: an index that lost its way must not look like a
// component that is nowhere.
func TestDamageIsAnError(t *testing.T) {
	b := open(t)
	if err := b.Import(t.Context(), slices.Values([]*Image{image(1, 1)})); err != nil {
		t.Fatal(err)
	}
	err := b.db.Update(func(tx *bbolt.Tx) error {
		k, _ := tx.Bucket(bucketPostings).Cursor().First()
		return tx.Bucket(bucketPostings).Put(k, []byte("odd"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Versions(t.Context(), "component-0", ""); err == nil {
		t.Error("a damaged posting was read as if it were whole")
	}
}

func TestFromRecord(t *testing.T) {
	rec := &compile.Record{Spec: compile.Spec{Name: "web"}}
	rec.Image.Manifest = "sha256:d"
	rec.Image.Layers = []compile.LayerRecord{{Component: "zlib", Digest: "sha256:l"}}
	rec.Components = []compile.ComponentRecord{{
		Component: compile.Component{Component: source.Component{Name: "zlib", Version: "1.2.13", PURL: "pkg:generic/zlib@1.2.13"}},
		Key:       "k", Result: compile.Result{Output: compile.Output{Digest: "o"}},
	}}
	img, err := FromRecord(rec, rec.Epoch)
	if err != nil || img.Components[0].Layer != "sha256:l" || img.Components[0].Output != "o" {
		t.Errorf("FromRecord = %+v, %v", img, err)
	}
	for name, change := range map[string]func(*compile.Record){
		"no name":       func(r *compile.Record) { r.Spec.Name = "" },
		"no manifest":   func(r *compile.Record) { r.Image.Manifest = "" },
		"no key":        func(r *compile.Record) { r.Components[0].Key = "" },
		"no version":    func(r *compile.Record) { r.Components[0].Component.Version = "" },
		"bad purl":      func(r *compile.Record) { r.Components[0].Component.PURL = "zlib" },
		"unknown need":  func(r *compile.Record) { r.Components[0].Component.Needs = []string{"musl"} },
		"no components": func(r *compile.Record) { r.Components = nil },
	} {
		c := *rec
		c.Components = slices.Clone(rec.Components)
		change(&c)
		if _, err := FromRecord(&c, rec.Epoch); err == nil {
			t.Errorf("%s: a record was taken", name)
		}
	}
}

func TestEndedContext(t *testing.T) {
	b := open(t)
	for _, err := range b.All(ended(t)) {
		if err == nil {
			t.Error("All went on after its context ended")
		}
	}
	if err := b.Swap(ended(t), "x", "", image(1, 1)); err == nil || errors.Is(err, ErrConflict) {
		t.Errorf("Swap after its context ended = %v", err)
	}
}

func BenchmarkSwap(b *testing.B) {
	inv := open(b)
	i := 0
	for b.Loop() {
		i++
		img := image(i, 300)
		if err := inv.Swap(b.Context(), img.Name, "", img); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(300*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkVersions looks up a component that every one of 20,000 images has.
func BenchmarkVersions(b *testing.B) {
	inv := open(b)
	const n = 20_000
	err := inv.Import(b.Context(), func(yield func(*Image) bool) {
		for i := range n {
			if !yield(image(i, 30)) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		list, err := inv.Versions(b.Context(), "component-3", "")
		if err != nil || len(list) != 13 {
			b.Fatal(len(list), err)
		}
	}
}
