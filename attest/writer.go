package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// writer fills a new directory and remembers what it wrote.
type writer struct {
	dir   string
	files []Listed
	names map[string]bool // of files
	dirs  map[string]bool
	known string // digest of what is written next, where it is known
}

// add writes one file. The same bytes under the same name twice are one file.
func (w *writer) add(name, role string, data []byte) error {
	return w.stream(name, role, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
}

// put is add of bytes whose digest was just computed: large evidence is hashed
// once.
func (w *writer) put(name, role string, data []byte, digest string) error {
	w.known = digest
	defer func() { w.known = "" }()
	return w.add(name, role, data)
}

func (w *writer) stream(name, role string, open func() (io.ReadCloser, error)) (err error) {
	full := filepath.Join(w.dir, filepath.FromSlash(name))
	if w.names[name] {
		if isBlob(name) {
			return nil // content-addressed: two components with equal layers
		}
		return fmt.Errorf("%s is written twice", name)
	}
	if w.dirs == nil {
		w.dirs, w.names = map[string]bool{}, map[string]bool{}
	}
	for d := filepath.Dir(full); !w.dirs[d] && len(d) >= len(w.dir); d = filepath.Dir(d) {
		w.dirs[d] = true
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	var n int64
	digest := w.known
	if digest != "" {
		n, err = io.Copy(f, r)
	} else {
		sum := sha256.New()
		n, err = io.Copy(io.MultiWriter(f, sum), r)
		digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	}
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if isBlob(name) && name != blobPath(digest) {
		return fmt.Errorf("%s: the bytes have digest %s", name, digest)
	}
	w.files = append(w.files, Listed{Path: name, Role: role, Size: n, Digest: digest})
	w.names[name] = true
	return nil
}

// maxSyncs is how many files are made durable at a time: a file system writes
// its journal once for all that wait for it.
const maxSyncs = 64

// sync makes every file and the entries of every directory durable.
func (w *writer) sync() error {
	var g errgroup.Group
	g.SetLimit(maxSyncs)
	for _, f := range w.files {
		g.Go(func() (err error) {
			h, err := os.Open(filepath.Join(w.dir, filepath.FromSlash(f.Path)))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, h.Close()) }()
			return h.Sync()
		})
	}
	return errors.Join(g.Wait(), w.syncDirs())
}

// syncDirs makes the entries of every directory durable.
func (w *writer) syncDirs() error {
	var errs []error
	for d := range w.dirs {
		errs = append(errs, os.Chmod(d, 0o755), atomicfile.SyncDir(d))
	}
	return errors.Join(errs...)
}
