package toolchain_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/compile/toolchain"
	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source/debian"
)

// system is the archive that this machine's apt is configured for.
func system(t testing.TB, cache string, opts debian.Options) *debian.Archive {
	t.Helper()
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

func TestDebianSystem(t *testing.T) {
	if testing.Short() {
		t.Skip("short: unpacks a toolchain")
	}
	cache := os.Getenv("TC_DEV_CACHE")
	if cache == "" {
		cache = t.TempDir()
	}
	a := system(t, cache, debian.Options{})
	start := time.Now()
	tc, err := toolchain.Debian(context.Background(), a, cache, nil, toolchain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packages, %s, in %v", len(tc.Packages), tc.Digest, time.Since(start))
	offline := system(t, cache, debian.Options{Offline: true})
	start = time.Now()
	again, err := toolchain.Debian(context.Background(), offline, cache, nil, toolchain.Options{})
	if err != nil || again.Digest != tc.Digest || again.Dir != tc.Dir {
		t.Fatalf("warm Debian = %v, %v", again, err)
	}
	t.Logf("warm in %v", time.Since(start))
}
