package gomod_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/archive"
	"github.com/cleanstart/cleanstart/source/gomod"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

const demo = "example.org/Demo@v1.2.3"

var now = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

// pack is a module zip; method and order of its files are not what is hashed.
func pack(t testing.TB, method uint16, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: files[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[i+1])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var files = []string{demo + "/go.mod", "module example.org/Demo\n", demo + "/demo.go", "package demo\n"}

func h1(t testing.TB, files []string) string {
	var names []string
	body := map[string]string{}
	for i := 0; i < len(files); i += 2 {
		names = append(names, files[i])
		body[files[i]] = files[i+1]
	}
	h, err := dirhash.Hash1(names, func(n string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body[n])), nil })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// proxy serves one module's zip and a database of its own, as a module proxy
// does that carries the database.
type proxy struct {
	*httptest.Server
	key  string
	zips map[string][]byte
}

func newProxy(t testing.TB, name string, sums map[string]string) *proxy {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	db := sumdb.NewServer(sumdb.NewTestServer(skey, func(path, vers string) ([]byte, error) {
		h, ok := sums[path+"@"+vers]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return fmt.Appendf(nil, "%s %s %s\n%s %s/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", path, vers, h, path, vers), nil
	}))
	p := &proxy{key: vkey, zips: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.Handle("/sumdb/"+name+"/", http.StripPrefix("/sumdb/"+name, db))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		b, ok := p.zips[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(b)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func logged(p *proxy) source.Component {
	return source.Component{Name: "demo", Version: "v1.2.3", Places: []source.Place{{Archive: "gomod:" + demo}},
		Policy: source.Policy{Least: source.Logged, Module: demo, Log: p.key}}
}

func options(t testing.TB, p *proxy, cache string) source.Options {
	web := &archive.Transport{Retries: -1}
	return source.Options{
		Cache:      cache,
		Transports: map[string]source.Transport{"gomod": gomod.Transport{Proxies: []string{p.URL}, HTTP: web}},
		Verifiers:  []source.Verifier{gomod.Verifier{Proxies: []string{p.URL}, HTTP: web, Cache: cache + "/sumdb"}},
		Now:        now,
	}
}

func tempDir(t testing.TB) string {
	dir := t.TempDir()
	t.Cleanup(func() { source.RemoveCache(dir) })
	return dir
}

func TestLoggedModule(t *testing.T) {
	p := newProxy(t, "sums.example.org", map[string]string{demo: h1(t, files)})
	p.zips["/example.org/!demo/@v/v1.2.3.zip"] = pack(t, zip.Deflate, files...)
	cache := tempDir(t)
	tree, err := source.Verify(t.Context(), logged(p), options(t, p, cache))
	if err != nil {
		t.Fatal(err)
	}
	proof := tree.Proofs()[0]
	if proof.Grade != source.Logged || proof.Log != "sums.example.org" || !strings.Contains(proof.Description, h1(t, files)) {
		t.Errorf("proof = %+v", proof)
	}
	if b, err := fs.ReadFile(tree.FS(), "demo.go"); err != nil || string(b) != "package demo\n" {
		t.Errorf("demo.go = %q, %v", b, err)
	}
	p.Close()
	if _, err := source.Load(t.Context(), logged(p), options(t, p, cache)); err != nil {
		t.Errorf("without a network: %v", err)
	}
}

func TestRefused(t *testing.T) {
	good := h1(t, files)
	changed := append([]string(nil), files...)
	changed[3] = "package demo // and a back door\n"
	foreign := append(append([]string(nil), files...), "example.org/other@v1.0.0/x.go", "package x\n")
	for name, c := range map[string]struct {
		sums map[string]string
		zip  []byte
		edit func(*source.Component, *source.Options)
		want error
	}{
		"changed file":           {map[string]string{demo: good}, pack(t, zip.Store, changed...), nil, gomod.ErrHash},
		"one file more":          {map[string]string{demo: good}, pack(t, zip.Store, append(append([]string(nil), files...), demo+"/x.go", "package demo\n")...), nil, gomod.ErrHash},
		"file of another module": {map[string]string{demo: good}, pack(t, zip.Store, foreign...), nil, source.ErrFormat},
		"file listed twice":      {map[string]string{demo: good}, pack(t, zip.Store, append(append([]string(nil), files...), files[2], "package evil\n")...), nil, source.ErrFormat},
		"not in the log":         {map[string]string{}, pack(t, zip.Store, files...), nil, gomod.ErrLog},
		"not a zip":              {map[string]string{demo: good}, []byte("no zip at all"), nil, source.ErrFormat},
		"another log's key": {map[string]string{demo: good}, pack(t, zip.Store, files...), func(c *source.Component, _ *source.Options) {
			_, c.Policy.Log, _ = note.GenerateKey(nil, "sums.example.org")
		}, gomod.ErrLog},
		"unknown log": {map[string]string{demo: good}, pack(t, zip.Store, files...), func(c *source.Component, _ *source.Options) {
			c.Policy.Log = "sums.example.org"
		}, gomod.ErrLog},
		"branch for a version": {map[string]string{demo: good}, pack(t, zip.Store, files...), func(c *source.Component, _ *source.Options) {
			c.Policy.Module = "example.org/Demo@main"
		}, nil},
		"no verifier": {map[string]string{demo: good}, pack(t, zip.Store, files...), func(_ *source.Component, o *source.Options) {
			o.Verifiers = []source.Verifier{silent{}}
		}, source.ErrPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, "sums.example.org", c.sums)
			p.zips["/example.org/!demo/@v/v1.2.3.zip"] = c.zip
			component, o := logged(p), options(t, p, tempDir(t))
			if c.edit != nil {
				c.edit(&component, &o)
			}
			_, err := source.Verify(t.Context(), component, o)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Verify = %v, want %v", err, c.want)
			}
		})
	}
}

