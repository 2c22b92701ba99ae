package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/source/archive"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 8192)

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, *url.URL) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s, parse(t, s.URL+"/release.tar.gz")
}

// quick retries without waiting for long.
func quick() *archive.Transport {
	return &archive.Transport{Wait: time.Millisecond, Stall: 5 * time.Second}
}

func read(ctx context.Context, t *archive.Transport, u *url.URL) ([]byte, error) {
	r, err := t.Open(ctx, u)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestHTTP(t *testing.T) {
	_, u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/release.tar.gz" {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(content))
	})
	missing := *u
	missing.Path = "/other"
	sourcetest.TestTransport(t, quick(), sourcetest.Place{Ref: u, Content: content, Missing: &missing})
	if _, err := quick().Open(t.Context(), &missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(missing) = %v, want fs.ErrNotExist", err)
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "release.tar.gz")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sourcetest.TestTransport(t, quick(), sourcetest.Place{Ref: parse(t, "file://"+name), Content: content, Missing: parse(t, "file://"+name+"x")})
	pipe := name + ".pipe"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"file://" + filepath.Dir(name), "file:relative", "file://host/x", "file://" + pipe} {
		if _, err := quick().Open(t.Context(), parse(t, s)); err == nil {
			t.Errorf("Open(%s) opened", s)
		}
	}
}

// broken drops the connection after some bytes, for the first few requests.
func broken(times int32, ranges bool, change func(n int32, w http.ResponseWriter)) (http.HandlerFunc, *atomic.Int32) {
	var count atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		n := count.Add(1)
		w.Header().Set("ETag", `"one"`)
		if change != nil {
			change(n, w)
		}
		if !ranges {
			r.Header.Del("Range")
		}
		if n > times {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
			return
		}
		start := 0
		if rng := r.Header.Get("Range"); rng != "" {
			fmt.Sscanf(rng, "bytes=%d-", &start)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)-start))
		if start > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(content[start : start+10000])
		panic(http.ErrAbortHandler)
	}, &count
}

func TestResume(t *testing.T) {
	for name, ranges := range map[string]bool{"with ranges": true, "without ranges": false} {
		t.Run(name, func(t *testing.T) {
			h, count := broken(3, ranges, nil)
			_, u := serve(t, h)
			got, err := read(t.Context(), quick(), u)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("read %d bytes, %v, want %d", len(got), err, len(content))
			}
			if count.Load() != 4 {
				t.Errorf("%d requests, want 4", count.Load())
			}
		})
	}
}

func TestResumeGivesUp(t *testing.T) {
	h, count := broken(100, true, nil)
	_, u := serve(t, h)
	tr := quick()
	tr.Retries = 2
	if _, err := read(t.Context(), tr, u); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read = %v, want io.ErrUnexpectedEOF", err)
	}
	if count.Load() != 3 {
		t.Errorf("%d requests, want 3", count.Load())
	}
}

// A file that changes meanwhile must not be spliced together.
func TestResumeOfAnotherFile(t *testing.T) {
	other := append([]byte("changed"), content...)
	var count atomic.Int32
	_, u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if count.Add(1) == 1 {
			w.Header().Set("ETag", `"one"`)
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			w.Write(content[:10000])
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("ETag", `"two"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(other))
	})
	if got, err := read(t.Context(), quick(), u); err == nil {
		t.Errorf("read %d bytes spliced from two files", len(got))
	}
}

func TestRetry(t *testing.T) {
	for code, want := range map[int]int32{503: 3, 429: 3, 500: 3, 404: 1, 403: 1, 410: 1} {
		var count atomic.Int32
		_, u := serve(t, func(w http.ResponseWriter, r *http.Request) {
			count.Add(1)
			w.WriteHeader(code)
		})
		tr := quick()
		tr.Retries = 2
		_, err := tr.Open(t.Context(), u)
		var status *archive.StatusError
		if !errors.As(err, &status) || status.Code != code {
			t.Errorf("Open = %v, want status %d", err, code)
		}
		if count.Load() != want {
			t.Errorf("status %d: %d requests, want %d", code, count.Load(), want)
		}
	}
}

func TestRedirects(t *testing.T) {
	hops := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			at, _ := strconv.Atoi(r.URL.Query().Get("n"))
			if at >= n {
				w.Write(content)
				return
			}
			http.Redirect(w, r, "?n="+strconv.Itoa(at+1), http.StatusFound)
		}
	}
	_, u := serve(t, hops(5))
	if got, err := read(t.Context(), quick(), u); err != nil || len(got) != len(content) {
		t.Errorf("five redirects: %d bytes, %v", len(got), err)
	}
	_, u = serve(t, hops(6))
	if _, err := quick().Open(t.Context(), u); !errors.Is(err, archive.ErrRedirect) {
		t.Errorf("six redirects: %v, want ErrRedirect", err)
	}

	plain, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(content) })
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	tr := quick()
	tr.Client = secure.Client()
	if _, err := tr.Open(t.Context(), parse(t, secure.URL)); !errors.Is(err, archive.ErrRedirect) {
		t.Errorf("redirect from https to http: %v, want ErrRedirect", err)
	}
}

// A .tar.gz arrives as it is, and never unpacked on the way.
func TestNoCompressionInTransit(t *testing.T) {
	var asked atomic.Value
	_, u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(content)
	})
	tr := quick()
	tr.Retries = -1
	if _, err := tr.Open(t.Context(), u); err == nil {
		t.Error("an answer in another encoding was accepted")
	}
	if asked.Load() != "identity" {
		t.Errorf("asked for encoding %q", asked.Load())
	}
}

func TestStall(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	_, u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.Write(content[:100])
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	tr := &archive.Transport{Wait: time.Millisecond, Stall: 50 * time.Millisecond, Retries: 1}
	if _, err := read(t.Context(), tr, u); err == nil {
		t.Error("a silent server was waited for")
	}
	ctx, cancel := context.WithCancel(t.Context())
	tr.Stall = time.Hour
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := read(ctx, tr, u); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while reading: %v, want context.Canceled", err)
	}
}

func TestUnknownScheme(t *testing.T) {
	if _, err := quick().Open(t.Context(), parse(t, "ftp://host/x")); err == nil {
		t.Error("ftp opened")
	}
}
