package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/internal/bounded"
)

// Options are how an [Archive] works. Only Now is required.
type Options struct {
	// Now judges the dates of releases.
	Now time.Time
	// Client makes the requests; nil means one that honours the proxies of
	// the configuration.
	Client *http.Client
	// Parallel bounds concurrent downloads; 0 means 4.
	Parallel int
	// Attempts bounds the tries of one download; 0 means 5. Backoff is the
	// pause before the second, doubled for each more; 0 means 500 ms.
	Attempts int
	Backoff  time.Duration
	// Offline uses what the cache holds, including releases fetched earlier,
	// and never the network.
	Offline  bool
	Progress Progress
}

// Progress holds optional hooks. They may be called concurrently.
type Progress struct {
	Start func(name string, size int64)
	Done  func(name string, size int64, err error)
	Retry func(name string, attempt int, err error)
}

// Archive is the set of suites of one configuration. It is safe for
// concurrent use, and several processes may share the cache directory.
type Archive struct {
	config *Config
	dir    string
	opts   Options
	fetch  fetcher

	releases stage // each is loaded when it is first needed
	sources  stage
	packages stage
	suites   []*suite // set by releases
}

// stage is work that is done once, and tried again after an error.
type stage struct {
	mu   sync.Mutex
	done bool
}

func (s *stage) do(work func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil
	}
	err := work()
	s.done = err == nil
	return err
}

// suite is one verified suite with the bodies of its indexes.
type suite struct {
	entry    *Entry
	release  *release
	sources  [][]byte
	packages [][]byte
}

// New prepares an archive. It touches neither the network nor the cache.
func New(config *Config, cache string, opts Options) (*Archive, error) {
	if config == nil || len(config.Entries) == 0 {
		return nil, ErrNoSources
	}
	if opts.Now.IsZero() {
		return nil, errors.New("debian archive: Options.Now is not set, and dates cannot be judged without it")
	}
	if cache == "" {
		return nil, errors.New("debian archive: no cache directory")
	}
	if opts.Client == nil {
		opts.Client = newClient(config)
	}
	if opts.Parallel <= 0 {
		opts.Parallel = 4
	}
	if opts.Attempts <= 0 {
		opts.Attempts = 5
	}
	if opts.Backoff <= 0 {
		opts.Backoff = 500 * time.Millisecond
	}
	a := &Archive{config: config, dir: cache, opts: opts}
	a.fetch = fetcher{
		client: opts.Client, auth: config.Auth, attempts: opts.Attempts, backoff: opts.Backoff,
		offline: opts.Offline, progress: opts.Progress,
	}
	return a, nil
}

// ID names the configuration's selection and trust. Whatever is derived from
// the archive and recorded is recorded under it.
func (a *Archive) ID() string { return a.config.id() }

// Arch is Debian's name of the architecture that binary packages are for.
func (a *Archive) Arch() string { return a.config.Arch }

const (
	maxRelease = 32 << 20
	maxIndex   = 1 << 30 // compressed
)

