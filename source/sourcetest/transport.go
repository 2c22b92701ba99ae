// Package sourcetest holds the conformance suites of this stage's interfaces,
// for those who write a transport or a proof engine of their own.
//
// Each Check function returns what is wrong, so that a suite can itself be
// proven on an implementation that is; each Test function reports it.
package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"testing"

	"github.com/cleanstart/cleanstart/source"
)

// Place is a location that a transport under test can open.
type Place struct {
	Ref     *url.URL
	Content []byte
	Missing *url.URL // a location of the same kind that holds nothing
	Foreign *url.URL // a location that is not the transport's; default: "nowhere:x"
}

// TestTransport reports what [CheckTransport] finds.
func TestTransport(t *testing.T, tr source.Transport, p Place) {
	t.Helper()
	if err := CheckTransport(tr, p); err != nil {
		t.Error(err)
	}
}

// CheckTransport opens a location whole, in parts, twice at once and with a
// cancelled context, and one that holds nothing, and joins what went wrong.
func CheckTransport(tr source.Transport, p Place) error {
	var bad []error
	fail := func(format string, a ...any) { bad = append(bad, fmt.Errorf(format, a...)) }
	ctx := context.Background()

	read := func() error {
		r, err := tr.Open(ctx, p.Ref)
		if err != nil {
			return fmt.Errorf("opening %s: %w", p.Ref, err)
		}
		if s, ok := r.(interface{ Size() int64 }); ok && s.Size() >= 0 && s.Size() != int64(len(p.Content)) {
			return fmt.Errorf("size is %d before reading, want %d", s.Size(), len(p.Content))
		}
		got, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if !bytes.Equal(got, p.Content) {
			return fmt.Errorf("read %d bytes that are not the %d expected", len(got), len(p.Content))
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			return fmt.Errorf("reading after the end gives %d, %v, want io.EOF", n, err)
		}
		if err := r.Close(); err != nil {
			return fmt.Errorf("closing: %w", err)
		}
		return nil
	}
	if err := read(); err != nil {
		fail("%w", err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := read(); err != nil {
				mu.Lock()
				fail("two at once: %w", err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()

	if r, err := tr.Open(ctx, p.Ref); err == nil {
		if _, err := r.Read(make([]byte, 1)); err != nil && err != io.EOF {
			fail("first Read of one byte: %w", err)
		}
		if err := r.Close(); err != nil {
			fail("closing before the end: %w", err)
		}
	}

	for name, ref := range map[string]*url.URL{"missing": p.Missing, "foreign": orNowhere(p.Foreign)} {
		if ref == nil {
			continue
		}
		if err := opened(ctx, tr, ref); err == nil {
			fail("%s location %s: opened and read to the end", name, ref)
		}
	}

	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := opened(gone, tr, p.Ref); !errors.Is(err, context.Canceled) {
		fail("opening with a cancelled context: %v, want context.Canceled", err)
	}
	return errors.Join(bad...)
}

// opened opens and reads a location, and gives the first error.
func opened(ctx context.Context, tr source.Transport, ref *url.URL) error {
	r, err := tr.Open(ctx, ref)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

func orNowhere(u *url.URL) *url.URL {
	if u != nil {
		return u
	}
	return &url.URL{Scheme: "nowhere", Opaque: "x"}
}