type silent struct{}

func (silent) Verify(context.Context, source.Subject) ([]source.Proof, error) { return nil, nil }

// A database that shows one history today and another tomorrow is caught by
// what was kept of the first.
func TestForkedLog(t *testing.T) {
	p := newProxy(t, "sums.example.org", map[string]string{demo: h1(t, files), "example.org/Demo@v1.0.0": h1(t, files)})
	p.zips["/example.org/!demo/@v/v1.2.3.zip"] = pack(t, zip.Deflate, files...)
	cache := tempDir(t)
	if _, err := source.Verify(t.Context(), logged(p), options(t, p, cache)); err != nil {
		t.Fatal(err)
	}
	skey, vkey, err := note.GenerateKey(nil, "sums.example.org")
	if err != nil {
		t.Fatal(err)
	}
	// The same key, another history of the same length.
	fork := func(h string) http.Handler {
		return sumdb.NewServer(sumdb.NewTestServer(skey, func(path, vers string) ([]byte, error) {
			return fmt.Appendf(nil, "%s %s %s\n", path, vers, h), nil
		}))
	}
	one, two := httptest.NewServer(http.StripPrefix("/sumdb/sums.example.org", fork(h1(t, files)))), httptest.NewServer(http.StripPrefix("/sumdb/sums.example.org", fork("h1:"+strings.Repeat("A", 43)+"=")))
	defer one.Close()
	defer two.Close()
	subject := sourcetest.Case{Archive: pack(t, zip.Store, files...), Now: now,
		Policy: source.Policy{Least: source.Logged, Module: demo, Log: vkey}}.Subject()
	dir := tempDir(t)
	v := gomod.Verifier{Proxies: []string{one.URL}, HTTP: &archive.Transport{Retries: -1}, Cache: dir}
	if _, err := v.Verify(t.Context(), subject); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir + "/sums.example.org/lookup"); err != nil {
		t.Fatal(err)
	}
	v.Proxies = []string{two.URL}
	if _, err := v.Verify(t.Context(), subject); !errors.Is(err, gomod.ErrLog) {
		t.Errorf("Verify against a forked log = %v, want ErrLog", err)
	}
}

func TestVerifierSuite(t *testing.T) {
	p := newProxy(t, "sums.example.org", map[string]string{demo: h1(t, files)})
	v := gomod.Verifier{Proxies: []string{p.URL}, HTTP: &archive.Transport{Retries: -1}, Cache: tempDir(t)}
	good := sourcetest.Case{Archive: pack(t, zip.Store, files...), Now: now,
		Policy: source.Policy{Least: source.Logged, Module: demo, Log: p.key}}
	changed := good
	changed.Archive = bytes.Replace(good.Archive, []byte("package demo"), []byte("package evil"), 1)
	more := good
	more.Archive = pack(t, zip.Store, append(append([]string(nil), files...), demo+"/more.go", "package demo\n")...)
	sourcetest.TestVerifier(t, v, sourcetest.Suite{Good: good, Grade: source.Logged, Content: true,
		Bad: map[string]sourcetest.Case{"changed file": changed, "one file more": more}})
}

