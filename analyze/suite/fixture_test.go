package suite

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
	"github.com/cleanstart/cleanstart/source"
)

var (
	epoch = time.Date(2023, 2, 20, 7, 0, 0, 0, time.UTC)
	now   = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

// file is one entry of a fixture's layer.
type file struct {
	tar.Header
	body []byte
}

// fixture is an image, its record and everything else that the suite reads.
// Three hooks change it: layers before the record is derived, so that image
// and record agree; record and config after.
type fixture struct {
	layers     map[string][]file // component → entries
	order      []string
	elf        map[string][]byte // path → file, of component app
	spec       compile.ImageSpec
	protection map[string]analyze.Verdict // of every ELF file
	run        func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error)
	bounds     Bounds

	onRecord func(*compile.Record)
	onConfig func(*v1.ConfigFile)
	onRootfs func(dir string) error
}

func regular(name string, mode int64, body []byte) file {
	return file{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(body)), ModTime: epoch}, body}
}

func link(name, to string) file {
	return file{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: to, ModTime: epoch}, nil}
}

func directory(name string, mode int64) file {
	return file{tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: mode, ModTime: epoch}, nil}
}

func good() *fixture {
	return &fixture{
		order: []string{"lib", "app"},
		layers: map[string][]file{
			"lib": {directory("share", 0o755), regular("share/data", 0o644, []byte("data\n"))},
			"app": {
				directory("usr", 0o755), directory("usr/bin", 0o755), directory("tmp", 0o1777),
				link("bin", "usr/bin"),
			},
		},
		elf: map[string][]byte{"usr/bin/app": elfFile(elfOptions{})},
		spec: compile.ImageSpec{
			Entrypoint: []string{"/usr/bin/app"}, Cmd: []string{"--version"}, User: "65532:65532",
			Env: map[string]string{"PATH": "/usr/bin"}, Labels: map[string]string{"org.example.title": "app"},
			Checks:   []compile.Run{{Name: "version", Args: []string{"/usr/bin/app", "--version"}, Stdout: "app 1"}},
			Workload: []compile.Run{{Name: "fetch", Args: []string{"/usr/bin/app", "{server}/hello"}, Stdout: "app 1"}},
		},
		protection: map[string]analyze.Verdict{
			"pie": analyze.Present, "relro": analyze.Present, "bind-now": analyze.Present, "nx": analyze.Present,
			"canary": analyze.Present, "fortify": analyze.Present, "stack-clash": analyze.Present,
			"cet-ibt": analyze.Present, "cet-shstk": analyze.Present, "rpath": analyze.Absent, "textrel": analyze.Absent,
		},
		run: wellBehaved,
	}
}

// wellBehaved stands for a sandbox in which every process does what the good
// fixture's program does.
func wellBehaved(cfg sandbox.Config, p sandbox.Process, _ int) (*sandbox.Outcome, string, string, error) {
	return &sandbox.Outcome{
		Probe: sandbox.Probe{Interfaces: []string{"lo down"}, Namespaces: []string{"mnt", "net", "pid", "user"}, UID: cfg.UID, NoNewPrivs: true, Seccomp: true, NoCaps: true},
		Usage: sandbox.Usage{Wall: 5e6, CPU: 1e6, MaxRSS: 1 << 20},
	}, "app 1\n", "", nil
}

