package toolchain_test

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/toolchain"
	"github.com/cleanstart/cleanstart/source/debian"
	"github.com/cleanstart/cleanstart/source/debian/debiantest"
)

// client reads a test archive.
func client(t testing.TB, a *debiantest.Archive, cache string) *debian.Archive {
	t.Helper()
	c, err := debian.ReadConfig(a.Etc())
	if err != nil {
		t.Fatal(err)
	}
	r, err := debian.New(c, filepath.Join(cache, "debian"), debian.Options{Now: debiantest.Now, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// example is an archive of a shell, a compiler and a library.
func example(t testing.TB) *debiantest.Archive {
	a := debiantest.New(t)
	a.AddPackage("stable", "gcc", "4:12", deb(t, ".xz",
		item{name: "./"}, item{name: "./usr/"}, item{name: "./usr/bin/"},
		item{name: "./usr/bin/gcc", mode: 0o4755, body: "compiler"},
		item{name: "./usr/bin/x86_64-linux-gnu-gcc", hard: "./usr/bin/gcc"},
		item{name: "./usr/share/man/man1/gcc.1.gz", mode: 0o644, body: "manual"},
		item{name: "./usr/share/doc/gcc/README", mode: 0o644, body: "read me"},
		item{name: "./usr/share/doc/gcc/copyright", mode: 0o644, body: "GPL-3+"},
	), "Depends: libc6, dash")
	a.AddPackage("stable", "libc6", "2.36", deb(t, ".zst",
		item{name: "./lib64/"}, item{name: "./lib/x86_64-linux-gnu/libc.so.6", mode: 0o755, body: "libc"},
		item{name: "./lib64/ld-linux-x86-64.so.2", link: "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"},
		item{name: "./usr/include/stdio.h", mode: 0o664, body: "int puts();"},
	))
	a.AddPackage("stable", "dash", "0.5", deb(t, ".gz",
		item{name: "./bin/dash", mode: 0o755, body: "shell"},
		item{name: "./usr/share/doc/dash/copyright", mode: 0o644, body: "BSD"},
	))
	a.AddPackage("stable", "make", "4.3", deb(t, "", item{name: "./usr/bin/make", mode: 0o755, body: "make"}))
	a.Publish()
	return a
}

func TestDebianTree(t *testing.T) {
	a, cache := example(t), t.TempDir()
	tc, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"gcc"}, toolchain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, p := range tc.Packages {
		names += p.Name + "=" + p.Version + " "
	}
	if names != "dash=0.5 gcc=4:12 libc6=2.36 " || tc.Kind != "debian" {
		t.Errorf("packages %q of kind %q", names, tc.Kind)
	}
	root := os.DirFS(tc.Dir)
	for name, want := range map[string]string{
		"usr/bin/gcc": "compiler", "usr/bin/x86_64-linux-gnu-gcc": "compiler", "usr/bin/dash": "shell",
		"bin/sh": "shell", "usr/bin/cc": "compiler", "lib/x86_64-linux-gnu/libc.so.6": "libc",
		"usr/lib/x86_64-linux-gnu/libc.so.6": "libc", "usr/include/stdio.h": "int puts();",
		"usr/share/doc/gcc/copyright": "GPL-3+",
	} {
		if b, err := fs.ReadFile(root, name); err != nil || string(b) != want {
			t.Errorf("%s = %q, %v, want %q", name, b, err, want)
		}
	}
	for _, name := range []string{"usr/share/man", "usr/share/doc/gcc/README"} {
		if _, err := fs.Lstat(root, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lstat(%s) = %v, want not exist", name, err)
		}
	}
	for name, want := range map[string]fs.FileMode{
		"usr/bin/gcc": 0o555, "usr/include/stdio.h": 0o444, "usr/bin": 0o555 | fs.ModeDir, "proc": 0o555 | fs.ModeDir, ".": 0o555 | fs.ModeDir,
	} {
		if fi, err := os.Lstat(filepath.Join(tc.Dir, name)); err != nil || fi.Mode() != want {
			t.Errorf("mode of %s = %v, %v, want %v", name, fi.Mode(), err, want)
		}
	}
	passwd, err := fs.ReadFile(root, "etc/passwd")
	if err != nil || !strings.Contains(string(passwd), "builder:x:1000:1000:") {
		t.Errorf("passwd = %q, %v", passwd, err)
	}
	if tc.Dir != filepath.Join(cache, "toolchains/sha256", strings.TrimPrefix(tc.Digest, "sha256:"), "root") {
		t.Errorf("root %s of digest %s", tc.Dir, tc.Digest)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "toolchains/tmp-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDebianTwiceIsTheSame(t *testing.T) {
	a := example(t)
	var digests []string
	for range 2 {
		cache := t.TempDir()
		c := client(t, a, cache)
		tc, err := toolchain.Debian(context.Background(), c, cache, []string{"make", "gcc"}, toolchain.Options{})
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, tc.Digest)
		before := a.Hits("")
		again, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"gcc", "make"}, toolchain.Options{Rehash: true})
		if err != nil || again.Digest != tc.Digest || len(again.Packages) != len(tc.Packages) {
			t.Errorf("second Debian = %+v, %v", again, err)
		}
		if n := a.Hits("") - before; n != 0 {
			t.Errorf("second Debian made %d requests, want 0", n)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("two caches give %s and %s", digests[0], digests[1])
	}
}

func TestDebianRefresh(t *testing.T) {
	a, cache := example(t), t.TempDir()
	get := func(opts toolchain.Options) *compile.Toolchain {
		t.Helper()
		tc, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"make"}, opts)
		if err != nil {
			t.Fatal(err)
		}
		return tc
	}
	old := get(toolchain.Options{})
	a.AddPackage("stable", "make", "4.4", deb(t, "", item{name: "./usr/bin/make", mode: 0o755, body: "newer"}))
	a.Publish()
	if tc := get(toolchain.Options{}); tc.Digest != old.Digest {
		t.Error("the recorded resolution was not used")
	}
	fresh := get(toolchain.Options{Refresh: true})
	if fresh.Digest == old.Digest || fresh.Packages[0].Version != "4.4" {
		t.Errorf("Refresh gives %+v", fresh.Packages)
	}
	if tc := get(toolchain.Options{Lock: old.Packages}); tc.Digest != old.Digest {
		t.Errorf("Lock gives %+v, want the old packages", tc.Packages)
	}
	lock := []compile.Package{{Name: "make", Version: "4.4", SHA256: old.Packages[0].SHA256}}
	if _, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"make"}, toolchain.Options{Lock: lock}); !errors.Is(err, debian.ErrNotFound) {
		t.Errorf("a lock that the archive does not fit = %v, want ErrNotFound", err)
	}
}

