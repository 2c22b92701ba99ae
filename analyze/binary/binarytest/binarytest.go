// Package binarytest builds small C programs with the host's gcc the way an
// executor does and gives them as a subject of analysis: record, trees, debug
// parts and a root file system. It is for tests of layers.
package binarytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/internal/objfile"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/archive"
	"github.com/cleanstart/cleanstart/source/checksum"
)

// Project is one component.
type Project struct {
	Name     string
	Files    map[string]string // the source tree
	Units    []string          // files to compile, all .c and .s of Files when nil
	Flags    []string          // after the usual ones
	Archive  bool              // linked as an archive instead of as objects
	Provides string
}

// Version is the version of every project.
const Version = "1.0"

// CompileFlags are what analysis needs of a compilation.
func CompileFlags() []string {
	return []string{"-O2", "-g1", "-gstatement-frontiers", "-grecord-gcc-switches", "-ffunction-sections", "-fdata-sections", "-fno-ipa-icf", "-fno-lto", "-fPIE"}
}

// Bare are link flags for a program that brings its own _start.
func Bare() []string {
	return []string{"-nostdlib", "-static-pie", "-Wl,--gc-sections", "-Wl,--build-id=sha1"}
}

// Build compiles the projects and links all of them into /usr/bin/prog, a
// file of the last. The other projects ship nothing.
func Build(t testing.TB, link []string, projects ...Project) *analyze.Subject {
	t.Helper()
	b := &builder{t: t, dir: t.TempDir()}
	for _, tool := range []struct {
		name string
		path *string
	}{{"gcc", &b.gcc}, {"strip", &b.strip}} {
		p, err := exec.LookPath(tool.name)
		if err != nil {
			need.Skip(t, "gcc", err.Error())
		}
		*tool.path = p
	}
	record := &compile.Record{}
	trees, items := map[string]*source.Tree{}, map[string]*compile.Item{}
	var args []string
	for _, p := range projects {
		c := b.component(p, trees, items)
		args = append(b.compile(p, &c), args...) // dependents before what they need
		record.Components = append(record.Components, c)
	}
	last := &record.Components[len(record.Components)-1]
	b.link(last, slices.Concat(args, []string{"-pie"}, link), items[last.Component.Name].Dir)
	record.Image.Layers = []compile.LayerRecord{{Component: last.Component.Name, Files: []compile.File{{Path: "usr/bin/prog", Mode: 0o755}}}}
	work := filepath.Join(b.dir, "work")
	b.must(os.Mkdir(work, 0o700))
	return &analyze.Subject{Image: compile.NewImage(nil, record, trees, items), Rootfs: filepath.Join(b.dir, "rootfs"), Work: work}
}

type builder struct {
	t          testing.TB
	dir        string
	gcc, strip string
	origins    map[string]string // path of an object or archive → component
}

func (b *builder) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *builder) run(dir string, argv ...string) {
	b.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// component writes the project's tree and has it verified.
func (b *builder) component(p Project, trees map[string]*source.Tree, items map[string]*compile.Item) compile.ComponentRecord {
	b.t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		body := p.Files[name]
		b.must(w.WriteHeader(&tar.Header{Name: p.Name + "-" + Version + "/" + name, Mode: 0o644, Size: int64(len(body)), ModTime: time.Unix(1e9, 0)}))
		_, err := w.Write([]byte(body))
		b.must(err)
	}
	b.must(w.Close())
	name := filepath.Join(b.dir, p.Name+".tar")
	b.must(os.WriteFile(name, buf.Bytes(), 0o600))
	c := source.Component{
		Name: p.Name, Version: Version, PURL: "pkg:generic/" + p.Name + "@" + Version, License: "MIT",
		Places: []source.Place{{Archive: "file://" + name}},
		Policy: source.Policy{Least: source.Pinned, Digest: digest(buf.Bytes())},
	}
	tree, err := source.Verify(context.Background(), c, source.Options{
		Cache: filepath.Join(b.dir, "cache"), Now: time.Unix(1e9, 0),
		Transports: map[string]source.Transport{"file": &archive.Transport{}}, Verifiers: []source.Verifier{checksum.Verifier{}},
	})
	b.must(err)
	trees[p.Name] = tree
	items[p.Name] = &compile.Item{Action: compile.Action{Component: p.Name}, Dir: filepath.Join(b.dir, "items", p.Name)}
	return compile.ComponentRecord{Component: compile.Component{Component: c, Provides: p.Provides}, Tree: tree.Digest()}
}

