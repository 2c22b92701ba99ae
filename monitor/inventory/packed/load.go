package packed

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Source is a part of a portfolio. Parts are read at the same time, each by one
// goroutine, so two parts use two cores. An image and its components are not
// kept, so a source may yield the same memory again.
type Source = iter.Seq2[*inventory.Image, error]

// LoadOptions say how much a load may take. The zero value is useful.
type LoadOptions struct {
	Memory int64 // bytes for inverting at a time, beside the dictionary; 0 means 1 GiB
}

// Stats is what a base holds.
type Stats struct {
	Images, Records, Packages, Pairs int64 // Pairs are distinct (ecosystem, name, version)
	Bytes                            int64
}

// loader takes images and writes a base.
type loader struct {
	dir    string // for temporary files
	memory int64
	dict   packages
	parts  []*part
	ranks  ranks
	names  []uint32 // places of the images, sorted by name
	lens   []uint32 // of the postings, by pair
	stats  Stats
}

// part is what one source gave.
type part struct {
	l       *loader
	spill   *os.File // per image: number of pairs, numbers of pairs
	w       *bufio.Writer
	forward *os.File
	docs    *os.File
	docsW   *bufio.Writer
	docsN   uint64
	zstd    *zstd.Encoder

	names, digests       []byte
	nameEnds, digestEnds []uint32
	ids                  []uint32
	added                []int64
	docEnds              []uint64
	forwardEnds          []uint64
	records              int64

	numbers []uint32
	buf     []byte
	raw     []byte // components as they came
	known   []known
	fresh   []int // places of those that are not recent
	touched uint32
	turn    uint32
	recent  recent
	counts  []uint32          // by number of the pair
	bases   map[string]string // package URL without version → base purl
}

// write reads the sources and writes a base to f, in dir. Images whose number
// is 0 are numbered from first on, in the order of the sources.
func write(ctx context.Context, f *os.File, dir string, first inventory.ID, opts LoadOptions, sources ...Source) (_ Stats, err error) {
	l := &loader{dir: dir, memory: opts.Memory, dict: packages{newDict(), newDict()}}
	if l.memory <= 0 {
		l.memory = 1 << 30
	}
	defer func() {
		for _, p := range l.parts {
			err = errors.Join(err, p.close())
		}
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for range sources {
		p, err := l.part()
		if err != nil {
			return Stats{}, err
		}
		l.parts = append(l.parts, p)
	}
	for i, s := range sources {
		g.Go(func() error { return l.parts[i].read(gctx, s) })
	}
	if err := g.Wait(); err != nil {
		return Stats{}, err
	}
	if err := l.number(first); err != nil {
		return Stats{}, err
	}
	g, _ = errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		l.names, err = l.byName()
		return err
	})
	l.ranks = l.dict.rank(parallel)
	if err := g.Wait(); err != nil {
		return Stats{}, err
	}
	return l.stats, l.finish(ctx, f)
}

func (l *loader) part() (*part, error) {
	p := &part{l: l, bases: map[string]string{}}
	for _, f := range []**os.File{&p.spill, &p.forward, &p.docs} {
		t, err := os.CreateTemp(l.dir, ".tmp-load-*")
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		*f = t
	}
	p.w, p.docsW = bufio.NewWriterSize(p.spill, 1<<20), bufio.NewWriterSize(p.docs, 1<<16)
	var err error
	p.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	return p, err
}

func (p *part) close() error {
	var errs []error
	for _, f := range []*os.File{p.spill, p.forward, p.docs} {
		if f != nil {
			errs = append(errs, f.Close(), os.Remove(f.Name()))
		}
	}
	return errors.Join(errs...)
}

func (p *part) read(ctx context.Context, s Source) error {
	p.recent = newRecent()
	for img, err := range s {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = p.add(img)
		}
		if err != nil {
			return err
		}
	}
	p.recent.lines = nil
	return errors.Join(p.w.Flush(), p.docsW.Flush())
}

