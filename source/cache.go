package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The cache directory:
//
//	archives/sha256/HEX        archives and signatures that a policy accepted, by content
//	places/sha256/HEX          what a location gave; HEX is of the location
//	trees/sha256/HEX           the tree unpacked from archive HEX
//	trees/sha256/HEX-DIR       the same for a policy that names a directory; DIR is of its name
//	trees/sha256/….manifest    what that tree holds
//	tmp/                       work in progress, swept when its process is gone
//
// Nothing in it is trusted: content is hashed and proofs are made again each
// time it is used. So nothing is made durable either: what a power cut damages
// has another digest, and trees are read whole after one, and is made again.
type cache struct{ dir string }

func (c cache) blob(hex string) string { return filepath.Join(c.dir, "archives", "sha256", hex) }

func (c cache) tree(hex, directory string) string {
	if directory != "" {
		hex += "-" + hexOf(directory)[:16]
	}
	return filepath.Join(c.dir, "trees", "sha256", hex)
}

func (c cache) place(location string) string {
	return filepath.Join(c.dir, "places", "sha256", hexOf(location))
}

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// put writes a file of the cache, whole or not at all.
func put(name string, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// located is what a location gave when it was last accepted.
type located struct {
	Location string `json:"location"`
	Digest   string `json:"digest"` // "sha256:HEX"
}

// remember records that location gave the content hex.
func (c cache) remember(location, hex string) error {
	b, err := json.Marshal(located{location, "sha256:" + hex})
	if err != nil {
		return err
	}
	name := c.place(location)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	return put(name, func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

// recall gives the hex digest that location gave, or "".
func (c cache) recall(location string) string {
	f, err := os.Open(c.place(location))
	if err != nil {
		return ""
	}
	defer f.Close()
	var l located
	if json.NewDecoder(io.LimitReader(f, 1<<16)).Decode(&l) != nil || l.Location != location {
		return ""
	}
	h, err := ParseDigest(l.Digest)
	if err != nil {
		return ""
	}
	return h
}

// intact says whether the cache holds the content hex, having read it whole.
// Content that is not what its name says is removed.
func (c cache) intact(ctx context.Context, hex string, limit int64) (bool, error) {
	f, err := os.Open(c.blob(hex))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	got, _, err := digestReader(ctx, f, limit)
	if err != nil {
		return false, fmt.Errorf("cached archive: %w", err)
	}
	if got == hex {
		return true, nil
	}
	if err := os.Remove(c.blob(hex)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("cached archive is damaged: %w", err)
	}
	return false, nil
}

// keep moves the finished file tmp, whose content is hex, into the cache.
func (c cache) keep(tmp, hex string) error {
	name := c.blob(hex)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

func digestReader(ctx context.Context, r io.Reader, limit int64) (hexa string, n int64, err error) {
	h := sha256.New()
	n, err = copyBounded(ctx, h, r, limit, nil)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// ErrTooLarge says that foreign bytes exceed a limit of Options.Limits.
var ErrTooLarge = errors.New("larger than the limit")

// copyBounded copies all of r, stops at a cancelled context, and fails rather
// than pass more than limit bytes on.
func copyBounded(ctx context.Context, w io.Writer, r io.Reader, limit int64, progress func(n int64)) (n int64, err error) {
	return copyBuffer(ctx, w, r, limit, make([]byte, step), progress)
}

// step is how many bytes are moved, and reported, at a time.
const step = 256 << 10

func copyBuffer(ctx context.Context, w io.Writer, r io.Reader, limit int64, buf []byte, progress func(n int64)) (n int64, err error) {
	next := int64(step)
	for {
		if err := context.Cause(ctx); err != nil {
			return n, err
		}
		k, rerr := r.Read(buf)
		if n+int64(k) > limit {
			return n, fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
		}
		if k > 0 {
			if _, err := w.Write(buf[:k]); err != nil {
				return n, err
			}
			n += int64(k)
		}
		if progress != nil && (n >= next || rerr == io.EOF) {
			progress(n)
			next = n + step
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}
