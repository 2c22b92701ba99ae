package inventory

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// Bolt is an inventory in one file, for one process at a time.
type Bolt struct{ db *bbolt.DB }

// The buckets. Numbers are big-endian, so that keys sort by them.
var (
	bucketMeta     = []byte("meta")     // format
	bucketImages   = []byte("images")   // image number → Image
	bucketNames    = []byte("names")    // name → number of the live image
	bucketRetired  = []byte("retired")  // name, NUL, digest → number
	bucketPairs    = []byte("pairs")    // folded name, NUL, version, NUL, purl, NUL, name (, NUL, ecosystem) → pair number
	bucketPURLs    = []byte("purls")    // base purl, NUL, key of the pair → nothing
	bucketPostings = []byte("postings") // pair number, high half of image number → container
	bucketCursors  = []byte("cursors")  // feed → cursor
)

const format = "cleanstart-inventory/1"

// Open opens or creates the inventory at name. It waits no longer than a
// second for another process to let go of it.
func Open(name string) (*Bolt, error) {
	db, err := bbolt.Open(name, 0o644, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("open inventory %s: %w", name, err)
	}
	b, err := Within(db)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open inventory %s: %w", name, err), db.Close())
	}
	return b, nil
}

// Within keeps the inventory in a database that somebody else opened and
// closes, beside what they keep there: bucket names of one word are ours.
func Within(db *bbolt.DB) (*Bolt, error) {
	err := db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketMeta, bucketImages, bucketNames, bucketRetired, bucketPairs, bucketPURLs, bucketPostings, bucketCursors} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		switch got := meta.Get([]byte("format")); {
		case got == nil:
			return meta.Put([]byte("format"), []byte(format))
		case string(got) != format:
			return fmt.Errorf("it is of format %q, this program knows %q", got, format)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Bolt{db}, nil
}

// Close releases the file.
func (b *Bolt) Close() error { return b.db.Close() }

// Swap implements [Inventory].
func (b *Bolt) Swap(ctx context.Context, name, prev string, next *Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.db.Update(func(tx *bbolt.Tx) error { return b.SwapIn(tx, name, prev, next) })
}

// SwapIn is Swap as a part of a transaction on the database.
func (b *Bolt) SwapIn(tx *bbolt.Tx, name, prev string, next *Image) error {
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
	if err := swap(tx, name, prev, next); err != nil {
		return fmt.Errorf("inventory: swap %s: %w", name, err)
	}
	return nil
}