func (p *part) add(img *inventory.Image) error {
	built := img.Built()
	if built { // of these there are few, and they are checked whole
		if err := img.Check(); err != nil {
			return err
		}
	}
	if img.Name == "" || img.Digest == "" || control(img.Name) || control(img.Digest) || len(img.Components) == 0 {
		return fmt.Errorf("image %q has no name, no digest or no component", img.Name)
	}
	if err := p.pairs(img.Components); err != nil {
		return fmt.Errorf("image %q: %w", img.Name, err)
	}
	if built {
		if err := p.doc(img); err != nil {
			return err
		}
	}
	p.records += int64(len(p.numbers))
	p.names = append(p.names, img.Name...)
	p.nameEnds = append(p.nameEnds, uint32(len(p.names)))
	p.digests = appendDigest(p.digests, img.Digest)
	p.digestEnds = append(p.digestEnds, uint32(len(p.digests)))
	if len(p.names) > math.MaxUint32/2 || len(p.digests) > math.MaxUint32/2 {
		return errors.New("the names and digests are too long together")
	}
	p.ids = append(p.ids, uint32(img.ID))
	p.added = append(p.added, nanos(img.Added))
	p.docEnds = append(p.docEnds, p.docsN)
	p.buf = binary.LittleEndian.AppendUint32(p.buf[:0], uint32(len(p.numbers)))
	for _, n := range p.numbers {
		p.buf = binary.LittleEndian.AppendUint32(p.buf, n)
	}
	_, err := p.w.Write(p.buf)
	return err
}

func (p *part) doc(img *inventory.Image) error {
	b, err := json.Marshal(img)
	if err != nil {
		return err
	}
	b = p.zstd.EncodeAll(b, nil)
	p.docsN += uint64(len(b))
	_, err = p.docsW.Write(b)
	return err
}

// known is a component while its number is looked for.
type known struct {
	line       *recentLine
	begin, end int    // of the component as it came, in raw
	key        []byte // of its package, then of its version
	hash       uint64
	tail       byte
}

// pairs puts the numbers of the components' versions into p.numbers and counts
// them. Each step is taken for all components before the next one, so that
// memory is waited for at once.
func (p *part) pairs(components []inventory.Component) error {
	p.numbers = slices.Grow(p.numbers[:0], len(components))[:len(components)]
	p.known = slices.Grow(p.known[:0], len(components))[:len(components)]
	p.raw = p.raw[:0]
	for i := range components {
		c, k := &components[i], &p.known[i]
		k.begin = len(p.raw)
		p.raw = append(append(append(append(p.raw, c.Ecosystem...), 0), c.Name...), 0)
		p.raw = append(append(append(p.raw, c.Version...), 0), c.PURL...)
		k.end = len(p.raw)
		k.line = p.recent.line(p.raw[k.begin:])
	}
	for i := range p.known {
		p.touched += p.known[i].line.number
	}
	p.fresh = p.fresh[:0]
	for i := range p.known {
		k := &p.known[i]
		if k.line.is(p.raw[k.begin:k.end]) {
			p.numbers[i] = k.line.number
		} else {
			p.fresh = append(p.fresh, i)
		}
	}
	if err := p.lookUp(components); err != nil {
		return err
	}
	for _, i := range p.fresh {
		// Only one in eight takes another's place: what comes often will have
		// its turn, and what comes once seldom drives it out.
		if k := &p.known[i]; k.line.len == 0 || p.turn&7 == 0 {
			k.line.put(p.raw[k.begin:k.end], p.numbers[i])
		}
		p.turn++
	}
	for _, n := range p.numbers {
		if int(n) >= len(p.counts) {
			p.counts = append(p.counts, make([]uint32, int(n)+1-len(p.counts)+len(p.counts)/2)...)
		}
		p.counts[n]++
	}
	return nil
}

// lookUp finds the numbers of the components in p.fresh. A component is looked
// at only as the first of its kind comes in.
func (p *part) lookUp(components []inventory.Component) error {
	groups, pairs := p.l.dict.groups, p.l.dict.pairs
	for _, i := range p.fresh {
		c, k := &components[i], &p.known[i]
		base := ""
		if k.tail = noPURL; c.PURL != "" {
			var err error
			if base, k.tail, err = p.base(c); err != nil {
				return err
			}
		}
		k.key = appendGroup(k.key[:0], c, base)
		k.hash = groups.hash(k.key)
	}
	for _, i := range p.fresh {
		p.touched += groups.touch(p.known[i].hash)
	}
	for _, i := range p.fresh {
		c, k := &components[i], &p.known[i]
		g, fresh := groups.number(k.hash, k.key)
		if fresh {
			if err := checkGroup(c); err != nil {
				return err
			}
		}
		k.key = binary.LittleEndian.AppendUint32(k.key[:0], g)
		k.key = append(append(k.key, c.Version...), 0, k.tail)
		if k.tail == ownPURL {
			k.key = append(k.key, c.PURL...)
		}
		k.hash = pairs.hash(k.key)
	}
	for _, i := range p.fresh {
		p.touched += pairs.touch(p.known[i].hash)
	}
	for _, i := range p.fresh {
		c, k := &components[i], &p.known[i]
		n, fresh := pairs.number(k.hash, k.key)
		if fresh && (c.Version == "" || control(c.Version) || control(c.PURL)) {
			return fmt.Errorf("component %q has no version, or holds control characters", c.Name)
		}
		p.numbers[i] = n
	}
	return nil
}

