package source

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"sync"
)

// packed is an archive to unpack. Both methods wait for what is still to come.
type packed interface {
	io.ReaderAt
	Size() (int64, error)
}

// whole is a file that is there.
type whole struct{ *os.File }

func (w whole) Size() (int64, error) {
	info, err := w.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// arriving is a file that is read while another goroutine writes it. All that
// is written passes Write, and finish is called once, at the end.
type arriving struct {
	file *os.File // for reading
	mu   sync.Mutex
	more sync.Cond
	n    int64 // bytes that are there
	end  error // why no more come: io.EOF after the last
}

func newArriving(name string) (*arriving, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	a := &arriving{file: f}
	a.more.L = &a.mu
	return a, nil
}

// Write tells that p was written to the file.
func (a *arriving) Write(p []byte) (int, error) {
	a.mu.Lock()
	a.n += int64(len(p))
	a.mu.Unlock()
	a.more.Broadcast()
	return len(p), nil
}

func (a *arriving) finish(err error) {
	a.mu.Lock()
	if err == nil {
		err = io.EOF
	}
	a.end = err
	a.mu.Unlock()
	a.more.Broadcast()
}

// wait returns when the first n bytes are there or no more come, and says how
// many there are.
func (a *arriving) wait(n int64) (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.n < n && a.end == nil {
		a.more.Wait()
	}
	return a.n, a.end
}

func (a *arriving) ReadAt(p []byte, off int64) (int, error) {
	have, end := a.wait(off + int64(len(p)))
	if have >= off+int64(len(p)) {
		return a.file.ReadAt(p, off)
	}
	n, err := a.file.ReadAt(p[:max(0, have-off)], off)
	if err == nil {
		err = end
	}
	return n, err
}

func (a *arriving) Size() (int64, error) {
	n, end := a.wait(math.MaxInt64)
	if end != io.EOF {
		return 0, end
	}
	return n, nil
}

func (a *arriving) Close() error { return a.file.Close() }

// extracting is an extraction into a private directory that goes on beside the
// download and the verification of its archive. What it makes is no tree until
// the policy has accepted the archive.
type extracting struct {
	dir    string // all of it
	sum    bool   // whether the manifest names the archive
	cancel context.CancelFunc
	done   chan struct{}

	// When done.
	m    *manifest
	tree string
	err  error
}

// begin starts to unpack, and closes the archive at the end. The manifest will
// have its digest if sum is set, as it must be unless nobody else can write to
// the file.
func (s *session) begin(ctx context.Context, archive interface {
	packed
	io.Closer
}, sum bool) (*extracting, error) {
	dir, err := os.MkdirTemp(s.work.dir, "tree-*")
	if err != nil {
		return nil, errors.Join(err, archive.Close())
	}
	u := &extracting{dir: dir, sum: sum, done: make(chan struct{})}
	ctx, u.cancel = context.WithCancel(ctx)
	go func() {
		defer close(u.done)
		defer u.cancel()
		defer archive.Close()
		u.m, u.tree, u.err = extract(ctx, archive, sum, dir, s.o.Limits, s.c.Policy.directory())
	}()
	return u, nil
}

func (u *extracting) wait() (*manifest, string, error) {
	<-u.done
	return u.m, u.tree, u.err
}

// stop ends it and removes what it made.
func (u *extracting) stop() error {
	if u == nil {
		return nil
	}
	u.cancel()
	<-u.done
	return removeAll(u.dir)
}

// early says whether to unpack an archive of which no more is known than
// where it comes from and, perhaps, its digest: whether no tree of it is there.
func (s *session) early(location string, archive *content) bool {
	if s.o.VerifyFirst {
		return false
	}
	hex := archive.hex
	if hex == "" {
		hex = s.cache.recall(location)
	}
	if hex == "" {
		return true
	}
	_, err := os.Lstat(s.cache.tree(hex, s.c.Policy.directory()) + ".manifest")
	return err != nil
}
