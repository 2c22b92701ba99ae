// Package pipeline wires every stage of the SDK into one run, as a build
// system would: from a specification to an output directory. It is the
// reference integration that the examples share.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/local"
	"github.com/cleanstart/cleanstart/compile/store"
	"github.com/cleanstart/cleanstart/compile/toolchain"
	"github.com/cleanstart/cleanstart/examples/internal/progress"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/debian"
)

// Workshop is this machine made ready to build: the cache, the Debian
// archive, the executor and the store. Close it.
type Workshop struct {
	cache   string
	now     time.Time
	board   *progress.Board
	archive *debian.Archive
	store   *store.Store
	lock    *source.Lock
	mirror  string

	toolchains map[string]*compile.Toolchain // by the packages asked for
	mu         sync.Mutex
}

// Settings are what a Workshop needs to know of the outside.
type Settings struct {
	Cache string    // directory; made when missing
	Now   time.Time // judges signatures, exceptions, waivers, releases
	Board *progress.Board
	// Lock is what an earlier run resolved; anything else is refused. Default:
	// whatever the specification's policies accept.
	Lock *source.Lock
	// Mirror is a directory filled by mirror.Fill, for mirror: places and for
	// what a lock names. Default: the archives in the cache.
	Mirror string
}

// DefaultCache is the folder of the user's cache directory that the examples
// use.
func DefaultCache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory: %w; set HOME or XDG_CACHE_HOME, or name one with -cache", err)
	}
	return filepath.Join(dir, "cleanstart"), nil
}

// Open makes the machine ready. It reads apt's configuration and touches no
// network.
func Open(ctx context.Context, s Settings) (*Workshop, error) {
	cache, err := filepath.Abs(s.Cache)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	config, err := debian.ReadConfig(os.DirFS("/"))
	if err != nil {
		return nil, fmt.Errorf("apt's configuration: %w", err)
	}
	deb, err := debian.New(config, filepath.Join(cache, "debian"), debian.Options{Now: s.Now})
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, filepath.Join(cache, "store"), store.Options{})
	if err != nil {
		return nil, err
	}
	if s.Mirror == "" {
		s.Mirror = filepath.Join(cache, "source", "archives")
	}
	return &Workshop{cache: cache, now: s.Now, board: s.Board, archive: deb, store: st, lock: s.Lock, mirror: s.Mirror,
		toolchains: map[string]*compile.Toolchain{}}, nil
}

// Close releases the store.
func (w *Workshop) Close() error { return w.store.Close() }

// Built is a finished image and what it was made from.
type Built struct {
	Image *compile.Image
	Hits  []string // components taken from the store, in order of completion
	Made  []string // components built now
	Trees []*source.Tree
}

// Build verifies the sources of a specification, prepares the toolchain at
// the same time, and builds the image. keys holds the certificates that the
// specification names.
func (w *Workshop) Build(ctx context.Context, spec *compile.Spec, keys fs.FS) (*Built, error) {
	var (
		trees map[string]*source.Tree
		tools *compile.Toolchain
	)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { trees, err = w.sources(gctx, spec, keys); return err })
	g.Go(func() (err error) { tools, err = w.toolchain(gctx, spec.Toolchain); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	built, err := w.compile(ctx, spec, trees, tools)
	if err != nil {
		return nil, err
	}
	for _, c := range spec.Components {
		built.Trees = append(built.Trees, trees[c.Name])
	}
	return built, nil
}

// toolchain fetches and unpacks the compiler's root, once per set of packages.
func (w *Workshop) toolchain(ctx context.Context, packages []string) (*compile.Toolchain, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fmt.Sprint(packages)
	if t := w.toolchains[key]; t != nil {
		return t, nil
	}
	task := w.board.Start("toolchain")
	t, err := toolchain.Debian(ctx, w.archive, w.cache, packages, toolchain.Options{})
	if err != nil {
		task.Fail()
		return nil, err
	}
	task.Done("%d packages, %s", len(t.Packages), short(t.Digest))
	w.toolchains[key] = t
	return t, nil
}

func (w *Workshop) compile(ctx context.Context, spec *compile.Spec, trees map[string]*source.Tree, tools *compile.Toolchain) (*Built, error) {
	built := &Built{}
	tasks := map[string]*progress.Task{}
	lines := map[string]int{}
	var libc string // its units are many and small: layer 1 does without them and answers unknown
	for _, c := range spec.Components {
		if c.Provides == "libc" {
			libc = c.Name
		}
	}
	machine := compile.Machine{Toolchain: tools, Executor: local.New(local.WithoutPreprocessed(libc)), Store: w.store, Work: filepath.Join(w.cache, "work")}
	events := compile.Events{
		Hit: func(c, v, key string) {
			built.Hits = append(built.Hits, c)
			w.board.Printf("compile %s %s: from the store", c, v)
		},
		Start: func(c, v, key string) { tasks[c] = w.board.Start("compile " + c + " " + v) },
		Line: func(l compile.LogLine) {
			lines[l.Component]++
			if t := tasks[l.Component]; t != nil {
				t.Note("%d lines of log", lines[l.Component])
			}
		},
		Done: func(c, v, key string) {
			built.Made = append(built.Made, c)
			tasks[c].Done("%d lines of log", lines[c])
		},
	}
	img, err := compile.Build(ctx, spec, trees, machine, compile.WithEvents(events))
	if err != nil {
		for _, t := range tasks {
			t.Fail()
		}
		return nil, err
	}
	built.Image = img
	r := img.Record
	w.board.Printf("image %s: %d layer(s)", r.Image.Manifest, len(r.Image.Layers))
	return built, nil
}

// Explain adds to an error what a person at a terminal can do about it.
func Explain(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted; nothing was half-written, and the same command carries on from what is finished"
	}
	var b *compile.BuildError
	if errors.As(err, &b) {
		return fmt.Sprintf("%v\n%+v", err, b)
	}
	return err.Error()
}

func short(digest string) string {
	if len(digest) > 19 {
		return digest[:19]
	}
	return digest
}
