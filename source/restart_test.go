package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRestart: a file that lost its content with the power, and kept its size
// and its time, is found by the first use after that.
func TestRestart(t *testing.T) {
	if bootID() == "" {
		t.Skip("the system does not name its run")
	}
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "a")
	if err := os.WriteFile(name, []byte("content"), 0o444); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest{boot: "another", archive: "00", root: ".", entries: []entry{{name: "a", kind: 'f', size: 7,
		sum: hexOf("content"), mtime: info.ModTime()}}}
	m.digest = treeDigest(m.entries)
	if err := put(dir+".manifest", m.write); err != nil {
		t.Fatal(err)
	}
	if err := m.recheck(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	again, err := readManifestFile(dir + ".manifest")
	if err != nil || again.boot != bootID() {
		t.Fatalf("the manifest still says %+v, %v", again, err)
	}

	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.Repeat("\x00", 7)), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := again.recheck(t.Context(), dir); err != nil {
		t.Errorf("within one run of the machine only sizes and times are compared: %v", err)
	}
	again.boot = "another"
	if err := again.recheck(t.Context(), dir); err == nil {
		t.Error("lost content was not found after a restart")
	}
}
