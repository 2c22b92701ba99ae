package feed

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/internal/bounded"
)

// Dir is a feed over a directory of OSV records, one JSON file each, in any
// depth. Files and directories whose name begins with a dot are not read, so
// that a writer can prepare a file beside its place and rename it.
//
// A zip file of records is a directory too: [archive/zip.Reader] is a file
// system. Records of another form are read through Convert.
type Dir struct {
	FS fs.FS
	// Convert makes an OSV record of a file; nil means that files are such. No
	// record and no error is a file that says nothing about versions, and is
	// passed over.
	Convert func([]byte) ([]byte, error)
}

const (
	maxRecord = 16 << 20  // bytes of one file
	maxCursor = 512 << 20 // bytes of a cursor
	cursorTag = "cleanstart-feed-dir/2"
	pending   = "pending " // before the digest of a record that was read once and cannot be read now
)

// state is one record as a cursor remembers it.
type state struct {
	name, digest, id string
	withdrawn        bool
	modified         time.Time
}

// Since reads every file. A directory that cannot be listed is an error, and so
// is a cursor that this feed did not make.
func (d Dir) Since(ctx context.Context, cursor []byte) (Batch, error) {
	before, err := decode(cursor)
	if err != nil {
		return Batch{}, fmt.Errorf("feed: %w", err)
	}
	s := scan{
		fsys: d.FS, convert: d.Convert, before: map[string]state{}, live: map[string]string{},
		changed: map[string]Change{}, had: map[string]state{},
	}
	for _, b := range before {
		s.before[b.name] = b
		if b.id != "" {
			s.had[b.id] = b
		}
	}
	err = fs.WalkDir(d.FS, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case name != "." && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
		case !e.IsDir() && strings.EqualFold(path.Ext(name), ".json"):
			s.file(name)
		}
		return nil
	})
	if err != nil {
		return Batch{}, fmt.Errorf("feed: %w", err)
	}
	return s.finish(), nil
}

// scan is one reading of the directory.
type scan struct {
	fsys    fs.FS
	convert func([]byte) ([]byte, error)
	before  map[string]state  // by file name
	had     map[string]state  // by id
	after   []state           // of this reading
	live    map[string]string // id → file name
	changed map[string]Change
	batch   Batch
}

func (s *scan) file(name string) {
	b, err := bounded.ReadFile(s.fsys, name, maxRecord)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // it may go between listing and reading
			s.problem(name, "", err)
		}
		return
	}
	digest := sum(b)
	was, known := s.before[name]
	if known && was.digest == digest && was.id != "" {
		s.keep(was)
		return
	}
	if s.convert != nil {
		if b, err = s.convert(b); err == nil && b == nil {
			return
		}
	}
	var h header
	if err == nil {
		h, err = readHeader(b)
	}
	if err != nil {
		s.problem(name, digest, err)
		return
	}
	now := state{name: name, digest: digest, id: h.ID, withdrawn: !h.Withdrawn.IsZero(), modified: h.Modified.UTC()}
	if !s.keep(now) {
		return
	}
	old, had := s.had[h.ID]
	if had && strings.TrimPrefix(old.digest, pending) == digest {
		return // the same record, under another name or readable again
	}
	c := Change{Kind: New, ID: h.ID, Digest: digest, Record: b, Published: h.Published, Modified: h.Modified, Before: old.modified}
	switch {
	case now.withdrawn:
		c.Kind = Withdrawn
	case had:
		c.Kind = Changed
	}
	s.changed[h.ID] = c
}

// keep notes a file that was understood, unless another holds the same record.
func (s *scan) keep(f state) bool {
	if other, twice := s.live[f.id]; twice {
		s.problem(f.name, f.digest, fmt.Errorf("record %s is in %s too", f.id, other))
		return false
	}
	s.live[f.id] = f.name
	s.after = append(s.after, f)
	return true
}

