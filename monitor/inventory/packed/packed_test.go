package packed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *Inventory {
	t.Helper()
	inv, err := Open(dir)
	check(t, err)
	return inv
}

func TestPackedIsAnInventory(t *testing.T) {
	dir := t.TempDir()
	err := monitortest.CheckInventory(t.Context(), func() (inventory.Inventory, func() error, error) {
		inv, err := Open(dir)
		return inv, inv.Close, err
	})
	if err != nil {
		t.Error(err)
	}
}

// restless compacts again and again, so that the suite sees bases.
type restless struct{ *Inventory }

func (r restless) Swap(ctx context.Context, name, prev string, next *inventory.Image) error {
	err := r.Inventory.Swap(ctx, name, prev, next)
	if len(r.delta.order) > 60 || strings.HasPrefix(name, "app") {
		if _, err := r.Compact(ctx, LoadOptions{Memory: 1}); err != nil {
			return err
		}
	}
	return err
}

func TestCompactedIsAnInventory(t *testing.T) {
	dir := t.TempDir()
	err := monitortest.CheckInventory(t.Context(), func() (inventory.Inventory, func() error, error) {
		inv, err := Open(dir)
		return restless{inv}, inv.Close, err
	})
	if err != nil {
		t.Error(err)
	}
}

func seq(images ...*inventory.Image) Source {
	return func(yield func(*inventory.Image, error) bool) {
		for _, img := range images {
			if !yield(img, nil) {
				return
			}
		}
	}
}

func foreign(name string, components ...inventory.Component) *inventory.Image {
	return &inventory.Image{Name: name, Digest: "sha256:" + strings.Repeat("ab", 32), Added: time.Unix(1, 5).UTC(), Components: components}
}

// portfolio is what TestLoadEqualsList loads: built and foreign images, package
// URLs of every kind, popular and rare packages.
func portfolio(n int) []*inventory.Image {
	rnd := rand.New(rand.NewPCG(3, 4))
	var all []*inventory.Image
	for i := range n {
		img := foreign(fmt.Sprintf("image-%05d", (i*7919)%n))
		if i%10 == 0 {
			img = monitortest.Image(img.Name, fmt.Sprintf("d%d", i), "musl 1.2.3", fmt.Sprintf("zlib 1.%d", rnd.IntN(5)))
			all = append(all, img)
			continue
		}
		img.Components = append(img.Components, inventory.Component{Ecosystem: "npm", Name: "everywhere", Version: fmt.Sprintf("1.0.%d", i%40/39), PURL: fmt.Sprintf("pkg:npm/everywhere@1.0.%d", i%40/39)})
		for j := range 30 {
			if rnd.IntN(2+j) > 1 {
				continue
			}
			v := fmt.Sprintf("%d.%d", rnd.IntN(3), rnd.IntN(12))
			for k, c := range []inventory.Component{
				{Ecosystem: "PyPI", Name: fmt.Sprintf("Zope.Pkg_%d", j), Version: v},
				{Ecosystem: "Debian:12", Name: fmt.Sprintf("lib%d", j), Version: v + "-1", PURL: fmt.Sprintf("pkg:deb/debian/lib%d@%s-1?arch=amd64", j, v)},
				{Name: fmt.Sprintf("Lib%d", j), Version: v},
			} {
				if rnd.IntN(k+1) == 0 {
					img.Components = append(img.Components, c)
				}
			}
		}
		all = append(all, img)
	}
	return all
}

// list answers from a plain list of all dependencies.
type list struct {
	images []*inventory.Image
	rows   map[string][]dependency // by lower name, and by base purl
}

type dependency struct {
	id        inventory.ID
	component inventory.Component
}

func listOf(images []*inventory.Image) list {
	l := list{images, map[string][]dependency{}}
	bases := map[string]string{"": ""}
	for _, img := range images {
		for _, c := range img.Components {
			base, ok := bases[c.PURL]
			if !ok {
				base, _ = inventory.BasePURL(c.PURL)
				bases[c.PURL] = base
			}
			l.rows[strings.ToLower(c.Name)] = append(l.rows[strings.ToLower(c.Name)], dependency{img.ID, c})
			if base != "" {
				l.rows[base] = append(l.rows[base], dependency{img.ID, c})
			}
		}
	}
	return l
}

