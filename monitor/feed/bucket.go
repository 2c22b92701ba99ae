package feed

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/internal/bounded"
)

// Bucket is a feed over the layout of the OSV bucket: for each ecosystem
// ECOSYSTEM/all.zip with every record, ECOSYSTEM/modified_id.csv with the
// modified time and id of each, and ECOSYSTEM/ID.json.
//
// It keeps a mirror in Dir: the last zip, and what was fetched alone since. The
// index is read whole, because it is sorted as strings and its times are not in
// order; what differs from the mirror is fetched, one by one or, where that is
// much, as the zip. Then the contents are compared, as [Dir] does. What cannot
// be fetched stays pending and is tried again, and a missed poll is caught up
// by the next one, whatever it missed.
//
// Some edits do not move a record's time. So the zip is asked for by its ETag
// when it was last seen RefreshAfter ago; a server that says that it has not
// changed costs one request.
//
// One Bucket works on a mirror at a time. Its Since may be called again with an
// older cursor, or none, without fetching anything twice.
type Bucket struct {
	URL        string   // of the bucket, such as https://osv-vulnerabilities.storage.googleapis.com
	Ecosystems []string // as OSV spells them, without releases
	Dir        string   // of the mirror, made where it is missing
	Client     *http.Client
	Now        func() time.Time
	// RefreshAfter is how long a zip is relied on; 0 means a day.
	RefreshAfter time.Duration
	// Alone is how many records are fetched one by one before the zip is taken;
	// 0 means 200.
	Alone int
}

const (
	maxIndex = 1 << 30
	maxZip   = 16 << 30
	zipName  = "all.zip"
	heldFile = "held.json"
	overName = "over"
)

// heldState is what a mirror holds of one ecosystem.
type heldState struct {
	IndexETag string               `json:"indexETag,omitempty"`
	ZipETag   string               `json:"zipETag,omitempty"`
	ZipSeen   time.Time            `json:"zipSeen,omitzero"` // when the server last said that this is its zip
	Index     map[string]time.Time `json:"index"`            // what the mirror holds, by id
	Pending   map[string]string    `json:"pending,omitempty"`
}

// Since fetches what is new into the mirror and compares it with the cursor. An
// ecosystem that cannot be reached is a problem, and what the mirror has of it
// still counts.
func (b Bucket) Since(ctx context.Context, cursor []byte) (Batch, error) {
	if b.URL == "" || len(b.Ecosystems) == 0 || b.Dir == "" || b.Client == nil || b.Now == nil {
		return Batch{}, errors.New("feed: bucket: a required field is missing")
	}
	view := mirror{}
	defer view.close()
	var problems []Problem
	for _, eco := range slices.Sorted(slices.Values(b.Ecosystems)) {
		m := ecoMirror{Bucket: b, eco: eco, dir: filepath.Join(b.Dir, url.PathEscape(eco))}
		if err := m.sync(ctx); err != nil {
			if ctx.Err() != nil {
				return Batch{}, fmt.Errorf("feed: bucket: %w", ctx.Err())
			}
			problems = append(problems, Problem{Name: eco, Reason: err.Error()})
		}
		for _, id := range slices.Sorted(maps.Keys(m.held.Pending)) {
			problems = append(problems, Problem{Name: eco + "/" + id, Reason: m.held.Pending[id]})
		}
		if err := view.add(m); err != nil {
			return Batch{}, fmt.Errorf("feed: bucket: %s: %w", eco, err)
		}
	}
	batch, err := Dir{FS: view}.Since(ctx, cursor)
	if err != nil {
		return Batch{}, err
	}
	batch.Problems = append(batch.Problems, problems...)
	slices.SortFunc(batch.Problems, func(x, y Problem) int { return strings.Compare(x.Name, y.Name) })
	return batch, nil
}

// ecoMirror is one ecosystem while it is brought up to date.
type ecoMirror struct {
	Bucket
	eco, dir string
	held     heldState
}