// compile makes the project's objects and returns what to link.
func (b *builder) compile(p Project, c *compile.ComponentRecord) []string {
	b.t.Helper()
	src := filepath.Join(b.dir, "build", p.Name)
	for name, body := range p.Files {
		b.must(os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o700))
		b.must(os.WriteFile(filepath.Join(src, name), []byte(body), 0o600))
	}
	units := p.Units
	if units == nil {
		for name := range p.Files {
			if ext := filepath.Ext(name); ext == ".c" || ext == ".s" {
				units = append(units, name)
			}
		}
		slices.Sort(units)
	}
	var objects []string
	if b.origins == nil {
		b.origins = map[string]string{}
	}
	for _, u := range units {
		o := filepath.Join(src, strings.ReplaceAll(u, "/", "-")+".o")
		args := slices.Concat([]string{b.gcc, "-I" + filepath.Join(b.dir, "build")}, CompileFlags(), p.Flags,
			[]string{"-ffile-prefix-map=" + src + "=" + compile.DebugRoot + "/" + p.Name + "-" + Version, "-c", u, "-o", o})
		language := "c"
		if filepath.Ext(u) == ".s" {
			language = "asm"
			args = []string{b.gcc, "-c", u, "-o", o}
		}
		b.run(src, args...)
		body, err := os.ReadFile(o)
		b.must(err)
		pre := ""
		if language == "c" {
			pre = b.preprocess(p.Name, u, src, args)
		}
		c.Result.Units = append(c.Result.Units, compile.Unit{Preprocessed: pre, Source: u, Object: o, Language: language, Dir: ".", Args: args, Digest: digest(body)})
		objects = append(objects, o)
		b.origins[o] = p.Name
	}
	if p.Archive {
		lib := filepath.Join(src, "lib"+p.Name+".a")
		b.run(src, append([]string{"ar", "rcs", lib}, objects...)...)
		b.origins[lib] = p.Name
		return []string{lib}
	}
	return objects
}

// preprocess keeps a unit's text in the debug part and returns its path there.
func (b *builder) preprocess(project, unit, src string, args []string) string {
	b.t.Helper()
	name := "text/" + strings.ReplaceAll(unit, "/", "-") + ".i.gz"
	debug := filepath.Join(b.dir, "items", project, compile.PartDebug)
	b.must(os.MkdirAll(filepath.Join(debug, "text"), 0o700))
	plain := filepath.Join(b.dir, "plain.i")
	n := slices.Index(args, "-c")
	b.run(src, slices.Concat(args[:n], []string{"-E", "-dD", unit, "-o", plain})...)
	text, err := os.ReadFile(plain)
	b.must(err)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(text)
	b.must(err)
	b.must(z.Close())
	b.must(os.WriteFile(filepath.Join(debug, name), packed.Bytes(), 0o600))
	return name
}

// link links, strips, installs, and keeps what analysis reads.
func (b *builder) link(c *compile.ComponentRecord, args []string, item string) {
	b.t.Helper()
	debug, bin := filepath.Join(item, compile.PartDebug), filepath.Join(b.dir, "rootfs/usr/bin")
	b.must(os.MkdirAll(filepath.Join(debug, "objects"), 0o700))
	b.must(os.MkdirAll(bin, 0o755))
	args = append(slices.Clone(args), "-Wl,-Map="+filepath.Join(debug, "prog.map"), "-o", filepath.Join(debug, "prog"))
	b.run(b.dir, append([]string{b.gcc}, args...)...)
	b.run(b.dir, b.strip, "-o", filepath.Join(bin, "prog"), filepath.Join(debug, "prog"))
	text, err := os.ReadFile(filepath.Join(debug, "prog.map"))
	b.must(err)
	c.Result.Links = []compile.Link{{
		Output: "usr/bin/prog", Unstripped: "prog", Map: "prog.map", Args: args, Inputs: b.inputs(string(text), debug),
	}}
}

// inputs reads the linker's map for what it loaded.
func (b *builder) inputs(text, debug string) []compile.Input {
	b.t.Helper()
	head, body, _ := strings.Cut(text, "\nLinker script and memory map\n")
	members := map[string][]string{}
	for _, line := range strings.Split(head, "\n") {
		word, _, _ := strings.Cut(line, " ")
		if lib, member, ok := strings.Cut(word, ".a("); ok {
			members[lib+".a"] = append(members[lib+".a"], strings.TrimSuffix(member, ")"))
		}
	}
	var out []compile.Input
	seen := map[string]bool{}
	for _, line := range strings.Split(body, "\n") {
		p, ok := strings.CutPrefix(line, "LOAD ")
		if !ok || seen[p] {
			continue
		}
		seen[p] = true
		body, err := os.ReadFile(p)
		b.must(err)
		if !bytes.HasPrefix(body, []byte("\x7fELF")) && !objfile.IsArchive(body) {
			continue // a linker script
		}
		name := fmt.Sprintf("objects/%d", len(seen))
		b.must(os.WriteFile(filepath.Join(debug, name), body, 0o600))
		in := compile.Input{Path: p, Object: name, Origin: compile.OriginToolchain}
		if o := b.origins[p]; o != "" {
			in.Origin = o
		}
		if !objfile.IsArchive(body) {
			in.Digest, in.Size = digest(body), int64(len(body))
			out = append(out, in)
			continue
		}
		list, err := objfile.Members(body)
		b.must(err)
		for _, m := range members[p] {
			i := slices.IndexFunc(list, func(x objfile.Member) bool { return x.Name == m })
			if i < 0 {
				b.t.Fatalf("%s has no member %s", p, m)
			}
			in.Member, in.Digest, in.Size = m, digest(list[i].Data), int64(len(list[i].Data))
			out = append(out, in)
		}
	}
	return out
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
