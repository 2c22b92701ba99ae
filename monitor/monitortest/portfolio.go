package monitortest

import (
	"fmt"
	"iter"
	"math"
	"math/bits"
	"time"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Portfolio is a synthetic portfolio and the advisories about it, shaped like
// the one the monitor is made for: at full size 834,097 images with 281,000,000
// dependencies, of which about 11.5 million are distinct (ecosystem, name,
// version), and 809,425 advisories. Popularity follows Zipf's law, exponent
// 1.15 over 500,000 names and 1.13 over 40 versions of each; the first package
// is in every image. Names do not grow with the size. The same size gives the
// same portfolio, and any part of it can be made alone.
type Portfolio struct {
	Images, Records, Advisories int

	names    []packageName
	versions [][]string // by kind of version
	byName   sampler
	byAge    sampler
}

type packageName struct{ name, purl string }

// The full size, and the shape.
const (
	fullImages     = 834_097
	fullRecords    = 281_000_000
	fullAdvisories = 809_425
	packageNames   = 500_000
	packageAges    = 40
)

// ecosystems by the order of names.
var ecosystems = []struct {
	name    string
	purl    string
	version func(age int) string
}{
	{"npm", "pkg:npm/", func(a int) string { return fmt.Sprintf("%d.%d.%d", 1+a/12, a%12, a*7%10) }},
	{"PyPI", "pkg:pypi/", func(a int) string { return fmt.Sprintf("%d.%d.%d", 1+a/12, a%12, a*7%10) }},
	{"Maven", "", func(a int) string { return fmt.Sprintf("%d.%d.%d.Final", 1+a/12, a%12, a*7%10) }},
	{"Debian:12", "pkg:deb/debian/", func(a int) string { return fmt.Sprintf("%d.%d.%d-1+deb12u%d", 1+a/12, a%12, a*7%10, 1+a%3) }},
	{"Alpine:v3.20", "pkg:apk/alpine/", func(a int) string { return fmt.Sprintf("%d.%d.%d-r%d", 1+a/12, a%12, a*7%10, a%4) }},
	{"Go", "", func(a int) string { return fmt.Sprintf("v%d.%d.%d", 1+a/12, a%12, a*7%10) }},
	{"crates.io", "pkg:cargo/", func(a int) string { return fmt.Sprintf("%d.%d.%d", a/12, a%12, a*7%10) }},
	{"RubyGems", "pkg:gem/", func(a int) string { return fmt.Sprintf("%d.%d.%d", 1+a/12, a%12, a*7%10) }},
}

// NewPortfolio is one of the given part of the full size, at most 1.
func NewPortfolio(scale float64) *Portfolio {
	p := &Portfolio{
		Images:     max(1, int(math.Round(fullImages*scale))),
		Advisories: max(1, int(math.Round(fullAdvisories*scale))),
		byName:     zipf(packageNames, 1.15), byAge: zipf(packageAges, 1.13),
	}
	p.Records = int(math.Round(fullRecords / float64(fullImages) * float64(p.Images)))
	p.names = make([]packageName, packageNames)
	for i := range p.names {
		e := ecosystems[i%len(ecosystems)]
		p.names[i].name = fmt.Sprintf("%s-%05x", [...]string{"lib", "core", "http", "json", "util", "crypto", "data"}[i%7], i)
		if e.purl != "" {
			p.names[i].purl = e.purl + p.names[i].name
		}
	}
	for _, e := range ecosystems {
		var list []string
		for a := range packageAges {
			list = append(list, e.version(a))
		}
		p.versions = append(p.versions, list)
	}
	return p
}

// Package is the package of a popularity rank below 500,000.
func (p *Portfolio) Package(rank int) inventory.Package {
	return inventory.Package{Ecosystem: ecosystems[rank%len(ecosystems)].name, Name: p.names[rank].name}
}

// Part yields the images from begin up to end, each in the same memory.
func (p *Portfolio) Part(begin, end int) iter.Seq2[*inventory.Image, error] {
	return func(yield func(*inventory.Image, error) bool) {
		var img inventory.Image
		seen := make([]uint32, packageNames)
		for i := begin; i < end; i++ {
			p.image(&img, i, seen, uint32(i-begin+1))
			if !yield(&img, nil) {
				return
			}
		}
	}
}

// Image is one of the images, in memory of its own.
func (p *Portfolio) Image(i int) *inventory.Image {
	img := &inventory.Image{}
	p.image(img, i, make([]uint32, packageNames), 1)
	return img
}

func (p *Portfolio) image(img *inventory.Image, i int, seen []uint32, stamp uint32) {
	rnd := splitmix(uint64(i) + 1)
	*img = inventory.Image{
		Name:   fmt.Sprintf("registry.example/team-%d/app-%d", i%977, i),
		Digest: fmt.Sprintf("sha256:%016x%016x%016x%016x", rnd.next(), rnd.next(), rnd.next(), rnd.next()),
		Added:  time.Unix(1_700_000_000+int64(i), 0).UTC(), Components: img.Components[:0],
	}
	n := int((uint64(i)+1)*uint64(p.Records)/uint64(p.Images) - uint64(i)*uint64(p.Records)/uint64(p.Images))
	for rank := 0; len(img.Components) < n; rank = p.byName.draw(rnd.next()) {
		if seen[rank] == stamp {
			continue
		}
		seen[rank] = stamp
		e := rank % len(ecosystems)
		// The popular age is another one for each package.
		age := (p.byAge.draw(rnd.next()) + rank*17) % packageAges
		img.Components = append(img.Components, inventory.Component{
			Ecosystem: ecosystems[e].name, Name: p.names[rank].name, Version: p.versions[e][age],
		})
	}
}

// Advisory is a record about a package: its ranges are one or two stretches of
// versions, three in four of all versions affected on average.
type Advisory struct {
	ID      string
	Package inventory.Package
	Events  []string // introduced, fixed, introduced, …
}

// Advisory is the i-th one. The first is about every version of the package
// that is in every image; the others are about packages of any popularity.
func (p *Portfolio) Advisory(i int) Advisory {
	a := Advisory{ID: fmt.Sprintf("SYN-%07d", i), Package: p.Package(0), Events: []string{"0"}}
	if i == 0 {
		return a
	}
	rnd := splitmix(uint64(i) | 1<<40)
	rank := int(rnd.below(packageNames))
	a.Package = p.Package(rank)
	versions := p.versions[rank%len(ecosystems)]
	if rnd.below(4) > 0 {
		a.Events = append(a.Events, versions[packageAges/2+rnd.below(packageAges/2)])
		return a
	}
	from := rnd.below(packageAges / 2)
	to := from + 1 + rnd.below(packageAges/2-1)
	a.Events = []string{versions[from], versions[to]}
	if rnd.below(2) == 0 {
		a.Events = append(a.Events, versions[to+1])
	}
	return a
}

// rng is a small generator of random numbers that can begin anywhere.
type rng uint64

// splitmix begins at a state far from that of other seeds.
func splitmix(seed uint64) *rng {
	r := rng(seed)
	r = rng(r.next())
	return &r
}

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *rng) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// sampler draws from a distribution in constant time (Vose's alias method).
type sampler struct {
	cut   []uint32
	alias []uint32
}

func zipf(n int, exponent float64) sampler {
	p := make([]float64, n)
	sum := 0.0
	for i := range p {
		p[i] = math.Pow(float64(i+1), -exponent)
		sum += p[i]
	}
	s := sampler{make([]uint32, n), make([]uint32, n)}
	var small, large []int
	for i := range p {
		p[i] *= float64(n) / sum
		if p[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		a, b := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		s.cut[a], s.alias[a] = uint32(p[a]*math.MaxUint32), uint32(b)
		if p[b] -= 1 - p[a]; p[b] < 1 {
			large = large[:len(large)-1]
			small = append(small, b)
		}
	}
	for _, i := range append(small, large...) {
		s.cut[i], s.alias[i] = math.MaxUint32, uint32(i)
	}
	return s
}

func (s sampler) draw(r uint64) int {
	i := int(r >> 32 * uint64(len(s.cut)) >> 32)
	if uint32(r) <= s.cut[i] {
		return i
	}
	return int(s.alias[i])
}
