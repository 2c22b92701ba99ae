package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
	"github.com/cleanstart/cleanstart/internal/need"
)

// debian starts Debian's registry, which has no referrers API.
func debian(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		need.Skip(t, "docker-registry", "not in PATH")
	}
	dir := t.TempDir()
	srv := httptest.NewServer(http.NotFoundHandler()) // a free port
	addr := strings.TrimPrefix(srv.URL, "http://")
	srv.Close()
	conf := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), addr)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", conf)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 {
		if resp, err := http.Get("http://" + addr + "/v2/"); err == nil {
			resp.Body.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry does not answer:\n%s", out.Bytes())
	return ""
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func parse(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func checked(t *testing.T, dir string) *attest.Verification {
	t.Helper()
	v, err := attest.Verify(context.Background(), dir, attest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK {
		t.Fatal(v.Err(), v.Problems)
	}
	return v
}

// TestRoundTrip pushes, copies through every registry, and pulls: what arrives
// verifies, and is the same directory byte by byte.
func TestRoundTrip(t *testing.T) {
	ctx := context.Background()
	dir, _ := attesttest.Write(t)
	ours := serve(t, NewHandler())
	hosts := map[string]string{
		"embedded, referrers API": ours,
		"plain, fallback tag":     serve(t, ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))),
	}
	if _, err := exec.LookPath("docker-registry"); err == nil || os.Getenv("CI") == "true" {
		hosts["Debian's, fallback tag"] = debian(t)
	}
	for label, host := range hosts {
		t.Run(label, func(t *testing.T) {
			var c Client
			ref := parse(t, host+"/team/tiny:v1")
			d, err := c.Push(ctx, dir, ref)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := c.Push(ctx, dir, ref); err != nil || again != d {
				t.Errorf("pushing again: %v, %v", again, err)
			}
			mid, last := parse(t, ours+"/copy/of:"+strings.Map(letters, label)), parse(t, host+"/back/again:v2")
			if _, err := c.Copy(ctx, d, mid); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Copy(ctx, mid, last); err != nil {
				t.Fatal(err)
			}
			got := filepath.Join(t.TempDir(), "pulled")
			if _, err := c.Pull(ctx, last, got); err != nil {
				t.Fatal(err)
			}
			checked(t, got)
			same(t, dir, got)
			if _, err := c.Pull(ctx, last, got); err == nil {
				t.Error("pulling over what is there")
			}
		})
	}
}

func letters(r rune) rune {
	if 'a' <= r && r <= 'z' {
		return r
	}
	return -1
}

func same(t *testing.T, a, b string) {
	t.Helper()
	list := func(dir string) map[string]string {
		out := map[string]string{}
		err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(p)
			rel, _ := filepath.Rel(dir, p)
			out[rel] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	x, y := list(a), list(b)
	for n := range x {
		if y[n] != x[n] {
			t.Errorf("%s differs or is missing", n)
		}
	}
	for n := range y {
		if _, ok := x[n]; !ok {
			t.Errorf("%s is new", n)
		}
	}
}

func TestDebianRegistry(t *testing.T) {
	host := debian(t)
	dir, _ := attesttest.Write(t)
	d, err := Push(context.Background(), dir, parse(t, host+"/team/tiny:v1"))
	if err != nil {
		t.Fatal(err)
	}
	tag := d.Repository.Tag(strings.Replace(d.DigestStr(), ":", "-", 1))
	if _, err := remote.Head(tag); err != nil {
		t.Errorf("no fallback tag: %v", err)
	}
	got := filepath.Join(t.TempDir(), "pulled")
	if _, err := new(Client).Pull(context.Background(), d, got); err != nil {
		t.Fatal(err)
	}
	checked(t, got)
}

// TestConcurrentPushes: two directories about one image, to a registry with
// nothing but the tag, at once; no entry is lost.
func TestConcurrentPushes(t *testing.T) {
	one, _ := attesttest.Write(t)
	two, _ := attesttest.Write(t) // the same image, signed by somebody else
	host := serve(t, ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	ref := parse(t, host+"/team/tiny:v1")
	var wg sync.WaitGroup
	for _, dir := range []string{one, two} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := Push(context.Background(), dir, ref); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	// each pusher saw all of its own listed; the later one may have raced the
	// earlier one's last look, which pushing once more mends
	for _, dir := range []string{one, two} {
		if _, err := Push(context.Background(), dir, ref); err != nil {
			t.Fatal(err)
		}
	}
	s, err := new(Client).remoteSet(context.Background(), ref)
	if err != nil {
		t.Fatal(err)
	}
	want := map[v1.Hash]bool{}
	for _, dir := range []string{one, two} {
		l, err := layoutSet(filepath.Join(dir, "oci"))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range l.referrers {
			want[h] = true
		}
	}
	if len(s.referrers) != len(want) {
		t.Errorf("%d referrers, want %d", len(s.referrers), len(want))
	}
}

// flaky fails each write after a number of them, once.
type flaky struct {
	inner  http.Handler
	left   atomic.Int64
	writes atomic.Int64 // blob uploads
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut || r.Method == http.MethodPatch {
		f.writes.Add(1)
		if f.left.Add(-1) < 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
	}
	f.inner.ServeHTTP(w, r)
}

func TestPushGoesOn(t *testing.T) {
	dir, _ := attesttest.Write(t)
	f := &flaky{inner: NewHandler()}
	f.left.Store(30)
	ref := parse(t, serve(t, f)+"/team/tiny:v1")
	var blobs, manifests int
	c := Client{Jobs: 2, Trace: Trace{Blob: func(v1.Hash, int64) { blobs++ }, Manifest: func(v1.Hash) { manifests++ }}}
	if _, err := c.Push(context.Background(), dir, ref); err == nil {
		t.Fatal("a push that was cut off succeeds")
	}
	f.left.Store(1 << 30)
	first := f.writes.Swap(0)
	blobs, manifests = 0, 0
	if _, err := c.Push(context.Background(), dir, ref); err != nil {
		t.Fatal(err)
	}
	s, err := layoutSet(filepath.Join(dir, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	if blobs != len(s.referrers) || manifests != len(s.referrers)+1 {
		t.Errorf("told of %d blobs and %d manifests, want %d and %d", blobs, manifests, len(s.referrers), len(s.referrers)+1)
	}
	whole := f.writes.Swap(0)
	if _, err := c.Push(context.Background(), dir, ref); err != nil {
		t.Fatal(err)
	}
	if again := f.writes.Load(); first == 0 || again >= whole {
		t.Errorf("%d writes to go on, %d when all is there", whole, again)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Push(ctx, dir, ref); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
