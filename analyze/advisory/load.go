package advisory

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/internal/bounded"
)

// Bounds of what Load reads. A database beyond them is an error, never a
// shorter database.
const (
	maxRecordSize = 16 << 20
	maxTotalSize  = 4 << 30
	maxRecords    = 2_000_000
	maxDepth      = 32
)

// DB is a set of advisories, merged by alias and indexed by component. It is
// immutable and safe for concurrent use.
type DB struct {
	entries   []entry
	names     map[string][]int // folded upstream name → entries
	purls     map[string][]int // package URL without version → entries
	cpes      map[string][]int // part:vendor:product → entries
	repos     map[string][]int // host/path → entries
	reviews   map[reviewKey][]Review
	withdrawn []string
	records   int
	digest    string
	modified  time.Time
}

// Load reads every record (*.json) under fsys, recursively: OSV, or the CVE
// list's own form (CVE JSON 5), one in a file or an array of them. Hidden
// entries are skipped, and so are files of other names, except compressed
// records, which are refused. Everything else fails closed: a record that
// does not parse, that names nothing affected or whose map is malformed is an
// error that names the file, and so is a tree that holds no record at all.
//
// What the package's own reviews say is added to matches; [LoadReviewed] takes
// others, or none.
func Load(fsys fs.FS) (*DB, error) { return LoadReviewed(fsys, embedded()) }

// LoadReviewed is Load with reviews of the caller's choice in place of the
// package's own.
func LoadReviewed(fsys fs.FS, reviews []Review) (*DB, error) {
	type file struct{ id, name, digest string }
	var (
		files []file
		recs  []*record
		total int64
		seen  = map[string]string{}
	)
	db := &DB{reviews: map[reviewKey][]Review{}}
	for _, r := range reviews {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("read advisories: review of %s: %w", r.ID, err)
		}
		db.reviews[r.key()] = append(db.reviews[r.key()], r)
	}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			if strings.Count(name, "/") >= maxDepth {
				return fmt.Errorf("%s: folders are nested deeper than %d", name, maxDepth)
			}
			return nil
		}
		if d.Type()&fs.ModeSymlink != 0 {
			info, err := fs.Stat(fsys, name)
			if err != nil {
				return err
			}
			if info.IsDir() {
				return fmt.Errorf("%s: a symbolic link to a folder is not followed; name the folder itself", name)
			}
		}
		lower := strings.ToLower(d.Name())
		if strings.Contains(lower, ".json.") {
			return fmt.Errorf("%s: compressed or renamed records are not read; unpack it", name)
		}
		if path.Ext(lower) != ".json" {
			return nil
		}
		b, err := bounded.ReadFile(fsys, name, maxRecordSize)
		if err != nil {
			return err
		}
		if total += int64(len(b)); total > maxTotalSize || len(recs) >= maxRecords {
			return fmt.Errorf("%s: the database is larger than %d bytes or %d records", name, int64(maxTotalSize), maxRecords)
		}
		list, err := decodeAll(b)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, rec := range list {
			if first, ok := seen[rec.ID]; ok {
				return fmt.Errorf("%s: record %s was already read from %s", name, rec.ID, first)
			}
			seen[rec.ID] = name
			files = append(files, file{rec.ID, name, rec.digest})
		}
		recs = append(recs, list...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read advisories: %w", err)
	}
	if len(recs) == 0 {
		return nil, fmt.Errorf("read advisories: no OSV record (*.json) found")
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.id, b.id) })
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %s\n", f.id, f.digest)
	}
	db.digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	db.records = len(recs)

	live := recs[:0]
	for _, r := range recs {
		if r.Modified.After(db.modified) {
			db.modified = r.Modified.Time
		}
		if !r.Withdrawn.IsZero() {
			db.withdrawn = append(db.withdrawn, r.ID)
			continue
		}
		live = append(live, r)
	}
	slices.Sort(db.withdrawn)
	db.entries = merge(live)
	db.index()
	return db, nil
}

// Records is how many records were read, withdrawn ones included.
func (db *DB) Records() int { return db.records }

// Digest is "sha256:HEX" over the ids and digests of the records, sorted by
// id; how they are laid out in folders does not matter.
func (db *DB) Digest() string { return db.digest }

// Modified is the newest modification time of the records.
func (db *DB) Modified() time.Time { return db.modified }

// Withdrawn are the ids of records that their source has withdrawn, sorted.
// They match nothing.
func (db *DB) Withdrawn() []string { return slices.Clone(db.withdrawn) }

// Advisories are all advisories, sorted by component and id. Callers must not
// change them.
func (db *DB) Advisories() []*Advisory {
	out := make([]*Advisory, len(db.entries))
	for i := range db.entries {
		out[i] = db.entries[i].adv
	}
	return out
}