func (l list) Versions(_ context.Context, name, purl string) ([]inventory.Posting, error) {
	base := ""
	if purl != "" {
		base, _ = inventory.BasePURL(purl)
	}
	at := map[[4]string]int{}
	var out []inventory.Posting
	for _, r := range slices.Concat(l.rows[strings.ToLower(name)], l.rows[base]) {
		c := r.component
		k := [4]string{c.Ecosystem, c.Name, c.Version, c.PURL}
		i, ok := at[k]
		if !ok {
			i, at[k] = len(out), len(out)
			out = append(out, inventory.Posting{Ecosystem: c.Ecosystem, Component: c.Name, Version: c.Version, PURL: c.PURL})
		}
		out[i].Images = append(out[i].Images, r.id)
	}
	for i := range out {
		slices.Sort(out[i].Images)
		out[i].Images = slices.Compact(out[i].Images)
	}
	slices.SortFunc(out, inventory.Posting.Compare)
	return out, nil
}

func (l list) Image(context.Context, inventory.ID) (*inventory.Image, error) {
	return nil, inventory.ErrNotFound
}

// compare compares an inventory with a list of its images by number.
func compare(t *testing.T, inv *Inventory, want []*inventory.Image) {
	t.Helper()
	brute := listOf(want)
	ctx := t.Context()
	var all []*inventory.Image
	for img, err := range inv.All(ctx) {
		check(t, err)
		all = append(all, img)
	}
	if len(all) != len(want) {
		t.Fatalf("All yields %d images, want %d", len(all), len(want))
	}
	for i, img := range all {
		w := *want[i]
		if !w.Built() { // the order is the inventory's
			w.Components = slices.SortedFunc(slices.Values(w.Components), byIdentity)
			img.Components = slices.SortedFunc(slices.Values(img.Components), byIdentity)
		}
		if diff := cmp.Diff(&w, img); diff != "" {
			t.Fatalf("image %d: %s", i, diff)
		}
		if i%9 != 0 {
			continue
		}
		if live, err := inv.Live(ctx, w.Name); err != nil || live.ID != w.ID {
			t.Fatalf("Live(%s) = %v", w.Name, err)
		}
	}
	asked := map[inventory.Package]bool{{Ecosystem: "npm", Name: "absent"}: true, {PURL: "pkg:npm/absent"}: true}
	for _, img := range want {
		for _, c := range img.Components {
			asked[inventory.Package{Ecosystem: c.Ecosystem, Name: c.Name}] = true
			if c.PURL != "" {
				base, err := inventory.BasePURL(c.PURL)
				check(t, err)
				asked[inventory.Package{PURL: base}] = true
				asked[inventory.Package{PURL: base, Name: "musl"}] = true
			}
		}
	}
	for p := range asked {
		got, err := inv.Versions(ctx, strings.ToUpper(p.Name), p.PURL)
		check(t, err)
		exp, _ := brute.Versions(ctx, p.Name, p.PURL)
		if !reflect.DeepEqual(exp, got) {
			t.Fatalf("Versions(%v) = %d, want %d: %.2000v, want %.2000v", p, len(got), len(exp), got, exp)
		}
		for what, affected := range map[string]func(string) bool{
			"all":  func(string) bool { return true },
			"none": func(string) bool { return false },
			"some": func(v string) bool { return strings.Contains(v, "1") },
		} {
			got, err := inventory.Select(ctx, inv, p, affected)
			check(t, err)
			exp, err := inventory.Select(ctx, brute, p, affected)
			check(t, err)
			if !slices.Equal(slices.Collect(exp.All()), slices.Collect(got.All())) || got.Len() != exp.Len() {
				t.Fatalf("Select(%v, %s): %d images, want %d", p, what, got.Len(), exp.Len())
			}
			for id := range exp.All() {
				if !got.Contains(id) {
					t.Fatalf("Select(%v, %s) does not contain %d", p, what, id)
				}
			}
		}
	}
}

func byIdentity(a, b inventory.Component) int {
	return strings.Compare(a.Ecosystem+"\x00"+a.Name+"\x00"+a.Version+a.PURL, b.Ecosystem+"\x00"+b.Name+"\x00"+b.Version+b.PURL)
}

