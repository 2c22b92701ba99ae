package toolchain

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("!<arch>\n"))
	f.Add([]byte("!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\ndata.tar        0           0     0     100644  0         `\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := dataMember(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer r.Close()
		top := t.TempDir()
		dir := filepath.Join(top, "root")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		u := &unpacker{root: root, tree: manifest{}}
		_ = u.unpackTar("fuzz", io.LimitReader(r, 1<<20)) // only where it writes counts
		list, err := os.ReadDir(top)
		if err != nil || len(list) != 1 {
			t.Errorf("wrote beside the root: %v, %v", list, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	m := manifest{"a": {kind: 'd'}, "a/b": {kind: 'f', mode: modeExec, size: 3, sha256: digest(nil)}, "c \n": {kind: 'l', target: "a b"}}
	f.Add(m.encode())
	f.Add([]byte("d \"a\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(m.encode())
		if err != nil || len(again) != len(m) {
			t.Errorf("decode of encode = %v, %v, want %v", again, err, m)
		}
	})
}
