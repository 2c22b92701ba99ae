package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// mismatchError is content that is not what an index promised.
type mismatchError struct {
	name       string
	want, got  string
	size, read int64
	sure       bool // whole and different, so another try gives the same
}

func (e *mismatchError) Error() string {
	if e.size != e.read {
		return fmt.Sprintf("%s has %d bytes, the index says %d", e.name, e.read, e.size)
	}
	return fmt.Sprintf("%s has SHA-256 %s, the index says %s", e.name, e.got, e.want)
}

// blob is the file of the cache that holds the content of digest.
func (a *Archive) blob(kind, digest string) string {
	return filepath.Join(a.dir, kind, "sha256", digest)
}

// haveBlob reports whether the cache holds the content, whole and unchanged;
// a damaged file is removed.
func (a *Archive) haveBlob(kind string, want fileEntry) (bool, error) {
	name := a.blob(kind, want.SHA256)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return false, err
	}
	if n == want.Size && hex.EncodeToString(h.Sum(nil)) == want.SHA256 {
		return true, nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return false, nil
}

// fetchBlob puts the content into the cache unless it is there.
func (a *Archive) fetchBlob(ctx context.Context, kind string, urls []string, want fileEntry) (err error) {
	ok, err := a.haveBlob(kind, want)
	if ok || err != nil {
		return err
	}
	if a.opts.Progress.Start != nil {
		a.opts.Progress.Start(want.Name, want.Size)
	}
	if a.opts.Progress.Done != nil {
		defer func() { a.opts.Progress.Done(want.Name, want.Size, err) }()
	}
	name := a.blob(kind, want.SHA256)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return a.fetch.get(ctx, urls, want.Name, func(r io.Reader) error {
		return atomicfile.Write(name, 0o644, func(w io.Writer) error { return copyVerified(w, r, want) })
	})
}

// copyVerified copies exactly the promised content.
func copyVerified(w io.Writer, r io.Reader, want fileEntry) error {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, want.Size+1))
	if err != nil {
		return err
	}
	got := hex.EncodeToString(h.Sum(nil))
	if n != want.Size || got != want.SHA256 {
		return &mismatchError{want.Name, want.SHA256, got, want.Size, n, n >= want.Size}
	}
	return nil
}