// problem keeps what was known of a record that cannot be read now, so that it
// is not taken for deleted; its digest is dropped, so that it is read again.
func (s *scan) problem(name, digest string, err error) {
	s.batch.Problems = append(s.batch.Problems, Problem{Name: name, Digest: digest, Reason: err.Error()})
	if was, ok := s.before[name]; ok && was.id != "" {
		if _, ok := s.live[was.id]; !ok {
			s.live[was.id] = name
			was.digest = pending + strings.TrimPrefix(was.digest, pending)
			s.after = append(s.after, was)
		}
	}
}

func (s *scan) finish() Batch {
	b := s.batch
	for id, old := range s.had {
		if _, ok := s.live[id]; !ok {
			s.changed[id] = Change{Kind: Deleted, ID: id, Digest: strings.TrimPrefix(old.digest, pending), Before: old.modified}
		}
	}
	for _, c := range s.changed {
		b.Changes = append(b.Changes, c)
		if c.Kind != Deleted && c.Modified.After(b.Newest) {
			b.Newest = c.Modified
		}
	}
	slices.SortFunc(b.Changes, func(x, y Change) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(b.Problems, func(x, y Problem) int { return cmp.Compare(x.Name, y.Name) })
	b.Live = len(s.live)
	b.Next = encode(s.after)
	return b
}

// header is what a feed reads of a record; the whole of it must be one that
// package advisory understands.
type header struct {
	ID        string    `json:"id"`
	Published time.Time `json:"published"`
	Modified  time.Time `json:"modified"`
	Withdrawn time.Time `json:"withdrawn"`
}

func readHeader(b []byte) (header, error) {
	if _, err := advisory.Parse(b); err != nil {
		return header{}, err
	}
	var h header
	if err := json.Unmarshal(b, &h); err != nil {
		return header{}, err
	}
	if h.ID == "" || strings.ContainsAny(h.ID, "\t\n") {
		return header{}, fmt.Errorf("id %q", h.ID)
	}
	return h, nil
}

func sum(b []byte) string {
	d := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(d[:])
}

// encode writes a cursor: a tag, then one line per file of digest, a mark for
// withdrawn records, modified time, id and name, separated by tabs and sorted
// by name.
func encode(files []state) []byte {
	slices.SortFunc(files, func(a, b state) int { return cmp.Compare(a.name, b.name) })
	var b bytes.Buffer
	fmt.Fprintln(&b, cursorTag)
	for _, f := range files {
		mark := "-"
		if f.withdrawn {
			mark = "w"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%q\n", f.digest, mark, f.modified.Format(time.RFC3339Nano), f.id, f.name)
	}
	return b.Bytes()
}

func decode(cursor []byte) ([]state, error) {
	if cursor == nil {
		return nil, nil
	}
	if len(cursor) > maxCursor {
		return nil, fmt.Errorf("a cursor of %d bytes", len(cursor))
	}
	sc := bufio.NewScanner(bytes.NewReader(cursor))
	if !sc.Scan() || sc.Text() != cursorTag {
		return nil, errors.New("the cursor is not of this feed")
	}
	var files []state
	for sc.Scan() {
		var f state
		p := strings.SplitN(sc.Text(), "\t", 5)
		if len(p) != 5 || p[1] != "w" && p[1] != "-" || p[3] == "" {
			return nil, fmt.Errorf("the cursor is damaged in line %d", len(files)+2)
		}
		f.digest, f.withdrawn, f.id = p[0], p[1] == "w", p[3]
		var err, timeErr error
		f.name, err = strconv.Unquote(p[4])
		f.modified, timeErr = time.Parse(time.RFC3339Nano, p[2])
		if err != nil || timeErr != nil {
			return nil, fmt.Errorf("the cursor is damaged in line %d", len(files)+2)
		}
		f.modified = f.modified.UTC()
		files = append(files, f)
	}
	return files, sc.Err()
}
