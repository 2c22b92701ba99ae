package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRemoveTree(t *testing.T) {
	top := t.TempDir()
	out := filepath.Join(top, "outside")
	if err := os.Mkdir(out, 0o500); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "tree")
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteBytes(filepath.Join(dir, "a/b/f"), 0o444, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(out, filepath.Join(dir, "a/link")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"a/b", "a", "."} {
		if err := os.Chmod(filepath.Join(dir, d), 0o555); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveTree(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lstat = %v, want not exist", err)
	}
	if fi, err := os.Stat(out); err != nil || fi.Mode().Perm() != 0o500 {
		t.Errorf("what a link points to = %v, %v, want untouched", fi, err)
	}
	if err := RemoveTree(dir); err != nil {
		t.Errorf("RemoveTree of nothing = %v", err)
	}
}
