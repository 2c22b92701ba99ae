package filelock

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	unlock, err := Lock(ctx, name, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Try(name, true); ok || err != nil {
		t.Errorf("Try shared beside exclusive = %v, %v, want false", ok, err)
	}
	if _, err := Lock(ctx, name, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock of a held lock = %v, want the deadline", err)
	}
	unlock()
	one, ok, err := Try(name, true)
	if !ok || err != nil {
		t.Fatalf("Try after unlock = %v, %v", ok, err)
	}
	defer one()
	two, ok, err := Try(name, true)
	if !ok || err != nil {
		t.Fatalf("second shared Try = %v, %v", ok, err)
	}
	two()
}
