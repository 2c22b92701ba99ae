package source_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// writableTempDir is t.TempDir whose read-only trees can be removed.
func writableTempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				os.Chmod(name, 0o755)
			}
			return nil
		})
	})
	return dir
}
