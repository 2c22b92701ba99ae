package debian_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/source/debian"
	"github.com/cleanstart/cleanstart/source/debian/debiantest"
)

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestResolve(t *testing.T) {
	a := debiantest.New(t)
	for _, p := range []struct{ suite, name, version, fields string }{
		{"stable", "gcc", "4:12.2-3", "Depends: gcc-12 (>= 12.2~), cpp (= 4:12.2-3), libc-dev | libc6-dev"},
		{"stable", "gcc-12", "12.2.0-14", "Pre-Depends: libc6 (>= 2.36)\nDepends: perl:any"},
		{"stable", "cpp", "4:12.2-3", ""},
		{"stable", "libc6", "2.36-9", "Depends: libgcc-s1"},
		{"security", "libc6", "2.36-9+deb12u9", "Depends: libgcc-s1"},
		{"updates", "libc6", "2.36-9+deb12u10", "Depends: libgcc-s1"},
		{"stable", "libgcc-s1", "12.2.0-14", "Depends: libc6 (>= 2.35)"}, // a cycle
		{"stable", "libc6-dev", "2.36-9", "Provides: libc-dev, libfoo-dev (= 1.5)"},
		{"stable", "musl-dev", "1.2.3", "Provides: libc-dev"},
		{"stable", "perl", "5.36", ""},
		{"stable", "base", "1", "Depends: awk"},
		{"stable", "mawk", "1", "Provides: awk"},
		{"stable", "gawk", "1", "Provides: awk"},
		{"stable", "foo-user", "1", "Depends: libfoo-dev (>= 1.4)"},
		{"stable", "foo-user2", "1", "Depends: libfoo-dev (>= 1.6)"},
		{"stable", "versioned-awk", "1", "Depends: awk (>= 1)"},
		{"stable", "old-libc", "1", "Depends: libc6 (<< 2.36-9+deb12u1)"},
		{"stable", "alternative", "1", "Depends: not-there, absent | cpp (>> 4:99) | perl"},
		{"stable", "alternative2", "1", "Depends: absent | cpp (>> 4:99) | perl"},
	} {
		a.AddPackage(p.suite, p.name, p.version, []byte(p.name+p.version), strings.Split(p.fields, "\n")...)
	}
	a.Publish()
	c := client(t, a, t.TempDir())
	for _, tc := range []struct{ ask, want string }{
		{"gcc", "cpp=4:12.2-3 gcc=4:12.2-3 gcc-12=12.2.0-14 libc6=2.36-9+deb12u10 libc6-dev=2.36-9 libgcc-s1=12.2.0-14 perl=5.36"},
		{"base", "base=1 gawk=1"},
		{"base mawk", "base=1 mawk=1"}, // chosen already
		{"foo-user", "foo-user=1 libc6-dev=2.36-9"},
		{"alternative2", "alternative2=1 perl=5.36"},
		{"old-libc", "libc6=2.36-9 libgcc-s1=12.2.0-14 old-libc=1"},
		{"foo-user2", ""},
		{"versioned-awk", ""},
		{"alternative", ""},
		{"nothing", ""},
		{"libc6 old-libc", ""}, // two versions of one package
	} {
		list, err := c.Resolve(context.Background(), strings.Fields(tc.ask))
		var got []string
		for _, p := range list {
			got = append(got, p.Name+"="+p.Version)
		}
		if tc.want == "" {
			if !errors.Is(err, debian.ErrNotFound) {
				t.Errorf("Resolve(%s) = %v, %v, want ErrNotFound", tc.ask, got, err)
			}
			continue
		}
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("Resolve(%s) = %v, %v, want %s", tc.ask, got, err, tc.want)
		}
	}
}

func TestFetch(t *testing.T) {
	a := debiantest.New(t)
	one := a.AddPackage("stable", "one", "1", []byte("one"), "Depends: two")
	a.AddPackage("stable", "two", "1", []byte("two"))
	a.Publish()
	cache := t.TempDir()
	c := client(t, a, cache)
	list, err := c.Resolve(context.Background(), []string{"one"})
	if err != nil {
		t.Fatal(err)
	}
	paths, err := c.Fetch(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"one", "two"} {
		if b, err := os.ReadFile(paths[i]); err != nil || string(b) != want {
			t.Errorf("package file = %q, %v, want %q", b, err, want)
		}
	}
	if _, err := c.Fetch(context.Background(), list); err != nil || a.Hits(one) != 1 {
		t.Errorf("second Fetch = %v after %d requests, want the cache", err, a.Hits(one))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client(t, a, t.TempDir()).Resolve(ctx, []string{"one"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Resolve with a cancelled context = %v", err)
	}
	exact, err := c.Exact(context.Background(), list[:1])
	if err != nil || len(exact) != 1 || exact[0].Name != "one" {
		t.Errorf("Exact = %v, %v", exact, err)
	}
	list[0].SHA256 = strings.Repeat("0", 64)
	if _, err := c.Exact(context.Background(), list[:1]); !errors.Is(err, debian.ErrNotFound) {
		t.Errorf("Exact with another digest = %v, want ErrNotFound", err)
	}
}
