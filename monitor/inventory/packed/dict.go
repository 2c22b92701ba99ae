package packed

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
)

// dict gives numbers to distinct keys as they come in from several goroutines.
// It is cut into shards, so that they seldom wait for each other; a number is
// its key's place in a shard and the shard. Which numbers are given depends on
// the order of arrival, so they are replaced by ranks before anything is
// written.
type dict struct {
	seed   maphash.Seed
	shards [shards]shard
}

const shards = 64

// shard is an open-addressed table over one arena of keys: no pointer in it, so
// that a collector has nothing to follow.
type shard struct {
	mu     sync.Mutex
	slots  atomic.Pointer[[]slot] // replaced as it grows
	ends   []uint32               // of the keys in the arena
	counts []uint32               // set when everything is there
	arena  []byte
	_      [64]byte // shards do not share a cache line
}

// slot is what is needed to tell whether a key is the one: one look into memory
// beside the arena. An empty one has no place.
type slot struct {
	tag        uint32 // upper half of the hash
	place      uint32 // plus one
	begin, end uint32 // of the key in the arena
}

func newDict() *dict {
	d := &dict{seed: maphash.MakeSeed()}
	d.freeze()
	return d
}

func (d *dict) hash(key []byte) uint64 { return maphash.Bytes(d.seed, key) }

// touch brings what a look-up of the hash will read nearer. Touching many keys
// before they are looked up lets the processor wait for all of them at once,
// which is most of what a load does.
func (d *dict) touch(h uint64) uint32 {
	slots := *d.shards[h%shards].slots.Load()
	if len(slots) == 0 {
		return 0
	}
	return atomic.LoadUint32(&slots[(h/shards)&uint64(len(slots)-1)].place)
}

// number is the number of the key with the hash; fresh where it was given now.
func (d *dict) number(h uint64, key []byte) (n uint32, fresh bool) {
	i := h % shards
	s := &d.shards[i]
	s.mu.Lock()
	place, fresh := s.place(d.seed, h, key)
	s.mu.Unlock()
	return place*shards + uint32(i), fresh
}

func (s *shard) place(seed maphash.Seed, h uint64, key []byte) (uint32, bool) {
	slots := *s.slots.Load()
	if 4*len(s.ends) >= 3*len(slots) {
		slots = s.grow(seed, slots)
	}
	mask := uint64(len(slots) - 1)
	tag := uint32(h >> 32)
	for i := (h / shards) & mask; ; i = (i + 1) & mask {
		v := &slots[i]
		if v.place == 0 {
			v.tag, v.begin, v.end = tag, uint32(len(s.arena)), uint32(len(s.arena)+len(key))
			atomic.StoreUint32(&v.place, uint32(len(s.ends))+1) // others may touch it
			s.arena = append(s.arena, key...)
			s.ends = append(s.ends, v.end)
			return v.place - 1, true
		}
		if v.tag == tag && bytes.Equal(s.arena[v.begin:v.end], key) {
			return v.place - 1, false
		}
	}
}

func (s *shard) key(n uint32) []byte {
	begin := uint32(0)
	if n > 0 {
		begin = s.ends[n-1]
	}
	return s.arena[begin:s.ends[n]]
}

func (s *shard) grow(seed maphash.Seed, old []slot) []slot {
	slots := make([]slot, max(256, 2*len(old)))
	mask := uint64(len(slots) - 1)
	for _, v := range old {
		if v.place == 0 {
			continue
		}
		i := (maphash.Bytes(seed, s.arena[v.begin:v.end]) / shards) & mask
		for slots[i].place != 0 {
			i = (i + 1) & mask
		}
		slots[i] = v
	}
	s.slots.Store(&slots)
	return slots
}

func (d *dict) key(n uint32) []byte { return d.shards[n%shards].key(n / shards) }

func (d *dict) count(n uint32) uint32 { return d.shards[n%shards].counts[n/shards] }

// len is the number of keys.
func (d *dict) len() int {
	n := 0
	for i := range d.shards {
		n += len(d.shards[i].ends)
	}
	return n
}

// bound is above every number.
func (d *dict) bound() int {
	n := 0
	for i := range d.shards {
		n = max(n, len(d.shards[i].ends))
	}
	return n * shards
}

// sorted are all numbers by their keys.
func (d *dict) sorted() []uint32 {
	all := make([]uint32, 0, d.len())
	for i := range d.shards {
		for n := range uint32(len(d.shards[i].ends)) {
			all = append(all, n*shards+uint32(i))
		}
	}
	slices.SortFunc(all, func(a, b uint32) int { return bytes.Compare(d.key(a), d.key(b)) })
	return all
}

