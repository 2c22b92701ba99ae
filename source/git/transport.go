package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cleanstart/cleanstart/internal/gitsnap"
	"github.com/cleanstart/cleanstart/internal/run"
	"github.com/cleanstart/cleanstart/source"
)

// Transport opens git+https, git+http, git+ssh and git+file URLs, whose
// fragment is tag=NAME, commit=sha1:HEX or commit=sha256:HEX. A git+file URL
// names a repository's directory or a bundle. Dir is required. A value may be
// shared by concurrent calls.
type Transport struct {
	// Dir is a directory, made when it does not exist, for the repositories
	// in which fetching happens. Nothing is written elsewhere.
	Dir string
	// Path is the directories, separated by colons, in which git and what it
	// needs are found. Default: /usr/local/bin:/usr/bin:/bin.
	Path string
	// Env holds variables of the names in [Variables], as NAME=VALUE, for git
	// and ssh. Default: none; no proxy, the system's certificates, and ssh
	// asking nothing and connecting to known hosts only.
	Env []string
	// NoSubmodules refuses repositories that have submodules, since a snapshot
	// without them could not be verified. Default: they are fetched.
	NoSubmodules bool
	// Timeout bounds one Open, its reading included. Default: half an hour.
	Timeout time.Duration
	// Limits bounds what is fetched (Archive) and what a snapshot may hold
	// (Tree, Files, Depth). Default for each: that of source.DefaultLimits.
	Limits source.Limits
}

var _ source.Transport = (*Transport)(nil)

// ErrNoGit says that the system has no git.
var ErrNoGit = errors.New("git is needed: install the package git, or set Transport.Path")

// ErrTimeout says that Transport.Timeout ended a fetch.
var ErrTimeout = errors.New("fetching from git took too long")

// ErrLocation says that a location is not one that this transport opens.
var ErrLocation = errors.New("not a location of a git tag or commit")

// ErrSubmodule says that a submodule cannot be fetched.
var ErrSubmodule = errors.New("submodule cannot be fetched")

var errClosed = errors.New("reader is closed")

// Open implements [source.Transport]. Fetching is done when it returns; the
// snapshot is made as it is read. The error wraps [fs.ErrNotExist] where the
// repository has no such tag.
func (t *Transport) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	loc, want, err := parse(ref)
	if err != nil {
		return nil, err
	}
	if t.Dir == "" {
		return nil, errors.New("git transport: no directory to work in")
	}
	env, err := environment(t.Env)
	if err != nil {
		return nil, err
	}
	if _, err := run.Find("git", t.Path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoGit, err)
	}
	f, err := t.newFetch(env)
	if err != nil {
		return nil, err
	}
	timeout := t.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Minute
	}
	ctx, stop := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	end := func() error {
		stop()
		return f.close()
	}
	snap, err := f.snapshot(ctx, loc, want)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, errors.Join(large(err), end())
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := gitsnap.Write(ctx, w, snap, f.objects, f.limits)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		w.CloseWithError(large(err))
	}()
	return &reader{PipeReader: r, end: sync.OnceValue(func() error {
		stop()
		r.CloseWithError(errClosed)
		<-done
		return end()
	})}, nil
}

// reader is a snapshot in the making.
type reader struct {
	*io.PipeReader
	end func() error
}

// Close ends the snapshot's making and removes the repository.
func (r *reader) Close() error { return r.end() }

// large says it in the words of the package that callers know.
func large(err error) error {
	if errors.Is(err, gitsnap.ErrTooLarge) {
		return fmt.Errorf("%w: %w", source.ErrTooLarge, err)
	}
	return err
}

// newFetch makes the directory of one fetch.
func (t *Transport) newFetch(env []string) (*fetch, error) {
	if err := os.MkdirAll(t.Dir, 0o777); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(t.Dir)
	if err != nil {
		return nil, err
	}
	if dir, err = os.MkdirTemp(dir, "git-*"); err != nil {
		return nil, err
	}
	path := t.Path
	if path == "" {
		path = run.DefaultPath
	}
	d := source.DefaultLimits()
	f := &fetch{dir: dir, path: path, submodules: !t.NoSubmodules, most: or(t.Limits.Archive, d.Archive),
		limits: gitsnap.Limits{Bytes: or(t.Limits.Tree, d.Tree), Files: or(t.Limits.Files, d.Files), Depth: or(t.Limits.Depth, d.Depth)}}
	// Later ones win, so what the caller gave overrides only what it may.
	f.env = append([]string{"HOME=" + dir, "GIT_SSH_COMMAND=ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"}, env...)
	f.env = append(f.env,
		"PATH="+path, "LC_ALL=C", "TZ=UTC", "TMPDIR="+dir, "XDG_CONFIG_HOME="+dir,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false", "SSH_ASKPASS=/bin/false",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	return f, nil
}

func or[T int | int64](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}
