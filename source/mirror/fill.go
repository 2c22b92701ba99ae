package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/source"
)

// Fill copies every file that the lock names into the directory dir, from the
// archives that a [source.Options] cache holds after the lock was resolved, or
// from any other mirror. What dir has already is kept when it is sound. After
// it, the lock and a Transport over dir are all that [source.Verify] needs.
//
// All files are tried; the error joins what went wrong, in the lock's order.
func Fill(ctx context.Context, dir string, lock *source.Lock, from Transport) error {
	if err := os.MkdirAll(filepath.Join(dir, "sha256"), 0o777); err != nil {
		return err
	}
	var failures []error
	done := map[string]bool{}
	var fill func(c *source.Locked)
	fill = func(c *source.Locked) {
		for _, f := range c.Files {
			if done[f.Digest] {
				continue
			}
			done[f.Digest] = true
			if err := copyFile(ctx, dir, f.Digest, from); err != nil {
				failures = append(failures, fmt.Errorf("%s %s: %s: %w", c.Name, c.Version, f.Location, err))
			}
		}
		if c.Origin != nil {
			fill(c.Origin)
		}
		for i := range c.Predecessors {
			fill(&c.Predecessors[i])
		}
	}
	for i := range lock.Components {
		fill(&lock.Components[i])
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return errors.Join(failures...)
}

func copyFile(ctx context.Context, dir, digest string, from Transport) error {
	sum, err := source.ParseDigest(digest)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "sha256", sum)
	if sound(name, sum) {
		return nil
	}
	r, err := from.open(ctx, sum)
	if err != nil {
		return err
	}
	defer r.Close()
	return atomicfile.Write(name, 0o444, func(w io.Writer) error {
		_, err := io.Copy(w, r) // the reader fails at the end of other content
		return err
	})
}

func sound(name, sum string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == sum
}
