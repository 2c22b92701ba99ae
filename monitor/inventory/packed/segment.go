package packed

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// segment is a base that is open.
type segment struct {
	part [sections][]byte
	done func() error
	zstd *zstd.Decoder
}

// maxDoc bounds what a document may unpack to.
const maxDoc = 1 << 30

func openSegment(name string) (*segment, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b, done, err := view(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", name, err)
	}
	s := &segment{done: done}
	if s.part, err = split(b); err == nil {
		err = s.check()
	}
	if err == nil {
		s.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxDoc))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("base %s: %w", name, err), done())
	}
	return s, nil
}

// check looks at the tables' sizes; their contents are as they were written,
// which the checksums say.
func (s *segment) check() error {
	switch {
	case len(s.part[images])%imageSize != 0 || len(s.part[images]) == 0,
		len(s.part[groups])%groupSize != 0 || len(s.part[groups]) == 0,
		len(s.part[byName]) != 4*s.images(), len(s.part[byPURL])%4 != 0,
		len(s.part[byPop]) != 4*int(s.first(s.groups())):
		return errDamaged
	}
	return nil
}

var errDamaged = errors.New("the base is damaged")

func (s *segment) close() error {
	s.zstd.Close()
	return s.done()
}

func u32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }

func (s *segment) images() int { return len(s.part[images])/imageSize - 1 }

func (s *segment) groups() int { return len(s.part[groups])/groupSize - 1 }

// first is a package's first pair.
func (s *segment) first(g int) uint32 {
	return binary.LittleEndian.Uint32(s.part[groups][g*groupSize:])
}

func (s *segment) key(g int) []byte {
	b := s.part[groups][g*groupSize:]
	return s.part[keys][binary.LittleEndian.Uint32(b[4:]):binary.LittleEndian.Uint32(b[groupSize+4:])]
}

// row is one image of the table.
type row struct {
	id           inventory.ID
	added        int64
	name, digest []byte
	forward, doc []byte
}

func (s *segment) row(i int) row {
	b := s.part[images][i*imageSize:]
	n := b[imageSize:]
	at := func(sec section, off int) []byte {
		return s.part[sec][binary.LittleEndian.Uint64(b[off:]):binary.LittleEndian.Uint64(n[off:])]
	}
	short := func(sec section, off int) []byte {
		return s.part[sec][binary.LittleEndian.Uint32(b[off:]):binary.LittleEndian.Uint32(n[off:])]
	}
	return row{
		id: inventory.ID(binary.LittleEndian.Uint32(b)), added: int64(binary.LittleEndian.Uint64(b[4:])),
		forward: at(forwards, 12), doc: at(docs, 20), name: short(names, 28), digest: short(digests, 32),
	}
}

func (s *segment) id(i int) inventory.ID {
	return inventory.ID(binary.LittleEndian.Uint32(s.part[images][i*imageSize:]))
}

// find is the place of an image's number.
func (s *segment) find(id inventory.ID) (int, bool) {
	return sort.Find(s.images(), func(i int) int { return int(int64(id) - int64(s.id(i))) })
}

// named is the place of an image's name.
func (s *segment) named(name string) (int, bool) {
	i, ok := sort.Find(s.images(), func(i int) int {
		return strings.Compare(name, string(s.row(int(u32(s.part[byName], i))).name))
	})
	if !ok {
		return 0, false
	}
	return int(u32(s.part[byName], i)), true
}

// last is the highest number.
func (s *segment) last() inventory.ID {
	if s.images() == 0 {
		return 0
	}
	return s.id(s.images() - 1)
}

// image reads an image.
func (s *segment) image(i int) (*inventory.Image, error) {
	r := s.row(i)
	img := &inventory.Image{}
	if len(r.doc) > 0 {
		b, err := s.zstd.DecodeAll(r.doc, nil)
		if err != nil {
			return nil, fmt.Errorf("image %d is damaged: %w", r.id, err)
		}
		if err := json.Unmarshal(b, img); err != nil {
			return nil, fmt.Errorf("image %d is damaged: %w", r.id, err)
		}
		img.ID = r.id
		return img, nil
	}
	img = s.bare(r)
	pairs, err := s.pairs(r.forward)
	if err != nil {
		return nil, fmt.Errorf("image %d: %w", r.id, err)
	}
	slices.Sort(pairs)
	img.Components = make([]inventory.Component, 0, len(pairs))
	for len(pairs) > 0 {
		g := sort.Search(s.groups(), func(g int) bool { return s.first(g+1) > pairs[0] })
		pair := s.first(g)
		for v, err := range s.versions(g) {
			if err != nil {
				return nil, err
			}
			if pair == pairs[0] {
				img.Components = append(img.Components, v.component())
				if pairs = pairs[1:]; len(pairs) == 0 {
					break
				}
			}
			pair++
		}
	}
	return img, nil
}

