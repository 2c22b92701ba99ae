package debian_test

import (
	"context"
	"io"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source/debian"
)

// system is the archive that this machine's apt is configured for.
func system(t testing.TB, cache string, opts debian.Options) *debian.Archive {
	t.Helper()
	if testing.Short() {
		t.Skip("short: reads the system's Debian archive")
	}
	c, err := debian.ReadConfig(os.DirFS("/"))
	if err != nil {
		need.Skip(t, "debian archive", err.Error())
	}
	opts.Now = time.Now()
	a, err := debian.New(c, cache, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSystemArchive(t *testing.T) {
	cache := t.TempDir()
	a := system(t, cache, debian.Options{})
	start := time.Now()
	list, err := a.Resolve(context.Background(), []string{"gcc", "make", "perl"})
	if err != nil {
		need.Skip(t, "debian archive", err.Error())
	}
	t.Logf("resolved %d packages in %v", len(list), time.Since(start))
	for _, raw := range []string{"debian:curl@7.88.1/orig.tar", "debian:curl@7.88.1/orig.tar.asc"} {
		ref, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		r, err := a.Open(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		r.Close()
		t.Logf("%s: %d bytes, %v, in %v", raw, n, err, time.Since(start))
	}
	offline := system(t, cache, debian.Options{Offline: true})
	start = time.Now()
	ref, _ := url.Parse("debian:curl@7.88.1/orig.tar")
	r, err := offline.Open(context.Background(), ref)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Logf("offline open in %v", time.Since(start))
	start = time.Now()
	again, err := offline.Resolve(context.Background(), []string{"gcc", "make", "perl"})
	if err != nil || len(again) != len(list) {
		t.Fatalf("offline Resolve = %d packages, %v, want %d", len(again), err, len(list))
	}
	t.Logf("offline resolve in %v", time.Since(start))
}
