package packed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
	"go.etcd.io/bbolt"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Inventory is a portfolio in a directory, for one process at a time. It is an
// [inventory.Inventory], an [inventory.Selector] and [inventory.Cursors]. Its
// methods may be called from several goroutines.
type Inventory struct {
	dir string
	db  *bbolt.DB

	compact sync.Mutex   // held by who replaces the base
	mu      sync.RWMutex // guards what follows; held for writing by who changes db
	base    *segment
	gone    *roaring.Bitmap // numbers of the base that are not live
	delta   *delta
}

// Load makes an inventory in dir, which must not hold one, from whole
// portfolios. Either all of it is there afterwards or nothing. Every image
// must have another name.
func Load(ctx context.Context, dir string, opts LoadOptions, sources ...Source) (Stats, error) {
	inv, err := Open(dir)
	if err != nil {
		return Stats{}, err
	}
	stats, err := inv.load(ctx, opts, sources...)
	return stats, errors.Join(err, inv.Close())
}

func (inv *Inventory) load(ctx context.Context, opts LoadOptions, sources ...Source) (Stats, error) {
	inv.compact.Lock()
	defer inv.compact.Unlock()
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.base != nil || inv.delta.len() > 0 {
		return Stats{}, fmt.Errorf("inventory %s: it is not empty, so nothing can be loaded", inv.dir)
	}
	var stats Stats
	base, name, err := inv.newBase(func(f *os.File) (err error) {
		stats, err = write(ctx, f, inv.dir, 1, opts, sources...)
		return err
	})
	if err == nil {
		err = inv.switchTo(name, base, func(tx *bbolt.Tx, s *segment) error { return advance(tx, s.last()) })
	}
	if err != nil {
		return Stats{}, fmt.Errorf("inventory %s: load: %w", inv.dir, err)
	}
	return stats, nil
}

// Open opens or creates the inventory in dir.
func Open(dir string) (*Inventory, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open inventory: %w", err)
	}
	db, base, err := openDelta(filepath.Join(dir, "delta"))
	if err != nil {
		return nil, fmt.Errorf("open inventory %s: %w", dir, err)
	}
	inv := &Inventory{dir: dir, db: db}
	if err := inv.open(base); err != nil {
		return nil, errors.Join(fmt.Errorf("open inventory %s: %w", dir, err), inv.Close())
	}
	return inv, nil
}

func (inv *Inventory) open(base string) (err error) {
	if err := inv.sweep(base); err != nil {
		return err
	}
	if base != "" {
		if inv.base, err = openSegment(filepath.Join(inv.dir, base)); err != nil {
			return err
		}
	}
	return inv.db.View(func(tx *bbolt.Tx) error {
		inv.gone = readGone(tx)
		inv.delta, err = readDelta(tx)
		return err
	})
}