// How a version's package URL is kept.
const (
	noPURL   = iota
	basePURL // base purl, @, version
	ownPURL  // whole, behind the version
)

func (p *part) base(c *inventory.Component) (string, byte, error) {
	prefix, version := c.PURL, ""
	if i := strings.LastIndexByte(c.PURL, '@'); i > 0 && !strings.ContainsAny(c.PURL, "?#%") {
		prefix, version = c.PURL[:i], c.PURL[i+1:]
	}
	base, ok := p.bases[prefix]
	if !ok {
		var err error
		if base, err = inventory.BasePURL(c.PURL); err != nil {
			return "", 0, err
		}
		if len(p.bases) > 1<<20 {
			clear(p.bases)
		}
		p.bases[strings.Clone(prefix)] = base
	}
	if version == c.Version && prefix == base {
		return base, basePURL, nil
	}
	return base, ownPURL, nil
}

// appendGroup appends a package's key.
func appendGroup(b []byte, c *inventory.Component, base string) []byte {
	b = append(b, inventory.Fold(c.Ecosystem, c.Name)...)
	b = append(b, 0)
	b = append(b, c.Ecosystem...)
	b = append(b, 0)
	b = append(b, base...)
	b = append(b, 0)
	return append(b, c.Name...)
}

func checkGroup(c *inventory.Component) error {
	if c.Name == "" || control(c.Name) || control(c.Ecosystem) {
		return fmt.Errorf("component %q has no name, or holds control characters", c.Name)
	}
	return nil
}

func control(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// appendDigest keeps a SHA-256 in half the room.
func appendDigest(b []byte, digest string) []byte {
	if x, ok := strings.CutPrefix(digest, "sha256:"); ok && len(x) == 64 {
		if raw, err := hex.DecodeString(x); err == nil && hex.EncodeToString(raw) == x {
			return append(b, raw...)
		}
	}
	return append(append(b, 0), digest...)
}

func digest(b []byte) string {
	if len(b) == 32 {
		return "sha256:" + hex.EncodeToString(b)
	}
	return string(b[1:])
}

const noTime = math.MinInt64

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixNano()
}

// number gives the images their numbers.
func (l *loader) number(first inventory.ID) error {
	next := uint64(first)
	for _, p := range l.parts {
		for i, id := range p.ids {
			if id == 0 {
				p.ids[i] = uint32(next)
			} else if uint64(id) < next {
				return fmt.Errorf("image number %d does not follow %d", id, next-1)
			}
			if next = uint64(p.ids[i]) + 1; next > math.MaxUint32 {
				return errors.New("all image numbers are used")
			}
		}
		l.stats.Images += int64(len(p.ids))
		l.stats.Records += p.records
	}
	var counts [][]uint32
	for _, p := range l.parts {
		counts = append(counts, p.counts)
		p.counts = nil
	}
	l.dict.pairs.tally(counts)
	l.stats.Packages, l.stats.Pairs = int64(l.dict.groups.len()), int64(l.dict.pairs.len())
	return nil
}

// parallel calls do with the numbers below n, as many at a time as there are
// cores.
func parallel(n int, do func(i int)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := 0
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n {
					return
				}
				do(i)
			}
		})
	}
	wg.Wait()
}

// walk yields each image's place in the part and its pairs, as places.
func (p *part) walk(do func(i int, pairs []uint32) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(p.spill, 0, math.MaxInt64), 1<<20)
	var buf []byte
	var pairs []uint32
	var head [4]byte
	for i := range p.ids {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := int(binary.LittleEndian.Uint32(head[:]))
		buf = slices.Grow(buf[:0], 4*n)[:4*n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return err
		}
		pairs = pairs[:0]
		for ; len(buf) > 0; buf = buf[4:] {
			pairs = append(pairs, p.l.ranks.final[binary.LittleEndian.Uint32(buf)])
		}
		if err := do(i, pairs); err != nil {
			return err
		}
	}
	return nil
}
