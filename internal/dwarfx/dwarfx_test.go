package dwarfx

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/internal/need"
)

const source = `
static inline int inlined(int x) { volatile int y = x; return y * 31; }
static int merged(int x) { return x * 7 + 3; }
__attribute__((noinline)) int body(int x) { return inlined(x) + 1; }
__attribute__((noinline)) int folded(int x) { return merged(x) + x + 41; }
int discarded(int x) { return inlined(x) - 5; }
void _start(int x) { for (;;) body(folded(x)); }
`

// link compiles and links a program with the machine's compiler.
func link(t testing.TB, flags ...string) []byte {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		need.Skip(t, "gcc", err.Error())
	}
	dir := t.TempDir()
	src, out := filepath.Join(dir, "main.c"), filepath.Join(dir, "main")
	if err := os.WriteFile(src, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-O2", "-g1", "-gstatement-frontiers", "-grecord-gcc-switches", "-ffunction-sections", "-nostdlib", "-static-pie", "-fPIE",
		"-Wl,--gc-sections,--build-id=sha1", "-ffile-prefix-map=" + dir + "=/src", src, "-o", out}, flags...)
	if b, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRead(t *testing.T) {
	for _, version := range []string{"-gdwarf-4", "-gdwarf-5"} {
		x, err := Read(bytes.NewReader(link(t, version)))
		if err != nil {
			t.Fatal(err)
		}
		if len(x.BuildID) != 40 || len(x.Units) != 1 || x.Units[0].Name != "/src/main.c" || !strings.Contains(x.Units[0].Producer, "GNU C") {
			t.Errorf("%s: build-id %q, units %+v", version, x.BuildID, x.Units)
		}
		for name, want := range map[string]string{
			"inlined": "inlined", "merged": "inlined", "body": "body symbol", "folded": "body symbol", "discarded": "", "nothing": "",
		} {
			var got []string
			for _, f := range x.Functions(name) {
				if f.File != "/src/main.c" {
					t.Errorf("%s: %s is in %q", version, name, f.File)
				}
				for _, i := range f.Instances {
					if k := i.Kind.String(); !strings.Contains(strings.Join(got, " "), k) {
						got = append(got, k)
					}
				}
			}
			joined := strings.Join(got, " ")
			if joined == "symbol body" {
				joined = "body symbol"
			}
			if joined != want {
				t.Errorf("%s: %s = %q, want %q", version, name, joined, want)
			}
		}
		if rows := x.Rows("/src/main.c", 4, 4); len(rows) == 0 || !x.Live(rows[0].Address) {
			t.Errorf("%s: rows of body: %v", version, rows)
		}
		if rows := x.Rows("/src/main.c", 6, 6); len(rows) != 0 {
			t.Errorf("%s: rows of what was discarded: %v", version, rows)
		}
	}
}

// Without statement frontiers the merged copy leaves no trace but that there
// was one.
func TestReadMerged(t *testing.T) {
	x, err := Read(bytes.NewReader(link(t, "-gno-statement-frontiers")))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"merged": 1, "inlined": 1, "body": 0} {
		n := 0
		for _, f := range x.Functions(name) {
			n += len(f.Inlined)
			if name == "merged" && len(f.Instances) != 0 {
				t.Errorf("merged = %+v", f)
			}
		}
		if n != want {
			t.Errorf("%s is inlined in %d units, want %d", name, n, want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	if _, err := Read(bytes.NewReader(link(t, "-g0"))); !errors.Is(err, ErrNoDebug) {
		t.Errorf("a file without debug information: %v", err)
	}
	b := link(t)
	for n := 0; n < len(b); n += len(b) / 37 {
		if _, err := Read(bytes.NewReader(b[:n])); err == nil {
			t.Errorf("a file cut to %d of %d bytes is accepted", n, len(b))
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(link(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		for fn := range x.All {
			for _, i := range fn.Instances {
				x.Live(i.Low)
			}
		}
	})
}
