package packed

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// query is a package as it is looked for.
type query struct {
	inventory.Package
	base         string // of the package URL
	anyEcosystem bool   // the name counts in any ecosystem
}

func ask(p inventory.Package) (query, error) {
	q := query{Package: p}
	if p.PURL != "" {
		var err error
		if q.base, err = inventory.BasePURL(p.PURL); err != nil {
			return q, fmt.Errorf("inventory: %w", err)
		}
	}
	return q, nil
}

// folds are the folded forms under which the name may be kept.
func (q query) folds() []string {
	if q.Name == "" {
		return nil
	}
	if !q.anyEcosystem {
		return []string{inventory.Fold(q.Ecosystem, q.Name)}
	}
	return inventory.Folds(q.Name)
}

// named reports whether a package of a fitting folded name is meant.
func (q query) named(ecosystem, name string) bool {
	if q.anyEcosystem {
		return inventory.Fold(ecosystem, name) == inventory.Fold(ecosystem, q.Name)
	}
	return ecosystem == q.Ecosystem
}

// inBase yields the packages of the base that are meant, each once.
func (q query) inBase(s *segment) iter.Seq[int] {
	return func(yield func(int) bool) {
		if s == nil {
			return
		}
		var seen []int
		for _, f := range q.folds() {
			begin, end := s.withName(f)
			for g := begin; g < end; g++ {
				part := bytes.SplitN(s.key(g), []byte{0}, 4)
				if !q.named(string(part[1]), string(part[3])) {
					continue
				}
				if seen = append(seen, g); !yield(g) {
					return
				}
			}
		}
		if q.base == "" {
			return
		}
		for _, g := range s.withPURL(q.base) {
			if !slices.Contains(seen, g) && !yield(g) {
				return
			}
		}
	}
}

// inDelta yields the packages of the delta that are meant, each once.
func (q query) inDelta(d *delta) iter.Seq[*packageOf] {
	return func(yield func(*packageOf) bool) {
		var seen []*packageOf
		for _, f := range q.folds() {
			for _, p := range d.folded[f] {
				if !q.named(p.ecosystem, p.name) {
					continue
				}
				if seen = append(seen, p); !yield(p) {
					return
				}
			}
		}
		if q.base == "" {
			return
		}
		for _, p := range d.purls[q.base] {
			if !slices.Contains(seen, p) && !yield(p) {
				return
			}
		}
	}
}

// few is how many members are gathered in a list; more go into a bitmap.
const few = 1024

// union gathers images.
type union struct {
	list  []uint32
	words []uint64 // once the list was long
	large []*roaring.Bitmap
}

func (u *union) add(post []byte, n, top uint32) (err error) {
	if n >= dense {
		set, err := bitmap(post)
		if err == nil {
			u.large = append(u.large, set)
		}
		return err
	}
	if u.list, err = gaps(u.list, post, n); err != nil {
		return err
	}
	if len(u.list) > few {
		u.spread(top)
	}
	return nil
}

// spread moves the list into words.
func (u *union) spread(top uint32) {
	if u.words == nil {
		u.words = make([]uint64, top/64+1)
	}
	for _, id := range u.list {
		if w := id / 64; int(w) < len(u.words) {
			u.words[w] |= 1 << (id % 64)
		}
	}
	u.list = u.list[:0]
}

// set is the union without gone.
func (u *union) set(gone *roaring.Bitmap, top uint32) inventory.Set {
	if u.words == nil && len(u.large) == 0 {
		slices.Sort(u.list)
		ids := make(inventory.List, 0, len(u.list))
		for i, id := range u.list {
			if (i == 0 || id != u.list[i-1]) && !gone.Contains(id) {
				ids = append(ids, inventory.ID(id))
			}
		}
		return ids
	}
	u.spread(top)
	all := roaring.New()
	all.FromDense(u.words, false)
	if len(u.large) > 0 {
		all = roaring.FastOr(append(u.large, all)...)
	}
	if !gone.IsEmpty() {
		all = roaring.AndNot(all, gone)
	}
	return bits{all}
}

// bits is a large set.
type bits struct{ set *roaring.Bitmap }

func (b bits) Len() int                      { return int(b.set.GetCardinality()) }
func (b bits) Contains(id inventory.ID) bool { return b.set.Contains(uint32(id)) }

func (b bits) All() iter.Seq[inventory.ID] {
	return func(yield func(inventory.ID) bool) {
		b.set.Iterate(func(id uint32) bool { return yield(inventory.ID(id)) })
	}
}

// Select implements [inventory.Selector].
func (inv *Inventory) Select(ctx context.Context, p inventory.Package, affected func(version string) bool) (inventory.Set, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q, err := ask(p)
	if err != nil {
		return nil, err
	}
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	var u union
	top := uint32(0)
	if inv.base != nil {
		top = uint32(inv.base.last())
	}
	if n := len(inv.delta.order); n > 0 {
		top = max(top, uint32(inv.delta.order[n-1]))
	}
	for g := range q.inBase(inv.base) {
		for v, err := range inv.base.versions(g) {
			if err == nil && affected(string(v.version)) {
				err = u.add(v.post, v.n, top)
			}
			if err != nil {
				return nil, fmt.Errorf("inventory: %s %s: %w", p.Name, p.PURL, err)
			}
		}
	}
	for p := range q.inDelta(inv.delta) {
		for _, v := range p.versions {
			if affected(v.component.Version) {
				for _, id := range v.ids {
					u.list = append(u.list, uint32(id))
				}
			}
		}
	}
	return u.set(inv.gone, top), nil
}
