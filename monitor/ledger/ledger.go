// Package ledger keeps an append-only, hash-chained record of what happened
// and when.
//
// A ledger is a file of JSON Lines. Each line is one [Entry] and ends with its
// hash: SHA-256 over the bytes of the line before the hash member, the hash of
// the line before it included. Whoever changes, removes, inserts or reorders a
// line breaks the chain there, and [Verify] says where. Cutting lines off the
// end leaves a shorter ledger that is valid in itself, so keep the [Head]
// elsewhere (an attestation, another machine) and give it to [Verify].
//
// What Append returned is durable. What a crash left half-written at the end
// was never acknowledged, and Open removes it; a damaged line anywhere else is
// tampering and an error. One process holds a ledger at a time.
//
// Time never goes back in a ledger. Where the clock does, an entry has the time
// of the one before it, and beside it what the clock said: deadlines that were
// reckoned from a ledger stay what they were, and whoever reads it sees that
// the clock was set.
//
// A head may be signed ([File.SignHead]). Signed heads stand in a file of their
// own, and [VerifySigned] checks both: whoever can write the files and has no
// key can then change nothing that was signed.
package ledger

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// Entry is one line.
type Entry struct {
	Seq  uint64          `json:"seq"`  // from 1, without gaps
	Time time.Time       `json:"time"` // never before that of the entry before
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data"`
	// Clock is what the clock said where that was before the entry before.
	Clock time.Time `json:"clock,omitzero"`
	Prev  string    `json:"prev"` // hash of the entry before, "" for the first
	Hash  string    `json:"hash"` // 64 hexadecimal digits
}

// Event is what the caller appends. Data is marshalled to JSON.
type Event struct {
	Kind string
	Data any
}

// Ledger is an append-only list of entries. The entries of one Append are
// written in order and all durable when it returns; after a crash within it
// any number of the first of them may be there.
type Ledger interface {
	Append(ctx context.Context, at time.Time, events ...Event) ([]Entry, error)
	// Entries yields what is durable, in order, after the entry numbered after.
	Entries(ctx context.Context, after uint64) iter.Seq2[Entry, error]
}

// Head names the last entry.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// ErrLocked is returned by Open while another process holds the ledger.
var ErrLocked = errors.New("another process holds the ledger")

// TamperError says where a chain is broken.
type TamperError struct {
	Line   int // from 1
	Reason string
}

func (e *TamperError) Error() string { return fmt.Sprintf("ledger line %d: %s", e.Line, e.Reason) }

// maxLine bounds one entry.
const maxLine = 16 << 20

// File is a ledger in a file. Its methods may be called from several
// goroutines.
type File struct {
	name string
	lock io.Closer

	mu     sync.Mutex
	f      *os.File
	head   Head
	last   time.Time // of the head
	end    int64     // bytes that are durable
	broken error     // why nothing can be appended any more
}

// Open opens or creates the ledger at name, verifies all of it, and locks it
// with a file NAME.lock beside it.
func Open(name string) (*File, error) {
	lock, err := lockFile(name + ".lock")
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", name, err)
	}
	l := &File{name: name, lock: lock}
	if err := l.open(); err != nil {
		if l.f != nil {
			l.f.Close()
		}
		lock.Close()
		return nil, fmt.Errorf("open ledger %s: %w", name, err)
	}
	return l, nil
}

func (l *File) open() (err error) {
	if l.f, err = os.OpenFile(l.name, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(l.name)); err != nil {
		return err
	}
	l.head, l.end, err = scan(l.f, func(e Entry) bool {
		l.last = e.Time
		return true
	})
	if err != nil {
		return err
	}
	size, err := l.f.Seek(0, io.SeekEnd)
	if err != nil || size == l.end {
		return err
	}
	return l.cut()
}

// cut removes what stands after the last whole line.
func (l *File) cut() error {
	if err := l.f.Truncate(l.end); err != nil {
		return fmt.Errorf("remove a half-written line: %w", err)
	}
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("remove a half-written line: %w", err)
	}
	return nil
}

// Head is the last entry, zero for an empty ledger.
func (l *File) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Close releases the ledger.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = os.ErrClosed
	return errors.Join(l.f.Close(), l.lock.Close())
}

// Append writes the events, all with the time at, and waits until they are
// durable.
func (l *File) Append(ctx context.Context, at time.Time, events ...Event) ([]Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return nil, fmt.Errorf("append to ledger %s: %w", l.name, l.broken)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return nil, nil
	}
	head, last := l.head, l.last
	var b bytes.Buffer
	entries := make([]Entry, 0, len(events))
	for _, ev := range events {
		e, line, err := head.Next(last, at, ev)
		if err != nil {
			return nil, fmt.Errorf("append to ledger %s: %w", l.name, err)
		}
		b.Write(line)
		entries = append(entries, e)
		head, last = Head{e.Seq, e.Hash}, e.Time
	}
	if err := l.write(b.Bytes()); err != nil {
		return nil, fmt.Errorf("append to ledger %s: %w", l.name, err)
	}
	l.head, l.last, l.end = head, last, l.end+int64(b.Len())
	return entries, nil
}

// write makes b durable at the end or leaves the file as it was. Where even
// that is refused, the ledger takes no more entries: Open will repair it.
func (l *File) write(b []byte) error {
	_, err := l.f.WriteAt(b, l.end)
	if err == nil {
		if err = l.f.Sync(); err == nil {
			return nil
		}
		// After a sync that went wrong nobody knows what is on the disk.
		l.broken = fmt.Errorf("an earlier write may be lost, open it again: %w", err)
		return err
	}
	if cutErr := l.cut(); cutErr != nil {
		l.broken = errors.Join(err, cutErr)
	}
	return err
}

