package source_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

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

// A policy that names a directory accepts an archive of that alone, and gives
// what is below it.
func TestDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		archive   []byte
		directory string
		want      string // "" where the policy refuses
	}{
		"release":             {tarball(t, file("curl-7.88.1/a", "x"), dir("curl-7.88.1/d")), "curl-7.88.1", "fa dd"},
		"older release":       {tarball(t, file("curl-7.88.0/a", "x")), "curl-7.88.1", ""},
		"longer name":         {tarball(t, file("curl-7.88.10/a", "x")), "curl-7.88.1", ""},
		"module":              {zipped(t, zfile("golang.org/x/text@v0.14.0/a", "x"), zfile("golang.org/x/text@v0.14.0/b/c", "x")), "golang.org/x/text@v0.14.0", "fa db fb/c"},
		"module with parents": {tarball(t, dir("golang.org"), dir("golang.org/x/"), file("golang.org/x/m@v1/a", "x")), "golang.org/x/m@v1", "fa"},
		"another module":      {zipped(t, zfile("golang.org/x/text@v0.13.0/a", "x")), "golang.org/x/text@v0.14.0", ""},
		"file beside it":      {tarball(t, file("d/a", "x"), file("b", "x")), "d", ""},
		"directory beside it": {tarball(t, file("d/a", "x"), dir("e")), "d", ""},
		"file in a parent":    {tarball(t, file("a/b/c", "x"), file("a/d", "x")), "a/b", ""},
		"link in its place":   {tarball(t, file("e/a", "x"), link("d", "e")), "d", ""},
		"file in its place":   {tarball(t, file("d", "x")), "d", ""},
		"link out of it":      {tarball(t, file("a/b/c", "x"), link("a/b/l", "../d")), "a/b", "unsafe"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, &memory{files: map[string][]byte{"mem:a": c.archive}})
			comp := pinnedTo(c.archive, "mem:a")
			comp.Policy.Directory = c.directory
			tree, err := source.Verify(t.Context(), comp, o)
			switch c.want {
			case "":
				if tree != nil || !errors.Is(err, source.ErrPolicy) {
					t.Errorf("Verify = %v, %v, want ErrPolicy", tree, err)
				}
				nothingLeft(t, o.Cache)
			case "unsafe":
				if tree != nil || !errors.Is(err, source.ErrUnsafe) {
					t.Errorf("Verify = %v, %v, want ErrUnsafe", tree, err)
				}
			default:
				if err != nil {
					t.Fatal(err)
				}
				if got := listing(t, tree); got != c.want {
					t.Errorf("the tree holds %s, want %s", got, c.want)
				}
			}
		})
	}
}

// The same archive, asked for with a directory, without and with a wrong one,
// gives each time what is asked for, and leaves the other trees alone.
func TestDirectoryInCache(t *testing.T) {
	archive := zipped(t, zfile("golang.org/x/text@v0.14.0/a", "x"))
	o := options(t, &memory{files: map[string][]byte{"mem:a": archive}})
	get := func(directory string) (*source.Tree, error) {
		c := pinnedTo(archive, "mem:a")
		c.Policy.Directory = directory
		return source.Verify(t.Context(), c, o)
	}
	for range 2 {
		for directory, want := range map[string]string{
			"":                          "dx fx/text@v0.14.0/a dx/text@v0.14.0",
			"golang.org/x/text@v0.14.0": "fa",
			"golang.org/x":              "ftext@v0.14.0/a dtext@v0.14.0",
			"golang.org/x/text@v0.13.0": "",
		} {
			tree, err := get(directory)
			if want == "" {
				if !errors.Is(err, source.ErrPolicy) {
					t.Errorf("Verify with directory %q = %v, want ErrPolicy", directory, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			wanted := strings.Fields(want)
			got := strings.Fields(listing(t, tree))
			slices.Sort(wanted)
			slices.Sort(got)
			if !slices.Equal(got, wanted) {
				t.Errorf("the tree below %q holds %v, want %v", directory, got, wanted)
			}
			// Another's tree and manifest in its place are found out.
			if directory != "" {
				other, err := get("")
				if err != nil {
					t.Fatal(err)
				}
				if err := source.RemoveCache(tree.Dir()); err != nil {
					t.Fatal(err)
				}
				os.Remove(tree.Dir() + ".manifest")
				os.Chmod(other.Dir(), 0o755)
				err = errors.Join(os.Rename(other.Dir(), tree.Dir()), os.Rename(other.Dir()+".manifest", tree.Dir()+".manifest"))
				if err != nil {
					t.Fatal(err)
				}
				if again, err := get(directory); err != nil || again.Digest() != tree.Digest() {
					t.Errorf("Verify of a mixed-up cache = %v, %v", again, err)
				}
			}
		}
	}
}

func TestNotAnArchive(t *testing.T) {
	for _, b := range [][]byte{nil, {0}, []byte("<html>not found</html>"), {0x1f, 0x8b}, []byte("BZh"), make([]byte, 2048)} {
		if _, _, err := verified(t, b, source.Limits{}); !errors.Is(err, source.ErrFormat) {
			t.Errorf("Verify(%q) = %v, want ErrFormat", b, err)
		}
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