// each runs work on every suite, several at a time.
func (a *Archive) each(ctx context.Context, work func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(a.opts.Parallel)
	for i := range a.config.Entries {
		g.Go(func() error {
			if err := work(ctx, i); err != nil {
				return fmt.Errorf("suite %s: %w", a.config.Entries[i].Suite, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// loadReleases fetches and verifies every suite's release. A suite that
// cannot be had is an error: leaving it out would hide its updates.
func (a *Archive) loadReleases(ctx context.Context) error {
	return a.releases.do(func() error {
		suites := make([]*suite, len(a.config.Entries))
		err := a.each(ctx, func(ctx context.Context, i int) error {
			e := &a.config.Entries[i]
			r, err := a.loadRelease(ctx, e)
			suites[i] = &suite{entry: e, release: r}
			return err
		})
		a.suites = suites
		return err
	})
}

// withSources gives the suites with their source indexes.
func (a *Archive) withSources(ctx context.Context) ([]*suite, error) {
	if err := a.loadReleases(ctx); err != nil {
		return nil, err
	}
	err := a.sources.do(func() error {
		return a.each(ctx, func(ctx context.Context, i int) (err error) {
			s := a.suites[i]
			s.sources, err = a.loadIndexes(ctx, s, []string{"source/Sources"}, sourceIndex)
			return err
		})
	})
	return a.suites, err
}

// withPackages gives the suites with their binary indexes.
func (a *Archive) withPackages(ctx context.Context) ([]*suite, error) {
	if err := a.loadReleases(ctx); err != nil {
		return nil, err
	}
	err := a.packages.do(func() error {
		return a.each(ctx, func(ctx context.Context, i int) (err error) {
			s := a.suites[i]
			if !s.entry.Binary {
				return nil
			}
			names := []string{"binary-" + a.config.Arch + "/Packages"}
			if s.release.allInAll {
				names = append(names, "binary-all/Packages")
			}
			s.packages, err = a.loadIndexes(ctx, s, names, packageIndex)
			return err
		})
	})
	return a.suites, err
}

// loadIndexes gives the bodies of the named indexes of each component.
func (a *Archive) loadIndexes(ctx context.Context, s *suite, names []string, kind indexKind) ([][]byte, error) {
	var out [][]byte
	for _, c := range s.entry.Components {
		for _, n := range names {
			body, err := a.loadIndex(ctx, s, c+"/"+n, kind)
			if err != nil {
				return nil, err
			}
			out = append(out, body)
		}
	}
	return out, nil
}

// loadRelease fetches InRelease, or takes the cached one where it is newer:
// an archive never goes back in time under a cache that has seen more.
func (a *Archive) loadRelease(ctx context.Context, e *Entry) (*release, error) {
	cached := filepath.Join(a.dir, "releases", entryID(e))
	old, oldErr := a.cachedRelease(cached, e)
	if a.opts.Offline {
		if oldErr != nil {
			return nil, fmt.Errorf("InRelease: %w", errors.Join(ErrOffline, oldErr))
		}
		return old, nil
	}
	var b []byte
	err := a.fetch.get(ctx, e.urls("dists/"+e.Suite+"/InRelease"), "InRelease of "+e.Suite, func(r io.Reader) (err error) {
		b, err = bounded.Read(r, maxRelease)
		return err
	})
	if err != nil {
		return nil, err
	}
	fresh, err := verifyRelease(b, e, a.config, a.opts.Now)
	if err != nil {
		return nil, fmt.Errorf("InRelease: %w", err)
	}
	if oldErr == nil && old.date.After(fresh.date) {
		return old, nil
	}
	if err := os.MkdirAll(filepath.Dir(cached), 0o755); err != nil {
		return nil, err
	}
	return fresh, atomicfile.WriteBytes(cached, 0o644, b)
}

func (a *Archive) cachedRelease(name string, e *Entry) (*release, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := bounded.Read(f, maxRelease)
	if err != nil {
		return nil, err
	}
	return verifyRelease(b, e, a.config, a.opts.Now)
}

// urls are the locations of a path of the entry's archive.
func (e *Entry) urls(p string) []string {
	p = (&url.URL{Path: p}).EscapedPath()
	out := make([]string, len(e.URIs))
	for i, u := range e.URIs {
		out[i] = u + "/" + p
	}
	return out
}

// entryID names an entry's location.
func entryID(e *Entry) string {
	b, err := json.Marshal([]any{e.URIs, e.Suite})
	if err != nil {
		panic("debian: " + err.Error()) // strings always marshal
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// recorded reads a JSON record of the cache. Whatever is wrong with it, it
// is as if it were not there: a record only saves work.
func recorded(name string, v any) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := bounded.Read(f, 16<<20)
	return err == nil && json.Unmarshal(b, v) == nil
}

func record(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteBytes(name, 0o644, b)
}