// sweep removes what a load that was cut off left.
func (inv *Inventory) sweep(base string) error {
	entries, err := os.ReadDir(inv.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, ".tmp-") || strings.HasPrefix(n, "base-") && n != base {
			if err := os.Remove(filepath.Join(inv.dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close releases the inventory. No method may be running.
func (inv *Inventory) Close() error {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	err := inv.db.Close()
	if inv.base != nil {
		err = errors.Join(err, inv.base.close())
		inv.base = nil
	}
	return err
}

// Swap implements [inventory.Inventory].
func (inv *Inventory) Swap(ctx context.Context, name, prev string, next *inventory.Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if next == nil && prev == "" {
		return fmt.Errorf("inventory: swap %s: nothing for nothing", name)
	}
	if next != nil {
		if err := next.Check(); err != nil {
			return fmt.Errorf("inventory: %w", err)
		}
		if next.Name != name {
			return fmt.Errorf("inventory: image %q cannot stand in for %q", next.Name, name)
		}
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if err := inv.swap(name, prev, next); err != nil {
		return fmt.Errorf("inventory: swap %s: %w", name, err)
	}
	return nil
}

func (inv *Inventory) swap(name, prev string, next *inventory.Image) error {
	old, inBase := inv.delta.names[name], false
	live := ""
	if old == nil {
		if i, ok := inv.inBase(name); ok {
			r := inv.base.row(i)
			old, inBase, live = &added{id: r.id}, true, digest(r.digest)
		}
	} else {
		live = old.digest
	}
	retired, err := inv.retired(name, prev, next)
	switch {
	case err != nil:
		return err
	case next != nil && live == next.Digest, next == nil && old == nil && retired:
		return nil // done already
	case next != nil && retired:
		return fmt.Errorf("%s: %w", next.Digest, inventory.ErrRetired)
	case live != prev:
		return fmt.Errorf("%w: %q, not %q", inventory.ErrConflict, live, prev)
	}
	var put *inventory.Image
	err = inv.db.Update(func(tx *bbolt.Tx) (err error) {
		if old != nil {
			if err := retire(tx, name, live, old.id, inBase); err != nil {
				return err
			}
		}
		if next != nil {
			put, err = insert(tx, next)
		}
		return err
	})
	if err != nil {
		return err
	}
	switch {
	case inBase:
		inv.gone.Add(uint32(old.id))
	case old != nil:
		inv.delta.remove(name)
	}
	if put != nil {
		return inv.delta.add(put)
	}
	return nil
}

// retired reports whether the digest of next was live before; without next,
// that of prev.
func (inv *Inventory) retired(name, prev string, next *inventory.Image) (was bool, err error) {
	if next != nil {
		prev = next.Digest
	}
	err = inv.db.View(func(tx *bbolt.Tx) error {
		was = tx.Bucket(bucketRetired).Get(join(name, prev)) != nil
		return nil
	})
	return was, err
}

// inBase is the place of a name's live image in the base.
func (inv *Inventory) inBase(name string) (int, bool) {
	if inv.base == nil {
		return 0, false
	}
	i, ok := inv.base.named(name)
	return i, ok && !inv.gone.Contains(uint32(inv.base.id(i)))
}

// Live implements [inventory.Inventory].
func (inv *Inventory) Live(ctx context.Context, name string) (*inventory.Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	if a := inv.delta.names[name]; a != nil {
		return inv.stored(a.id)
	}
	if i, ok := inv.inBase(name); ok {
		return inv.base.image(i)
	}
	return nil, fmt.Errorf("inventory: %s: %w", name, inventory.ErrNotFound)
}

// Image implements [inventory.Index].
func (inv *Inventory) Image(ctx context.Context, id inventory.ID) (*inventory.Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	if inv.delta.live[id] {
		return inv.stored(id)
	}
	if inv.base != nil {
		if i, ok := inv.base.find(id); ok && !inv.gone.Contains(uint32(id)) {
			return inv.base.image(i)
		}
	}
	return nil, fmt.Errorf("inventory: image %d: %w", id, inventory.ErrNotFound)
}

func (inv *Inventory) stored(id inventory.ID) (img *inventory.Image, err error) {
	err = inv.db.View(func(tx *bbolt.Tx) error {
		img, err = readImage(tx, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	return img, nil
}

// All implements [inventory.Inventory]. Images that are swapped in during the
// walk are seen; ones that are retired may be.
func (inv *Inventory) All(ctx context.Context) iter.Seq2[*inventory.Image, error] {
	return func(yield func(*inventory.Image, error) bool) {
		for id := inventory.ID(0); ; {
			img, err := inv.after(ctx, id)
			if err != nil {
				yield(nil, err)
				return
			}
			if img == nil || !yield(img, nil) {
				return
			}
			id = img.ID
		}
	}
}

// after is the live image with the lowest number above id, nil where there is
// none.
func (inv *Inventory) after(ctx context.Context, id inventory.ID) (*inventory.Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	if inv.base != nil && id < inv.base.last() {
		i, _ := inv.base.find(id + 1)
		for ; i < inv.base.images(); i++ {
			if !inv.gone.Contains(uint32(inv.base.id(i))) {
				return inv.base.image(i)
			}
		}
	}
	if next, ok := inv.delta.after(id); ok {
		return inv.stored(next)
	}
	return nil, nil
}

// Versions implements [inventory.Index].
func (inv *Inventory) Versions(ctx context.Context, name, purl string) ([]inventory.Posting, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q, err := ask(inventory.Package{Name: name, PURL: purl})
	if err != nil {
		return nil, err
	}
	q.anyEcosystem = true
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	byKey := map[[4]string]int{}
	var out []inventory.Posting
	add := func(c inventory.Component, ids []inventory.ID) {
		k := [4]string{c.Ecosystem, c.Name, c.Version, c.PURL}
		if i, ok := byKey[k]; ok {
			out[i].Images = append(out[i].Images, ids...)
			return
		}
		byKey[k] = len(out)
		out = append(out, inventory.Posting{Ecosystem: c.Ecosystem, Component: c.Name, Version: c.Version, PURL: c.PURL, Images: ids})
	}
	for g := range q.inBase(inv.base) {
		for v, err := range inv.base.versions(g) {
			if err != nil {
				return nil, fmt.Errorf("inventory: versions of %s %s: %w", name, purl, err)
			}
			ids, err := members(v.post, v.n)
			if err != nil {
				return nil, fmt.Errorf("inventory: versions of %s %s: %w", name, purl, err)
			}
			list := make([]inventory.ID, 0, len(ids))
			for _, id := range ids {
				if !inv.gone.Contains(id) {
					list = append(list, inventory.ID(id))
				}
			}
			if len(list) > 0 {
				add(v.component(), list)
			}
		}
	}
	for p := range q.inDelta(inv.delta) {
		for _, v := range p.versions {
			add(v.component, slices.Clone(v.ids))
		}
	}
	slices.SortFunc(out, inventory.Posting.Compare)
	return out, nil
}

// Cursor implements [inventory.Cursors].
func (inv *Inventory) Cursor(ctx context.Context, feed string) (cursor []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = inv.db.View(func(tx *bbolt.Tx) error {
		cursor = slices.Clone(tx.Bucket(bucketCursors).Get([]byte(feed)))
		return nil
	})
	return cursor, err
}

// SetCursor implements [inventory.Cursors].
func (inv *Inventory) SetCursor(ctx context.Context, feed string, cursor []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := inv.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketCursors).Put([]byte(feed), cursor) })
	if err != nil {
		return fmt.Errorf("inventory: cursor of %s: %w", feed, err)
	}
	return nil
}
