package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

var epoch = time.Date(2023, 2, 20, 8, 0, 0, 0, time.UTC)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func sample() (fstest.MapFS, []File) {
	fsys := fstest.MapFS{"usr/bin/app": {Data: []byte("program")}, "etc/app.conf": {Data: []byte("conf")}}
	return fsys, []File{
		{Path: "usr/bin/app", Mode: 0o755, Size: 7, Digest: digest("program")},
		{Path: "usr/bin/link", Mode: 0o777, Link: "app"},
		{Path: "etc/app.conf", Mode: 0o644, Size: 4, Digest: digest("conf")},
	}
}

func sampleImage(t testing.TB) v1.Image {
	t.Helper()
	fsys, files := sample()
	l, err := NewLayer(fsys, files, epoch)
	if err != nil {
		t.Fatal(err)
	}
	img, err := Assemble(Config{
		Platform: "linux/amd64", Entrypoint: []string{"/usr/bin/app"}, User: "65532:65532",
		Env: map[string]string{"B": "2", "A": "1"}, Labels: map[string]string{"l": "v"}, Created: epoch,
	}, []Entry{{Layer: l, CreatedBy: "app 1"}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestLayer(t *testing.T) {
	fsys, files := sample()
	l, err := NewLayer(fsys, files, epoch)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(files)
	again, err := NewLayer(fsys, files, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if l.digest != again.digest || l.diffID != again.diffID {
		t.Errorf("the order of files changes the layer: %s and %s", l.digest, again.digest)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(epoch) || len(h.PAXRecords) != 0 {
			t.Errorf("header %+v", h)
		}
		if h.Typeflag == tar.TypeDir && h.Mode != 0o755 {
			t.Errorf("directory %s has mode %o", h.Name, h.Mode)
		}
	}
	want := []string{"etc/", "etc/app.conf", "usr/", "usr/bin/", "usr/bin/app", "usr/bin/link"}
	if !slices.Equal(names, want) {
		t.Errorf("entries %v, want %v", names, want)
	}
}

func TestLayerRefuses(t *testing.T) {
	for name, edit := range map[string]func(fstest.MapFS, []File) []File{
		"absolute":     func(_ fstest.MapFS, f []File) []File { f[0].Path = "/usr/bin/app"; return f },
		"dot dot":      func(_ fstest.MapFS, f []File) []File { f[0].Path = "../app"; return f },
		"whiteout":     func(_ fstest.MapFS, f []File) []File { f[0].Path = "usr/.wh.app"; return f },
		"twice":        func(_ fstest.MapFS, f []File) []File { return append(f, f[0]) },
		"missing":      func(m fstest.MapFS, f []File) []File { delete(m, "usr/bin/app"); return f },
		"other bytes":  func(m fstest.MapFS, f []File) []File { m["usr/bin/app"].Data = []byte("Program"); return f },
		"longer file":  func(m fstest.MapFS, f []File) []File { m["usr/bin/app"].Data = []byte("program!"); return f },
		"shorter file": func(m fstest.MapFS, f []File) []File { m["usr/bin/app"].Data = []byte("prog"); return f },
	} {
		fsys, files := sample()
		if _, err := NewLayer(fsys, edit(fsys, files), epoch); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A layer reads its files each time; one that changed is an error, not other
// bytes.
func TestLayerNoticesChange(t *testing.T) {
	fsys, files := sample()
	l, err := NewLayer(fsys, files, epoch)
	if err != nil {
		t.Fatal(err)
	}
	fsys["etc/app.conf"].Data = []byte("c0nf")
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("a changed file is read without an error")
	}
	r.Close()
	r, _ = l.Compressed()
	if err := r.Close(); err != nil { // joins the writer half-way
		t.Error(err)
	}
}

func TestAssemble(t *testing.T) {
	img, again := sampleImage(t), sampleImage(t)
	a, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := again.Digest(); a != b {
		t.Errorf("made twice: %s and %s", a, b)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(cfg.Config.Env, " "); got != "A=1 B=2" || cfg.Config.WorkingDir != "/" || len(cfg.History) != 1 {
		t.Errorf("config %+v", cfg)
	}
	if mt, _ := img.MediaType(); mt != types.OCIManifestSchema1 {
		t.Errorf("media type %s", mt)
	}
	if got, want := cfg.RootFS.DiffIDs[0].String(), "sha256:ca552c13f0b8"; !strings.HasPrefix(got, want) {
		t.Errorf("diffID %s, want %s…: the tar layout changed, and with it every layer", got, want)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.MediaType != types.OCIConfigJSON || m.Layers[0].MediaType != types.OCILayer {
		t.Errorf("manifest %+v", m)
	}
	for _, bad := range []Config{{}, {Platform: "linux", Entrypoint: []string{"/a"}, User: "1:1"}, {Platform: "linux/amd64", User: "1:1"}, {Platform: "linux/amd64", Entrypoint: []string{"/a"}}} {
		if _, err := Assemble(bad, nil); err == nil {
			t.Errorf("%+v: accepted", bad)
		}
	}
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	if err := Unpack(sampleImage(t), dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "usr/bin/link")); err != nil || string(b) != "program" {
		t.Errorf("through the link: %q, %v", b, err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "etc/app.conf")); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := Unpack(sampleImage(t), dir); err == nil {
		t.Error("files are overwritten")
	}
}

func TestUnpackRefuses(t *testing.T) {
	reg := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	link := func(name, to string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for name, headers := range map[string][]*tar.Header{
		"absolute":            {reg("/etc/passwd")},
		"dot dot":             {reg("../outside")},
		"inner dot dot":       {reg("a/../../outside")},
		"through a link":      {link("out", ".."), reg("out/outside")},
		"through absolute":    {link("out", "/tmp"), reg("out/outside")},
		"over a link":         {link("f", "../outside"), reg("f")},
		"directory on a link": {link("d", ".."), {Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755}},
		"device":              {{Name: "dev", Typeflag: tar.TypeChar}},
		"hard link":           {reg("a"), {Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}},
		"whiteout":            {reg(".wh.a")},
		"twice":               {reg("a"), reg("a")},
	} {
		var buf bytes.Buffer
		tw := tar.NewWriter(&buf)
		for _, h := range headers {
			if err := tw.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
		}
		tw.Close()
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		img, err := mutate.AppendLayers(empty.Image, l)
		if err != nil {
			t.Fatal(err)
		}
		parent := t.TempDir()
		dir := filepath.Join(parent, "root")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := Unpack(img, dir); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if list, _ := os.ReadDir(parent); len(list) != 1 {
			t.Errorf("%s: wrote outside the root: %v", name, list)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	r, err := func() (io.ReadCloser, error) {
		ls, err := sampleImage(f).Layers()
		if err != nil {
			return nil, err
		}
		return ls[0].Uncompressed()
	}()
	if err != nil {
		f.Fatal(err)
	}
	seed, _ := io.ReadAll(r)
	r.Close()
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "root")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		u := unpacker{root: root, entries: 100, bytes: 1 << 20}
		_ = u.layer(bytes.NewReader(b))
		if list, _ := os.ReadDir(parent); len(list) != 1 {
			t.Fatalf("wrote outside the root: %v", list)
		}
	})
}

func BenchmarkLayer(b *testing.B) {
	data := bytes.Repeat([]byte("0123456789abcdef, some text\n"), 1<<17)
	fsys := fstest.MapFS{"a": {Data: data}}
	files := []File{{Path: "a", Mode: 0o644, Size: int64(len(data)), Digest: digest(string(data))}}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := NewLayer(fsys, files, epoch); err != nil {
			b.Fatal(err)
		}
	}
}
