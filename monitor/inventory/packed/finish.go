package packed

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// finish writes the base from what the parts gave.
func (l *loader) finish(ctx context.Context, f *os.File) error {
	w, err := newWriter(f)
	if err != nil {
		return err
	}
	for s, write := range [sections]func(context.Context, *writer) error{
		postings: l.postings,
		forwards: l.forwards,
		docs:     func(_ context.Context, w *writer) error { return l.files(w, func(p *part) *os.File { return p.docs }) },
		names:    func(_ context.Context, w *writer) error { return l.bytes(w, func(p *part) []byte { return p.names }) },
		digests:  func(_ context.Context, w *writer) error { return l.bytes(w, func(p *part) []byte { return p.digests }) },
		images:   l.images,
		byName:   func(_ context.Context, w *writer) error { return numbers(w, l.names) },
		versions: l.versions,
		keys:     l.keys,
		groups:   l.groups,
		byPURL:   l.byPURL,
		byPop:    func(_ context.Context, w *writer) error { return numbers(w, l.ranks.byPop) },
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := write(ctx, w); err != nil {
			return err
		}
		if err := w.end(section(s)); err != nil {
			return err
		}
	}
	if err := w.close(); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	l.stats.Bytes = info.Size()
	return nil
}

// chunk is a range of pairs that are inverted at a time.
type chunk struct {
	begin, end uint32
	records    uint64
}

// chunks cuts the pairs so that as many chunks as there are cores stay within
// the memory, and into a multiple of as many, so that none is left over.
func (l *loader) chunks() []chunk {
	cores, records := int64(runtime.GOMAXPROCS(0)), l.stats.Records
	n := records/max(1<<16, l.memory/4/cores) + 1
	n = (n + cores - 1) / cores * cores
	limit := uint64(records/n) + 1
	var out []chunk
	var c chunk
	for i, n := range l.ranks.pairs {
		count := uint64(l.dict.pairs.count(n))
		c.records += count
		c.end = uint32(i) + 1
		if c.records >= limit {
			out = append(out, c)
			c = chunk{begin: c.end}
		}
	}
	if c.records > 0 {
		out = append(out, c)
	}
	return out
}

