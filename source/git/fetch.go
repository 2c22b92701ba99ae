package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/internal/gitsnap"
	"github.com/cleanstart/cleanstart/internal/run"
	"github.com/cleanstart/cleanstart/source"
)

// maxHead bounds a tag or commit object, and a list of references.
const maxHead = 1 << 20

// config is given to every git: a server chooses nothing but bytes.
var config = []string{
	"protocol.allow=never",
	"protocol.version=2",
	"transfer.fsckObjects=true",
	"credential.helper=",
	"core.askPass=/bin/false",
	"core.hooksPath=/dev/null",
	"core.fsmonitor=false",
	"gc.auto=0",
	"maintenance.auto=false",
	"fetch.unpackLimit=1",          // a pack is a pack: what is written is what was sent
	"core.bigFileThreshold=16m",    // larger ones are streamed
	"core.packedGitWindowSize=16m", // and little is kept of any
}

// fetch is one repository in the making: that of the component and those of
// its submodules, whose objects have different ids and so do not mix.
type fetch struct {
	dir        string // of its own; holds the repository
	path       string
	env        []string
	submodules bool
	most       int64 // bytes that may be fetched
	limits     gitsnap.Limits
	format     string
	refs       int
	objects    *objects
}

func (f *fetch) repository() string { return filepath.Join(f.dir, "repository") }

func (f *fetch) command(protocol string, args ...string) run.Command {
	c := run.Command{Tool: "git", Path: f.path, Dir: f.dir, Env: f.env}
	for _, kv := range config {
		c.Args = append(c.Args, "-c", kv)
	}
	if protocol != "" {
		c.Args = append(c.Args, "-c", "protocol."+protocol+".allow=always")
	}
	if f.format != "" {
		c.Args = append(c.Args, "--git-dir="+f.repository())
	}
	c.Args = append(c.Args, args...)
	return c
}

// output is what a git that says little says.
func (f *fetch) output(ctx context.Context, protocol string, args ...string) ([]byte, error) {
	c := f.command(protocol, args...)
	b := &limited{most: maxHead}
	c.Stdout = b
	if err := c.Run(ctx); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type limited struct {
	bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > l.most {
		return 0, fmt.Errorf("%w: git says more than %d bytes", source.ErrTooLarge, l.most)
	}
	return l.Buffer.Write(p)
}

// snapshot fetches what is asked for, and gives all of a snapshot but its
// files, which are among f.objects.
func (f *fetch) snapshot(ctx context.Context, loc location, want target) (*gitsnap.Snapshot, error) {
	var err error
	id := want.id
	if want.tag == "" {
		err = f.init(ctx, want.format)
	} else if loc.bundle != "" {
		if err = f.init(ctx, loc.bundle); err == nil {
			id, err = f.find(ctx, loc, want.tag)
		}
	} else if id, err = f.find(ctx, loc, want.tag); err == nil {
		err = f.init(ctx, formatOf(id))
	}
	if err != nil {
		return nil, err
	}
	if want.tag != "" {
		err = f.get(ctx, loc, id)
	} else {
		err = f.getCommit(ctx, loc, id)
	}
	if err != nil {
		return nil, err
	}
	s := &gitsnap.Snapshot{Format: f.format}
	kind, size, _, err := f.objects.Object(ctx, id)
	if err != nil {
		return nil, err
	}
	if size > maxHead {
		return nil, fmt.Errorf("%w: %s is a %s of %d bytes", source.ErrTooLarge, id, kind, size)
	}
	if kind == "tag" && want.tag != "" {
		if s.Tag, err = gitsnap.ReadObject(ctx, f.objects, id, "tag", maxHead); err != nil {
			return nil, err
		}
	}
	commit := id + "^{commit}"
	if s.Commit, err = gitsnap.ReadObject(ctx, f.objects, commit, "commit", maxHead); err != nil {
		return nil, err
	}
	m := &modules{fetch: f, snap: s}
	if err := m.collect(ctx, loc, commit, "", 0); err != nil {
		return nil, err
	}
	return s, nil
}

func formatOf(id string) string {
	if len(id) == 64 {
		return "sha256"
	}
	return "sha1"
}

func (f *fetch) init(ctx context.Context, format string) error {
	_, err := f.output(ctx, "", "init", "--quiet", "--bare", "--template=", "--object-format="+format, f.repository())
	if err == nil {
		f.format = format
		f.objects = &objects{fetch: f}
	}
	return err
}

// find asks for the id of exactly this tag. git itself would take a branch
// of a like name where there is no such tag.
func (f *fetch) find(ctx context.Context, loc location, tag string) (string, error) {
	ref := "refs/tags/" + tag
	list, err := f.output(ctx, loc.protocol, "ls-remote", "--quiet", "--", loc.remote(), ref)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(list)) {
		id, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if name == ref && isID(id) {
			return id, nil
		}
	}
	return "", fmt.Errorf("tag %s of %s: %w", tag, loc.url.Redacted(), fs.ErrNotExist)
}

func isID(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// get fetches an object that a reference of the server names: alone, where
// the server can do that, or with its history.
func (f *fetch) get(ctx context.Context, loc location, id string) error {
	f.refs++
	spec := fmt.Sprintf("+%s:refs/fetched/%d", id, f.refs)
	first := f.fetch(ctx, loc, true, spec)
	if first == nil || context.Cause(ctx) != nil || errors.Is(first, source.ErrTooLarge) {
		return first
	}
	if err := f.fetch(ctx, loc, false, spec); err != nil {
		return errors.Join(first, err)
	}
	return nil
}

// getCommit fetches a commit that need not be the tip of anything. Where the
// server does not give it by its id, all branches and tags are fetched.
func (f *fetch) getCommit(ctx context.Context, loc location, id string) error {
	f.refs++
	first := f.fetch(ctx, loc, true, fmt.Sprintf("+%s:refs/fetched/%d", id, f.refs))
	if first == nil || context.Cause(ctx) != nil || errors.Is(first, source.ErrTooLarge) {
		return first
	}
	into := fmt.Sprintf("refs/fetched/%d/", f.refs)
	if err := f.fetch(ctx, loc, false, "+refs/heads/*:"+into+"heads/*", "+refs/tags/*:"+into+"tags/*"); err != nil {
		return errors.Join(first, err)
	}
	if _, _, _, err := f.objects.Object(ctx, id); err != nil {
		return errors.Join(first, fmt.Errorf("commit %s of %s: %w", id, loc.url.Redacted(), err))
	}
	return nil
}

// fetch runs git fetch while the directory stays within its limit.
func (f *fetch) fetch(ctx context.Context, loc location, shallow bool, specs ...string) error {
	args := []string{"fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"}
	if shallow {
		args = append(args, "--depth=1")
	}
	c := f.command(loc.protocol, append(append(args, "--", loc.remote()), specs...)...)
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if n := size(f.dir); n > f.most {
				cancel(fmt.Errorf("%w of %d bytes fetched", source.ErrTooLarge, f.most))
				return
			}
		}
	}()
	err := c.Run(ctx)
	cancel(nil)
	<-watched
	if n := size(f.dir); err == nil && n > f.most {
		return fmt.Errorf("%w of %d bytes fetched", source.ErrTooLarge, f.most)
	}
	return err
}

// size is how much a directory holds, as far as it can be seen while it
// changes.
func size(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// close ends git and removes the repository.
func (f *fetch) close() error {
	if f.objects != nil {
		f.objects.close()
	}
	return os.RemoveAll(f.dir)
}
