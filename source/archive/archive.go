// Package archive fetches release archives over HTTP and from files.
//
// It moves bytes and vouches for nothing: whether they are what upstream
// released is for proofs to say. So TLS protects privacy and availability
// here, not integrity, and plain http is as good a place as any.
package archive

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
	"strconv"
	"time"

	"github.com/cleanstart/cleanstart/source"
)

// Transport opens https, http and file URLs. The zero value is ready.
type Transport struct {
	// Client makes the requests. Default: one over http.DefaultTransport,
	// which honours the proxy variables of the environment.
	Client *http.Client
	// Retries is how often one Open, its reading included, may start again
	// after a failure that may pass. Default: 4; negative: never.
	Retries int
	// Wait is the pause before the first retry, doubled for each further one.
	// Default: half a second.
	Wait time.Duration
	// Stall is how long a connection may stay silent. Default: a minute.
	Stall time.Duration
}

var _ source.Transport = (*Transport)(nil)

// StatusError is an answer other than success.
type StatusError struct {
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: answered %d %s", e.URL, e.Code, http.StatusText(e.Code))
}

// Is says that 404 and 410 are [fs.ErrNotExist].
func (e *StatusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.Code == http.StatusNotFound || e.Code == http.StatusGone)
}

func (e *StatusError) passing() bool {
	return e.Code >= 500 || e.Code == http.StatusTooManyRequests || e.Code == http.StatusRequestTimeout
}

// ErrRedirect says that a chain of redirects was too long or left https.
var ErrRedirect = errors.New("redirect refused")

const maxRedirects = 5

// Open implements [source.Transport]. A broken transfer is resumed where it
// stopped; the error wraps [fs.ErrNotExist] where there is no such file.
func (t *Transport) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	switch ref.Scheme {
	case "file":
		return openFile(ref)
	case "http", "https":
	default:
		return nil, fmt.Errorf("%s: scheme is not https, http or file", ref)
	}
	r := &reader{ctx: ctx, t: t, url: ref.String(), size: -1, retries: t.Retries, wait: t.Wait, stall: t.Stall}
	if r.retries == 0 {
		r.retries = 4
	}
	if r.wait <= 0 {
		r.wait = 500 * time.Millisecond
	}
	if r.stall <= 0 {
		r.stall = time.Minute
	}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

func openFile(ref *url.URL) (io.ReadCloser, error) {
	if ref.Host != "" && ref.Host != "localhost" || ref.Path == "" || !filepath.IsAbs(ref.Path) {
		return nil, fmt.Errorf("%s: want file:///ABSOLUTE/PATH", ref)
	}
	// Before opening, which would wait for a pipe's writer.
	info, err := os.Stat(ref.Path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", ref)
	}
	return os.Open(ref.Path)
}

// client copies the caller's, bounding its redirects.
func (t *Transport) client() *http.Client {
	c := http.Client{}
	if t.Client != nil {
		c = *t.Client
	}
	next := c.CheckRedirect
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		switch {
		case len(via) > maxRedirects:
			return fmt.Errorf("%w: more than %d", ErrRedirect, maxRedirects)
		case req.URL.Scheme != "https" && req.URL.Scheme != via[0].URL.Scheme:
			return fmt.Errorf("%w: from %s to %s", ErrRedirect, via[0].URL.Scheme, req.URL.Scheme)
		case next != nil:
			return next(req, via)
		}
		return nil
	}
	return &c
}

// request asks for the content from offset on. Compression in transit is
// refused: a .tar.gz is wanted as it is.
func (r *reader) request(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	if r.offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(r.offset, 10)+"-")
		if r.tag != "" {
			req.Header.Set("If-Range", r.tag)
		}
	}
	return r.t.client().Do(req)
}