// postings inverts: for each pair its images. Every chunk of pairs is filled in
// one walk over all images.
func (l *loader) postings(ctx context.Context, w *writer) error {
	l.lens = make([]uint32, len(l.ranks.pairs))
	chunks := l.chunks()
	for batch := range slices.Chunk(chunks, runtime.GOMAXPROCS(0)) {
		out := make([][]byte, len(batch))
		g, gctx := errgroup.WithContext(ctx)
		for i, c := range batch {
			g.Go(func() (err error) {
				out[i], err = l.invert(gctx, c)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for _, b := range out {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loader) invert(ctx context.Context, c chunk) ([]byte, error) {
	next := make([]uint32, c.end-c.begin)
	at := uint32(0)
	for i := range next {
		next[i] = at
		at += l.dict.pairs.count(l.ranks.pairs[c.begin+uint32(i)])
	}
	ids := make([]uint32, c.records)
	for _, p := range l.parts {
		err := p.walk(func(i int, pairs []uint32) error {
			id := p.ids[i]
			for _, pair := range pairs {
				if x := pair - c.begin; x < uint32(len(next)) {
					ids[next[x]] = id
					next[x]++
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	var b []byte
	begin := uint32(0)
	for i, end := range next {
		size := len(b)
		var err error
		if b, err = appendPosting(b, ids[begin:end]); err != nil {
			return nil, err
		}
		l.lens[c.begin+uint32(i)] = uint32(len(b) - size)
		begin = end
	}
	return b, nil
}

// forwards writes each image's pairs by popularity.
func (l *loader) forwards(ctx context.Context, w *writer) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range l.parts {
		g.Go(func() error {
			w := bufio.NewWriterSize(p.forward, 1<<20)
			end := uint64(0)
			var b []byte
			err := p.walk(func(i int, pairs []uint32) error {
				for j, pair := range pairs {
					pairs[j] = l.ranks.popul[pair]
				}
				slices.Sort(pairs)
				b = binary.AppendUvarint(b[:0], uint64(len(pairs)))
				last := uint32(0)
				for j, n := range pairs {
					if j > 0 && n == last {
						return fmt.Errorf("an image lists %s twice", l.show(l.ranks.byPop[n]))
					}
					b = binary.AppendUvarint(b, uint64(n-last))
					last = n
				}
				end += uint64(len(b))
				p.forwardEnds = append(p.forwardEnds, end)
				if _, err := w.Write(b); err != nil {
					return err
				}
				return gctx.Err()
			})
			if err != nil {
				return err
			}
			return w.Flush()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return l.files(w, func(p *part) *os.File { return p.forward })
}

func (l *loader) show(pair uint32) string {
	key := l.dict.pairs.key(l.ranks.pairs[pair])
	group := l.dict.groups.key(binary.LittleEndian.Uint32(key))
	version, _, _ := bytes.Cut(key[4:], []byte{0})
	return fmt.Sprintf("%s %s", group[bytes.LastIndexByte(group, 0)+1:], version)
}

func (l *loader) files(w *writer, of func(*part) *os.File) error {
	for _, p := range l.parts {
		if err := copyFile(w, of(p)); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) bytes(w *writer, of func(*part) []byte) error {
	for _, p := range l.parts {
		if _, err := w.Write(of(p)); err != nil {
			return err
		}
	}
	return nil
}

// images writes the table of images.
func (l *loader) images(_ context.Context, w *writer) error {
	var forward, doc, name, digest uint64 // where the part's begin
	put := func(id uint32, added int64, forward, doc, name, digest uint64) error {
		b := binary.LittleEndian.AppendUint32(make([]byte, 0, imageSize), id)
		b = binary.LittleEndian.AppendUint64(b, uint64(added))
		b = binary.LittleEndian.AppendUint64(b, forward)
		b = binary.LittleEndian.AppendUint64(b, doc)
		b = binary.LittleEndian.AppendUint32(b, uint32(name))
		b = binary.LittleEndian.AppendUint32(b, uint32(digest))
		_, err := w.Write(b)
		return err
	}
	for _, p := range l.parts {
		var f, d, n, g uint64
		for i, id := range p.ids {
			if err := put(id, p.added[i], forward+f, doc+d, name+n, digest+g); err != nil {
				return err
			}
			f, d, n, g = p.forwardEnds[i], p.docEnds[i], uint64(p.nameEnds[i]), uint64(p.digestEnds[i])
		}
		forward, doc, name, digest = forward+f, doc+d, name+n, digest+g
		if name > 1<<32-1 || digest > 1<<32-1 {
			return fmt.Errorf("%d images have too long names or digests", l.stats.Images)
		}
	}
	return put(0, 0, forward, doc, name, digest)
}

// byName sorts the images by name and refuses a name that is there twice.
func (l *loader) byName() ([]uint32, error) {
	all := make([][]byte, 0, l.stats.Images)
	for _, p := range l.parts {
		begin := uint32(0)
		for _, end := range p.nameEnds {
			all = append(all, p.names[begin:end])
			begin = end
		}
	}
	order := make([]uint32, len(all))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return bytes.Compare(all[a], all[b]) })
	for i := 1; i < len(order); i++ {
		if bytes.Equal(all[order[i-1]], all[order[i]]) {
			return nil, fmt.Errorf("two images are called %q", all[order[i]])
		}
	}
	return order, nil
}

// versions writes the versions of each package: length of what they share with
// the one before, length of the rest, the rest, how the package URL is kept,
// its length and itself where it is whole, number of images, length of the
// posting.
func (l *loader) versions(_ context.Context, w *writer) error {
	const parts = 64
	blocks, ends := make([][]byte, parts), make([][]uint64, parts)
	n := len(l.ranks.groups)
	parallel(parts, func(part int) {
		for g := part * n / parts; g < (part+1)*n/parts; g++ {
			blocks[part] = l.appendVersions(blocks[part], g)
			ends[part] = append(ends[part], uint64(len(blocks[part])))
		}
	})
	for part, b := range blocks {
		for _, end := range ends[part] {
			l.ranks.groupEnds = append(l.ranks.groupEnds, uint64(w.n)+end)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) appendVersions(b []byte, g int) []byte {
	var last []byte
	for i := l.ranks.first[g]; i < l.ranks.first[g+1]; i++ {
		n := l.ranks.pairs[i]
		version, purl, _ := bytes.Cut(l.dict.pairs.key(n)[4:], []byte{0})
		shared := 0
		for shared < min(len(last), len(version)) && last[shared] == version[shared] {
			shared++
		}
		b = binary.AppendUvarint(b, uint64(shared))
		b = binary.AppendUvarint(b, uint64(len(version)-shared))
		b = append(b, version[shared:]...)
		b = append(b, purl[0])
		if purl[0] == ownPURL {
			b = binary.AppendUvarint(b, uint64(len(purl)-1))
			b = append(b, purl[1:]...)
		}
		b = binary.AppendUvarint(b, uint64(l.dict.pairs.count(n)))
		b = binary.AppendUvarint(b, uint64(l.lens[i]))
		last = version
	}
	return b
}

func (l *loader) keys(_ context.Context, w *writer) error {
	for _, g := range l.ranks.groups {
		if _, err := w.Write(l.dict.groups.key(g)); err != nil {
			return err
		}
	}
	if w.n > 1<<32-1 {
		return fmt.Errorf("the names of %d packages are too long", len(l.ranks.groups))
	}
	return nil
}

// groups writes the table of packages.
func (l *loader) groups(_ context.Context, w *writer) error {
	var key uint32
	var block, posting uint64
	for g := range len(l.ranks.groups) + 1 {
		first := uint32(len(l.ranks.pairs))
		if g < len(l.ranks.groups) {
			first = l.ranks.first[g]
		}
		b := binary.LittleEndian.AppendUint32(make([]byte, 0, groupSize), first)
		b = binary.LittleEndian.AppendUint32(b, key)
		b = binary.LittleEndian.AppendUint64(b, block)
		b = binary.LittleEndian.AppendUint64(b, posting)
		if _, err := w.Write(b); err != nil {
			return err
		}
		if g < len(l.ranks.groups) {
			key += uint32(len(l.dict.groups.key(l.ranks.groups[g])))
			block = l.ranks.groupEnds[g]
			for i := first; i < l.ranks.first[g+1]; i++ {
				posting += uint64(l.lens[i])
			}
		}
	}
	return nil
}

// byPURL lists the packages that have a package URL, sorted by it.
func (l *loader) byPURL(_ context.Context, w *writer) error {
	base := func(g uint32) []byte { return bytes.SplitN(l.dict.groups.key(l.ranks.groups[g]), []byte{0}, 4)[2] }
	type entry struct {
		base  []byte
		place uint32
	}
	var list []entry
	for g := range uint32(len(l.ranks.groups)) {
		if b := base(g); len(b) > 0 {
			list = append(list, entry{b, g})
		}
	}
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(bytes.Compare(a.base, b.base), cmp.Compare(a.place, b.place))
	})
	order := make([]uint32, len(list))
	for i, e := range list {
		order[i] = e.place
	}
	return numbers(w, order)
}

func numbers(w *writer, list []uint32) error {
	b := make([]byte, 0, 1<<16)
	for part := range slices.Chunk(list, 1<<14) {
		b = b[:0]
		for _, n := range part {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}
