package compile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/internal/filelock"
)

// claimWork makes a directory of this build's own below work and removes
// those whose owners died, which a kill or a power cut leaves. A lock on the
// file alive says that an owner lives.
func claimWork(ctx context.Context, work string) (dir string, release func(), err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("build: work directory: %w", err)
		}
	}()
	if err := os.MkdirAll(filepath.Join(work, "locks"), 0o755); err != nil {
		return "", nil, err
	}
	unlock, err := filelock.Lock(ctx, filepath.Join(work, "locks", "work"), false)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	stale, err := filepath.Glob(filepath.Join(work, "build-*"))
	if err != nil {
		return "", nil, err
	}
	for _, name := range stale {
		// another user's leavings cannot be removed, and do not matter
		free, ok, err := filelock.Try(filepath.Join(name, "alive"), false)
		if err != nil || !ok {
			continue
		}
		free()
		_ = atomicfile.RemoveTree(name)
	}
	if dir, err = os.MkdirTemp(work, "build-"); err != nil {
		return "", nil, err
	}
	alive, err := filelock.Lock(ctx, filepath.Join(dir, "alive"), false)
	if err != nil {
		return "", nil, err
	}
	return dir, func() {
		_ = atomicfile.RemoveTree(dir) // what stays is removed by the next build
		alive()
	}, nil
}

// lockKey keeps other builds that share the work directory from building the
// same action at the same time: they wait and find it in the store.
func lockKey(ctx context.Context, work, key string) (func(), error) {
	return filelock.Lock(ctx, filepath.Join(work, "locks", strings.TrimPrefix(key, "sha256:")), false)
}