// TestLoadEqualsList loads a portfolio large enough for every kind of posting,
// in one part and in three, changes it, compacts it, opens it again, and
// compares each time with looking at every image.
func TestLoadEqualsList(t *testing.T) {
	const n = 4700
	all := portfolio(n)
	for _, opts := range []struct {
		LoadOptions
		parts int
	}{{LoadOptions{}, 1}, {LoadOptions{Memory: 1}, 3}} {
		dir := t.TempDir()
		var sources []Source
		for i := range opts.parts {
			sources = append(sources, seq(all[i*n/opts.parts:(i+1)*n/opts.parts]...))
		}
		stats, err := Load(t.Context(), dir, opts.LoadOptions, sources...)
		check(t, err)
		if stats.Images != n || stats.Bytes == 0 || stats.Pairs == 0 {
			t.Errorf("stats %+v", stats)
		}
		var want []*inventory.Image
		for i, img := range all {
			c := *img
			c.ID = inventory.ID(i + 1)
			want = append(want, &c)
		}
		inv := open(t, dir)
		compare(t, inv, want)
		// Retire every fifth, replace every seventh, add some.
		next := inventory.ID(n)
		put := func(name, prev string, img *inventory.Image) {
			check(t, inv.Swap(t.Context(), name, prev, img))
			next++
			c := *img
			c.ID = next
			want = append(want, &c)
		}
		for i, img := range all {
			switch {
			case i%500 == 0:
				check(t, inv.Swap(t.Context(), img.Name, img.Digest, nil))
				want = slices.DeleteFunc(want, func(x *inventory.Image) bool { return x.Name == img.Name })
			case i%700 == 1:
				want = slices.DeleteFunc(want, func(x *inventory.Image) bool { return x.Name == img.Name })
				put(img.Name, img.Digest, monitortest.Image(img.Name, "new"+img.Digest, "musl 1.2.4", "lib3 1.1"))
			}
		}
		for i := range 20 {
			put(fmt.Sprint("fresh", i), "", foreign(fmt.Sprint("fresh", i), inventory.Component{Ecosystem: "npm", Name: "everywhere", Version: "2"}, inventory.Component{Name: "LIB3", Version: "9"}))
		}
		compare(t, inv, want)
		check(t, inv.Close())
		inv = open(t, dir)
		compare(t, inv, want)
		_, err = inv.Compact(t.Context(), opts.LoadOptions)
		check(t, err)
		compare(t, inv, want)
		if inv.delta.len() != 0 || !inv.gone.IsEmpty() {
			t.Errorf("compacted, the difference has %d images and %d are gone", inv.delta.len(), inv.gone.GetCardinality())
		}
		gone := all[500]
		if err := inv.Swap(t.Context(), gone.Name, "", gone); !errors.Is(err, inventory.ErrRetired) {
			t.Errorf("compacted, a retired image comes back: %v", err)
		}
		put("after", "", foreign("after", inventory.Component{Name: "a", Version: "1"}))
		compare(t, inv, want)
		check(t, inv.Close())
		left, err := filepath.Glob(filepath.Join(dir, "*"))
		check(t, err)
		if len(left) != 2 {
			t.Errorf("the directory holds %q", left)
		}
	}
}

// TestLoadTwiceIsTheSame: the bytes do not depend on which goroutine came first.
func TestLoadTwiceIsTheSame(t *testing.T) {
	all := portfolio(2000)
	var bases [2][]byte
	for i := range bases {
		dir := t.TempDir()
		_, err := Load(t.Context(), dir, LoadOptions{}, seq(all[:700]...), seq(all[700:1500]...), seq(all[1500:]...))
		check(t, err)
		names, err := filepath.Glob(filepath.Join(dir, "base-*"))
		check(t, err)
		bases[i], err = os.ReadFile(names[0])
		check(t, err)
	}
	if !slices.Equal(bases[0], bases[1]) {
		t.Error("two loads of one portfolio gave different bases")
	}
}

