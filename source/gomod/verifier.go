package gomod

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"

	"github.com/cleanstart/cleanstart/source"
)

// States that a caller may want to tell apart.
var (
	ErrLog  = errors.New("checksum database does not vouch for the module")
	ErrHash = errors.New("module is not the one that the checksum database holds")
)

// known are the verifier keys of databases by name.
var known = map[string]string{
	"sum.golang.org": "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
}

// Verifier looks modules up in the database that Policy.Log names, and proves
// nothing for a policy that names none.
type Verifier struct {
	// Proxies and HTTP are as Transport has them: a database is read through a
	// proxy that carries it, else at its own address.
	Proxies []string
	HTTP    source.Transport
	// Cache is a directory for tiles and the newest tree head, against which
	// later answers must be consistent. Required.
	Cache string
}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier]. Errors wrap [ErrLog], [ErrHash] or
// [source.ErrFormat].
func (v Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	if s.Policy.Log == "" || s.Policy.Module == "" {
		return nil, nil
	}
	m, err := parseModule(s.Policy.Module)
	if err != nil {
		return nil, fmt.Errorf("policy: module: %w", err)
	}
	key := s.Policy.Log
	if k, ok := known[key]; ok {
		key = k
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("%w: policy: log: %q is neither a known name nor a verifier key", ErrLog, s.Policy.Log)
	}
	got, err := hash(ctx, s, m)
	if err != nil {
		return nil, err
	}
	want, err := v.lookup(ctx, m, verifier.Name(), key)
	if err != nil {
		return nil, err
	}
	if got != want {
		return nil, fmt.Errorf("%w: %s has %s, %s says %s", ErrHash, s.Policy.Module, got, verifier.Name(), want)
	}
	return []source.Proof{{
		Grade:       source.Logged,
		Mechanism:   "gosum",
		Digest:      s.Digest,
		Hash:        "SHA-256",
		Log:         verifier.Name(),
		Description: s.Policy.Module + " " + got,
	}}, nil
}

// hash gives the h1: hash of the zip's files, all of which must be the
// module's.
func hash(ctx context.Context, s source.Subject, m module.Version) (string, error) {
	if got, err := s.Rehash(ctx); err != nil {
		return "", err
	} else if got != s.Digest {
		return "", &source.DigestError{Want: s.Digest, Got: got}
	}
	r, err := s.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	z, err := zip.NewReader(&readerAt{r: r}, size)
	if err != nil {
		return "", fmt.Errorf("%w: %w", source.ErrFormat, err)
	}
	prefix := m.String() + "/"
	byName := make(map[string]*zip.File, len(z.File))
	var names []string
	limit := source.DefaultLimits()
	if len(z.File) > limit.Files {
		return "", fmt.Errorf("%w of %d entries", source.ErrTooLarge, limit.Files)
	}
	for _, f := range z.File {
		if !strings.HasPrefix(f.Name, prefix) || byName[f.Name] != nil {
			return "", fmt.Errorf("%w: %q is not a file of %s, or is there twice", source.ErrFormat, f.Name, m)
		}
		byName[f.Name] = f
		names = append(names, f.Name)
	}
	slices.Sort(names)
	total := limit.Tree
	return dirhash.Hash1(names, func(name string) (io.ReadCloser, error) {
		f, err := byName[name].Open()
		if err != nil {
			return nil, err
		}
		return &bounded{ctx, f, &total}, nil
	})
}

// bounded reads one of several files that share a limit.
type bounded struct {
	ctx context.Context
	io.ReadCloser
	left *int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := context.Cause(b.ctx); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return 0, source.ErrTooLarge
	}
	return n, err
}

// readerAt reads at an offset by seeking.
type readerAt struct {
	mu sync.Mutex
	r  io.ReadSeeker
}

func (r *readerAt) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.r.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r.r, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// lookup gives the h1: hash that the database holds for the module's zip.
func (v Verifier) lookup(ctx context.Context, m module.Version, name, key string) (string, error) {
	if v.Cache == "" {
		return "", fmt.Errorf("%w: no cache directory", ErrLog)
	}
	ops := &ops{ctx: ctx, v: v, name: name, key: key}
	lines, err := sumdb.NewClient(ops).Lookup(m.Path, m.Version)
	if cause := context.Cause(ctx); cause != nil {
		return "", cause
	}
	if misbehaved := ops.misbehaved(); misbehaved != nil {
		return "", misbehaved
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrLog, m, err)
	}
	for _, line := range lines {
		if h, ok := strings.CutPrefix(line, m.Path+" "+m.Version+" "); ok {
			return h, nil
		}
	}
	return "", fmt.Errorf("%w: it has no hash of %s", ErrLog, m)
}