func TestTransport(t *testing.T) {
	p := newProxy(t, "sums.example.org", nil)
	b := pack(t, zip.Deflate, files...)
	p.zips["/example.org/!demo/@v/v1.2.3.zip"] = b
	ref := func(s string) *url.URL { return &url.URL{Scheme: "gomod", Opaque: s} }
	sourcetest.TestTransport(t, gomod.Transport{Proxies: []string{p.URL + "/none", p.URL}, HTTP: &archive.Transport{Retries: -1}},
		sourcetest.Place{Ref: ref(demo), Content: b, Missing: ref("example.org/Demo@v1.2.4")})
	for _, bad := range []string{"example.org/Demo", "example.org/Demo@latest", "../x@v1.0.0", "example.org/Demo@v1.2.3/../x"} {
		if _, err := (gomod.Transport{Proxies: []string{p.URL}, HTTP: &archive.Transport{}}).Open(t.Context(), ref(bad)); err == nil {
			t.Errorf("Open(%q) = nil, want an error", bad)
		}
	}
}

func TestReadConfig(t *testing.T) {
	root := fstest.MapFS{
		"home/u/.config/go/env":   {Data: []byte("GOFLAGS=-x\nGOPROXY=https://user.example.org,direct\n")},
		"usr/local/go/go.env":     {Data: []byte("# defaults\nGOPROXY=https://goroot.example.org|https://b.example.org,off,https://never.example.org\n")},
		"elsewhere/env":           {Data: []byte("GOPROXY=file:///mirror\n")},
		"home/bad/.config/go/env": {Data: []byte("GOPROXY=ftp:x\n")},
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string
		err  bool
	}{
		"variable":   {map[string]string{"GOPROXY": "https://a.example.org,https://b.example.org"}, "https://a.example.org https://b.example.org", false},
		"user":       {map[string]string{"HOME": "/home/u"}, "https://user.example.org", false},
		"GOENV":      {map[string]string{"HOME": "/home/u", "GOENV": "/elsewhere/env"}, "file:///mirror", false},
		"GOENV off":  {map[string]string{"HOME": "/home/u", "GOENV": "off"}, "https://goroot.example.org https://b.example.org", false},
		"goroot":     {map[string]string{"HOME": "/nobody"}, "https://goroot.example.org https://b.example.org", false},
		"no URL":     {map[string]string{"HOME": "/home/bad"}, "", true},
		"turned off": {map[string]string{"GOPROXY": "off"}, "", false},
	} {
		env := func(k string) string { return c.env[k] }
		got, err := gomod.ReadConfig(env, root)
		if strings.Join(got, " ") != c.want || (err != nil) != c.err {
			t.Errorf("%s: ReadConfig = %v, %v, want %s", name, got, err, c.want)
		}
	}
	if _, err := gomod.ReadConfig(func(string) string { return "" }, fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing configured: %v, want fs.ErrNotExist", err)
	}
}

// TestRealModule proves a real module by the real database, through the
// system's proxy.
func TestRealModule(t *testing.T) {
	if testing.Short() {
		t.Skip("short: reads the system's module proxy")
	}
	proxies, err := gomod.ReadConfig(os.Getenv, os.DirFS("/"))
	if err != nil || len(proxies) == 0 {
		need.Skip(t, "go-module-proxy", fmt.Sprint(err))
	}
	web := &archive.Transport{}
	c := source.Component{Name: "mod", Version: "v0.20.0", Places: []source.Place{{Archive: "gomod:golang.org/x/mod@v0.20.0"}},
		Policy: source.Policy{Least: source.Logged, Module: "golang.org/x/mod@v0.20.0", Log: "sum.golang.org"}}
	cache := tempDir(t)
	tree, err := source.Verify(t.Context(), c, source.Options{
		Cache:      cache,
		Transports: map[string]source.Transport{"gomod": gomod.Transport{Proxies: proxies, HTTP: web}},
		Verifiers:  []source.Verifier{gomod.Verifier{Proxies: proxies, HTTP: web, Cache: cache + "/sumdb"}},
		Now:        now,
	})
	if errors.Is(err, fs.ErrNotExist) {
		need.Skip(t, "go-module-proxy", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := tree.Proofs()[0].Description; !strings.Contains(d, "h1:utOm6MM3R3dnawAiJgn0y+xvuYRsm1RKM/4giyfDgV0=") {
		t.Errorf("proof = %s", d)
	}
	t.Log(source.Explain(tree))
}

func FuzzZip(f *testing.F) {
	f.Add(pack(f, zip.Deflate, files...))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	_, key, err := note.GenerateKey(nil, "sums.example.org")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := sourcetest.Case{Archive: b, Policy: source.Policy{Module: demo, Log: key}}.Subject()
		if p, err := (gomod.Verifier{Cache: t.TempDir()}).Verify(t.Context(), s); err == nil {
			t.Fatalf("%x: %+v", sha256.Sum256(b), p)
		}
	})
}
