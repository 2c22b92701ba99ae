package source_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/checksum"
)

// writableTempDir is t.TempDir whose read-only trees can be removed.
func writableTempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := source.RemoveCache(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

var day = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// memory is a transport over a map, counting what is asked of it.
type memory struct {
	mu     sync.Mutex
	files  map[string][]byte
	opened []string
}

func (m *memory) Open(_ context.Context, ref *url.URL) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened = append(m.opened, ref.String())
	b, ok := m.files[ref.String()]
	if !ok {
		return nil, fmt.Errorf("%s: %w", ref, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// file and dir are entries of a test archive.
func file(name, body string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body)), Uname: body}
}

// tarball writes headers; the body of a file is its Uname, for brevity.
func tarball(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for i, h := range headers {
		c := *h
		body := c.Uname
		c.Uname = ""
		if c.ModTime.IsZero() && c.Typeflag != tar.TypeXGlobalHeader {
			c.ModTime = day.Add(-time.Duration(i) * time.Hour)
		}
		if err := w.WriteHeader(&c); err != nil {
			t.Fatal(err)
		}
		if c.Typeflag == tar.TypeReg {
			io.WriteString(w, body)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// pinnedTo is a component whose archive is pinned, at the places given.
func pinnedTo(archive []byte, places ...string) source.Component {
	c := source.Component{Name: "demo", Version: "1.0",
		Policy: source.Policy{Least: source.Pinned, Digest: digest(archive)}}
	for _, p := range places {
		c.Places = append(c.Places, source.Place{Archive: p})
	}
	return c
}

// options verify by digest over an in-memory transport.
func options(t testing.TB, m *memory) source.Options {
	return source.Options{
		Cache:      writableTempDir(t),
		Transports: map[string]source.Transport{"mem": m},
		Verifiers:  []source.Verifier{checksum.Verifier{}},
		Now:        day,
	}
}

// simple is a small release.
func simple(t testing.TB) []byte {
	return tarball(t,
		&tar.Header{Name: "demo-1.0/", Typeflag: tar.TypeDir, Mode: 0o775},
		file("demo-1.0/README", "read me\n"),
		&tar.Header{Name: "demo-1.0/configure", Typeflag: tar.TypeReg, Mode: 0o755, Size: 10, Uname: "#!/bin/sh\n"},
		file("demo-1.0/src/main.c", "int main(void){return 0;}\n"),
		&tar.Header{Name: "demo-1.0/doc", Typeflag: tar.TypeSymlink, Linkname: "src/../README"},
		&tar.Header{Name: "demo-1.0/COPY", Typeflag: tar.TypeLink, Linkname: "demo-1.0/README"},
	)
}
