package monitortest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Image is an image of the given components, each "name version", every one
// needing those before it.
func Image(name, digest string, components ...string) *inventory.Image {
	img := &inventory.Image{Name: name, Digest: digest, Added: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	var needs []string
	for _, c := range components {
		var n, v string
		if _, err := fmt.Sscan(c, &n, &v); err != nil {
			panic(fmt.Sprintf("monitortest: component %q is not a name and a version", c))
		}
		img.Components = append(img.Components, inventory.Component{
			Name: n, Version: v, PURL: "pkg:generic/" + n + "@" + v, Needs: slices.Clone(needs),
			Key: "key " + c, Output: "output " + c, Layer: "layer " + c,
		})
		needs = append(needs, n)
	}
	return img
}

// errs collects what is wrong.
type errs []error

func (e *errs) addf(format string, args ...any) { *e = append(*e, fmt.Errorf(format, args...)) }

// CheckInventory checks an inventory. Open must open the same inventory each
// time, empty at first, and close must let go of it, so that the check can see
// what is durable.
func CheckInventory(ctx context.Context, open func() (inv inventory.Inventory, close func() error, err error)) error {
	inv, closeInv, err := open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	var wrong errs
	lifeOfAnImage(ctx, inv, &wrong)
	foreignImage(ctx, inv, &wrong)
	manyImages(ctx, inv, &wrong)
	swapRace(ctx, inv, &wrong)
	before := snapshot(ctx, inv, &wrong)
	if err := closeInv(); err != nil {
		wrong.addf("close: %w", err)
	}
	inv, closeInv, err = open()
	if err != nil {
		wrong.addf("open again: %w", err)
		return errors.Join(wrong...)
	}
	if diff := cmp.Diff(before, snapshot(ctx, inv, &wrong)); diff != "" {
		wrong.addf("opened again, the inventory is another:\n%s", diff)
	}
	if err := closeInv(); err != nil {
		wrong.addf("close: %w", err)
	}
	return errors.Join(wrong...)
}

func lifeOfAnImage(ctx context.Context, inv inventory.Inventory, wrong *errs) {
	one, two := Image("app", "d1", "musl 1.2.3", "zlib 1.2.13"), Image("app", "d2", "musl 1.2.3", "zlib 1.3.1")
	swap := func(what, prev string, next *inventory.Image, want error) {
		if err := inv.Swap(ctx, "app", prev, next); !errors.Is(err, want) {
			wrong.addf("%s: Swap = %w, want %v", what, err, want)
		}
	}
	if _, err := inv.Live(ctx, "app"); !errors.Is(err, inventory.ErrNotFound) {
		wrong.addf("Live of an unknown name = %w, want ErrNotFound", err)
	}
	swap("add over something", "d0", one, inventory.ErrConflict)
	swap("add", "", one, nil)
	swap("add again", "", one, nil)
	first, err := inv.Live(ctx, "app")
	if err != nil {
		wrong.addf("Live after add: %w", err)
		return
	}
	if diff := cmp.Diff(one.Components, first.Components); diff != "" || first.Digest != "d1" || !first.Added.Equal(one.Added) {
		wrong.addf("Live gives another image than was added: %s", diff)
	}
	holds(ctx, inv, wrong, "ZLIB", "", "zlib 1.2.13 [d1]")
	holds(ctx, inv, wrong, "", "pkg:generic/zlib@9", "zlib 1.2.13 [d1]")
	holds(ctx, inv, wrong, "zlib", "pkg:generic/musl", "musl 1.2.3 [d1]", "zlib 1.2.13 [d1]")
	holds(ctx, inv, wrong, "zli", "")
	holds(ctx, inv, wrong, "", "pkg:deb/zlib")
	swap("replace of another", "d9", two, inventory.ErrConflict)
	swap("replace", "d1", two, nil)
	swap("replace again", "d1", two, nil)
	holds(ctx, inv, wrong, "zlib", "", "zlib 1.3.1 [d2]")
	holds(ctx, inv, wrong, "musl", "", "musl 1.2.3 [d2]")
	if _, err := inv.Image(ctx, first.ID); !errors.Is(err, inventory.ErrNotFound) {
		wrong.addf("Image of a replaced revision = %w, want ErrNotFound", err)
	}
	swap("back to a retired one", "d2", one, inventory.ErrRetired)
	swap("retire of another", "d9", nil, inventory.ErrConflict)
	swap("retire", "d2", nil, nil)
	swap("retire again", "d2", nil, nil)
	swap("add of a retired one", "", two, inventory.ErrRetired)
	holds(ctx, inv, wrong, "musl", "")
	three := Image("app", "d3", "musl 1.2.3")
	swap("add after retirement", "", three, nil)
	if third, err := inv.Live(ctx, "app"); err != nil || third.ID == first.ID {
		wrong.addf("a number was reused, or the image is not live: %v", err)
	}
	for what, bad := range map[string]*inventory.Image{
		"without digest":     Image("bad", "", "a 1"),
		"without components": Image("bad", "d"),
		"under another name": Image("other", "d", "a 1"),
	} {
		if err := inv.Swap(ctx, "bad", "", bad); err == nil {
			wrong.addf("an image %s was taken", what)
		}
	}
	if err := inv.Swap(ctx, "bad", "", nil); err == nil {
		wrong.addf("a swap of nothing for nothing was taken")
	}
	if err := inv.Swap(ctx, "app", "d3", nil); err != nil {
		wrong.addf("retire: %w", err)
	}
}

// foreignImage is one of a bill of materials: no evidence, several versions of a
// name, ecosystems, and sets of images.
func foreignImage(ctx context.Context, inv inventory.Inventory, wrong *errs) {
	img := &inventory.Image{Name: "foreign", Digest: "f1", Added: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Components: []inventory.Component{
		{Ecosystem: "PyPI", Name: "Zope.Interface", Version: "1.0", PURL: "pkg:pypi/zope.interface@1.0"},
		{Ecosystem: "npm", Name: "left", Version: "1.0.0", PURL: "pkg:npm/left@1.0.0"},
		{Ecosystem: "npm", Name: "left", Version: "2.0.0", PURL: "pkg:npm/left@2.0.0"},
		{Ecosystem: "Debian:12", Name: "left", Version: "1.0.0-1", PURL: "pkg:deb/debian/left@1.0.0-1?arch=amd64"},
		{Name: "left", Version: "7"},
	}}
	if err := inv.Swap(ctx, "foreign", "", img); err != nil {
		wrong.addf("add of an image without evidence: %w", err)
		return
	}
	live, err := inv.Live(ctx, "foreign")
	if err != nil {
		wrong.addf("Live of an image without evidence: %w", err)
		return
	}
	key := func(c inventory.Component) string { return c.Ecosystem + " " + c.Name + " " + c.Version + " " + c.PURL }
	byKey := func(a, b inventory.Component) int { return strings.Compare(key(a), key(b)) }
	if diff := cmp.Diff(slices.SortedFunc(slices.Values(img.Components), byKey), slices.SortedFunc(slices.Values(live.Components), byKey)); diff != "" {
		wrong.addf("an image without evidence comes back as another: %s", diff)
	}
	holds(ctx, inv, wrong, "zope_interface", "", "Zope.Interface 1.0 [f1]")
	holds(ctx, inv, wrong, "LEFT", "", "left 1.0.0 [f1]", "left 1.0.0-1 [f1]", "left 2.0.0 [f1]", "left 7 [f1]")
	holds(ctx, inv, wrong, "", "pkg:npm/left", "left 1.0.0 [f1]", "left 2.0.0 [f1]")
	for _, c := range []struct {
		p        inventory.Package
		versions string // that are asked about, in order
	}{
		{inventory.Package{Ecosystem: "npm", Name: "left"}, "[1.0.0 2.0.0]"},
		{inventory.Package{Ecosystem: "npm", Name: "Left"}, "[1.0.0 2.0.0]"},
		{inventory.Package{Ecosystem: "Debian:12", Name: "left"}, "[1.0.0-1]"},
		{inventory.Package{Ecosystem: "Debian", Name: "left"}, "[]"},
		{inventory.Package{Name: "left"}, "[7]"},
		{inventory.Package{PURL: "pkg:deb/debian/left"}, "[1.0.0-1]"},
		{inventory.Package{Ecosystem: "npm", Name: "left", PURL: "pkg:npm/left"}, "[1.0.0 2.0.0]"},
		{inventory.Package{Ecosystem: "PyPI", Name: "zope-interface"}, "[1.0]"},
		{inventory.Package{}, "[]"},
	} {
		var asked []string
		set, err := inventory.Select(ctx, inv, c.p, func(v string) bool { asked = append(asked, v); return true })
		if err != nil {
			wrong.addf("Select(%v): %w", c.p, err)
			continue
		}
		slices.Sort(asked)
		if got := fmt.Sprint(asked); got != c.versions {
			wrong.addf("Select(%v) asks about %s, want %s", c.p, got, c.versions)
		}
		want := []inventory.ID{live.ID}
		if c.versions == "[]" {
			want = nil
		}
		if got := slices.Collect(set.All()); !slices.Equal(got, want) || set.Len() != len(want) || set.Contains(live.ID) != (want != nil) {
			wrong.addf("Select(%v) = %v, want %v", c.p, got, want)
		}
		if set, err := inventory.Select(ctx, inv, c.p, func(string) bool { return false }); err != nil || set.Len() != 0 {
			wrong.addf("Select(%v) of no version: %w", c.p, err)
		}
	}
	if err := inv.Swap(ctx, "foreign", "f1", nil); err != nil {
		wrong.addf("retire: %w", err)
	}
	if set, err := inventory.Select(ctx, inv, inventory.Package{Ecosystem: "npm", Name: "left"}, func(string) bool { return true }); err != nil || set.Len() != 0 {
		wrong.addf("Select finds a retired image: %w", err)
	}
}

// holds compares Versions with lines of "name version [digests]".
func holds(ctx context.Context, inv inventory.Inventory, wrong *errs, name, purl string, want ...string) {
	list, err := inv.Versions(ctx, name, purl)
	if err != nil {
		wrong.addf("Versions(%q, %q): %w", name, purl, err)
		return
	}
	var got []string
	for _, p := range list {
		var digests []string
		for _, id := range p.Images {
			img, err := inv.Image(ctx, id)
			if err != nil {
				wrong.addf("Versions(%q, %q) names image %d: %w", name, purl, id, err)
				continue
			}
			digests = append(digests, img.Digest)
		}
		got = append(got, fmt.Sprintf("%s %s %s", p.Component, p.Version, digests))
	}
	if !slices.Equal(got, want) {
		wrong.addf("Versions(%q, %q) = %q, want %q", name, purl, got, want)
	}
}

// manyImages compares the index with a plain list, through enough images of one
// component to change how a set is kept, and back.
func manyImages(ctx context.Context, inv inventory.Inventory, wrong *errs) {
	const n = 300
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[string][]string{} // version → digests
	for i := range n {
		v := fmt.Sprintf("1.%d", rnd.IntN(4))
		img := Image(fmt.Sprintf("many-%03d", i), fmt.Sprintf("m%03d", i), "base 1.0", "part "+v)
		if err := inv.Swap(ctx, img.Name, "", img); err != nil {
			wrong.addf("add %s: %w", img.Name, err)
			return
		}
		if i%5 == 0 {
			if err := inv.Swap(ctx, img.Name, img.Digest, nil); err != nil {
				wrong.addf("retire %s: %w", img.Name, err)
			}
			continue
		}
		want[v] = append(want[v], img.Digest)
	}
	var lines []string
	for _, v := range []string{"1.0", "1.1", "1.2", "1.3"} {
		lines = append(lines, fmt.Sprintf("part %s %s", v, want[v]))
	}
	holds(ctx, inv, wrong, "part", "", lines...)
	live := 0
	for _, err := range inv.All(ctx) {
		if err != nil {
			wrong.addf("All: %w", err)
			break
		}
		live++
	}
	if live != n-n/5 {
		wrong.addf("All yields %d images, want %d", live, n-n/5)
	}
}

// swapRace lets several replace the same image: one must win.
func swapRace(ctx context.Context, inv inventory.Inventory, wrong *errs) {
	if err := inv.Swap(ctx, "race", "", Image("race", "r", "a 1")); err != nil {
		wrong.addf("add: %w", err)
		return
	}
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() { results[i] = inv.Swap(ctx, "race", "r", Image("race", fmt.Sprintf("r%d", i), "a 1")) })
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, inventory.ErrConflict):
			wrong.addf("a swap that lost a race = %w, want ErrConflict", err)
		}
	}
	if won != 1 {
		wrong.addf("%d swaps of one image won, want 1", won)
	}
}

func snapshot(ctx context.Context, inv inventory.Inventory, wrong *errs) []inventory.Image {
	var all []inventory.Image
	for img, err := range inv.All(ctx) {
		if err != nil {
			wrong.addf("All: %w", err)
			break
		}
		all = append(all, *img)
	}
	return all
}
