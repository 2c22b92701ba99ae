package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/source"
)

// opener is a transport that is a function.
type opener func(ctx context.Context, ref *url.URL) (io.ReadCloser, error)

func (f opener) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) { return f(ctx, ref) }

// stages gives its parts in turn, calling before ahead of each but the first.
type stages struct {
	parts  []io.Reader
	before func() error
}

func (s *stages) Read(p []byte) (int, error) {
	n, err := s.parts[0].Read(p)
	if n > 0 || err != io.EOF || len(s.parts) == 1 {
		return n, err
	}
	s.parts = s.parts[1:]
	return 0, s.before()
}

// large is a release of many files, uncompressed.
func large(t testing.TB) []byte { return pack(t, release(400), "tar") }

// private lists what lies in the work directories of a cache.
func private(t testing.TB, cache string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(cache, "tmp", "work-*", "tree-*", "demo-1.0", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// nothing fails the test if the cache holds an archive, a tree or unfinished
// work.
func nothing(t testing.TB, cache string) {
	t.Helper()
	for _, pattern := range []string{"tmp/work-*", "trees/sha256/*", "archives/sha256/*", "places/sha256/*"} {
		if names, _ := filepath.Glob(filepath.Join(cache, pattern)); len(names) > 0 {
			t.Errorf("left behind: %v", names)
		}
	}
}

// TestOnePass: an archive is unpacked while it arrives, in private.
func TestOnePass(t *testing.T) {
	packed := large(t)
	o := options(t, nil)
	half := len(packed) / 2
	o.Transports["mem"] = opener(func(context.Context, *url.URL) (io.ReadCloser, error) {
		wait := func() error {
			for deadline := time.Now().Add(time.Minute); len(private(t, o.Cache)) == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					return errors.New("nothing is unpacked before the rest arrives")
				}
			}
			if trees, _ := filepath.Glob(filepath.Join(o.Cache, "trees", "sha256", "*")); len(trees) > 0 {
				return fmt.Errorf("there is a tree before its archive: %v", trees)
			}
			return nil
		}
		return io.NopCloser(&stages{[]io.Reader{bytes.NewReader(packed[:half]), bytes.NewReader(packed[half:])}, wait}), nil
	})
	tree, err := source.Verify(t.Context(), pinnedTo(packed, "mem:a"), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Check(t.Context()); err != nil {
		t.Error(err)
	}
	first := o
	first.Cache = writableTempDir(t)
	first.VerifyFirst = true
	first.Transports = map[string]source.Transport{"mem": &memory{files: map[string][]byte{"mem:a": packed}}}
	again, err := source.Verify(t.Context(), pinnedTo(packed, "mem:a"), first)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest() != tree.Digest() {
		t.Errorf("verified first it is %s, else %s", again.Digest(), tree.Digest())
	}
}

// TestOnePassRefused: what was unpacked of an archive that is refused, or does
// not arrive, is gone; and what is said is why it was refused, whatever the
// unpacker thought of it.
func TestOnePassRefused(t *testing.T) {
	packed := large(t)
	cut := errors.New("the line is cut")
	for _, format := range []string{"tar", "tar.gz", "tar.zst", "zip"} {
		for name, c := range map[string]struct {
			give func(packed []byte) io.Reader
			want func(err error) bool
		}{
			"another archive": {
				func(packed []byte) io.Reader { return bytes.NewReader(append([]byte{}, packed[:len(packed)-1]...)) },
				func(err error) bool {
					return errors.As(err, new(*source.DigestError)) && !errors.Is(err, source.ErrFormat)
				},
			},
			"no archive": {
				func([]byte) io.Reader { return strings.NewReader("nothing of the sort") },
				func(err error) bool {
					return errors.As(err, new(*source.DigestError)) && !errors.Is(err, source.ErrFormat)
				},
			},
			"cut": {
				func(packed []byte) io.Reader {
					return &stages{[]io.Reader{bytes.NewReader(packed[:len(packed)/2]), bytes.NewReader(nil)}, func() error { return cut }}
				},
				func(err error) bool { return errors.Is(err, cut) },
			},
		} {
			t.Run(format+"/"+name, func(t *testing.T) {
				packed := pack(t, release(100), format)
				o := options(t, nil)
				o.Transports["mem"] = opener(func(context.Context, *url.URL) (io.ReadCloser, error) {
					return io.NopCloser(c.give(packed)), nil
				})
				_, err := source.Verify(t.Context(), pinnedTo(packed, "mem:a"), o)
				if !c.want(err) {
					t.Errorf("got %v", err)
				}
				nothing(t, o.Cache)
			})
		}
	}
	t.Run("signature", func(t *testing.T) {
		o := options(t, &memory{files: map[string][]byte{"mem:a": packed}})
		refuse := errors.New("refused")
		o.Verifiers = []source.Verifier{judge(func(source.Subject) ([]source.Proof, error) { return nil, refuse })}
		if _, err := source.Verify(t.Context(), pinnedTo(packed, "mem:a"), o); !errors.Is(err, refuse) {
			t.Errorf("got %v", err)
		}
		nothing(t, o.Cache)
	})
	t.Run("cancelled", func(t *testing.T) {
		o := options(t, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		o.Transports["mem"] = opener(func(context.Context, *url.URL) (io.ReadCloser, error) {
			half := bytes.NewReader(packed[:len(packed)/2])
			return io.NopCloser(&stages{[]io.Reader{half, bytes.NewReader(packed)}, func() error { cancel(cut); return nil }}), nil
		})
		if _, err := source.Verify(ctx, pinnedTo(packed, "mem:a"), o); !errors.Is(err, cut) {
			t.Errorf("got %v", err)
		}
		nothing(t, o.Cache)
	})
}

type judge func(source.Subject) ([]source.Proof, error)

func (j judge) Verify(_ context.Context, s source.Subject) ([]source.Proof, error) { return j(s) }

// TestVerifyFirst: with it, nothing is unpacked before the verdict.
func TestVerifyFirst(t *testing.T) {
	packed := large(t)
	for _, first := range []bool{false, true} {
		for _, cached := range []bool{false, true} {
			o := options(t, &memory{files: map[string][]byte{"mem:a": packed}})
			c := pinnedTo(packed, "mem:a")
			if cached {
				tree, err := source.Verify(t.Context(), c, o)
				if err != nil {
					t.Fatal(err)
				}
				os.Remove(tree.Dir() + ".manifest")
			}
			o.VerifyFirst = first
			seen := false
			o.Verifiers = append(o.Verifiers, judge(func(source.Subject) ([]source.Proof, error) {
				for deadline := time.Now().Add(time.Minute); !first && len(private(t, o.Cache)) == 0 && time.Now().Before(deadline); {
					time.Sleep(time.Millisecond)
				}
				seen = len(private(t, o.Cache)) > 0
				return nil, nil
			}))
			if _, err := source.Verify(t.Context(), c, o); err != nil {
				t.Fatal(err)
			}
			if seen == first {
				t.Errorf("first %v, cached %v: unpacked before the verdict: %v", first, cached, seen)
			}
		}
	}
}
