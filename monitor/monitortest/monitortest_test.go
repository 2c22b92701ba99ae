package monitortest

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
)

func openBolt(t *testing.T, wrap func(inventory.Inventory) inventory.Inventory) func() (inventory.Inventory, func() error, error) {
	name := filepath.Join(t.TempDir(), "inventory")
	return func() (inventory.Inventory, func() error, error) {
		b, err := inventory.Open(name)
		if err != nil {
			return nil, nil, err
		}
		return wrap(b), b.Close, nil
	}
}

func TestBoltIsAnInventory(t *testing.T) {
	if err := CheckInventory(t.Context(), openBolt(t, func(i inventory.Inventory) inventory.Inventory { return i })); err != nil {
		t.Error(err)
	}
}

// careless is an inventory that believes its callers.
type careless struct{ inventory.Inventory }

func (c careless) Swap(ctx context.Context, name, prev string, next *inventory.Image) error {
	if live, err := c.Live(ctx, name); err == nil {
		prev = live.Digest
	}
	return c.Inventory.Swap(ctx, name, prev, next)
}

// forgetful is an inventory that does not know package URLs.
type forgetful struct{ inventory.Inventory }

func (f forgetful) Versions(ctx context.Context, name, _ string) ([]inventory.Posting, error) {
	return f.Inventory.Versions(ctx, name, "")
}

func TestCheckInventoryFindsWrongOnes(t *testing.T) {
	for name, wrap := range map[string]func(inventory.Inventory) inventory.Inventory{
		"careless":  func(i inventory.Inventory) inventory.Inventory { return careless{i} },
		"forgetful": func(i inventory.Inventory) inventory.Inventory { return forgetful{i} },
	} {
		if CheckInventory(t.Context(), openBolt(t, wrap)) == nil {
			t.Errorf("a %s inventory passes", name)
		}
	}
}

func openFile(t *testing.T, wrap func(ledger.Ledger) ledger.Ledger) func() (ledger.Ledger, func() error, error) {
	name := filepath.Join(t.TempDir(), "ledger")
	return func() (ledger.Ledger, func() error, error) {
		f, err := ledger.Open(name)
		if err != nil {
			return nil, nil, err
		}
		return wrap(f), f.Close, nil
	}
}

func TestFileIsALedger(t *testing.T) {
	if err := CheckLedger(t.Context(), openFile(t, func(l ledger.Ledger) ledger.Ledger { return l })); err != nil {
		t.Error(err)
	}
}

// lossy is a ledger that keeps the first event of several.
type lossy struct{ ledger.Ledger }

func (l lossy) Append(ctx context.Context, at time.Time, events ...ledger.Event) ([]ledger.Entry, error) {
	return l.Ledger.Append(ctx, at, events[:min(1, len(events))]...)
}

func TestCheckLedgerFindsWrongOnes(t *testing.T) {
	if CheckLedger(t.Context(), openFile(t, func(l ledger.Ledger) ledger.Ledger { return lossy{l} })) == nil {
		t.Error("a lossy ledger passes")
	}
}

// fill replaces the files of a directory.
func fill(dir string) func(...[]byte) error {
	return func(records ...[]byte) error {
		old, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			return err
		}
		for _, f := range old {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
		for i, r := range records {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", i)), r, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestGuardIsAFeed(t *testing.T) {
	dir := t.TempDir()
	if err := CheckFeed(t.Context(), feed.Guard{Feed: feed.Dir{FS: os.DirFS(dir)}}, fill(dir)); err != nil {
		t.Error(err)
	}
}

func TestBucketIsAFeed(t *testing.T) {
	files := map[string][]byte{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := files[path.Base(r.URL.Path)]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		w.Write(b)
	}))
	defer srv.Close()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	f := feed.Bucket{
		URL: srv.URL, Ecosystems: []string{"Test"}, Dir: t.TempDir(), Client: srv.Client(),
		Now: func() time.Time { now = now.Add(25 * time.Hour); return now },
	}
	err := CheckFeed(t.Context(), f, func(records ...[]byte) error {
		clear(files)
		var index, body bytes.Buffer
		z := zip.NewWriter(&body)
		for i, r := range records {
			var h struct{ ID, Modified string }
			if json.Unmarshal(r, &h) != nil {
				h.ID, h.Modified = fmt.Sprint("BAD-", i), "2026-01-02T03:04:05Z"
			}
			fmt.Fprintf(&index, "%s,%s\n", h.Modified, h.ID)
			w, err := z.Create(h.ID + ".json")
			if err != nil {
				return err
			}
			w.Write(r)
			files[h.ID+".json"] = r
		}
		files["modified_id.csv"] = index.Bytes()
		err := z.Close()
		files["all.zip"] = body.Bytes()
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDirIsAFeed(t *testing.T) {
	dir := t.TempDir()
	if err := CheckFeed(t.Context(), feed.Dir{FS: os.DirFS(dir)}, fill(dir)); err != nil {
		t.Error(err)
	}
}

// trusting is a feed that takes silence for completeness.
type trusting struct{ feed.Feed }

func (f trusting) Since(ctx context.Context, cursor []byte) (feed.Batch, error) {
	b, err := f.Feed.Since(ctx, cursor)
	b.Problems = nil
	return b, err
}

// blind is a feed that does not see what is gone.
type blind struct{ feed.Feed }

func (f blind) Since(ctx context.Context, cursor []byte) (feed.Batch, error) {
	b, err := f.Feed.Since(ctx, cursor)
	var seen []feed.Change
	for _, c := range b.Changes {
		if c.Kind != feed.Deleted {
			seen = append(seen, c)
		}
	}
	b.Changes = seen
	return b, err
}

func TestCheckFeedFindsWrongOnes(t *testing.T) {
	dir := t.TempDir()
	for name, f := range map[string]feed.Feed{
		"trusting": trusting{feed.Dir{FS: os.DirFS(dir)}},
		"blind":    blind{feed.Dir{FS: os.DirFS(dir)}},
	} {
		if CheckFeed(t.Context(), f, fill(dir)) == nil {
			t.Errorf("a %s feed passes", name)
		}
	}
}
