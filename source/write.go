package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"runtime"
	"sync"
)

// writer creates the files of one tree below a directory that nobody else
// writes to. Small files are hashed and created by a few goroutines while the
// archive is read on; memory is bounded by the buffers they pass around.
//
// Every name is created relative to its own directory, which is open, so
// nothing is ever created through a link.
type writer struct {
	root    *os.Root
	masked  os.FileMode // permission bits that the umask takes away
	dirs    map[string]*folder
	jobs    chan job
	free    chan []byte
	buf     []byte // for large files
	workers sync.WaitGroup
	pending sync.WaitGroup

	mu  sync.Mutex
	err error // the first of a job
}

// folder is an open directory of the tree.
type folder struct {
	*os.Root
	handle // how the system makes small files in it quickly
}

// job is a small file, whole in memory.
type job struct {
	dir  *folder
	e    *entry
	body []byte
}

const (
	smallFile = 128 << 10
	inFlight  = 32 // small files
	openDirs  = 64
)

func newWriter(root *os.Root) (*writer, error) {
	masked, err := umask(root)
	if err != nil {
		return nil, err
	}
	w := &writer{root: root, masked: masked, dirs: map[string]*folder{},
		jobs: make(chan job, inFlight), free: make(chan []byte, inFlight), buf: make([]byte, step)}
	for range inFlight {
		w.free <- nil // made when first needed
	}
	for range min(runtime.GOMAXPROCS(0), 4) {
		w.workers.Go(func() {
			for j := range w.jobs {
				if w.failed() == nil {
					w.fail(w.create(j.dir, j.e, j.body, nil))
				}
				w.free <- j.body[:0]
				w.pending.Done()
			}
		})
	}
	return w, nil
}

// umask says which permission bits a new file does not get, by making one:
// asking the process would change it.
func umask(root *os.Root) (os.FileMode, error) {
	const name = "umask"
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o777)
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	return 0o777 &^ modeOf(info), errors.Join(err, f.Close(), root.Remove(name))
}

func modeOf(info os.FileInfo) os.FileMode {
	if info == nil {
		return 0
	}
	return info.Mode().Perm()
}

func (w *writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// wait returns when all files so far are there.
func (w *writer) wait() error {
	w.pending.Wait()
	return w.failed()
}

// Close waits and releases what is open. It does not close the root.
func (w *writer) Close() error {
	close(w.jobs)
	w.workers.Wait()
	return errors.Join(w.failed(), w.closeDirs())
}

func (w *writer) closeDirs() error {
	var errs []error
	for name, d := range w.dirs {
		errs = append(errs, d.handle.close())
		if name != "." {
			errs = append(errs, d.Close())
		}
	}
	clear(w.dirs)
	return errors.Join(errs...)
}

// dir gives an open directory, which stays open until all files that were
// started in it are done.
func (w *writer) dir(name string) (*folder, error) {
	if d := w.dirs[name]; d != nil {
		return d, nil
	}
	if len(w.dirs) >= openDirs {
		if err := w.wait(); err != nil {
			return nil, err
		}
		if err := w.closeDirs(); err != nil {
			return nil, err
		}
	}
	root := w.root
	if name != "." {
		var err error
		if root, err = w.root.OpenRoot(name); err != nil {
			return nil, err
		}
	}
	h, err := newHandle(root)
	if err != nil {
		if name != "." {
			err = errors.Join(err, root.Close())
		}
		return nil, err
	}
	d := &folder{root, h}
	w.dirs[name] = d
	return d, nil
}

func (w *writer) mkdir(name string) error {
	d, err := w.dir(path.Dir(name))
	if err != nil {
		return err
	}
	return d.Mkdir(path.Base(name), 0o755)
}

func (w *writer) symlink(e *entry) error {
	d, err := w.dir(path.Dir(e.name))
	if err != nil {
		return err
	}
	return d.Symlink(e.target, path.Base(e.name))
}

// open reads a file that was written.
func (w *writer) open(e *entry) (*os.File, error) {
	if err := w.wait(); err != nil {
		return nil, err
	}
	d, err := w.dir(path.Dir(e.name))
	if err != nil {
		return nil, err
	}
	return d.Open(path.Base(e.name))
}

// file writes what r yields, which is e.size bytes, and sets e.sum before the
// next wait returns.
func (w *writer) file(ctx context.Context, e *entry, r io.Reader) error {
	d, err := w.dir(path.Dir(e.name))
	if err != nil {
		return err
	}
	if e.size > smallFile {
		return w.create(d, e, nil, &bounded{ctx: ctx, r: r, n: e.size})
	}
	if err := w.failed(); err != nil {
		return err
	}
	buf := <-w.free
	if int64(cap(buf)) < e.size {
		buf = make([]byte, 0, max(8<<10, min(2*e.size, smallFile)))
	}
	body := buf[:e.size]
	if err := readExactly(r, body); err != nil {
		w.free <- buf
		return err
	}
	w.pending.Add(1)
	w.jobs <- job{d, e, body}
	return nil
}

// create makes the file of body or, where that is not nil, of what r yields.
func (w *writer) create(d *folder, e *entry, body []byte, r io.Reader) (err error) {
	base, mode := path.Base(e.name), fileMode(e.kind)
	if r == nil {
		sum := sha256.Sum256(body)
		e.sum = hex.EncodeToString(sum[:])
		return d.small(d.Root, base, mode, mode&w.masked != 0, e.mtime, body)
	}
	f, err := d.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	h := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(h, f), r, w.buf); err != nil {
		return formatError(err)
	}
	e.sum = hex.EncodeToString(h.Sum(nil))
	if mode&w.masked != 0 {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	return d.Chtimes(base, e.mtime, e.mtime)
}

// readExactly fills b and fails unless r ends there, well.
func readExactly(r io.Reader, b []byte) error {
	if _, err := io.ReadFull(r, b); err != nil {
		return formatError(unexpected(err))
	}
	var more [1]byte
	if n, err := r.Read(more[:]); n != 0 || err != io.EOF {
		return formatError(errors.Join(errLonger, err))
	}
	return nil
}

var errLonger = errors.New("more content than its size says")

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// bounded reads n bytes and the end behind them, or fails.
type bounded struct {
	ctx context.Context
	r   io.Reader
	n   int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := context.Cause(b.ctx); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.n -= int64(n)
	switch {
	case b.n < 0:
		return 0, errLonger
	case err == io.EOF && b.n > 0:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
