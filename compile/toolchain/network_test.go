package toolchain_test

import (
	"context"
	"io/fs"
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

// TestDebianSystem unpacks a small root of real packages: a shell and make
// with what they need. The whole default root is the quickstart's.
func TestDebianSystem(t *testing.T) {
	if testing.Short() {
		t.Skip("short: unpacks a toolchain")
	}
	cache := t.TempDir()
	packages := []string{"dash", "make"}
	a := system(t, cache, debian.Options{})
	if _, err := a.Resolve(context.Background(), packages); err != nil {
		need.Skip(t, "debian archive", err.Error())
	}
	start := time.Now()
	tc, err := toolchain.Debian(context.Background(), a, cache, packages, toolchain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin/sh", "usr/bin/make", "etc/passwd"} {
		if info, err := fs.Stat(os.DirFS(tc.Dir), name); err != nil || info.Size() == 0 {
			t.Errorf("Stat(%s) = %v, %v, want a file", name, info, err)
		}
	}
	t.Logf("%d packages, %s, in %v", len(tc.Packages), tc.Digest, time.Since(start))
	offline := system(t, cache, debian.Options{Offline: true})
	start = time.Now()
	again, err := toolchain.Debian(context.Background(), offline, cache, packages, toolchain.Options{})
	if err != nil || again.Digest != tc.Digest || again.Dir != tc.Dir {
		t.Fatalf("warm Debian = %v, %v", again, err)
	}
	t.Logf("warm in %v", time.Since(start))
}
