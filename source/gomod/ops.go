package gomod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/internal/filelock"
	"github.com/cleanstart/cleanstart/source"
)

const maxAnswer = 4 << 20

// ops is what the database's client needs of the world, for one lookup.
type ops struct {
	ctx       context.Context // of the lookup, which waits for it
	v         Verifier
	name, key string

	mu     sync.Mutex
	alarms []string
}

var _ sumdb.ClientOps = (*ops)(nil)

// ReadRemote reads from the proxies that carry the database, then from the
// database itself.
func (o *ops) ReadRemote(path string) ([]byte, error) {
	var bases []string
	for _, p := range o.v.Proxies {
		bases = append(bases, strings.TrimSuffix(p, "/")+"/sumdb/"+o.name)
	}
	r, err := first(o.ctx, o.v.HTTP, append(bases, "https://"+o.name), path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err == nil && len(b) > maxAnswer {
		err = fmt.Errorf("%s: %w of %d bytes", path, source.ErrTooLarge, maxAnswer)
	}
	return b, err
}

func (o *ops) file(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("%q: %w", name, fs.ErrInvalid)
	}
	return filepath.Join(o.v.Cache, filepath.FromSlash(name)), nil
}

// ReadConfig gives the key, or the newest tree head that was seen.
func (o *ops) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(o.key), nil
	}
	name, err := o.file(file)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// WriteConfig keeps the newest tree head, unless another process was first.
func (o *ops) WriteConfig(file string, old, new []byte) error {
	name, err := o.file(file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	unlock, err := filelock.Lock(o.ctx, name+".lock", false)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := o.ReadConfig(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, old) {
		return sumdb.ErrWriteConflict
	}
	return atomicfile.WriteBytes(name, 0o644, new)
}

// ReadCache reads a tile or an answer, whose signatures are checked again.
func (o *ops) ReadCache(file string) ([]byte, error) {
	name, err := o.file(file)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxAnswer))
}

// WriteCache keeps a tile or an answer; without it, it is fetched again.
func (o *ops) WriteCache(file string, data []byte) {
	name, err := o.file(file)
	if err == nil && os.MkdirAll(filepath.Dir(name), 0o777) == nil {
		_ = atomicfile.WriteBytes(name, 0o644, data)
	}
}

// Log is for a person who watches; nothing is decided by it.
func (o *ops) Log(string) {}

// SecurityError is told that the database contradicts itself.
func (o *ops) SecurityError(msg string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.alarms = append(o.alarms, msg)
}

func (o *ops) misbehaved() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.alarms) == 0 {
		return nil
	}
	return fmt.Errorf("%w: it misbehaves: %s", ErrLog, strings.Join(o.alarms, "\n"))
}
