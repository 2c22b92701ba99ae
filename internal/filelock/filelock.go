// Package filelock serialises work between goroutines and processes by
// advisory locks on files. The kernel releases a lock when its holder dies,
// so no lock is ever stale; the files themselves stay.
package filelock

import (
	"context"
	"fmt"
	"time"
)

// Lock waits for the lock on name, shared or exclusive, and creates the file
// if it is not there. unlock releases it.
func Lock(ctx context.Context, name string, shared bool) (unlock func(), err error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		unlock, ok, err := Try(name, shared)
		if err != nil || ok {
			return unlock, err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("lock %s: %w", name, context.Cause(ctx))
		case <-t.C:
		}
	}
}

// Try is Lock without waiting: ok is false when another holds the lock.
func Try(name string, shared bool) (unlock func(), ok bool, err error) {
	unlock, ok, err = try(name, shared)
	if err != nil {
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	return unlock, ok, nil
}