// build makes the image and runs the whole suite on it.
func (f *fixture) build(t testing.TB) (*analyze.Subject, Options) {
	t.Helper()
	for name, b := range f.elf {
		f.layers["app"] = append(f.layers["app"], regular(name, 0o755, b))
	}
	rootfs := t.TempDir()
	cf := &v1.ConfigFile{OS: "linux", Architecture: "amd64", Created: v1.Time{Time: epoch}, RootFS: v1.RootFS{Type: "layers"}}
	cf.Config.Entrypoint, cf.Config.Cmd, cf.Config.User = f.spec.Entrypoint, f.spec.Cmd, f.spec.User
	for k, v := range f.spec.Env {
		cf.Config.Env = append(cf.Config.Env, k+"="+v)
	}
	slices.Sort(cf.Config.Env)
	cf.Config.Labels = map[string]string{compile.EvidenceLabel: compile.EvidencePolicy}
	for k, v := range f.spec.Labels {
		cf.Config.Labels[k] = v
	}
	img, err := mutate.ConfigFile(empty.Image, cf)
	check(t, err)
	rec := f.record()
	for _, name := range f.order {
		blob := archive(t, f.layers[name])
		l := static.NewLayer(blob, types.OCIUncompressedLayer)
		img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: name, Created: v1.Time{Time: epoch}}})
		check(t, err)
		d, err := l.Digest()
		check(t, err)
		var files []compile.File
		for _, e := range f.layers[name] {
			unpack(t, rootfs, e)
			if e.Typeflag == tar.TypeDir {
				continue
			}
			cfile := compile.File{Path: clean(e.Name), Mode: uint32(e.Mode), Size: e.Size, Link: e.Linkname}
			if e.Typeflag == tar.TypeReg {
				cfile.Digest = sum(e.body)
			}
			files = append(files, cfile)
		}
		rec.Image.Layers = append(rec.Image.Layers, compile.LayerRecord{
			Component: name, Digest: d.String(), DiffID: d.String(), Size: int64(len(blob)), Files: files,
		})
		for i := range rec.Components {
			if rec.Components[i].Component.Name == name {
				rec.Components[i].Result.Output.Parts[compile.PartRuntime] = compile.Part{Files: slices.Clone(files)}
			}
		}
	}
	if f.onConfig != nil {
		got, err := img.ConfigFile()
		check(t, err)
		got = got.DeepCopy()
		f.onConfig(got)
		img, err = mutate.ConfigFile(img, got)
		check(t, err)
	}
	d, err := img.Digest()
	check(t, err)
	c, err := img.ConfigName()
	check(t, err)
	rec.Image.Manifest, rec.Image.Config = d.String(), c.String()
	if f.onRecord != nil {
		f.onRecord(rec)
	}
	if f.onRootfs != nil {
		check(t, f.onRootfs(rootfs))
	}
	opts := Options{Now: now, Bounds: f.bounds}
	for name := range f.elf {
		p := analyze.Protection{Path: name}
		for k, v := range f.protection {
			p.Facts = append(p.Facts, analyze.Feature{Name: k, Verdict: v})
		}
		opts.Protection = append(opts.Protection, p)
	}
	var mu sync.Mutex // one test starts two at once
	n := 0
	opts.Parallel = 1
	opts.run = func(_ context.Context, cfg sandbox.Config, p sandbox.Process, stdout, stderr io.Writer) (*sandbox.Outcome, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		o, out, errs, err := f.run(cfg, p, n)
		io.WriteString(stdout, out)
		io.WriteString(stderr, errs)
		return o, err
	}
	return &analyze.Subject{Image: &compile.Image{Image: img, Record: rec}, Rootfs: rootfs, Work: t.TempDir()}, opts
}

// record is all but the image: two components, the app linked from its own
// unit, a member of the library's archive and the toolchain's start file.
func (f *fixture) record() *compile.Record {
	digest := func(s string) string { return sum([]byte(s)) }
	component := func(name string, needs ...string) compile.ComponentRecord {
		c := compile.ComponentRecord{
			Component: compile.Component{
				Component: source.Component{
					Name: name, Version: "1.0", PURL: "pkg:generic/" + name + "@1.0", License: "MIT",
					Policy: source.Policy{Least: source.Signed, Keys: []source.Key{{Fingerprint: "ABCD"}}},
				},
				Needs: needs,
			},
			Tree: digest(name + " tree"), Archive: digest(name + " archive"),
			Proofs: []source.Proof{{Grade: source.Signed, Mechanism: "openpgp", Digest: digest(name + " archive"), Signer: "abcd"}},
			Action: compile.Action{
				Component: name, Version: "1.0", Tree: digest(name + " tree"), Toolchain: digest("toolchain"),
				Commands: []compile.Command{{Args: []string{"make"}, Dir: compile.SourceDir}},
			},
			Result: compile.Result{
				Output: compile.Output{Digest: digest(name + " output"), Parts: map[string]compile.Part{
					compile.PartLicenses: {Files: []compile.File{{Path: "COPYING", Size: 100}}},
				}},
				Commands: []compile.Execution{{Command: compile.Command{Args: []string{"make"}, Dir: compile.SourceDir}}},
				Units:    []compile.Unit{{Source: name + ".c", Object: name + ".o", Digest: digest(name + ".o")}},
				Hermetic: compile.Hermetic{Interfaces: []string{"lo"}, Namespaces: []string{"mnt", "net", "pid", "user"}, UID: 1000, Seccomp: true},
			},
		}
		for _, n := range needs {
			c.Action.Needs = append(c.Action.Needs, compile.Need{Name: n, Output: digest(n + " output")})
		}
		return c
	}
	rec := &compile.Record{
		Spec:       compile.Spec{Name: "app", Platform: "linux/amd64", Image: f.spec},
		Toolchain:  compile.Toolchain{Digest: digest("toolchain")},
		Epoch:      epoch,
		Components: []compile.ComponentRecord{component("libc"), component("lib", "libc"), component("app", "lib", "libc")},
	}
	for i := range rec.Components {
		c := &rec.Components[i].Component
		c.Needs = slices.DeleteFunc(c.Needs, func(n string) bool { return n == "libc" }) // implied
		rec.Spec.Components = append(rec.Spec.Components, *c)
	}
	rec.Spec.Components[0].Provides = "libc"
	app := &rec.Components[2]
	for name := range f.elf {
		app.Result.Links = append(app.Result.Links, compile.Link{
			Output: name,
			Inputs: []compile.Input{
				{Path: "/usr/lib/gcc/crtbeginS.o", Digest: digest("crtbeginS"), Origin: "toolchain"},
				{Path: "app.o", Digest: digest("app.o"), Origin: "app"},
				{Path: "/build/needs/lib/liblib.a", Member: "lib.o", Digest: digest("lib.o"), Origin: "lib"},
			},
		})
	}
	return rec
}

