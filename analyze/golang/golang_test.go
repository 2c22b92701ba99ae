package golang

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/internal/need"
)

// programs are modules with dependencies of known flaws.
var programs = []struct{ name, mod, main string }{
	{"called", "require golang.org/x/text v0.3.5", `
import ("fmt"; "golang.org/x/text/language")
func main() { t, err := language.Parse("en"); fmt.Println(t, err) }`},
	{"imported", "require golang.org/x/text v0.3.5", `
import ("fmt"; "golang.org/x/text/language")
func main() { fmt.Println(language.English) }`},
	{"required", "require golang.org/x/text v0.3.5", `
import ("fmt"; "golang.org/x/text/runes")
func main() { fmt.Println(runes.Remove(nil) == runes.Transformer{}) }`},
	{"through an interface", "require gopkg.in/yaml.v2 v2.2.2", `
import ("fmt"; "gopkg.in/yaml.v2")
type codec interface { decode([]byte) (any, error) }
type y struct{}
func (y) decode(b []byte) (v any, err error) { err = yaml.Unmarshal(b, &v); return }
var codecs = map[string]codec{"yaml": y{}}
func main() { fmt.Println(codecs["yaml"].decode([]byte("a: b"))) }`},
	{"through a closure", "require golang.org/x/text v0.3.5", `
import ("fmt"; "golang.org/x/text/language")
func each(f func(string)) { f("en") }
func main() { each(func(s string) { fmt.Println(language.MustParse(s)) }) }`},
	{"never called", "require golang.org/x/text v0.3.5", `
import ("fmt"; "golang.org/x/text/language")
func unused() { fmt.Println(language.Parse("en")) }
func main() { fmt.Println(language.Und) }`},
}

type workshop struct {
	db      *DB
	vulndb  string // for the peer, "" without
	env     []string
	peer    string
	records string
}

// open makes the database and finds what the tests need.
func open(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{records: os.Getenv("CLEANSTART_ADVISORIES")}
	if w.records == "" {
		need.Skip(t, "advisories", "CLEANSTART_ADVISORIES names no folder")
	}
	w.records = filepath.Join(w.records, "go")
	if _, err := exec.LookPath("go"); err != nil {
		need.Skip(t, "go", "not in PATH")
	}
	db, err := Load(os.DirFS(w.records))
	if err != nil {
		t.Fatal(err)
	}
	w.db = db
	w.env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	if w.peer = os.Getenv("CLEANSTART_GOVULNCHECK"); w.peer == "" {
		w.peer, _ = exec.LookPath("govulncheck")
	}
	return w
}

// module writes a program and fetches its dependencies through the system's
// proxy.
func (w *workshop) module(t *testing.T, mod, main string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.org/m\n\ngo 1.21\n\n" + mod + "\n", "main.go": "package main\n" + main + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "mod", "tidy")
	cmd.Dir, cmd.Env = dir, w.env
	if out, err := cmd.CombinedOutput(); err != nil {
		need.Skip(t, "module proxy", string(out))
	}
	return dir
}

// index writes the database in the form that the peer reads.
func (w *workshop) index(t *testing.T) string {
	t.Helper()
	if w.vulndb != "" {
		return w.vulndb
	}
	dir := t.TempDir()
	type vuln struct {
		ID       string `json:"id"`
		Modified string `json:"modified"`
		Fixed    string `json:"fixed,omitempty"`
	}
	modules := map[string][]vuln{}
	if err := os.MkdirAll(filepath.Join(dir, "ID"), 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.records, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var r osv
		if err := json.Unmarshal(b, &r); err != nil || r.ID == "" {
			t.Fatal(f, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "ID", r.ID+".json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, a := range r.Affected {
			modules[a.Package.Name] = append(modules[a.Package.Name], vuln{ID: r.ID, Modified: "2026-01-01T00:00:00Z"})
		}
	}
	type mod struct {
		Path  string `json:"path"`
		Vulns []vuln `json:"vulns"`
	}
	var list []mod
	for path, vs := range modules {
		list = append(list, mod{path, vs})
	}
	if err := os.MkdirAll(filepath.Join(dir, "index"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"db.json": map[string]string{"modified": "2026-01-01T00:00:00Z"}, "modules.json": list, "vulns.json": []vuln{}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "index", name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.vulndb = dir
	return dir
}

// govulncheck is the peer's answer: the highest level of each vulnerability.
func (w *workshop) govulncheck(t *testing.T, dir string, args ...string) map[string]string {
	t.Helper()
	cmd := exec.Command(w.peer, append([]string{"-db", "file://" + w.index(t), "-format", "json"}, args...)...)
	cmd.Dir, cmd.Env = dir, w.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("govulncheck: %v\n%s", err, stderr.Bytes())
	}
	best := map[string]Level{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var m struct {
			Finding *struct {
				OSV   string
				Trace []struct{ Module, Package, Function string }
			}
		}
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 {
			continue
		}
		level := Required
		switch top := m.Finding.Trace[0]; {
		case top.Function != "":
			level = Called
		case top.Package != "":
			level = Imported
		}
		best[m.Finding.OSV] = max(best[m.Finding.OSV], level)
	}
	got := map[string]string{}
	for id, l := range best {
		got[id] = l.String()
	}
	return got
}

func byID(fs []Finding) map[string]string {
	best := map[string]Level{}
	for _, f := range fs {
		best[f.ID] = max(best[f.ID], f.Level)
	}
	out := map[string]string{}
	for id, l := range best {
		out[id] = l.String()
	}
	return out
}

// TestLevels: what the programs were written to show.
func TestLevels(t *testing.T) {
	w := open(t)
	want := map[string]map[string]string{
		"called":               {"GO-2021-0113": "called"},
		"imported":             {"GO-2021-0113": "imported"},
		"required":             {"GO-2021-0113": "required"},
		"through an interface": {"GO-2020-0036": "called"},
		"through a closure":    {"GO-2021-0113": "called"},
		"never called":         {"GO-2021-0113": "imported"},
	}
	for _, p := range programs {
		dir := w.module(t, p.mod, p.main)
		fs, err := Source(t.Context(), w.db, Config{Dir: dir, Env: w.env})
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
			continue
		}
		got := byID(fs)
		for id, level := range want[p.name] {
			if got[id] != level {
				t.Errorf("%s: %s is %s, want %s", p.name, id, got[id], level)
			}
		}
		for _, f := range fs {
			if f.Level == Called && (f.Symbol == "" || len(f.Trace) == 0) {
				t.Errorf("%s: %s without a way: %+v", p.name, f.ID, f)
			}
		}
	}
}

// TestPeer: source and program, stripped and not, against govulncheck.
func TestPeer(t *testing.T) {
	w := open(t)
	if w.peer == "" {
		need.Skip(t, "govulncheck", "not in PATH; CLEANSTART_GOVULNCHECK may name it")
	}
	w.index(t) // in this test's folder, for all
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			dir := w.module(t, p.mod, p.main)
			fs, err := Source(t.Context(), w.db, Config{Dir: dir, Env: w.env})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w.govulncheck(t, dir, "./..."), byID(fs)); diff != "" {
				t.Errorf("source (-govulncheck +ours):\n%s", diff)
			}
			for _, flags := range []string{"", "-s -w"} {
				bin := filepath.Join(dir, "prog"+strings.ReplaceAll(flags, " ", ""))
				cmd := exec.Command("go", "build", "-ldflags="+flags, "-o", bin, ".")
				cmd.Dir, cmd.Env = dir, w.env
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("go build: %v\n%s", err, out)
				}
				f, err := os.Open(bin)
				if err != nil {
					t.Fatal(err)
				}
				fs, err := Binary(w.db, f)
				f.Close()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(w.govulncheck(t, dir, "-mode=binary", bin), byID(fs)); diff != "" {
					t.Errorf("program built with %q (-govulncheck +ours):\n%s", flags, diff)
				}
			}
		})
	}
}