// bucketID keeps ids to what can be a file's name.
var bucketID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{1,127}$`)

func (m *ecoMirror) sync(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(m.dir, overName), 0o755); err != nil {
		return err
	}
	if err := m.load(); err != nil {
		return err
	}
	refresh := m.RefreshAfter
	if refresh <= 0 {
		refresh = 24 * time.Hour
	}
	if since := m.Now().Sub(m.held.ZipSeen); since < 0 || since >= refresh { // a clock that went back refreshes too
		if err := m.fetchZip(ctx); err != nil {
			return err
		}
	}
	body, etag, err := m.get(ctx, "modified_id.csv", m.held.IndexETag, maxIndex)
	if errors.Is(err, errUnchanged) && len(m.held.Pending) == 0 {
		return nil
	}
	var index map[string]time.Time
	switch {
	case errors.Is(err, errUnchanged):
		if index, etag, err = m.reread(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if index, err = readIndex(body); err != nil {
			return err
		}
	}
	return m.follow(ctx, index, etag)
}

// reread takes the index again because something is pending.
func (m *ecoMirror) reread(ctx context.Context) (map[string]time.Time, string, error) {
	body, etag, err := m.get(ctx, "modified_id.csv", "", maxIndex)
	if err != nil {
		return nil, "", err
	}
	index, err := readIndex(body)
	return index, etag, err
}

// readIndex reads lines of time and id, in any order; of an id that is there
// twice the later time counts. A line that cannot be read is an error of the
// whole: an index that is cut would look like records that are gone.
func readIndex(b []byte) (map[string]time.Time, error) {
	index := map[string]time.Time{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSuffix(sc.Text(), "\r")
		if line == "" {
			continue
		}
		stamp, id, ok := strings.Cut(line, ",")
		id = path.Base(id)
		t, err := time.Parse(time.RFC3339Nano, stamp)
		if !ok || err != nil || !bucketID.MatchString(id) {
			return nil, fmt.Errorf("index line %d: %.100q", n, line)
		}
		if t.After(index[id]) {
			index[id] = t.UTC()
		}
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		return nil, errors.New("the index ends within a line")
	}
	return index, sc.Err()
}

// follow fetches what differs between index and mirror.
func (m *ecoMirror) follow(ctx context.Context, index map[string]time.Time, etag string) error {
	differ := m.differ(index)
	alone := m.Alone
	if alone <= 0 {
		alone = 200
	}
	if len(differ) > alone {
		if err := m.fetchZip(ctx); err != nil {
			return err
		}
		differ = m.differ(index) // the zip may be older than the index
		if len(differ) > 10*alone {
			return fmt.Errorf("the zip lacks %d records of the index", len(differ))
		}
	}
	m.held.Pending = map[string]string{}
	for _, id := range differ {
		err := m.fetchRecord(ctx, id, index[id])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			m.held.Pending[id] = err.Error()
			continue
		}
		m.held.Index[id] = index[id]
	}
	for id := range m.held.Index {
		if _, ok := index[id]; !ok {
			delete(m.held.Index, id)
		}
	}
	m.held.IndexETag = etag
	return m.save()
}

// differ are the ids that the index has at another time than the mirror.
func (m *ecoMirror) differ(index map[string]time.Time) []string {
	var ids []string
	for id, t := range index {
		if had, ok := m.held.Index[id]; !ok || !had.Equal(t) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// fetchRecord fetches one record. A body of another record is refused; one that
// is older than the index says is too, as the two are not of one moment.
func (m *ecoMirror) fetchRecord(ctx context.Context, id string, modified time.Time) error {
	body, _, err := m.get(ctx, id+".json", "", maxRecord)
	if err != nil {
		return err
	}
	var h header
	if err := json.Unmarshal(body, &h); err == nil { // what is no record at all is [Dir]'s to report
		switch {
		case h.ID != id:
			return fmt.Errorf("the record says that it is %.140q", h.ID)
		case h.Modified.Before(modified):
			return fmt.Errorf("the record is of %s, the index of %s", h.Modified.UTC().Format(time.RFC3339Nano), modified.Format(time.RFC3339Nano))
		}
	}
	return atomicfile.WriteBytes(filepath.Join(m.dir, overName, id+".json"), 0o644, body)
}

// fetchZip takes the zip where it is another, and lets go of what was fetched
// alone before it: the index will say what the zip lacks.
func (m *ecoMirror) fetchZip(ctx context.Context) error {
	name := filepath.Join(m.dir, zipName)
	etag := m.held.ZipETag
	if _, err := os.Stat(name); err != nil {
		etag = ""
	}
	got, err := m.download(ctx, zipName, etag, name+".part", maxZip)
	if errors.Is(err, errUnchanged) {
		m.held.ZipSeen = m.Now().UTC()
		return m.save()
	}
	if err != nil {
		return err
	}
	index, err := indexOfZip(name + ".part")
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", zipName, err), os.Remove(name+".part"))
	}
	// The new state is saved as one that holds nothing before the files change,
	// so that whatever is cut off here is fetched again.
	m.held = heldState{Index: map[string]time.Time{}}
	if err := m.save(); err != nil {
		return err
	}
	if err := os.Rename(name+".part", name); err != nil {
		return err
	}
	over := filepath.Join(m.dir, overName)
	if err := errors.Join(os.RemoveAll(over), os.Mkdir(over, 0o755), atomicfile.SyncDir(m.dir)); err != nil {
		return err
	}
	m.held = heldState{ZipETag: got, ZipSeen: m.Now().UTC(), Index: index}
	return m.save()
}

// indexOfZip reads ids and modified times of a zip's records. One that cannot
// be read has no time, so that it is fetched alone and reported by [Dir].
func indexOfZip(name string) (map[string]time.Time, error) {
	z, err := zip.OpenReader(name)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	index := map[string]time.Time{}
	for _, f := range z.File {
		id, ok := strings.CutSuffix(f.Name, ".json")
		if !ok || !bucketID.MatchString(id) {
			continue
		}
		b, err := bounded.ReadFile(z, f.Name, maxRecord)
		if err != nil {
			return nil, fmt.Errorf("%.140q: %w", f.Name, err)
		}
		var h header
		if json.Unmarshal(b, &h) == nil && h.ID == id {
			index[id] = h.Modified.UTC()
		} else {
			index[id] = time.Time{}
		}
	}
	return index, nil
}

func (m *ecoMirror) load() error {
	m.held = heldState{Index: map[string]time.Time{}}
	b, err := os.ReadFile(filepath.Join(m.dir, heldFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &m.held); err != nil || m.held.Index == nil {
		m.held = heldState{Index: map[string]time.Time{}} // a damaged mirror is fetched again
	}
	return nil
}

func (m *ecoMirror) save() error {
	b, err := json.Marshal(m.held)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(m.dir, heldFile), 0o644, b)
}