func swap(tx *bbolt.Tx, name, prev string, next *Image) error {
	live, err := liveImage(tx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	digest := ""
	if live != nil {
		digest = live.Digest
	}
	retired := tx.Bucket(bucketRetired)
	was := func(digest string) bool { return retired.Get(join(name, digest)) != nil }
	switch {
	case next != nil && digest == next.Digest, next == nil && live == nil && was(prev):
		return nil // done already
	case next != nil && was(next.Digest):
		return fmt.Errorf("%s: %w", next.Digest, ErrRetired)
	case digest != prev:
		return fmt.Errorf("%w: %q, not %q", ErrConflict, digest, prev)
	}
	if live != nil {
		if err := post(tx, live, container.without); err != nil {
			return err
		}
		if err := retired.Put(join(name, live.Digest), number(uint32(live.ID))); err != nil {
			return err
		}
		if err := tx.Bucket(bucketNames).Delete([]byte(name)); err != nil {
			return err
		}
	}
	if next == nil {
		return nil
	}
	images := tx.Bucket(bucketImages)
	seq, err := images.NextSequence()
	if err != nil {
		return err
	}
	if seq > 1<<32-1 {
		return errors.New("all image numbers are used")
	}
	put := *next
	put.ID = ID(seq)
	body, err := json.Marshal(&put)
	if err != nil {
		return err
	}
	return errors.Join(
		images.Put(number(uint32(put.ID)), body),
		tx.Bucket(bucketNames).Put([]byte(name), number(uint32(put.ID))),
		post(tx, &put, container.with),
	)
}

// post changes the posting of each of the image's components.
func post(tx *bbolt.Tx, img *Image, change func(container, uint16) container) error {
	postings := tx.Bucket(bucketPostings)
	for _, c := range img.Components {
		pair, err := pairNumber(tx, c)
		if err != nil {
			return err
		}
		key := binary.BigEndian.AppendUint16(number(pair), uint16(img.ID>>16))
		old := container(postings.Get(key))
		if err := old.check(); err != nil {
			return fmt.Errorf("posting of %s %s: %w", c.Name, c.Version, err)
		}
		if now := change(old, uint16(img.ID)); len(now) > 0 {
			err = postings.Put(key, now)
		} else {
			err = postings.Delete(key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pairNumber is the number of a component's (name, version, purl), given out
// on first sight.
func pairNumber(tx *bbolt.Tx, c Component) (uint32, error) {
	pairs := tx.Bucket(bucketPairs)
	key := join(Fold(c.Ecosystem, c.Name), c.Version, c.PURL, c.Name)
	if c.Ecosystem != "" {
		key = append(append(key, 0), c.Ecosystem...)
	}
	if v := pairs.Get(key); len(v) == 4 {
		return binary.BigEndian.Uint32(v), nil
	}
	seq, err := pairs.NextSequence()
	if err != nil {
		return 0, err
	}
	if seq > 1<<32-1 {
		return 0, errors.New("all pair numbers are used")
	}
	if c.PURL != "" {
		base, err := basePURL(c.PURL)
		if err != nil {
			return 0, err
		}
		if err := tx.Bucket(bucketPURLs).Put(append(join(base, ""), key...), nil); err != nil {
			return 0, err
		}
	}
	return uint32(seq), pairs.Put(key, number(uint32(seq)))
}

// Versions implements [Index].
func (b *Bolt) Versions(ctx context.Context, name, purl string) ([]Posting, error) {
	base := ""
	if purl != "" {
		var err error
		if base, err = basePURL(purl); err != nil {
			return nil, fmt.Errorf("inventory: %w", err)
		}
	}
	var out []Posting
	err := b.db.View(func(tx *bbolt.Tx) error {
		var keys [][]byte
		if name != "" {
			for _, folded := range Folds(name) {
				keys = append(keys, withPrefix(tx.Bucket(bucketPairs), join(folded, ""), false)...)
			}
		}
		if base != "" {
			keys = append(keys, withPrefix(tx.Bucket(bucketPURLs), join(base, ""), true)...)
		}
		slices.SortFunc(keys, bytes.Compare)
		for _, key := range slices.CompactFunc(keys, bytes.Equal) {
			if err := ctx.Err(); err != nil {
				return err
			}
			p, err := posting(tx, key)
			if err != nil {
				return err
			}
			if len(p.Images) > 0 && (Package{Ecosystem: p.Ecosystem, Name: name}).is(p, base) {
				out = append(out, p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("inventory: versions of %s %s: %w", name, purl, err)
	}
	slices.SortFunc(out, Posting.Compare)
	return out, nil
}

// withPrefix lists a bucket's keys, without the prefix where cut.
func withPrefix(b *bbolt.Bucket, prefix []byte, cut bool) [][]byte {
	var keys [][]byte
	c := b.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if cut {
			k = k[len(prefix):]
		}
		keys = append(keys, k)
	}
	return keys
}

// posting reads the containers of one pair.
func posting(tx *bbolt.Tx, key []byte) (Posting, error) {
	part := strings.Split(string(key), "\x00")
	pair := tx.Bucket(bucketPairs).Get(key)
	if len(part) < 4 || len(part) > 5 || len(pair) != 4 {
		return Posting{}, fmt.Errorf("the index is damaged at %q", key)
	}
	p := Posting{Component: part[3], Version: part[1], PURL: part[2]}
	if len(part) == 5 {
		p.Ecosystem = part[4]
	}
	c := tx.Bucket(bucketPostings).Cursor()
	for k, v := c.Seek(pair); bytes.HasPrefix(k, pair); k, v = c.Next() {
		set := container(v)
		if err := set.check(); err != nil || len(k) != 6 {
			return Posting{}, fmt.Errorf("the posting of %s %s is damaged", p.Component, p.Version)
		}
		high := ID(binary.BigEndian.Uint16(k[4:])) << 16
		list := set.list()
		p.Images = slices.Grow(p.Images, len(list))
		for _, low := range list {
			p.Images = append(p.Images, high|ID(low))
		}
	}
	return p, nil
}

// Image implements [Index].
func (b *Bolt) Image(ctx context.Context, id ID) (*Image, error) {
	return b.find(ctx, func(tx *bbolt.Tx) (*Image, error) {
		img, err := readImage(tx, number(uint32(id)))
		if err != nil {
			return nil, err
		}
		if live := tx.Bucket(bucketNames).Get([]byte(img.Name)); !bytes.Equal(live, number(uint32(id))) {
			return nil, ErrNotFound
		}
		return img, nil
	})
}

// Live implements [Inventory].
func (b *Bolt) Live(ctx context.Context, name string) (*Image, error) {
	return b.find(ctx, func(tx *bbolt.Tx) (*Image, error) { return liveImage(tx, name) })
}

func (b *Bolt) find(ctx context.Context, get func(*bbolt.Tx) (*Image, error)) (img *Image, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = b.db.View(func(tx *bbolt.Tx) error {
		img, err = get(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	return img, nil
}

func liveImage(tx *bbolt.Tx, name string) (*Image, error) {
	key := tx.Bucket(bucketNames).Get([]byte(name))
	if key == nil {
		return nil, ErrNotFound
	}
	return readImage(tx, key)
}

func readImage(tx *bbolt.Tx, key []byte) (*Image, error) {
	body := tx.Bucket(bucketImages).Get(key)
	if body == nil {
		return nil, ErrNotFound
	}
	img := &Image{ID: ID(binary.BigEndian.Uint32(key))}
	if err := json.Unmarshal(body, img); err != nil {
		return nil, fmt.Errorf("image %d is damaged: %w", img.ID, err)
	}
	return img, nil
}

// All implements [Inventory]. It reads in short transactions, so that the
// caller may change the inventory meanwhile; an image that is swapped in during
// the walk is seen.
func (b *Bolt) All(ctx context.Context) iter.Seq2[*Image, error] {
	return func(yield func(*Image, error) bool) {
		const batch = 256
		next := number(0)
		for next != nil {
			var images []*Image
			err := b.db.View(func(tx *bbolt.Tx) error {
				names := tx.Bucket(bucketNames)
				c := tx.Bucket(bucketImages).Cursor()
				k, _ := c.Seek(next)
				for n := 0; k != nil && n < batch; n++ {
					img, err := readImage(tx, k)
					if err != nil {
						return err
					}
					if bytes.Equal(names.Get([]byte(img.Name)), k) {
						images = append(images, img)
					}
					k, _ = c.Next()
				}
				next = slices.Clone(k)
				return ctx.Err()
			})
			if err != nil {
				yield(nil, fmt.Errorf("inventory: %w", err))
				return
			}
			for _, img := range images {
				if !yield(img, nil) {
					return
				}
			}
		}
	}
}

// Cursor implements [Cursors].
func (b *Bolt) Cursor(ctx context.Context, feed string) (cursor []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = b.db.View(func(tx *bbolt.Tx) error {
		cursor = slices.Clone(tx.Bucket(bucketCursors).Get([]byte(feed)))
		return nil
	})
	return cursor, err
}

// SetCursor implements [Cursors].
func (b *Bolt) SetCursor(ctx context.Context, feed string, cursor []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.db.Update(func(tx *bbolt.Tx) error { return b.SetCursorIn(tx, feed, cursor) })
}

// SetCursorIn is SetCursor as a part of a transaction on the database.
func (b *Bolt) SetCursorIn(tx *bbolt.Tx, feed string, cursor []byte) error {
	if err := tx.Bucket(bucketCursors).Put([]byte(feed), cursor); err != nil {
		return fmt.Errorf("inventory: cursor of %s: %w", feed, err)
	}
	return nil
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// join makes a key of parts that hold no NUL.
func join(parts ...string) []byte { return []byte(strings.Join(parts, "\x00")) }