func TestDamagedRootIsUnpackedAnew(t *testing.T) {
	for what, spoil := range map[string]func(dir string) error{
		"changed file": func(d string) error {
			return errors.Join(os.Chmod(filepath.Join(d, "usr/bin/gcc"), 0o755), os.WriteFile(filepath.Join(d, "usr/bin/gcc"), []byte("malware!"), 0o755), os.Chmod(filepath.Join(d, "usr/bin/gcc"), 0o555))
		},
		"added file":   func(d string) error { return os.WriteFile(filepath.Join(d, "usr/bin/more"), nil, 0o555) },
		"removed file": func(d string) error { return os.Remove(filepath.Join(d, "usr/include/stdio.h")) },
		"changed link": func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, "usr/bin/cc")), os.Symlink("dash", filepath.Join(d, "usr/bin/cc")))
		},
		"changed mode": func(d string) error { return os.Chmod(filepath.Join(d, "usr/include/stdio.h"), 0o555) },
		"manifest": func(d string) error {
			name := filepath.Join(filepath.Dir(d), "manifest")
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return errors.Join(os.Chmod(name, 0o644), os.WriteFile(name, b[1:], 0o444))
		},
		"no root": func(d string) error { return os.Rename(d, d+"2") },
	} {
		a, cache := example(t), t.TempDir()
		tc, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"gcc"}, toolchain.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{"usr/bin", "usr/include", ".", ".."} {
			if err := os.Chmod(filepath.Join(tc.Dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := spoil(tc.Dir); err != nil {
			t.Fatal(what, err)
		}
		for _, d := range []string{"usr/bin", "usr/include", "."} {
			_ = os.Chmod(filepath.Join(tc.Dir, d), 0o555) // gone in one case
		}
		again, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"gcc"}, toolchain.Options{})
		if err != nil || again.Digest != tc.Digest {
			t.Errorf("%s: Debian = %+v, %v", what, again, err)
			continue
		}
		for name, want := range map[string]string{"usr/bin/cc": "compiler", "usr/include/stdio.h": "int puts();"} {
			if b, err := os.ReadFile(filepath.Join(tc.Dir, name)); err != nil || string(b) != want {
				t.Errorf("%s: %s = %q, %v, want %q", what, name, b, err, want)
			}
		}
		if _, err := os.Stat(filepath.Join(tc.Dir, "usr/bin/more")); err == nil {
			t.Errorf("%s: the added file is still there", what)
		}
	}
}

