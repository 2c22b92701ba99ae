package debian

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBuildBody(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, c := range []struct {
		name, text string
		kind       indexKind
		want       string // "" for an error
	}{
		{"source", "Package: a\nFormat: 3.0\nVersion: 1:2-3\nChecksums-Md5:\n 0 1 a\nChecksums-Sha256:\n " + sum + " 12 a_2.orig.tar.gz\n " + sum + " 1 a_2.dsc\nDirectory: pool/a\n\n\nPackage: b\nVersion: 1\nDirectory: pool/b\n", sourceIndex,
			"\na\t1:2-3\tpool/a\ta_2.orig.tar.gz,12," + sum + "\ta_2.dsc,1," + sum + "\nb\t1\tpool/b\n"},
		{"package", "Package: a\nVersion: 1\nArchitecture: amd64\nDepends: b,\n c (>= 1)\nPre-Depends: d\nSize: 5\nSHA256: " + sum + "\nFilename: pool/a.deb\n", packageIndex,
			"\na\t1\tamd64\t5\t" + sum + "\tpool/a.deb\td, b, c (>= 1)\t\n"},
		{"empty", "", sourceIndex, "\n"},
		{"climbing directory", "Package: a\nVersion: 1\nDirectory: ../pool\n", sourceIndex, ""},
		{"climbing file", "Package: a\nVersion: 1\nDirectory: pool\nChecksums-Sha256:\n " + sum + " 1 ../x\n", sourceIndex, ""},
		{"absolute package", "Package: a\nVersion: 1\nSize: 5\nSHA256: " + sum + "\nFilename: /etc/passwd\n", packageIndex, ""},
		{"weak digest", "Package: a\nVersion: 1\nSize: 5\nSHA256: " + sum[:32] + "\nFilename: a.deb\n", packageIndex, ""},
		{"no digest", "Package: a\nVersion: 1\nSize: 5\nMD5sum: " + sum[:32] + "\nFilename: a.deb\n", packageIndex, ""},
		{"negative size", "Package: a\nVersion: 1\nSize: -5\nSHA256: " + sum + "\nFilename: a.deb\n", packageIndex, ""},
		{"no version", "Package: a\nDirectory: pool\n", sourceIndex, ""},
		{"tab in name", "Package: a\tb\nVersion: 1\nDirectory: pool\n", sourceIndex, ""},
		{"not a field", "Package: a\nVersion 1\n", sourceIndex, ""},
	} {
		got, err := buildBody(strings.NewReader(c.text), c.kind)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: buildBody = %q, want an error", c.name, got)
			}
			continue
		}
		if err != nil || string(got) != c.want {
			t.Errorf("%s: buildBody = %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestBodyFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "body")
	if err := writeBody(name, []byte("\na\t1\n")); err != nil {
		t.Fatal(err)
	}
	if b, err := readBody(name); err != nil || string(b) != "\na\t1\n" {
		t.Errorf("readBody = %q, %v", b, err)
	}
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, good[:10], good[:len(good)-1], append(bytes.Clone(good), 'x')} {
		if err := os.WriteFile(name, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if b, err := readBody(name); !errors.Is(err, errBody) {
			t.Errorf("readBody of a damaged file = %q, %v, want errBody", b, err)
		}
	}
}

func TestAuthFor(t *testing.T) {
	f := fetcher{auth: []Auth{{"a.invalid/deb", "1", ""}, {"http://b.invalid", "2", ""}, {"c.invalid:8443", "3", ""}}}
	for raw, want := range map[string]string{
		"https://a.invalid/debian/x":  "1",
		"http://a.invalid/debian/x":   "", // never in the clear unless asked
		"https://a.invalid/other":     "",
		"http://b.invalid/x":          "2",
		"https://c.invalid:8443/x":    "3",
		"https://c.invalid/x":         "",
		"https://xa.invalid/debian/x": "",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if a := f.authFor(u); a != nil {
			got = a.Login
		}
		if got != want {
			t.Errorf("authFor(%s) = %q, want %q", raw, got, want)
		}
	}
}

func FuzzBuildBody(f *testing.F) {
	f.Add(packagesIndex(2))
	f.Add([]byte("Package: a\nVersion: 1\nDirectory: pool\nChecksums-Sha256:\n " + strings.Repeat("0", 64) + " 1 a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range []indexKind{sourceIndex, packageIndex} {
			body, err := buildBody(bytes.NewReader(b), kind)
			if err != nil {
				continue
			}
			if len(body) == 0 || body[0] != '\n' || body[len(body)-1] != '\n' {
				t.Fatalf("body %q is not of whole lines", body)
			}
			for l := range strings.SplitSeq(strings.Trim(string(body), "\n"), "\n") {
				if l == "" {
					continue
				}
				if n := strings.Count(l, "\t"); kind.name == "packages" && n != 7 || n < 2 {
					t.Errorf("line %q has %d tabs", l, n)
				}
			}
		}
	})
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte("Suite: s\nDate: Sun, 01 Jun 2025 12:00:00 UTC\nValid-Until: Sun, 08 Jun 2025 12:00:00 UTC\nSHA256:\n " + strings.Repeat("0", 64) + " 1 main/a\n"))
	f.Add([]byte("SHA256:\n x\n"))
	now := time.Date(2025, 6, 2, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRelease(b, &Entry{Suite: "s"}, &Config{}, now)
		if err == nil && (len(r.files) == 0 || r.date.After(now.Add(skew))) {
			t.Errorf("parseRelease accepts %+v", r)
		}
	})
}