func TestSplit(t *testing.T) {
	for name, want := range map[string]string{
		"main.main": "main main", "net/http.(*Client).Do": "net/http Client.Do", "net/http.Client.Do-fm": "net/http Client.Do",
		"gopkg.in/yaml%2ev2.Unmarshal":     "gopkg.in/yaml.v2 Unmarshal",
		"a.b/c.F[go.shape.int]":            "a.b/c F",
		"a.b/c.(*T[go.shape.struct {}]).M": "a.b/c T.M",
		"a.b/c.F.func1":                    "a.b/c F",
		"a.b/c.(*T).M.func2.1":             "a.b/c T.M",
		"a.b/c.funcs":                      "a.b/c funcs",
		"runtime.goexit":                   "runtime goexit",
		"type:.eq.a.b/c.T":                 "type:.eq.a.b/c T",
		"nothing":                          " ",
	} {
		pkg, sym := split(name)
		if pkg+" "+sym != want {
			t.Errorf("split(%q) = %q, %q, want %q", name, pkg, sym, want)
		}
	}
}

func TestVersions(t *testing.T) {
	e := entry{ranges: []span{{canonical("0"), canonical("1.21.8")}, {canonical("1.22.0-0"), canonical("1.22.1")}}}
	for v, want := range map[string]bool{
		"go1.21.7": true, "go1.21.8": false, "go1.22.0": true, "go1.22rc1": true, "go1.22": true, "go1.22.1": false, "go1.23.0": false,
		"devel +abc": true, "": true, "go1.22.1-custom X:exp": false, "v1.0.0": true,
	} {
		if got := e.affects(v); got != want {
			t.Errorf("affects(%q) = %v, want %v", v, got, want)
		}
	}
}

// TestUnreadable: a program that cannot be read has every symbol, or is an
// error.
func TestUnreadable(t *testing.T) {
	db, err := Load(fstest.MapFS{"a.json": {Data: []byte(`{"id":"GO-1","affected":[{"package":{"name":"m","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],"ecosystem_specific":{"imports":[{"path":"m/p","symbols":["F"]}]}}]}`)}})
	if err != nil {
		t.Fatal(err)
	}
	p := &program{modules: []module{{"m", "v1.0.0"}}, all: true, noPackages: true}
	if fs := p.findings(db); len(fs) != 1 || fs[0].Level != Called {
		t.Errorf("findings = %+v", fs)
	}
	if _, err := Binary(db, bytes.NewReader([]byte("no program"))); err == nil {
		t.Error("what is no program was read")
	}
	if _, err := Load(fstest.MapFS{"a.json": {Data: []byte("{")}}); err == nil {
		t.Error("a broken record was read")
	}
	if _, err := Load(fstest.MapFS{}); err == nil {
		t.Error("an empty database was read")
	}
}

func FuzzSymbols(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	if self, err := os.Executable(); err == nil {
		if b, err := os.ReadFile(self); err == nil && len(b) < 4<<20 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { symbols(bytes.NewReader(b)) })
}

func ExampleBinary() {
	db, err := Load(fstest.MapFS{"GO-0.json": {Data: []byte(`{"id":"GO-0","affected":[{"package":{"name":"example.org/absent","ecosystem":"Go"}}]}`)}})
	if err != nil {
		panic(err)
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	defer self.Close()
	fs, err := Binary(db, self)
	fmt.Println(len(fs), err, slices.Max(levels[:]) != "")
	// Output: 0 <nil> true
}