func TestRehashSeesWhatStatCannot(t *testing.T) {
	a, cache := example(t), t.TempDir()
	tc, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"gcc"}, toolchain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(tc.Dir, "usr/bin/dash")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(name, 0o755), os.WriteFile(name, []byte("SHELL"), 0o755), os.Chmod(name, 0o555), os.Chtimes(name, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if _, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"gcc"}, toolchain.Options{Rehash: true}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "shell" {
		t.Errorf("dash = %q, %v, want it mended", b, err)
	}
}

func TestDebianRefusesPackages(t *testing.T) {
	good := deb(t, ".gz", item{name: "./usr/bin/x", mode: 0o755, body: "x"})
	for what, content := range map[string][]byte{
		"climbing name":        deb(t, ".gz", item{name: "./../evil", body: "x"}),
		"climbing inside":      deb(t, ".gz", item{name: "./usr/../../evil", body: "x"}),
		"absolute name":        deb(t, ".gz", item{name: "/evil", body: "x"}),
		"through a link":       deb(t, ".gz", item{name: "./usr/out", link: "../../../.."}, item{name: "./usr/out/evil", body: "x"}),
		"through a link of us": deb(t, ".gz", item{name: "./bin", link: "/tmp"}),
		"hard link out":        deb(t, ".gz", item{name: "./usr/passwd", hard: "/etc/passwd"}),
		"hard link ahead":      deb(t, ".gz", item{name: "./usr/a", hard: "./usr/b"}, item{name: "./usr/b", body: "x"}),
		"device":               deb(t, ".gz", item{name: "./dev/mem", typ: tar.TypeChar}),
		"fifo":                 deb(t, ".gz", item{name: "./usr/fifo", typ: tar.TypeFifo}),
		"file twice":           deb(t, ".gz", item{name: "./usr/a", body: "x"}, item{name: "./usr/a", body: "y"}),
		"file of another":      deb(t, ".gz", item{name: "./usr/bin/make", body: "mine"}),
		"file over directory":  deb(t, ".gz", item{name: "./usr/bin", body: "x"}),
		"below a file":         deb(t, ".gz", item{name: "./usr/a", body: "x"}, item{name: "./usr/a/b", body: "x"}),
		"truncated":            good[:len(good)-20],
		"no data":              good[:70],
		"no package":           []byte("not a package"),
		"unknown compression":  deb(t, ".lz4", item{name: "./usr/bin/x", body: "x"}),
	} {
		a, cache := example(t), t.TempDir()
		a.AddPackage("stable", "bad", "1", content, "Depends: make")
		a.Publish()
		tc, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"bad"}, toolchain.Options{})
		if err == nil {
			t.Errorf("%s: Debian = %+v, want an error", what, tc)
			continue
		}
		if !strings.Contains(err.Error(), "package ") {
			t.Errorf("%s: error %v does not name the package", what, err)
		}
		for _, p := range []string{"toolchains/tmp-*", "toolchains/sha256/*", "toolchains/resolutions/*", "evil", "../evil", "toolchains/evil"} {
			if left, _ := filepath.Glob(filepath.Join(cache, p)); len(left) != 0 {
				t.Errorf("%s: left behind %v", what, left)
			}
		}
	}
}

func TestDebianConcurrentlyUnpacksOnce(t *testing.T) {
	a, cache := example(t), t.TempDir()
	var wg sync.WaitGroup
	var mu sync.Mutex
	digests := map[string]int{}
	for range 4 {
		wg.Go(func() {
			tc, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"gcc"}, toolchain.Options{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			digests[tc.Digest]++
		})
	}
	wg.Wait()
	if len(digests) != 1 {
		t.Errorf("digests %v, want one", digests)
	}
	if n := a.Hits("dists/stable/InRelease"); n != 1 {
		t.Errorf("resolved %d times, want once", n)
	}
}

func TestStaleTempIsRemoved(t *testing.T) {
	a, cache := example(t), t.TempDir()
	stale := filepath.Join(cache, "toolchains/tmp-1/root/usr")
	if err := os.MkdirAll(stale, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(stale, 0o555); err != nil {
		t.Fatal(err)
	}
	if _, err := toolchain.Debian(context.Background(), client(t, a, cache), cache, []string{"make"}, toolchain.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what an interrupted call left is still there (%v)", err)
	}
}

func TestDebianCancelled(t *testing.T) {
	a, cache := example(t), t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := toolchain.Debian(ctx, client(t, a, cache), cache, []string{"gcc"}, toolchain.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Debian = %v, want context.Canceled", err)
	}
}
