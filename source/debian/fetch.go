package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrMissing says that an archive lists a file and does not have it.
var ErrMissing = errors.New("the archive does not have the file")

// ErrOffline says that something is not in the cache and the network may not
// be used.
var ErrOffline = errors.New("not in the cache, and the network may not be used")

// fetcher opens the URLs of an archive.
type fetcher struct {
	client   *http.Client
	auth     []Auth
	attempts int
	backoff  time.Duration
	offline  bool
	progress Progress
}

// newClient is a client that honours the proxies of apt's configuration.
func newClient(c *Config) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 30 * time.Second
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		p := c.Proxies[r.URL.Scheme]
		if p == "" || strings.EqualFold(p, "DIRECT") || strings.EqualFold(p, "false") {
			return nil, nil
		}
		return url.Parse(p)
	}
	return &http.Client{Transport: t}
}

// statusError is an HTTP status that is no success.
type statusError struct {
	url    string
	status string
	code   int
}

func (e *statusError) Error() string { return e.url + ": " + e.status }

func (e *statusError) Unwrap() error {
	if e.code == http.StatusNotFound || e.code == http.StatusGone {
		return ErrMissing
	}
	return nil
}

// permanent reports whether trying again is useless.
func permanent(err error) bool {
	var s *statusError
	if errors.As(err, &s) {
		return s.code < 500 && s.code != http.StatusTooManyRequests && s.code != http.StatusRequestTimeout
	}
	var m *mismatchError
	return errors.As(err, &m) && m.sure ||
		errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrOffline) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// get runs consume on the content of the first of the locations that gives
// it, trying again where that can help. consume must start over at each call.
func (f *fetcher) get(ctx context.Context, urls []string, name string, consume func(io.Reader) error) error {
	if f.offline {
		return fmt.Errorf("%s: %w", name, ErrOffline)
	}
	var errs []error
	for _, u := range urls {
		err := f.getOne(ctx, u, name, consume)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (f *fetcher) getOne(ctx context.Context, u, name string, consume func(io.Reader) error) error {
	var err error
	for n := range f.attempts {
		if n > 0 {
			if f.progress.Retry != nil {
				f.progress.Retry(name, n, err)
			}
			t := time.NewTimer(f.backoff << (n - 1))
			select {
			case <-ctx.Done():
				t.Stop()
				return fmt.Errorf("fetch %s: %w", name, ctx.Err())
			case <-t.C:
			}
		}
		if err = f.try(ctx, u, consume); err == nil {
			return nil
		}
		if permanent(err) {
			break
		}
	}
	return fmt.Errorf("fetch %s: %w", name, err)
}

// stall is how long a body may give no byte.
const stall = 60 * time.Second

func (f *fetcher) try(ctx context.Context, raw string, consume func(io.Reader) error) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	if u.Scheme == "file" || u.Scheme == "copy" {
		file, err := os.Open(filepath.FromSlash(u.Path))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrMissing, err)
		}
		if err != nil {
			return err
		}
		defer file.Close()
		return consume(file)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, raw, nil)
	if err != nil {
		return err
	}
	if a := f.authFor(u); a != nil {
		req.SetBasicAuth(a.Login, a.Password)
	}
	// Indexes and packages are compressed already, and their digests are of
	// the bytes as stored.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &statusError{raw, resp.Status, resp.StatusCode}
	}
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	err = consume(&watchedReader{resp.Body, timer})
	if errors.Is(err, context.Canceled) && context.Cause(ctx) == errStalled {
		return fmt.Errorf("%s: %w", raw, errStalled)
	}
	return err
}

var errStalled = fmt.Errorf("no byte for %s", stall)

// watchedReader pushes the stall timer ahead at every read that gives bytes.
type watchedReader struct {
	r io.Reader
	t *time.Timer
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.t.Reset(stall)
	}
	return n, err
}

// authFor finds the credentials for u. As with apt, an entry without a scheme
// is only sent over TLS.
func (f *fetcher) authFor(u *url.URL) *Auth {
	for i := range f.auth {
		a := &f.auth[i]
		scheme, rest, ok := strings.Cut(a.Machine, "://")
		if !ok {
			scheme, rest = "https", a.Machine
		}
		host, prefix, _ := strings.Cut(rest, "/")
		if u.Scheme == scheme && (u.Host == host || u.Hostname() == host) && strings.HasPrefix(u.Path, "/"+prefix) {
			return a
		}
	}
	return nil
}
