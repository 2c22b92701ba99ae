package compile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// somePart makes an output with one file, one executable and one link.
func somePart(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	runtime := filepath.Join(dir, PartRuntime, "usr", "bin")
	for _, d := range []string{runtime, filepath.Join(dir, PartDev), filepath.Join(dir, PartDebug)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(runtime, "tool"), []byte("bytes"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, PartDebug, "map"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("tool", filepath.Join(runtime, "alias")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestScanOutput(t *testing.T) {
	dir := somePart(t)
	o, err := ScanOutput(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{Path: "usr/bin/alias", Mode: 0o777, Link: "tool"},
		{Path: "usr/bin/tool", Mode: 0o755, Size: 5, Digest: "sha256:277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9"},
	}
	if got := o.Parts[PartRuntime].Files; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("runtime = %v, want %v", got, want)
	}
	if err := o.VerifyOutput(dir); err != nil {
		t.Errorf("VerifyOutput: %v", err)
	}
	// debug is not what others see
	if err := os.WriteFile(filepath.Join(dir, PartDebug, "map"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := ScanOutput(dir)
	if err != nil || again.Digest != o.Digest {
		t.Errorf("digest = %s, %v; the debug part must not change it", again.Digest, err)
	}
}

func TestVerifyOutputFinds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(bin string) error
		want   string
	}{
		"content":    {func(bin string) error { return os.WriteFile(bin+"/tool", []byte("bytez"), 0o755) }, "usr/bin/tool was changed"},
		"mode":       {func(bin string) error { return os.Chmod(bin+"/tool", 0o644) }, "usr/bin/tool was changed"},
		"removed":    {func(bin string) error { return os.Remove(bin + "/alias") }, "usr/bin/alias is missing"},
		"added":      {func(bin string) error { return os.WriteFile(bin+"/new", nil, 0o644) }, "usr/bin/new is not in the record"},
		"retargeted": {func(bin string) error { os.Remove(bin + "/alias"); return os.Symlink("x", bin+"/alias") }, "usr/bin/alias was changed"},
		"debug":      {func(bin string) error { return os.Remove(filepath.Join(bin, "../../../debug/map")) }, "map is missing"},
		"pipe":       {func(bin string) error { return syscall.Mkfifo(bin+"/pipe", 0o644) }, "neither a file nor"},
	} {
		dir := somePart(t)
		o, err := ScanOutput(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.change(filepath.Join(dir, PartRuntime, "usr", "bin")); err != nil {
			t.Fatal(err)
		}
		if err := o.VerifyOutput(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestBuildErrorFormat(t *testing.T) {
	e := &BuildError{Component: "zlib", Command: Command{Args: []string{"/bin/sh", "-c", "make\n\tall " + strings.Repeat("x", 100)}}, Exit: 2, Tail: []string{"one", "two"}, Log: "/l"}
	if s := e.Error(); strings.Contains(s, "\n") || !strings.Contains(s, "zlib: /bin/sh -c make all xxx") || !strings.Contains(s, "exit status 2 (log: /l)") {
		t.Errorf("Error = %q", s)
	}
	if s := fmt.Sprintf("%+v", e); !strings.HasSuffix(s, "\n\tone\n\ttwo") {
		t.Errorf("%%+v = %q", s)
	}
	e.Exit = 137
	if !strings.Contains(e.Error(), "killed by signal 9") {
		t.Errorf("Error = %q", e.Error())
	}
	if e.Exit = 255; !strings.Contains(e.Error(), "exit status 255") {
		t.Errorf("Error = %q", e.Error())
	}
}