// bare is an image without its components.
func (s *segment) bare(r row) *inventory.Image {
	img := &inventory.Image{ID: r.id, Name: string(r.name), Digest: digest(r.digest)}
	if r.added != noTime {
		img.Added = time.Unix(0, r.added).UTC()
	}
	return img
}

// pairs decodes a forward list.
func (s *segment) pairs(b []byte) ([]uint32, error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)) {
		return nil, errDamaged
	}
	list, err := gaps(nil, b[w:], uint32(n))
	if err != nil {
		return nil, err
	}
	for i, p := range list {
		if int(p) >= len(s.part[byPop])/4 {
			return nil, errDamaged
		}
		list[i] = u32(s.part[byPop], int(p))
	}
	return list, nil
}

// version is one version of a package.
type version struct {
	group   []byte // key
	version []byte // changes with the next one
	purl    []byte // where it is kept whole
	kept    byte
	n       uint32 // images
	post    []byte
}

// names of the package: ecosystem, base purl, name.
func (v *version) names() (ecosystem, base, name string) {
	_, rest, _ := bytes.Cut(v.group, []byte{0})
	e, rest, _ := bytes.Cut(rest, []byte{0})
	b, n, _ := bytes.Cut(rest, []byte{0})
	return string(e), string(b), string(n)
}

func (v *version) component() inventory.Component {
	e, base, name := v.names()
	c := inventory.Component{Ecosystem: e, Name: name, Version: string(v.version)}
	switch v.kept {
	case basePURL:
		c.PURL = base + "@" + c.Version
	case ownPURL:
		c.PURL = string(v.purl)
	}
	return c
}

// versions yields the versions of a package, in order.
func (s *segment) versions(g int) iter.Seq2[*version, error] {
	return func(yield func(*version, error) bool) {
		h := s.part[groups][g*groupSize:]
		block := s.part[versions][binary.LittleEndian.Uint64(h[8:]):binary.LittleEndian.Uint64(h[groupSize+8:])]
		post := s.part[postings][binary.LittleEndian.Uint64(h[16:]):binary.LittleEndian.Uint64(h[groupSize+16:])]
		v := &version{group: s.key(g)}
		r := reader{b: block}
		for len(r.b) > 0 {
			shared := r.uvarint()
			if shared > uint64(len(v.version)) {
				r.bad = true
			} else {
				v.version = append(v.version[:shared], r.take(r.uvarint())...)
			}
			v.kept, v.purl = 0, nil
			if b := r.take(1); len(b) == 1 {
				v.kept = b[0]
			}
			if v.kept == ownPURL {
				v.purl = r.take(r.uvarint())
			}
			n, size := r.uvarint(), r.uvarint()
			if r.bad || n == 0 || n > math.MaxUint32 || size > uint64(len(post)) {
				yield(nil, errDamaged)
				return
			}
			v.n, v.post, post = uint32(n), post[:size:size], post[size:]
			if !yield(v, nil) {
				return
			}
		}
	}
}

// reader takes apart a block; bad is set where it ends early.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	n, w := binary.Uvarint(r.b)
	if w <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[w:]
	return n
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// withName are the packages of a folded name; withPURL those of a base purl.
func (s *segment) withName(folded string) (begin, end int) {
	prefix := append([]byte(folded), 0)
	begin = sort.Search(s.groups(), func(g int) bool { return bytes.Compare(s.key(g), prefix) >= 0 })
	for end = begin; end < s.groups() && bytes.HasPrefix(s.key(end), prefix); end++ {
	}
	return begin, end
}

func (s *segment) withPURL(base string) []int {
	n := len(s.part[byPURL]) / 4
	purl := func(i int) (int, []byte) {
		g := int(u32(s.part[byPURL], i))
		_, rest, _ := bytes.Cut(s.key(g), []byte{0})
		_, rest, _ = bytes.Cut(rest, []byte{0})
		b, _, _ := bytes.Cut(rest, []byte{0})
		return g, b
	}
	var out []int
	i := sort.Search(n, func(i int) bool { _, b := purl(i); return string(b) >= base })
	for ; i < n; i++ {
		g, b := purl(i)
		if string(b) != base {
			break
		}
		out = append(out, g)
	}
	return out
}
