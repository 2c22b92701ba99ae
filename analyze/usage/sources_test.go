package usage

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source/debian"
)

// TestEqualsLinkerOnSource compares the live set with GNU ld's on real
// programs, section by section: no difference either way. Their source is
// upstream's, out of the machine's Debian archive; SQLite's, which there needs
// Tcl to become C, is the amalgamation that a Go module carries.
func TestEqualsLinkerOnSource(t *testing.T) {
	if os.Getenv("CLEANSTART_E2E") != "1" {
		t.Skip("end-to-end: set CLEANSTART_E2E=1 to fetch and compile real source (minutes)")
	}
	for _, c := range []struct {
		name    string
		source  func(h *host)
		sources []string // patterns below the tree; of what is not built by source itself
		without []string // of them
		flags   []string
		link    []string
	}{
		{name: "zlib", source: orig("zlib@1.2.13.dfsg"), sources: []string{"*.c", "test/minigzip.c"}, flags: []string{"-I.", "-D_LARGEFILE64_SOURCE=1", "-DHAVE_UNISTD_H"}},
		{name: "lua", source: orig("lua5.4@5.4.4"), sources: []string{"src/*.c"}, without: []string{"luac.c"}, flags: []string{"-DLUA_USE_POSIX", "-DLUA_USE_DLOPEN"}, link: []string{"-lm", "-ldl"}},
		{name: "sqlite", source: sqlite, sources: []string{"*.c"}, flags: []string{"-I.", "-DSQLITE_ENABLE_FTS5", "-DSQLITE_THREADSAFE=1"}, link: []string{"-lm", "-lpthread", "-ldl"}},
		{name: "curl", source: curl},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			c.source(h)
			var objects []string
			if c.sources == nil {
				objects = h.glob("src/*.o", "lib/[^l]*.o", "lib/.libs/libcurl.a") // lib/libcurl_la-*.o are in the archive
			} else {
				sources := slices.DeleteFunc(h.glob(c.sources...), func(p string) bool { return slices.Contains(c.without, filepath.Base(p)) })
				objects = h.objects(sources, c.flags)
			}
			for _, kind := range []string{"-pie", "-static"} {
				if kind == "-static" && slices.Contains(c.link, "-ldl") {
					continue // the host's static C library warns of what it looks up, and is compared elsewhere
				}
				args := slices.Concat(objects, c.link, []string{kind})
				unsound, imprecise, dead := h.compare(args, Options{Entry: "_start", Undefined: []string{"_init", "_fini"}})
				t.Logf("%s: %d objects, %d sections are dead; kept by the linker only %d, by the graph only %d", kind, len(objects), dead, len(unsound), len(imprecise))
				if len(unsound)+len(imprecise) > 0 {
					t.Errorf("%s: kept by the linker only %.20q, by the graph only %.20q", kind, unsound, imprecise)
				}
				if dead < 5 {
					t.Errorf("%s: only %d sections are dead, which shows little", kind, dead)
				}
			}
		})
	}
}

func (h *host) glob(patterns ...string) []string {
	h.Helper()
	var out []string
	for _, p := range patterns {
		list, err := filepath.Glob(filepath.Join(h.dir, p))
		if err != nil || len(list) == 0 {
			h.Fatalf("%s: %d files, %v", p, len(list), err)
		}
		for _, f := range list {
			out = append(out, strings.TrimPrefix(f, h.dir+"/"))
		}
	}
	return out
}

// sectioned are the flags that give each function and object its section.
var sectioned = []string{"-O1", "-w", "-ffunction-sections", "-fdata-sections", "-fno-ipa-icf", "-fPIE"}

func (h *host) objects(sources, flags []string) []string {
	h.Helper()
	objects := make([]string, len(sources))
	for i, s := range sources {
		objects[i] = strings.TrimSuffix(s, ".c") + ".o"
		h.run(slices.Concat(sectioned, flags, []string{"-c", s, "-o", objects[i]})...)
	}
	return objects
}

// orig unpacks an upstream tarball of the Debian archive that the machine is
// configured for.
func orig(ref string) func(h *host) {
	return func(h *host) {
		h.Helper()
		config, err := debian.ReadConfig(os.DirFS("/"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, debian.ErrNoSources) {
			need.Skip(h, "debian archive", err.Error())
		}
		var archive *debian.Archive
		if err == nil {
			archive, err = debian.New(config, filepath.Join(h.TempDir(), "archive"), debian.Options{Now: time.Now()})
		}
		if err != nil {
			h.Fatal(err)
		}
		r, err := archive.Open(h.Context(), &url.URL{Scheme: "debian", Opaque: ref + "/orig.tar"})
		if err != nil {
			need.Skip(h, "debian archive", err.Error())
		}
		defer r.Close()
		name := filepath.Join(h.TempDir(), "orig.tar")
		f, err := os.Create(name)
		if err == nil {
			_, err = io.Copy(f, r)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			h.Fatal(err)
		}
		h.command("tar", "-xf", name, "--strip-components=1", "--no-same-owner")
	}
}

func (h *host) command(name string, args ...string) {
	h.Helper()
	cmd := exec.CommandContext(h.Context(), name, args...)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.Fatalf("%s %v: %v\n%s", name, args, err, out[max(0, len(out)-4000):])
	}
}

// sqlite takes the amalgamation from a module, which the checksum database
// vouches for, and adds a program.
func sqlite(h *host) {
	h.Helper()
	cmd := exec.CommandContext(h.Context(), "go", "mod", "download", "-json", "github.com/mattn/go-sqlite3@v1.14.24")
	cmd.Dir = h.dir
	b, err := cmd.Output()
	var module struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(b, &module)
	}
	if err != nil {
		need.Skip(h, "go proxy", err.Error())
	}
	for from, to := range map[string]string{"sqlite3-binding.c": "sqlite3.c", "sqlite3-binding.h": "sqlite3.h"} {
		b, err := os.ReadFile(filepath.Join(module.Dir, from))
		if err == nil {
			err = os.WriteFile(filepath.Join(h.dir, to), b, 0o600)
		}
		if err != nil {
			h.Fatal(err)
		}
	}
	const program = `
#include "sqlite3.h"
int main(int n, char **v) { sqlite3 *db; if (sqlite3_open(v[n - 1], &db)) return 1; sqlite3_exec(db, "select 1", 0, 0, 0); return sqlite3_close(db); }
`
	if err := os.WriteFile(filepath.Join(h.dir, "main.c"), []byte(program), 0o600); err != nil {
		h.Fatal(err)
	}
}

// curl configures and makes it as it comes.
func curl(h *host) {
	h.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		need.Skip(h, "make", err.Error())
	}
	orig("curl@7.88.1")(h)
	h.command("./configure", "--quiet", "--disable-shared", "--enable-static", "--disable-manual", "--disable-libcurl-option", "--without-ssl",
		"--without-zlib", "--without-brotli", "--without-zstd", "--without-libpsl", "--without-nghttp2", "--without-libidn2", "--without-librtmp",
		"--disable-ldap", "--disable-ldaps", "--disable-dependency-tracking", "CFLAGS="+strings.Join(sectioned, " "))
	h.command("make", "-s", "-j2", "-C", "lib", "libcurl.la")
	h.command("make", "-s", "-j2", "-C", "src", "curl")
}
