// Package debiantest serves small signed Debian archives over HTTP, made in
// memory, to test what reads archives.
package debiantest

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Now is the time at which the archive's releases are made and signed.
var Now = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

// Archive is an archive with its own signing key. Add to it, then Publish;
// both can be repeated.
type Archive struct {
	URL    string
	Key    *openpgp.Entity
	Signed time.Time           // when releases are signed; Now at first
	Extra  []*openpgp.Entity   // sign too, before Key
	Fields map[string]string   // more fields of every release
	Suites map[string]*Indexes // by name

	t     testing.TB
	mu    sync.Mutex
	files map[string][]byte
	fails map[string]int // path → answers left that are 503
	hits  map[string]int
}

// Indexes are the paragraphs of one suite.
type Indexes struct {
	Sources  []string
	Packages []string
}

// NewKey makes a signing key that is valid for life from a year before Now,
// or forever when life is 0.
func NewKey(t testing.TB, name string, life time.Duration) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: uint32(life / time.Second),
		Time: func() time.Time { return Now.AddDate(-1, 0, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// New serves an empty archive until the test ends.
func New(t testing.TB) *Archive {
	t.Helper()
	a := &Archive{
		Key: NewKey(t, "archive", 0), Signed: Now, Fields: map[string]string{}, Suites: map[string]*Indexes{},
		t: t, files: map[string][]byte{}, fails: map[string]int{}, hits: map[string]int{},
	}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.URL = s.URL
	return a
}

// ServeHTTP serves the archive's files.
func (a *Archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	name := strings.TrimPrefix(r.URL.Path, "/")
	a.hits[name]++
	b, ok := a.files[name]
	fail := a.fails[name] > 0
	if fail {
		a.fails[name]--
	}
	a.mu.Unlock()
	switch {
	case fail:
		http.Error(w, "try again", http.StatusServiceUnavailable)
	case !ok:
		http.NotFound(w, r)
	default:
		_, _ = w.Write(b) // the client's loss
	}
}

// Hits is how often a path was asked for; "" sums all.
func (a *Archive) Hits(name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name != "" {
		return a.hits[name]
	}
	n := 0
	for _, h := range a.hits {
		n += h
	}
	return n
}

// Fail makes the next n answers for a path an error of the server.
func (a *Archive) Fail(name string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails[name] = n
}

// File is the content of a path; Put replaces it, and removes it where b is
// nil.
func (a *Archive) File(name string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.files[name]
}

func (a *Archive) Put(name string, b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b == nil {
		delete(a.files, name)
		return
	}
	a.files[name] = b
}

func (a *Archive) suite(name string) *Indexes {
	if a.Suites[name] == nil {
		a.Suites[name] = &Indexes{}
	}
	return a.Suites[name]
}

// AddSource adds a source package with its files, by name and content, and
// gives the directory that they lie in.
func (a *Archive) AddSource(suite, pkg, version string, files map[string]string) string {
	dir := "pool/" + suite + "/" + pkg
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	p := fmt.Sprintf("Package: %s\nVersion: %s\nDirectory: %s\nChecksums-Sha256:\n", pkg, version, dir)
	for _, n := range names {
		a.Put(dir+"/"+n, []byte(files[n]))
		p += fmt.Sprintf(" %s %d %s\n", sum([]byte(files[n])), len(files[n]), n)
	}
	s := a.suite(suite)
	s.Sources = append(s.Sources, p)
	return dir
}

// AddPackage adds a binary package for amd64; fields are more lines of its
// paragraph, such as "Depends: a". It gives the path of its file.
func (a *Archive) AddPackage(suite, pkg, version string, deb []byte, fields ...string) string {
	name := "pool/" + suite + "/" + pkg + "_" + strings.ReplaceAll(version, ":", "%3a") + "_amd64.deb"
	a.Put(name, deb)
	p := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nFilename: %s\nSize: %d\nSHA256: %s\n", pkg, version, name, len(deb), sum(deb))
	for _, f := range fields {
		p += f + "\n"
	}
	s := a.suite(suite)
	s.Packages = append(s.Packages, p)
	return name
}

// Publish writes and signs the indexes and releases of all suites.
func (a *Archive) Publish() {
	a.t.Helper()
	for name, s := range a.Suites {
		dir := "dists/" + name
		release := fmt.Sprintf("Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\nAcquire-By-Hash: yes\nArchitectures: amd64\nComponents: main\n",
			name, name, a.Signed.UTC().Format(time.RFC1123))
		keys := make([]string, 0, len(a.Fields))
		for k := range a.Fields {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			release += k + ": " + a.Fields[k] + "\n"
		}
		release += "SHA256:\n"
		for _, ix := range []struct {
			name       string
			paragraphs []string
		}{{"main/source/Sources.gz", s.Sources}, {"main/binary-amd64/Packages.gz", s.Packages}} {
			b := a.gzip(strings.Join(ix.paragraphs, "\n"))
			a.Put(dir+"/"+ix.name, b)
			a.Put(dir+"/"+path.Dir(ix.name)+"/by-hash/SHA256/"+sum(b), b)
			release += fmt.Sprintf(" %s %d %s\n", sum(b), len(b), ix.name)
		}
		a.Put(dir+"/InRelease", a.Sign(release))
	}
}

// Sign clear-signs a text by Extra and Key at Signed.
func (a *Archive) Sign(text string) []byte {
	a.t.Helper()
	var b bytes.Buffer
	config := &packet.Config{DefaultHash: crypto.SHA256, Time: func() time.Time { return a.Signed }}
	var keys []*packet.PrivateKey
	for _, e := range append(append([]*openpgp.Entity(nil), a.Extra...), a.Key) {
		keys = append(keys, e.PrivateKey)
	}
	w, err := clearsign.EncodeMulti(&b, keys, config)
	if err == nil {
		if _, err = w.Write([]byte(text)); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		a.t.Fatal(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// Keyring is the public half of keys, binary.
func Keyring(t testing.TB, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, e := range keys {
		if err := e.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// Etc is a file system whose apt is configured for the archive's suites.
func (a *Archive) Etc() fstest.MapFS {
	names := make([]string, 0, len(a.Suites))
	for n := range a.Suites {
		names = append(names, n)
	}
	sort.Strings(names)
	sources := fmt.Sprintf("Types: deb\nURIs: %s/\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/test.gpg\n",
		a.URL, strings.Join(names, " "))
	return fstest.MapFS{
		"etc/apt/sources.list.d/test.sources": {Data: []byte(sources)},
		"etc/apt/apt.conf.d/arch":             {Data: []byte("APT::Architecture \"amd64\";\n")},
		"usr/share/keyrings/test.gpg":         {Data: Keyring(a.t, a.Key)},
	}
}

func (a *Archive) gzip(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		a.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		a.t.Fatal(err)
	}
	return b.Bytes()
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