// Entries reads the file up to what was durable when it was called.
func (l *File) Entries(ctx context.Context, after uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		l.mu.Lock()
		end := l.end
		l.mu.Unlock()
		_, _, err := scan(io.NewSectionReader(l.f, 0, end), func(e Entry) bool {
			return ctx.Err() == nil && (e.Seq <= after || yield(e, nil))
		})
		switch {
		case err == nil, errors.Is(err, errStopped) && ctx.Err() == nil:
		case ctx.Err() != nil:
			yield(Entry{}, ctx.Err())
		default:
			yield(Entry{}, fmt.Errorf("read ledger %s: %w", l.name, err))
		}
	}
}

// Verify checks a whole ledger. It is stricter than Open: a half-written last
// line is an error too. Where known is not zero, the ledger must hold that
// entry, so that it cannot have been cut before it.
func Verify(r io.Reader, known Head) (Head, error) {
	found := known == Head{}
	c := &counter{r: r}
	head, end, err := scan(c, func(e Entry) bool {
		found = found || e.Seq == known.Seq && e.Hash == known.Hash
		return true
	})
	switch {
	case err != nil:
		return Head{}, err
	case end != c.n:
		return Head{}, &TamperError{Line: int(head.Seq) + 1, Reason: "is not whole"}
	case !found:
		return Head{}, &TamperError{Line: int(known.Seq), Reason: fmt.Sprintf("entry %d with hash %.12s is not there", known.Seq, known.Hash)}
	}
	return head, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// Next is the entry after h, which is of the time last, and its line. It is for
// those who keep the lines elsewhere than in a [File].
func (h Head) Next(last, at time.Time, ev Event) (Entry, []byte, error) {
	data, err := json.Marshal(ev.Data)
	if err != nil {
		return Entry{}, nil, fmt.Errorf("event %s: %w", ev.Kind, err)
	}
	if ev.Kind == "" {
		return Entry{}, nil, errors.New("an event has no kind")
	}
	e := Entry{Seq: h.Seq + 1, Time: at.UTC().Round(0), Kind: ev.Kind, Data: data, Prev: h.Hash}
	if e.Time.Before(last) {
		e.Time, e.Clock = last, e.Time
	}
	b, err := json.Marshal(struct {
		Seq   uint64          `json:"seq"`
		Time  time.Time       `json:"time"`
		Kind  string          `json:"kind"`
		Data  json.RawMessage `json:"data"`
		Clock time.Time       `json:"clock,omitzero"`
		Prev  string          `json:"prev"`
	}{e.Seq, e.Time, e.Kind, e.Data, e.Clock, e.Prev})
	if err != nil {
		return Entry{}, nil, fmt.Errorf("event %s: %w", ev.Kind, err)
	}
	b = b[:len(b)-1] // the closing brace comes after the hash
	e.Hash = hash(b)
	b = append(b, hashKey+e.Hash+hashEnd...)
	if len(b) > maxLine {
		return Entry{}, nil, fmt.Errorf("event %s: %d bytes, at most %d fit", ev.Kind, len(b), maxLine)
	}
	return e, b, nil
}

const (
	hashKey = `,"hash":"`
	hashEnd = "\"}\n"
	tail    = len(hashKey) + 2*sha256.Size + len(hashEnd)
)

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

var errStopped = errors.New("stopped")

// scan reads whole lines, checks the chain and calls each. It returns the last
// entry and the offset behind it; what follows without a line feed is left to
// the caller.
func scan(r io.Reader, each func(Entry) bool) (Head, int64, error) {
	var head Head
	var last time.Time
	var end int64
	br := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		line, err := readLine(br)
		if errors.Is(err, io.EOF) {
			return head, end, nil
		}
		if err != nil {
			return head, end, err
		}
		e, reason := head.parse(line)
		if reason == "" && e.Time.Before(last) {
			reason = "is of an earlier time than the entry before it"
		}
		if reason != "" {
			return head, end, &TamperError{Line: n, Reason: reason}
		}
		if !each(e) {
			return head, end, errStopped
		}
		head, last, end = Head{e.Seq, e.Hash}, e.Time, end+int64(len(line))
	}
}

// readLine returns one line with its line feed, or io.EOF where there is none.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("a line is longer than %d bytes", maxLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// Check reads one line, which must be the entry after h.
func (h Head) Check(line []byte) (Entry, error) {
	e, reason := h.parse(line)
	if reason != "" {
		return Entry{}, &TamperError{Line: int(h.Seq) + 1, Reason: reason}
	}
	return e, nil
}

// parse checks one line against the entry before it.
func (h Head) parse(line []byte) (Entry, string) {
	var e Entry
	if len(line) < tail {
		return e, "is no entry"
	}
	body, rest := line[:len(line)-tail], string(line[len(line)-tail:])
	digits, ok := strings.CutPrefix(rest, hashKey)
	if !ok || !strings.HasSuffix(digits, hashEnd) {
		return e, "does not end with its hash"
	}
	digits = strings.TrimSuffix(digits, hashEnd)
	if hash(body) != digits {
		return e, "was changed: its hash does not fit"
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return e, "is no entry: " + err.Error()
	}
	switch {
	case e.Hash != digits:
		return e, "has two hashes"
	case e.Seq != h.Seq+1:
		return e, fmt.Sprintf("is entry %d, not %d", e.Seq, h.Seq+1)
	case e.Prev != h.Hash:
		return e, "does not follow the entry before it"
	}
	return e, ""
}