func TestLoadRefuses(t *testing.T) {
	good := foreign("a", inventory.Component{Name: "x", Version: "1"})
	for what, images := range map[string][]*inventory.Image{
		"two of one name":    {good, good},
		"a component twice":  {foreign("b", good.Components[0], good.Components[0])},
		"no component":       {foreign("b")},
		"no version":         {foreign("b", inventory.Component{Name: "x"})},
		"a control name":     {foreign("b", inventory.Component{Name: "x\x00", Version: "1"})},
		"a control version":  {foreign("b", inventory.Component{Name: "x", Version: "1\n"})},
		"a bad package URL":  {foreign("b", inventory.Component{Name: "x", Version: "1", PURL: "x"})},
		"half a build":       {foreign("b", inventory.Component{Name: "x", Version: "1", Key: "k"})},
		"no name":            {foreign("", good.Components...)},
		"no digest":          {{Name: "b", Components: good.Components}},
		"a control ecosytem": {foreign("b", inventory.Component{Ecosystem: "\x00", Name: "x", Version: "1"})},
	} {
		dir := t.TempDir()
		if _, err := Load(t.Context(), dir, LoadOptions{}, seq(images...)); err == nil {
			t.Errorf("%s was loaded", what)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
		if left = append(left, hidden...); len(left) != 1 {
			t.Errorf("%s: a load that was refused left %q", what, left)
		}
		if _, err := Load(t.Context(), dir, LoadOptions{}, seq(good)); err != nil {
			t.Errorf("%s: afterwards nothing can be loaded: %v", what, err)
		}
		if _, err := Load(t.Context(), dir, LoadOptions{}, seq(foreign("b", good.Components...))); err == nil {
			t.Error("a second load was taken")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, t.TempDir(), LoadOptions{}, seq(good)); !errors.Is(err, context.Canceled) {
		t.Errorf("a load with an ended context = %v", err)
	}
}

// TestDamageIsSeen flips bytes all over a base, and cuts it.
func TestDamageIsSeen(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(t.Context(), dir, LoadOptions{}, seq(portfolio(300)...))
	check(t, err)
	names, err := filepath.Glob(filepath.Join(dir, "base-*"))
	check(t, err)
	good, err := os.ReadFile(names[0])
	check(t, err)
	try := func(what string, b []byte) {
		t.Helper()
		check(t, os.WriteFile(names[0], b, 0o600))
		if inv, err := Open(dir); err == nil {
			inv.Close()
			t.Errorf("%s: the base was opened", what)
		}
	}
	for i := 0; i < len(good); i += 1 + len(good)/60 {
		b := slices.Clone(good)
		b[i] ^= 0x10
		try(fmt.Sprint("byte ", i), b)
		try(fmt.Sprint("cut at ", i), good[:i])
	}
	check(t, os.Remove(names[0]))
	if inv, err := Open(dir); err == nil {
		inv.Close()
		t.Error("a base that is gone looks like an empty portfolio")
	}
}

// FuzzBlocks reads tables and blocks that are as damaged as a checksum cannot
// be: nothing may panic.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte{0, 1, '1', 0, 1, 1, 0, 2, '.', '1', 0, 1, 1}, []byte{5, 6})
	f.Add([]byte{0, 1, '1', 2, 3, 'a', 'b', 'c', 1, 1}, []byte{5})
	f.Fuzz(func(t *testing.T, block, post []byte) {
		var s segment
		head := make([]byte, 2*groupSize)
		head[groupSize+8], head[groupSize+16] = byte(len(block)), byte(len(post))
		if len(block) > 255 || len(post) > 255 {
			return
		}
		s.part[groups], s.part[versions], s.part[postings] = head, block, post
		for v, err := range s.versions(0) {
			if err != nil {
				return
			}
			if ids, err := members(v.post, v.n); err == nil && !slices.IsSorted(ids) {
				t.Error("members are not sorted")
			}
		}
	})
}

// TestKilled kills a process that swaps and compacts at random instants, again
// and again, and checks each time that everything it acknowledged is there.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("PACKED_TEST_DIR"); dir != "" {
		killed(t, dir)
		return
	}
	exe, err := os.Executable()
	check(t, err)
	dir := t.TempDir()
	done := map[int]bool{}
	rnd := rand.New(rand.NewPCG(5, 6))
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		cmd := exec.Command(exe, "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "PACKED_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		sc := bufio.NewScanner(out)
		sc.Scan() // it is open
		timer := time.AfterFunc(time.Duration(1+rnd.IntN(300))*time.Millisecond, func() { cmd.Process.Kill() })
		for sc.Scan() {
			var n int
			if _, err := fmt.Sscanf(sc.Text(), "done %d", &n); err == nil {
				done[n] = true
			}
		}
		cmd.Wait()
		timer.Stop()
		inv := open(t, dir)
		live := map[string]bool{}
		for img, err := range inv.All(t.Context()) {
			check(t, err)
			if live[img.Name] {
				t.Errorf("%s is live twice", img.Name)
			}
			live[img.Name] = true
		}
		set, err := inv.Select(t.Context(), inventory.Package{Name: "base"}, func(string) bool { return true })
		check(t, err)
		if set.Len() != len(live) {
			t.Errorf("%d images are live and %d have the package of all", len(live), set.Len())
		}
		for n := range done {
			if want := n%3 != 0; live[fmt.Sprint("image", n)] != want {
				t.Errorf("image %d was acknowledged and is live: %t", n, !want)
			}
		}
		check(t, inv.Close())
	}
	if len(done) == 0 {
		t.Error("no process got far enough to be killed at work")
	}
}

// killed adds images, retires every third, and compacts now and then.
func killed(t *testing.T, dir string) {
	inv := open(t, dir)
	next := 1
	for img, err := range inv.All(t.Context()) {
		check(t, err)
		var n int
		fmt.Sscanf(img.Name, "image%d", &n)
		next = max(next, n+1)
	}
	next += 3
	fmt.Println("open")
	for n := next; n < next+100_000; n++ {
		img := monitortest.Image(fmt.Sprint("image", n), fmt.Sprint("d", n), "base 1.0", fmt.Sprintf("part %d", n%7))
		check(t, inv.Swap(t.Context(), img.Name, "", img))
		if n%3 == 0 {
			check(t, inv.Swap(t.Context(), img.Name, img.Digest, nil))
		}
		fmt.Printf("done %d\n", n)
		if n%20 == 0 {
			_, err := inv.Compact(t.Context(), LoadOptions{})
			check(t, err)
		}
	}
}
