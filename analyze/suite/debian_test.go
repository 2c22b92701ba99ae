package suite

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/need"
)

// debianPackages are a few of those that every Debian image has.
var debianPackages = []string{"base-files", "dash", "coreutils", "passwd", "dpkg", "apt", "perl-base", "libc6"}

// debianImage is an image as others make them: a layer for each package, no
// user, a shell to start.
func debianImage(t *testing.T) *analyze.Subject {
	t.Helper()
	if testing.Short() {
		t.Skip("short: downloads Debian packages")
	}
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			need.Skip(t, tool, err.Error())
		}
	}
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	check(t, os.Mkdir(rootfs, 0o755))
	get := exec.CommandContext(t.Context(), "apt-get", append([]string{"download", "-q"}, debianPackages...)...)
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		need.Skip(t, "debian archive", string(out))
	}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Cmd: []string{"sh"}},
	})
	check(t, err)
	for _, name := range debianPackages {
		deb, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
		if err != nil || len(deb) != 1 {
			t.Fatalf("%s: %q, %v", name, deb, err)
		}
		layer, err := exec.Command("dpkg-deb", "--fsys-tarfile", deb[0]).Output()
		check(t, err)
		img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(layer, types.OCIUncompressedLayer), History: v1.History{CreatedBy: name}})
		check(t, err)
		if out, err := exec.Command("dpkg-deb", "--extract", deb[0], rootfs).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	return &analyze.Subject{Image: &compile.Image{Image: img}, Rootfs: rootfs, Work: t.TempDir()}
}

// TestOrdinaryDebian says what the suite finds in an image that was not made
// for it.
func TestOrdinaryDebian(t *testing.T) {
	s := debianImage(t)
	// The facts that headers show need no record of a build.
	bare := *s
	bare.Image = &compile.Image{Image: s.Image.Image, Record: &compile.Record{}}
	protection, err := binary.Protect(t.Context(), new(binary.Index), &bare)
	check(t, err)
	static := slices.DeleteFunc(All(), func(x Test) bool {
		return x.Family == Function || x.Family == Confinement || x.Alone
	})
	start := time.Now()
	results, err := Run(t.Context(), static, s, Options{Now: now, Protection: protection})
	check(t, err)
	t.Logf("%d tests in %s", len(static), time.Since(start).Round(time.Millisecond))
	r, err := NewReport(s, results)
	check(t, err)
	var table bytes.Buffer
	check(t, r.WriteText(&table))
	t.Logf("\n%s", table.String())

	if !r.Foreign {
		t.Error("the image is taken for ours")
	}
	for _, x := range results {
		var want analyze.Status
		switch x.ID {
		case "filesystem/no-package-manager", "filesystem/no-shell", "filesystem/no-setuid", "filesystem/no-leftovers",
			"filesystem/plain-types", "filesystem/root-owned", // perl under two names; files of the group shadow
			"config/non-root", "config/entrypoint", "config/evidence-label",
			"hardening/cet-ibt", "hardening/cet-shstk", "hardening/relro", "hardening/bind-now": // as Debian's defaults are
			want = analyze.Failed
		case "provenance/rootfs-is-the-layers", "filesystem/no-capabilities", "filesystem/no-secrets", "filesystem/no-world-writable",
			"config/layers-accounted", "config/no-secrets", "config/safe-environment",
			"hardening/examined", "hardening/machine", "hardening/nx", "hardening/pie", "hardening/textrel", "hardening/wx-segment":
			want = analyze.Passed
		case "config/as-specified", "config/created", "config/platform", "filesystem/fixed-times",
			"hardening/canary", "hardening/fortify", "hardening/stack-clash":
			want = analyze.NotApplicable
		default:
			if strings.HasPrefix(x.ID, "provenance/") {
				want = analyze.NotApplicable
			}
		}
		if want != "" && x.Status != want {
			t.Errorf("%s: %s %q, want %s", x.ID, x.Status, x.Detail, want)
		}
	}
}
