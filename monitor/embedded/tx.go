package embedded

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// transaction implements [queue.Tx].
type transaction struct {
	s  *Store
	tx *bbolt.Tx
}

func (t *transaction) Append(at time.Time, events ...ledger.Event) ([]ledger.Entry, error) {
	b := t.tx.Bucket(bucketLedger)
	var last ledger.Entry
	if _, line := b.Cursor().Last(); line != nil {
		if err := json.Unmarshal(line, &last); err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
	}
	var out []ledger.Entry
	for _, ev := range events {
		e, line, err := ledger.Head{Seq: last.Seq, Hash: last.Hash}.Next(last.Time, at, ev)
		if err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		if err := b.Put(seq(e.Seq), line); err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		out, last = append(out, e), e
	}
	return out, nil
}

func (t *transaction) Swap(name, prev string, next *inventory.Image) error {
	return t.s.SwapIn(t.tx, name, prev, next)
}

func (t *transaction) SetCursor(feed string, cursor []byte) error {
	return t.s.SetCursorIn(t.tx, feed, cursor)
}

func (t *transaction) Job(key string) (*queue.Job, error) { return readJob(t.tx, []byte(key)) }

func (t *transaction) Put(j *queue.Job) error { return put(t.tx, j) }

func (t *transaction) Blocked(after string) ([]*queue.Job, error) {
	return t.listed(bucketBlocked, after)
}

func (t *transaction) Group(group string) ([]*queue.Job, error) { return t.listed(bucketGroups, group) }

func (t *transaction) listed(bucket []byte, of string) ([]*queue.Job, error) {
	prefix := append([]byte(of), 0)
	var out []*queue.Job
	c := t.tx.Bucket(bucket).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		j, err := readJob(t.tx, k[len(prefix):])
		if err != nil {
			return nil, err
		}
		out = append(out, j)
	}
	return out, nil
}

// put writes a job and its places in the indexes.
func put(tx *bbolt.Tx, j *queue.Job) error {
	if err := j.Check(); err != nil {
		return err
	}
	jobs := tx.Bucket(bucketJobs)
	if old := jobs.Get([]byte(j.Key)); old != nil {
		was, err := decodeJob([]byte(j.Key), old)
		if err != nil {
			return err
		}
		for bucket, key := range places(was) {
			if err := tx.Bucket([]byte(bucket)).Delete(key); err != nil {
				return err
			}
		}
	}
	body, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("queue: job %s: %w", j.Key, err)
	}
	if err := jobs.Put([]byte(j.Key), body); err != nil {
		return fmt.Errorf("queue: job %s: %w", j.Key, err)
	}
	when := j.NotBefore
	if j.State == queue.Running {
		when = j.Lease
	}
	for bucket, key := range places(j) {
		var v []byte
		if bucket == string(bucketDue) {
			micros := int64(0)
			if !when.IsZero() {
				micros = when.UnixMicro()
			}
			v = binary.BigEndian.AppendUint64(nil, uint64(micros))
		}
		if err := tx.Bucket([]byte(bucket)).Put(key, v); err != nil {
			return fmt.Errorf("queue: job %s: %w", j.Key, err)
		}
	}
	return nil
}

// places are the keys of a job in the indexes, by bucket.
func places(j *queue.Job) map[string][]byte {
	p := map[string][]byte{}
	switch j.State {
	case queue.Ready, queue.Running:
		k := []byte{byte(j.Rank)}
		deadline := uint64(1<<63 - 1) // none: last
		if !j.Deadline.IsZero() {
			deadline = uint64(j.Deadline.UnixMicro())
		}
		p[string(bucketDue)] = append(binary.BigEndian.AppendUint64(k, deadline), j.Key...)
	case queue.Blocked:
		p[string(bucketBlocked)] = []byte(j.After + "\x00" + j.Key)
	}
	if !j.State.Finished() && j.Group != "" {
		p[string(bucketGroups)] = []byte(j.Group + "\x00" + j.Key)
	}
	return p
}

func readJob(tx *bbolt.Tx, key []byte) (*queue.Job, error) {
	body := tx.Bucket(bucketJobs).Get(key)
	if body == nil {
		return nil, fmt.Errorf("queue: job %s: %w", key, queue.ErrNoJob)
	}
	return decodeJob(key, body)
}

func decodeJob(key, body []byte) (*queue.Job, error) {
	j := &queue.Job{}
	if err := json.Unmarshal(body, j); err != nil {
		return nil, fmt.Errorf("queue: job %s is damaged: %w", key, err)
	}
	return j, nil
}

func seq(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// instant is a time as jobs have it.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
