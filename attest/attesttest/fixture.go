package attesttest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	govex "github.com/openvex/go-vex/pkg/vex"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/timestamp"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/image"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/vex"
)

// Time is when the synthetic evidence is made.
var Time = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// Signer makes a fresh key and a time-stamping authority whose clock stands at
// now.
func Signer(t testing.TB, now time.Time) attest.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signature.LoadSigner(key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	a, err := timestamp.New(timestamp.Config{Clock: func() time.Time { return now }, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return attest.Signer{Key: s, Time: a}
}

const mit = `Permission is hereby granted, free of charge, to any person obtaining
a copy of this software and associated documentation files (the
"Software"), to deal in the Software without restriction, including
without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to
the following conditions:

The above copyright notice and this permission notice shall be
included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND,
EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT.
IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT,
TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`

// Donors are two more outputs of a signer whose clock the caller set back by
// an hour: an earlier run of Input(t, "1.0") and an earlier version; and,
// which needs no other time, evidence of an image of another name.
func Donors(t testing.TB, s attest.Signer) []Donor {
	t.Helper()
	donor := func(name string, in attest.Input, state attest.State) Donor {
		dir := filepath.Join(t.TempDir(), "out")
		ev, err := attest.Build(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attest.Write(context.Background(), dir, ev, s); err != nil {
			t.Fatal(err)
		}
		return Donor{name, dir, state}
	}
	earlier := Input(t, "1.0")
	earlier.Time = earlier.Time.Add(-time.Hour)
	return []Donor{
		donor("an earlier run", earlier, attest.Stale),
		donor("an earlier version", Input(t, "0.9"), attest.Stale),
		donor("another image", Named(t, "other", "1.0"), attest.Foreign),
	}
}

// Input is the evidence of an image of two components: libtiny, which ships
// nothing, and tiny, whose version sets the bytes of its one program. Its
// report has three candidates and four tests.
func Input(t testing.TB, version string) attest.Input {
	t.Helper()
	return Named(t, "tiny", version)
}

// Named is Input of an image of another name.
func Named(t testing.TB, name, version string) attest.Input {
	t.Helper()
	return judged(t, name, synthetic(t, name, version))
}

// judged adds report and decisions to an image.
func judged(t testing.TB, name string, img *compile.Image) attest.Input {
	t.Helper()
	r := report(img.Record)
	in := attest.Input{Image: img, Report: r, Time: Time, Builder: attest.Builder{Version: "v0.0.0-test"}}
	for i := range r.Findings {
		f := &r.Findings[i]
		d := vex.Decision{ID: f.Advisory.ID, Component: f.Component, Version: f.Version, PURL: f.PURL, Rule: "D9", Status: govex.StatusAffected, Reason: "no negative proof", Finding: f}
		if i == 0 {
			d.Rule, d.Status, d.Justification, d.Reason = "D2", govex.StatusNotAffected, govex.ComponentNotPresent, "nothing of it is linked"
			d.Premises = map[string]string{"tree": img.Record.Components[0].Tree}
		}
		in.Decisions = append(in.Decisions, d)
	}
	var err error
	if in.VEX, err = vex.Document(r, in.Decisions, vex.Product{Name: name, Digest: img.Record.Image.Manifest}, "test", Time); err != nil {
		t.Fatal(err)
	}
	if in.Each, err = vex.Split(in.VEX); err != nil {
		t.Fatal(err)
	}
	return in
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

// Write puts evidence of Input(t, "1.0") into a new directory and returns it
// with the signer.
func Write(t testing.TB) (dir string, s attest.Signer) {
	t.Helper()
	s = Signer(t, time.Now().UTC().Truncate(time.Second))
	dir = filepath.Join(t.TempDir(), "out")
	ev, err := attest.Build(context.Background(), Input(t, "1.0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Write(context.Background(), dir, ev, s, attest.File{Path: "report.html", Data: []byte("<!doctype html><title>t</title>\n")}); err != nil {
		t.Fatal(err)
	}
	return dir, s
}

// stored makes a component's item in a directory: parts and log.
func stored(t testing.TB, name string, runtime map[string]string) (*compile.Item, []compile.File) {
	t.Helper()
	dir := t.TempDir()
	put := func(p string, b []byte) {
		full := filepath.Join(dir, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{compile.PartRuntime, compile.PartDev, compile.PartDebug, compile.PartLicenses} {
		if err := os.MkdirAll(filepath.Join(dir, p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var files []compile.File
	for _, p := range slices.Sorted(maps.Keys(runtime)) {
		text := runtime[p]
		put(compile.PartRuntime+"/"+p, []byte(text))
		files = append(files, compile.File{Path: p, Mode: 0o755, Size: int64(len(text)), Digest: sumOf([]byte(text))})
	}
	put(compile.PartLicenses+"/COPYING", []byte("Copyright 2026 the authors\n\n"+mit))
	var log []byte
	for i, text := range []string{"cc -c " + name + ".c", "curl https://user:hunter22@example.org/x API_TOKEN=abcdef123456"} {
		b, err := json.Marshal(compile.LogLine{Seq: i, Component: name, Stream: "stdout", Text: text})
		if err != nil {
			t.Fatal(err)
		}
		log = append(append(log, b...), '\n')
	}
	put(compile.LogName, log)
	return &compile.Item{Action: compile.Action{Component: name}, Dir: dir}, files
}

// part is one component of a synthetic image.
type part struct {
	name    string
	needs   []string
	runtime map[string]string // files by path
	links   string            // the file that objects were linked into; none when empty
}

func synthetic(t testing.TB, name, version string) *compile.Image {
	t.Helper()
	return assemble(t, name, version, []part{
		{name: "libtiny"},
		{name: "tiny", needs: []string{"libtiny"}, links: "usr/bin/tiny",
			runtime: map[string]string{"usr/bin/tiny": "\x7fELF " + version, "usr/share/tiny/words": "one two\n"}},
	})
}

// Large is the evidence of an image of many components that share many files
// of one to four KiB.
func Large(t testing.TB, components, files int) attest.Input {
	t.Helper()
	var parts []part
	for i := range components {
		p := part{name: fmt.Sprintf("part%03d", i), runtime: map[string]string{}}
		if i > 0 {
			p.needs = []string{parts[i-1].name}
		}
		for j := range files / components {
			line := fmt.Sprintf("file %d of %s\n", j, p.name)
			p.runtime[fmt.Sprintf("usr/share/%s/%03d/%05d", p.name, j%100, j)] = strings.Repeat(line, 64+j%128)
		}
		parts = append(parts, p)
	}
	return judged(t, "large", assemble(t, "large", "1.0", parts))
}

func assemble(t testing.TB, name, version string, parts []part) *compile.Image {
	t.Helper()
	rec := &compile.Record{
		Spec:      compile.Spec{Name: name, Platform: "linux/amd64", Profile: "openssf"},
		Toolchain: compile.Toolchain{Kind: "debian", Digest: sumOf([]byte("toolchain")), Packages: []compile.Package{{Name: "gcc-12", Version: "12.2.0-14", SHA256: hex.EncodeToString(make([]byte, 32))}}},
		Epoch:     time.Date(2022, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	items := map[string]*compile.Item{}
	var layers []image.Entry
	for _, c := range parts {
		item, files := stored(t, c.name, c.runtime)
		items[c.name] = item
		comp := compile.Component{Component: source.Component{Name: c.name, Version: version, PURL: "pkg:generic/" + c.name + "@" + version, License: "MIT"}, Needs: c.needs}
		rec.Spec.Components = append(rec.Spec.Components, comp)
		cr := compile.ComponentRecord{
			Component: comp, Tree: sumOf([]byte("tree" + c.name)), Archive: sumOf([]byte("archive" + c.name + version)),
			Place:  source.Place{Archive: "https://example.org/" + c.name + ".tar.gz"},
			Proofs: []source.Proof{{Grade: source.Signed, Mechanism: "openpgp", Digest: sumOf([]byte("archive" + c.name)), Signer: strings.Repeat("A", 40)}},
			Key:    sumOf([]byte("key" + c.name)), Log: sumOf([]byte("log" + c.name)),
			Action: item.Action,
			Result: compile.Result{Output: compile.Output{Digest: sumOf([]byte("output" + c.name))}, Hermetic: compile.Hermetic{Interfaces: []string{"lo"}, Namespaces: []string{"net", "user"}, Seccomp: true}},
		}
		if c.links != "" {
			cr.Result.Links = []compile.Link{{Output: c.links, Inputs: []compile.Input{
				{Path: c.name + ".o", Digest: sumOf([]byte(c.name + ".o")), Size: 6, Origin: c.name},
				{Path: "/usr/lib/gcc/libgcc.a", Member: "_udivdi3.o", Digest: sumOf([]byte("udiv")), Size: 4, Origin: "toolchain"}}}}
		}
		if len(files) > 0 {
			fsys, err := item.Part(compile.PartRuntime)
			if err != nil {
				t.Fatal(err)
			}
			var list []image.File
			for _, f := range files {
				list = append(list, image.File{Path: f.Path, Mode: f.Mode, Size: f.Size, Digest: f.Digest})
			}
			l, err := image.NewLayer(fsys, list, rec.Epoch)
			if err != nil {
				t.Fatal(err)
			}
			d, _ := l.Digest()
			diff, _ := l.DiffID()
			size, _ := l.Size()
			rec.Image.Layers = append(rec.Image.Layers, compile.LayerRecord{Component: c.name, Digest: d.String(), DiffID: diff.String(), Size: size, Files: files})
			layers = append(layers, image.Entry{Layer: l, CreatedBy: c.name})
		}
		rec.Components = append(rec.Components, cr)
	}
	img, err := image.Assemble(image.Config{Platform: "linux/amd64", Entrypoint: []string{"/usr/bin/tiny"}, User: "65532:65532", Created: rec.Epoch,
		Labels: map[string]string{compile.EvidenceLabel: compile.EvidencePolicy, "org.opencontainers.image.title": name}}, layers)
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	rec.Image.Manifest, rec.Image.Config = m.String(), cfg.String()
	rec.SpecDigest = sumOf([]byte("spec"))
	return compile.NewImage(img, rec, nil, items)
}

func report(rec *compile.Record) *analyze.Report {
	r := &analyze.Report{
		Image: rec.Image.Manifest, Started: Time.Add(-time.Minute), Finished: Time,
		Advisories: analyze.Database{Records: 3, Digest: sumOf([]byte("db")), Modified: Time.Add(-time.Hour)},
	}
	for i, component := range []int{0, 1, 1} {
		c := rec.Components[component].Component
		r.Findings = append(r.Findings, analyze.Finding{
			Candidate: analyze.Candidate{
				Advisory:  &advisory.Advisory{ID: fmt.Sprintf("CVE-2026-%04d", i+1), Severity: "high", Component: c.Name, Digest: sumOf([]byte{byte(i)})},
				Component: c.Name, Version: c.Version, PURL: c.PURL,
			},
			Evidence: []analyze.Evidence{{Layer: analyze.LayerBinary, Verdict: analyze.Present, Reason: "symbol", Functions: []analyze.FunctionFact{{File: "a.c", Name: "f", Verdict: analyze.Present}}}},
		})
	}
	for i, s := range []analyze.Status{analyze.Passed, analyze.Passed, analyze.Waived, analyze.Passed} {
		r.Tests = append(r.Tests, analyze.TestResult{ID: fmt.Sprintf("T%02d", i+1), Title: "test", Family: "image", Status: s})
	}
	return r
}
