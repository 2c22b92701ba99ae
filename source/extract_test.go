package source_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/cleanstart/cleanstart/source"
)

// verified is source.Verify of an archive pinned by its own digest.
func verified(t testing.TB, archive []byte, limits source.Limits) (*source.Tree, source.Options, error) {
	t.Helper()
	o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
	o.Limits = limits
	tree, err := source.Verify(t.Context(), pinnedTo(archive, "mem:a"), o)
	return tree, o, err
}

func TestExtractRefuses(t *testing.T) {
	link := func(name, to string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	dir := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
	for name, headers := range map[string][]*tar.Header{
		"absolute name":               {file("/etc/passwd", "x")},
		"name with dots":              {file("d/../../x", "x")},
		"inner dots":                  {file("d/../x", "x")},
		"name not UTF-8":              {file("d/\xff", "x")},
		"long element":                {file("d/"+strings.Repeat("a", 256), "x")},
		"absolute link":               {file("d/a", "x"), link("d/l", "/etc/passwd")},
		"link out of the tree":        {file("d/a", "x"), link("d/l", "../../x")},
		"link out once stripped":      {file("d/a", "x"), link("d/l", "../e")},
		"link out through a link":     {file("d/a/b/f", "x"), link("d/a/b/up", "../.."), link("d/a/b/out", "up/..")},
		"link out through a dangling": {file("d/a", "x"), link("d/l", "gone/../../x")},
		"loop":                        {file("d/a", "x"), link("d/l", "m"), link("d/m", "l")},
		"file through a link":         {dir("d"), link("d/l", "."), file("d/l/f", "x")},
		"file over a link":            {file("d/a", "x"), link("d/l", "a"), file("d/l", "y")},
		"directory over a file":       {file("d/a", "x"), dir("d/a")},
		"file below a file":           {file("d/a", "x"), file("d/a/b", "x")},
		"listed twice":                {file("d/a", "x"), file("d/a", "x")},
		"listed twice, spelt apart":   {file("d/a", "x"), file("./d//a", "x")},
		"hard link forward":           {{Name: "d/l", Typeflag: tar.TypeLink, Linkname: "d/a"}, file("d/a", "x")},
		"hard link outside":           {file("d/a", "x"), {Name: "d/l", Typeflag: tar.TypeLink, Linkname: "../a"}},
		"hard link to a directory":    {dir("d"), {Name: "d/l", Typeflag: tar.TypeLink, Linkname: "d"}},
		"hard link to a link":         {file("d/a", "x"), link("d/l", "a"), {Name: "d/m", Typeflag: tar.TypeLink, Linkname: "d/l"}},
		"character device":            {{Name: "d/c", Typeflag: tar.TypeChar}},
		"block device":                {{Name: "d/b", Typeflag: tar.TypeBlock}},
		"pipe":                        {{Name: "d/p", Typeflag: tar.TypeFifo}},
		"set-user-ID":                 {{Name: "d/s", Typeflag: tar.TypeReg, Mode: 0o4755}},
		"set-group-ID":                {{Name: "d/s", Typeflag: tar.TypeReg, Mode: 0o2755}},
		"before 1970":                 {{Name: "d/a", Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(-1, 0)}},
		"root is a file":              {file(".", "x")},
	} {
		t.Run(name, func(t *testing.T) {
			tree, o, err := verified(t, tarball(t, headers...), source.Limits{})
			if tree != nil || !errors.Is(err, source.ErrUnsafe) {
				t.Errorf("Verify = %v, %v, want ErrUnsafe", tree, err)
			}
			if left, _ := filepath.Glob(o.Cache + "/trees/sha256/*"); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func TestExtractAccepts(t *testing.T) {
	for name, c := range map[string]struct {
		headers []*tar.Header
		want    []string
	}{
		"no top directory":       {[]*tar.Header{file("a", "x"), file("b", "x")}, []string{"a", "b"}},
		"two top directories":    {[]*tar.Header{file("a/x", "x"), file("b/x", "x")}, []string{"a", "a/x", "b", "b/x"}},
		"dot top":                {[]*tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, file("./d/a", "x")}, []string{"a"}},
		"directory listed twice": {[]*tar.Header{{Name: "d/e", Typeflag: tar.TypeDir}, {Name: "d/e/", Typeflag: tar.TypeDir}, file("d/e/a", "x")}, []string{"e", "e/a"}},
		"names that fold":        {[]*tar.Header{file("d/A", "x"), file("d/a", "x")}, []string{"A", "a"}},
		"dangling inside":        {[]*tar.Header{file("d/a", "x"), {Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "gone/x"}}, []string{"a", "l"}},
		"link to the root":       {[]*tar.Header{file("d/s/a", "x"), {Name: "d/s/l", Typeflag: tar.TypeSymlink, Linkname: ".."}}, []string{"s", "s/a", "s/l"}},
		"git's global header":    {[]*tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0123"}}, file("d/a", "x")}, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree, _, err := verified(t, tarball(t, c.headers...), source.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range c.want {
				if _, err := os.Lstat(filepath.Join(tree.Dir(), n)); err != nil {
					t.Error(err)
				}
			}
			n := -1
			filepath.WalkDir(tree.Dir(), func(string, os.DirEntry, error) error { n++; return nil })
			if n != len(c.want) {
				t.Errorf("%d entries, want %v", n, c.want)
			}
		})
	}
}

func plain(t testing.TB, gz []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The same tar gives the same tree, however it is packed.
func TestFormats(t *testing.T) {
	gz := simple(t)
	raw := plain(t, gz)
	pack := func(open func(io.Writer) (io.WriteCloser, error)) []byte {
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(raw)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	first, _, err := verified(t, gz, source.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, archive := range map[string][]byte{
		"tar": raw,
		"xz":  pack(func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }),
		"zst": pack(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
	} {
		tree, _, err := verified(t, archive, source.Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if tree.Digest() != first.Digest() || !tree.Epoch().Equal(first.Epoch()) {
			t.Errorf("%s: tree is %s, want %s", name, tree.Digest(), first.Digest())
		}
		for _, cut := range []int{len(archive) - 1, len(archive) / 2, 10} {
			if name == "tar" && cut == len(archive)-1 {
				continue // padding
			}
			if _, _, err := verified(t, archive[:cut], source.Limits{}); !errors.Is(err, source.ErrFormat) {
				t.Errorf("%s cut to %d bytes: %v, want ErrFormat", name, cut, err)
			}
		}
	}
	bz, err := base64.StdEncoding.DecodeString(bzip2Tar)
	if err != nil {
		t.Fatal(err)
	}
	if tree, _, err := verified(t, bz, source.Limits{}); err != nil || tree.Epoch().Unix() != 1e9 {
		t.Errorf("bz2: %v, %v", tree, err)
	}
}

func TestNotAnArchive(t *testing.T) {
	for _, b := range [][]byte{nil, {0}, []byte("<html>not found</html>"), {0x1f, 0x8b}, []byte("BZh"), make([]byte, 2048)} {
		if _, _, err := verified(t, b, source.Limits{}); !errors.Is(err, source.ErrFormat) {
			t.Errorf("Verify(%q) = %v, want ErrFormat", b, err)
		}
	}
}

// A bomb is stopped by proportion, long before the size of a tree is.
func TestBomb(t *testing.T) {
	zeros := strings.Repeat("\x00", 24<<20)
	_, o, err := verified(t, tarball(t, file("d/zeros", zeros)), source.Limits{})
	if !errors.Is(err, source.ErrTooLarge) {
		t.Errorf("Verify = %v, want ErrTooLarge", err)
	}
	if work, _ := filepath.Glob(o.Cache + "/tmp/work-*"); len(work) != 0 {
		t.Errorf("left %v", work)
	}
}

// A hard link costs as much as the file it names.
func TestHardLinksCount(t *testing.T) {
	headers := []*tar.Header{file("d/a", strings.Repeat("x", 1000))}
	for _, n := range "bcdefghij" {
		headers = append(headers, &tar.Header{Name: "d/" + string(n), Typeflag: tar.TypeLink, Linkname: "d/a"})
	}
	if _, _, err := verified(t, tarball(t, headers...), source.Limits{Tree: 9999}); !errors.Is(err, source.ErrTooLarge) {
		t.Errorf("Verify = %v, want ErrTooLarge", err)
	}
	if _, _, err := verified(t, tarball(t, headers...), source.Limits{Tree: 10000}); err != nil {
		t.Error(err)
	}
}

const bzip2Tar = "QlpoOTFBWSZTWVStFfYAAJP7hMmQAEJAAP+AAANlYJ4AAACACCAAdAqpPUaR6gA0bU0yeoJKmjTQ00ZABoJn3D5QaNSAuchJEYyseFpCtg4IlAkDBaRK9qhovmSUXDOuKXvCERC455VROtHRxibBjS9REmSts7tfBsbN7VZgWWTSkfxdyRThQkFStFfY"