func archive(t testing.TB, files []file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.Header
		check(t, w.WriteHeader(&h))
		_, err := w.Write(f.body)
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

// unpack writes what an ordinary user can; other types are left out, and so
// are whiteouts: none has anything to hide here.
func unpack(t testing.TB, root string, f file) {
	t.Helper()
	if strings.HasPrefix(filepath.Base(f.Name), ".wh.") {
		return
	}
	name := filepath.Join(root, clean(f.Name))
	check(t, os.MkdirAll(filepath.Dir(name), 0o755))
	switch f.Typeflag {
	case tar.TypeDir:
		check(t, os.MkdirAll(name, 0o755))
	case tar.TypeSymlink:
		check(t, os.Symlink(f.Linkname, name))
	case tar.TypeReg:
		check(t, os.WriteFile(name, f.body, 0o755))
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// elfOptions change one thing of a minimal 64-bit little-endian executable.
type elfOptions struct {
	machine  uint16 // EM_X86_64 where 0
	writable bool   // the code segment
	interp   string
	needed   string
	section  string // name of an extra section
}

// elfFile writes an ELF file with one loadable segment and, where asked, an
// interpreter, a needed library and a section.
func elfFile(o elfOptions) []byte {
	if o.machine == 0 {
		o.machine = 62
	}
	type section struct {
		name                       string
		kind, link                 uint32
		body                       []byte
		entsize, offset, nameIndex uint64
	}
	secs := []*section{{}}
	if o.interp != "" {
		secs = append(secs, &section{name: ".interp", kind: 1, body: append([]byte(o.interp), 0)})
	}
	if o.needed != "" {
		dyn := binary.LittleEndian.AppendUint64(nil, 1) // DT_NEEDED
		dyn = binary.LittleEndian.AppendUint64(dyn, 1)
		dyn = append(dyn, make([]byte, 16)...)
		secs = append(secs, &section{name: ".dynamic", kind: 6, link: uint32(len(secs) + 1), body: dyn, entsize: 16},
			&section{name: ".dynstr", kind: 3, body: append([]byte{0}, append([]byte(o.needed), 0)...)})
	}
	if o.section != "" {
		secs = append(secs, &section{name: o.section, kind: 1, body: []byte("x")})
	}
	names := &section{name: ".shstrtab", kind: 3}
	secs = append(secs, names)
	for _, s := range secs {
		s.nameIndex = uint64(len(names.body))
		names.body = append(append(names.body, s.name...), 0)
	}
	progs := 1
	if o.interp != "" {
		progs = 2
	}
	body := make([]byte, 64+56*progs)
	for _, s := range secs[1:] {
		s.offset = uint64(len(body))
		body = append(body, s.body...)
	}
	le := binary.LittleEndian
	copy(body, "\x7fELF\x02\x01\x01")
	le.PutUint16(body[16:], 3) // ET_DYN
	le.PutUint16(body[18:], o.machine)
	le.PutUint32(body[20:], 1)
	le.PutUint64(body[32:], 64)
	le.PutUint64(body[40:], uint64(len(body)))
	le.PutUint16(body[52:], 64)
	le.PutUint16(body[54:], 56)
	le.PutUint16(body[56:], uint16(progs))
	le.PutUint16(body[58:], 64)
	le.PutUint16(body[60:], uint16(len(secs)))
	le.PutUint16(body[62:], uint16(len(secs)-1))
	prog := func(at int, kind, flags uint32, offset, size uint64) {
		le.PutUint32(body[at:], kind)
		le.PutUint32(body[at+4:], flags)
		le.PutUint64(body[at+8:], offset)
		le.PutUint64(body[at+32:], size)
		le.PutUint64(body[at+40:], size)
	}
	flags := uint32(5) // r-x
	if o.writable {
		flags |= 2
	}
	prog(64, 1, flags, 0, uint64(len(body)))
	if o.interp != "" {
		prog(64+56, 3, 4, secs[1].offset, uint64(len(secs[1].body)))
	}
	for _, s := range secs {
		h := make([]byte, 64)
		le.PutUint32(h, uint32(s.nameIndex))
		le.PutUint32(h[4:], s.kind)
		le.PutUint64(h[24:], s.offset)
		le.PutUint64(h[32:], uint64(len(s.body)))
		le.PutUint32(h[40:], s.link)
		le.PutUint64(h[48:], 1)
		le.PutUint64(h[56:], s.entsize)
		body = append(body, h...)
	}
	return body
}

func upper(cfg sandbox.Config) string {
	for _, m := range cfg.Mounts {
		if m.Target == "/" {
			return m.Upper
		}
	}
	return ""
}

// mounted is what the configuration mounts at a place, the last one.
func mounted(cfg sandbox.Config, target string) sandbox.Mount {
	var at sandbox.Mount
	for _, m := range cfg.Mounts {
		if m.Target == target {
			at = m
		}
	}
	return at
}

func hasArg(p sandbox.Process, sub string) bool {
	return slices.ContainsFunc(p.Args, func(a string) bool { return strings.Contains(a, sub) })
}
