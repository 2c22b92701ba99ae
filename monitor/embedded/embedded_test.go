package embedded

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

func open(t *testing.T, name string) *Store {
	t.Helper()
	s, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSuites(t *testing.T) {
	dir := t.TempDir()
	err := monitortest.CheckStore(t.Context(), func() (queue.Store, func() error, error) {
		s, err := Open(filepath.Join(dir, "store"))
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
	if err != nil {
		t.Error(err)
	}
	err = monitortest.CheckLedger(t.Context(), func() (ledger.Ledger, func() error, error) {
		s, err := Open(filepath.Join(dir, "ledger"))
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
	if err != nil {
		t.Error(err)
	}
	err = monitortest.CheckInventory(t.Context(), func() (inventory.Inventory, func() error, error) {
		s, err := Open(filepath.Join(dir, "inventory"))
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestTampering changes one byte of an entry in the file.
func TestTampering(t *testing.T) {
	name := filepath.Join(t.TempDir(), "store")
	s := open(t, name)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if _, err := s.Append(t.Context(), at, ledger.Event{Kind: "a", Data: "one"}, ledger.Event{Kind: "b", Data: "two"}); err != nil {
		t.Fatal(err)
	}
	var exported bytes.Buffer
	if err := s.Export(&exported); err != nil {
		t.Fatal(err)
	}
	if h, err := ledger.Verify(&exported, ledger.Head{}); err != nil || h.Seq != 2 {
		t.Errorf("the exported ledger = %+v, %v", h, err)
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLedger)
		return b.Put(seq(1), bytes.Replace(bytes.Clone(b.Get(seq(1))), []byte("one"), []byte("own"), 1))
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	var tampered *ledger.TamperError
	if _, err := Open(name); !errors.As(err, &tampered) {
		t.Errorf("open = %v", err)
	}
}

func TestOneProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "store")
	open(t, name)
	if s, err := Open(name); err == nil {
		s.Close()
		t.Error("a store was opened twice")
	}
}

func TestRelease(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	err := s.Update(t.Context(), func(tx queue.Tx) error {
		return tx.Put(&queue.Job{Key: "a", Kind: "k", State: queue.Ready, Body: []byte(`{}`)})
	})
	if err != nil {
		t.Fatal(err)
	}
	for fence := range int64(3) {
		j, err := s.Claim(t.Context(), "me", now, time.Hour)
		if err != nil || j == nil || j.Fence != fence+1 {
			t.Fatalf("claim %d = %+v, %v", fence, j, err)
		}
		if err := s.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
