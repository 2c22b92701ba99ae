package packed

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"go.etcd.io/bbolt"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// The buckets of the difference. Numbers are big-endian, so that keys sort by
// them.
var (
	bucketMeta    = []byte("meta")    // format; base: its file's name
	bucketImages  = []byte("images")  // number → Image; its sequence gives all numbers, the base's too
	bucketGone    = []byte("gone")    // numbers of the base's images that are not live
	bucketRetired = []byte("retired") // name, NUL, digest → number
	bucketCursors = []byte("cursors") // feed → cursor
	keyFormat     = []byte("format")
	keyBase       = []byte("base")
)

const format = "cleanstart-packed-inventory/1"

// openDelta opens or creates the file and says which base it belongs to.
func openDelta(name string) (_ *bbolt.DB, base string, err error) {
	db, err := bbolt.Open(name, 0o644, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, "", err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketMeta, bucketImages, bucketGone, bucketRetired, bucketCursors} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		base = string(meta.Get(keyBase))
		switch got := meta.Get(keyFormat); {
		case got == nil:
			return meta.Put(keyFormat, []byte(format))
		case string(got) != format:
			return fmt.Errorf("it is of format %q, this program knows %q", got, format)
		}
		return nil
	})
	if err != nil {
		return nil, "", errors.Join(err, db.Close())
	}
	return db, base, nil
}

func readGone(tx *bbolt.Tx) *roaring.Bitmap {
	gone := roaring.New()
	c := tx.Bucket(bucketGone).Cursor()
	for k, _ := c.First(); len(k) == 4; k, _ = c.Next() {
		gone.Add(binary.BigEndian.Uint32(k))
	}
	return gone
}

func readImage(tx *bbolt.Tx, id inventory.ID) (*inventory.Image, error) {
	b := tx.Bucket(bucketImages).Get(number(id))
	if b == nil {
		return nil, inventory.ErrNotFound
	}
	img := &inventory.Image{}
	if err := json.Unmarshal(b, img); err != nil {
		return nil, fmt.Errorf("image %d is damaged: %w", id, err)
	}
	img.ID = id
	return img, nil
}

// insert stores an image and returns it with its number.
func insert(tx *bbolt.Tx, img *inventory.Image) (*inventory.Image, error) {
	images := tx.Bucket(bucketImages)
	seq, err := images.NextSequence()
	if err != nil {
		return nil, err
	}
	if seq > 1<<32-1 {
		return nil, errors.New("all image numbers are used")
	}
	put := *img
	put.ID = inventory.ID(seq)
	b, err := json.Marshal(&put)
	if err != nil {
		return nil, err
	}
	return &put, images.Put(number(put.ID), b)
}

// retire takes an image out.
func retire(tx *bbolt.Tx, name, digest string, id inventory.ID, inBase bool) error {
	if err := tx.Bucket(bucketRetired).Put(join(name, digest), number(id)); err != nil {
		return err
	}
	if inBase {
		return tx.Bucket(bucketGone).Put(number(id), nil)
	}
	return tx.Bucket(bucketImages).Delete(number(id))
}

// advance lets the next number follow last.
func advance(tx *bbolt.Tx, last inventory.ID) error {
	images := tx.Bucket(bucketImages)
	return images.SetSequence(max(images.Sequence(), uint64(last)))
}

func number(id inventory.ID) []byte { return binary.BigEndian.AppendUint32(nil, uint32(id)) }

// join makes a key of parts that hold no NUL.
func join(parts ...string) []byte { return []byte(strings.Join(parts, "\x00")) }

// delta is the mirror of the added images.
type delta struct {
	names  map[string]*added
	live   map[inventory.ID]bool
	order  []inventory.ID          // of the live ones
	folded map[string][]*packageOf // by folded name
	purls  map[string][]*packageOf // by base purl
	byKey  map[groupKey]*packageOf
}

// added is one image of the delta.
type added struct {
	id       inventory.ID
	digest   string
	versions []*versionOf
}

type groupKey struct{ folded, ecosystem, base, name string }

// packageOf is a package of the delta and its versions.
type packageOf struct {
	groupKey
	versions map[[2]string]*versionOf // version, package URL
}

type versionOf struct {
	in        *packageOf
	component inventory.Component // ecosystem, name, version and package URL
	ids       []inventory.ID      // sorted
}

func readDelta(tx *bbolt.Tx) (*delta, error) {
	d := &delta{
		names: map[string]*added{}, live: map[inventory.ID]bool{},
		folded: map[string][]*packageOf{}, purls: map[string][]*packageOf{}, byKey: map[groupKey]*packageOf{},
	}
	return d, tx.Bucket(bucketImages).ForEach(func(k, _ []byte) error {
		if len(k) != 4 {
			return errDamaged
		}
		img, err := readImage(tx, inventory.ID(binary.BigEndian.Uint32(k)))
		if err != nil {
			return err
		}
		return d.add(img)
	})
}

func (d *delta) len() int { return len(d.order) }

func (d *delta) add(img *inventory.Image) error {
	a := &added{id: img.ID, digest: img.Digest}
	for i := range img.Components {
		c := key(img.Components[i])
		p, err := d.packageOf(c)
		if err != nil {
			return err
		}
		k := [2]string{c.Version, c.PURL}
		v := p.versions[k]
		if v == nil {
			v = &versionOf{in: p, component: c}
			p.versions[k] = v
		}
		v.ids = append(v.ids, img.ID) // numbers only grow
		a.versions = append(a.versions, v)
	}
	d.names[img.Name] = a
	d.live[img.ID] = true
	d.order = append(d.order, img.ID)
	return nil
}

// key is what a component is told apart by.
func key(c inventory.Component) inventory.Component {
	return inventory.Component{Ecosystem: c.Ecosystem, Name: c.Name, Version: c.Version, PURL: c.PURL}
}

func (d *delta) packageOf(c inventory.Component) (*packageOf, error) {
	k := groupKey{folded: inventory.Fold(c.Ecosystem, c.Name), ecosystem: c.Ecosystem, name: c.Name}
	if c.PURL != "" {
		var err error
		if k.base, err = inventory.BasePURL(c.PURL); err != nil {
			return nil, err
		}
	}
	if p := d.byKey[k]; p != nil {
		return p, nil
	}
	p := &packageOf{groupKey: k, versions: map[[2]string]*versionOf{}}
	d.byKey[k] = p
	d.folded[k.folded] = append(d.folded[k.folded], p)
	if k.base != "" {
		d.purls[k.base] = append(d.purls[k.base], p)
	}
	return p, nil
}

func (d *delta) remove(name string) {
	a := d.names[name]
	delete(d.names, name)
	delete(d.live, a.id)
	if i, ok := slices.BinarySearch(d.order, a.id); ok {
		d.order = slices.Delete(d.order, i, i+1)
	}
	for _, v := range a.versions {
		if i, ok := slices.BinarySearch(v.ids, a.id); ok {
			v.ids = slices.Delete(v.ids, i, i+1)
		}
		if len(v.ids) == 0 {
			delete(v.in.versions, [2]string{v.component.Version, v.component.PURL})
		}
	}
}

// after is the lowest number above id.
func (d *delta) after(id inventory.ID) (inventory.ID, bool) {
	i, _ := slices.BinarySearch(d.order, id+1)
	if i == len(d.order) {
		return 0, false
	}
	return d.order[i], true
}
