package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/internal/filelock"
)

// Options refine a store. The zero value reads what it returns.
type Options struct {
	// SkipHash makes Get compare names, modes, sizes and times only, and
	// read a file just where its time has changed. Without it Get reads
	// every file of the runtime, dev and licenses parts and the log.
	SkipHash bool
}

// Store is a directory store. It is safe for concurrent use.
type Store struct {
	dir    string
	tmp    string // of this store alone
	opts   Options
	unlock []func()
}

var _ compile.Store = (*Store)(nil)

// Open opens or creates the store in dir, and removes what dead processes
// left half-done. Close releases it.
func Open(ctx context.Context, dir string, opts Options) (_ *Store, err error) {
	s := &Store{dir: dir, opts: opts}
	defer func() {
		if err != nil {
			s.Close()
			err = fmt.Errorf("open store %s: %w", dir, err)
		}
	}()
	for _, d := range []string{"entries", "contents", "tmp", "locks"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	use, err := filelock.Lock(ctx, s.path("locks", "use"), true)
	if err != nil {
		return nil, err
	}
	s.unlock = append(s.unlock, use)
	if err := s.claimTemp(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Close releases the store. Items that it gave stay readable until a [GC]
// removes them.
func (s *Store) Close() error {
	var err error
	if s.tmp != "" {
		err = atomicfile.RemoveTree(s.tmp)
		s.tmp = ""
	}
	for i := len(s.unlock) - 1; i >= 0; i-- {
		s.unlock[i]()
	}
	s.unlock = nil
	return err
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// claimTemp makes this store's own temporary directory, whose lock says that
// its owner lives, and removes those of the dead.
func (s *Store) claimTemp(ctx context.Context) error {
	unlock, err := filelock.Lock(ctx, s.path("locks", "tmp"), false)
	if err != nil {
		return err
	}
	defer unlock()
	list, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return err
	}
	for _, de := range list {
		if !de.IsDir() {
			continue
		}
		name := s.path("tmp", de.Name())
		release, ok, err := filelock.Try(filepath.Join(name, "alive"), false)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		release()
		if err := atomicfile.RemoveTree(name); err != nil {
			return err
		}
	}
	if s.tmp, err = os.MkdirTemp(s.path("tmp"), ""); err != nil {
		return err
	}
	alive, err := filelock.Lock(ctx, filepath.Join(s.tmp, "alive"), false)
	if err != nil {
		return err
	}
	s.unlock = append(s.unlock, alive)
	return nil
}

// lockContent serialises what changes a content. The locks are few files,
// each for many contents.
func (s *Store) lockContent(ctx context.Context, id string) (func(), error) {
	return filelock.Lock(ctx, s.path("locks", "content-"+id[:2]), false)
}

// hexKey is the hexadecimal part of a key, "sha256:HEX".
func hexKey(key string) (string, error) {
	h := strings.TrimPrefix(key, "sha256:")
	if b, err := hex.DecodeString(h); err != nil || len(b) != 32 || strings.ToLower(h) != h || h == key {
		return "", fmt.Errorf("store: key %.80q is not sha256:HEX", key)
	}
	return h, nil
}

// Keys lists the keys that have an entry, in order.
func (s *Store) Keys() ([]string, error) {
	list, err := os.ReadDir(s.path("entries"))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	var keys []string
	for _, de := range list {
		if h, ok := strings.CutSuffix(de.Name(), ".json"); ok {
			if _, err := hexKey("sha256:" + h); err == nil {
				keys = append(keys, "sha256:"+h)
			}
		}
	}
	return keys, nil
}

// Get gives the item of a key after comparing it with its record. It wraps
// [compile.ErrNotStored] where there is none, or where there was a damaged
// one, which is then removed.
func (s *Store) Get(ctx context.Context, key string) (*compile.Item, error) {
	h, err := hexKey(key)
	if err != nil {
		return nil, err
	}
	name := s.path("entries", h+".json")
	e, err := readEntry(name, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("store: %s: %w", key, compile.ErrNotStored)
	}
	var damage *damageError
	if errors.As(err, &damage) {
		if rerr := os.Remove(name); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			return nil, fmt.Errorf("store: %s: %w", key, errors.Join(err, rerr))
		}
		return nil, fmt.Errorf("store: %s: %w: removed: %w", key, compile.ErrNotStored, err)
	}
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", key, err)
	}
	dir := s.path("contents", e.Content)
	err = checkContent(ctx, dir, e, !s.opts.SkipHash)
	if errors.As(err, &damage) {
		err = s.discard(ctx, e)
		if err == nil {
			return nil, fmt.Errorf("store: %s: %w: removed: %w", key, compile.ErrNotStored, damage)
		}
		if errors.Is(err, errWhole) { // replaced while we looked
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", key, err)
	}
	return e.item(dir), nil
}

var errWhole = errors.New("content is whole")

// discard removes a content that is still damaged under its lock.
func (s *Store) discard(ctx context.Context, e *storedEntry) error {
	unlock, err := s.lockContent(ctx, e.Content)
	if err != nil {
		return err
	}
	defer unlock()
	dir := s.path("contents", e.Content)
	err = checkContent(ctx, dir, e, true)
	if err == nil {
		return errWhole
	}
	var damage *damageError
	if !errors.As(err, &damage) {
		return err
	}
	return s.drop(dir)
}

// drop removes a content so that no half of it is ever seen under its name.
func (s *Store) drop(dir string) error {
	bin, err := os.MkdirTemp(s.tmp, "drop-")
	if err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(bin, "content")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.RemoveTree(bin)
}