// freeze lets go of the tables, which nobody asks any more.
func (d *dict) freeze() {
	for i := range d.shards {
		d.shards[i].slots.Store(&[]slot{})
	}
}

// tally sums up how often each number was given, as several counted it by
// number; a list may end before the last one.
func (d *dict) tally(lists [][]uint32) {
	parallel(shards, func(i int) {
		s := &d.shards[i]
		s.counts = make([]uint32, len(s.ends))
		for _, l := range lists {
			for n := range s.counts {
				if k := n*shards + i; k < len(l) {
					s.counts[n] += l[k]
				}
			}
		}
	})
}

// recent remembers the numbers of components that one goroutine saw last, so
// that most of them cost one look into memory and no lock. What is remembered
// is compared byte by byte.
type recent struct {
	seed  maphash.Seed
	lines []recentLine
}

type recentLine struct {
	number uint32
	len    uint8 // 0 for none
	key    [123]byte
}

const recentLines = 1 << 18

func newRecent() recent {
	return recent{maphash.MakeSeed(), make([]recentLine, recentLines)}
}

// line is where a key belongs.
func (r *recent) line(key []byte) *recentLine {
	return &r.lines[maphash.Bytes(r.seed, key)%recentLines]
}

func (l *recentLine) is(key []byte) bool { return bytes.Equal(l.key[:l.len], key) }

// put remembers a key, where it is short enough.
func (l *recentLine) put(key []byte, n uint32) {
	if len(key) > len(l.key) {
		return
	}
	l.number, l.len = n, uint8(copy(l.key[:], key))
}

// packages are the two levels of the dictionary: packages, and the versions of
// each. A version's key begins with the number of its package.
type packages struct{ groups, pairs *dict }

// ranks is the final order: packages by name, ecosystem and package URL;
// versions within them; and versions by how many images hold them.
type ranks struct {
	groups []uint32 // numbers of packages, in order
	first  []uint32 // of each package its first pair, and the end
	pairs  []uint32 // numbers of versions, in order
	final  []uint32 // number of a version → its place in pairs
	popul  []uint32 // place in pairs → place by popularity
	byPop  []uint32 // place by popularity → place in pairs

	groupEnds []uint64 // of the packages' blocks of versions, once they are written
}

func (p packages) rank(each func(parts int, do func(part int))) ranks {
	p.groups.freeze()
	p.pairs.freeze()
	r := ranks{groups: p.groups.sorted()}
	place := make([]uint32, p.groups.bound())
	for i, g := range r.groups {
		place[g] = uint32(i)
	}
	// Pairs go to their packages by counting, and are sorted there.
	r.first = make([]uint32, len(r.groups)+1)
	group := func(s *shard, n uint32) uint32 { return place[binary.LittleEndian.Uint32(s.key(n))] }
	each(shards, func(i int) {
		s := &p.pairs.shards[i]
		for n := range uint32(len(s.ends)) {
			atomic.AddUint32(&r.first[group(s, n)+1], 1)
		}
	})
	for i := range r.groups {
		r.first[i+1] += r.first[i]
	}
	r.pairs = make([]uint32, p.pairs.len())
	next := slices.Clone(r.first)
	each(shards, func(i int) { // in no order yet
		s := &p.pairs.shards[i]
		for n := range uint32(len(s.ends)) {
			r.pairs[atomic.AddUint32(&next[group(s, n)], 1)-1] = n*shards + uint32(i)
		}
	})
	const parts = 16
	each(parts, func(part int) {
		for g := part * len(r.groups) / parts; g < (part+1)*len(r.groups)/parts; g++ {
			slices.SortFunc(r.pairs[r.first[g]:r.first[g+1]], func(a, b uint32) int {
				return bytes.Compare(p.pairs.key(a)[4:], p.pairs.key(b)[4:])
			})
		}
	})
	r.final = make([]uint32, p.pairs.bound())
	order := make([]uint64, len(r.pairs))
	for i, n := range r.pairs {
		r.final[n] = uint32(i)
		order[i] = uint64(^p.pairs.count(n))<<32 | uint64(i)
	}
	slices.Sort(order)
	r.popul = make([]uint32, len(r.pairs))
	r.byPop = make([]uint32, len(r.pairs))
	for i, o := range order {
		r.byPop[i] = uint32(o)
		r.popul[uint32(o)] = uint32(i)
	}
	return r
}
