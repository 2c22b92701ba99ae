package packed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// newBase writes a base and opens it. The inventory does not use it before
// switchTo; one that no transaction names is removed as the inventory is opened.
func (inv *Inventory) newBase(write func(*os.File) error) (*segment, string, error) {
	f, err := os.CreateTemp(inv.dir, "base-*")
	if err != nil {
		return nil, "", err
	}
	err = errors.Join(write(f), f.Close(), atomicfile.SyncDir(inv.dir))
	var base *segment
	if err == nil {
		base, err = openSegment(f.Name())
	}
	if err != nil {
		return nil, "", errors.Join(err, os.Remove(f.Name()))
	}
	return base, filepath.Base(f.Name()), nil
}

// switchTo makes the base the inventory's, with the changes of commit, in one
// transaction. Until then the old one counts. mu must be held.
func (inv *Inventory) switchTo(name string, base *segment, commit func(*bbolt.Tx, *segment) error) error {
	old := ""
	err := inv.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		old = string(meta.Get(keyBase))
		return errors.Join(commit(tx, base), meta.Put(keyBase, []byte(name)))
	})
	if err != nil {
		return errors.Join(err, base.close(), os.Remove(filepath.Join(inv.dir, name)))
	}
	if inv.base != nil {
		err = inv.base.close()
	}
	inv.base = base
	if old != "" {
		err = errors.Join(err, os.Remove(filepath.Join(inv.dir, old)))
	}
	return err
}

// Compact writes base and difference into a new base, so that opening and
// memory stay small. Images may be swapped meanwhile and are kept as
// differences to the new base.
func (inv *Inventory) Compact(ctx context.Context, opts LoadOptions) (Stats, error) {
	inv.compact.Lock()
	defer inv.compact.Unlock()
	stats, err := inv.compactNow(ctx, opts)
	if err != nil {
		return Stats{}, fmt.Errorf("inventory %s: compact: %w", inv.dir, err)
	}
	return stats, nil
}

func (inv *Inventory) compactNow(ctx context.Context, opts LoadOptions) (stats Stats, err error) {
	// What is live now goes into the base; the lock is not held meanwhile,
	// because the old base does not change and stays open.
	inv.mu.RLock()
	base, gone, added := inv.base, inv.gone.Clone(), slices.Clone(inv.delta.order)
	inv.mu.RUnlock()
	var sources []Source
	if base != nil {
		names, err := base.components()
		if err != nil {
			return Stats{}, err
		}
		n := base.images()
		for _, r := range [][2]int{{0, n / 2}, {n / 2, n}} {
			sources = append(sources, func(yield func(*inventory.Image, error) bool) {
				for i := r[0]; i < r[1]; i++ {
					if gone.Contains(uint32(base.id(i))) {
						continue
					}
					if !yield(base.imageFrom(i, names)) {
						return
					}
				}
			})
		}
	}
	moved := map[inventory.ID]bool{}
	sources = append(sources, func(yield func(*inventory.Image, error) bool) {
		for _, id := range added {
			inv.mu.RLock()
			var img *inventory.Image
			var err error
			if inv.delta.live[id] { // else it was retired meanwhile
				img, err = inv.stored(id)
			}
			inv.mu.RUnlock()
			if img == nil && err == nil {
				continue
			}
			moved[id] = true
			if !yield(img, err) {
				return
			}
		}
	})
	next, name, err := inv.newBase(func(f *os.File) (err error) {
		stats, err = write(ctx, f, inv.dir, 1, opts, sources...)
		return err
	})
	if err != nil {
		return Stats{}, err
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	err = inv.switchTo(name, next, func(tx *bbolt.Tx, s *segment) error { return settle(tx, s, moved) })
	if err != nil {
		return Stats{}, err
	}
	return stats, inv.db.View(func(tx *bbolt.Tx) error {
		inv.gone = readGone(tx)
		inv.delta, err = readDelta(tx)
		return err
	})
}

// settle makes the difference one to the new base: what moved into it and is
// still live leaves; what is in it and was retired meanwhile is gone.
func settle(tx *bbolt.Tx, s *segment, moved map[inventory.ID]bool) error {
	images, gone := tx.Bucket(bucketImages), tx.Bucket(bucketGone)
	var errs []error
	for id := range moved {
		if images.Get(number(id)) == nil {
			errs = append(errs, gone.Put(number(id), nil))
		} else {
			errs = append(errs, images.Delete(number(id)))
		}
	}
	for _, id := range readGone(tx).ToArray() {
		if _, ok := s.find(inventory.ID(id)); !ok {
			errs = append(errs, gone.Delete(number(inventory.ID(id))))
		}
	}
	return errors.Join(errs...)
}

// components are all pairs of the base, by number. Their strings share one
// copy of each package's names.
func (s *segment) components() ([]inventory.Component, error) {
	out := make([]inventory.Component, 0, len(s.part[byPop])/4)
	for g := range s.groups() {
		var first inventory.Component
		for v, err := range s.versions(g) {
			if err != nil {
				return nil, err
			}
			c := v.component()
			if first.Name == "" {
				first = c
			}
			c.Name, c.Ecosystem = first.Name, first.Ecosystem
			out = append(out, c)
		}
	}
	return out, nil
}

// imageFrom is image with the components at hand.
func (s *segment) imageFrom(i int, names []inventory.Component) (*inventory.Image, error) {
	r := s.row(i)
	if len(r.doc) > 0 {
		return s.image(i)
	}
	pairs, err := s.pairs(r.forward)
	if err != nil {
		return nil, err
	}
	img := s.bare(r)
	img.Components = make([]inventory.Component, 0, len(pairs))
	for _, p := range pairs {
		img.Components = append(img.Components, names[p])
	}
	return img, nil
}
