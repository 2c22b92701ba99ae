package source

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"
)

// content is bytes that a place gave, in the cache or in the work directory.
type content struct {
	file   string
	hex    string
	cached bool
}

// arrive makes an archive's bytes be there, and has them unpacked on the way.
func (s *session) arrive(ctx context.Context, location string, archive *content, f *found) (err error) {
	early := s.early(location, archive)
	if !archive.cached {
		var arrives func(*os.File) (io.Writer, error)
		var a *arriving
		if early {
			arrives = func(file *os.File) (_ io.Writer, err error) {
				if a, err = newArriving(file.Name()); err != nil {
					return nil, err
				}
				f.extracting, err = s.begin(ctx, a, false)
				return a, err
			}
		}
		err := s.download(ctx, location, archive, s.o.Limits.Archive, arrives)
		if a != nil {
			a.finish(err)
		}
		return err
	}
	if early {
		f.extracting, err = s.unpackFile(ctx, archive.file)
	}
	return err
}

// content says where the bytes of a location are, or will be once downloaded.
func (s *session) content(ctx context.Context, location, pinned string, limit int64, mode reuse) (*content, error) {
	hex := s.cache.recall(location)
	if l := s.lock.digestOf(location); pinned == "" && l != "" {
		pinned = l
	}
	if pinned != "" {
		var err error
		if hex, err = ParseDigest(pinned); err != nil {
			return nil, err
		}
	} else if mode == pinnedOnly {
		hex = ""
	}
	if hex != "" {
		ok, err := s.cache.intact(ctx, hex, limit)
		if err != nil {
			return nil, err
		}
		if ok {
			return &content{file: s.cache.blob(hex), hex: hex, cached: true}, nil
		}
	}
	if mode == cacheOnly {
		return nil, ErrNotCached
	}
	return &content{}, nil
}

// location is that of the archive: a repository's is completed by what the
// policy asks for.
func (p Place) location(policy Policy) string {
	switch {
	case !isGit(p.Archive):
		return p.Archive
	case policy.Tag != "":
		return p.Archive + "#tag=" + strings.ReplaceAll(policy.Tag, "%", "%25")
	}
	return p.Archive + "#commit=" + policy.Commit
}

// fileName is the archive's name in a checksum list.
func (p Place) fileName() string {
	if p.File != "" {
		return p.File
	}
	u, err := url.Parse(p.Archive)
	if err != nil || u.Path == "" {
		return ""
	}
	return path.Base(u.Path)
}

// open reads a location, by preference from the mirror when the lock says
// which bytes to expect.
func (s *session) open(ctx context.Context, location string) (io.ReadCloser, error) {
	if d := s.lock.digestOf(location); d != "" && s.o.Transports["mirror"] != nil {
		if r, err := s.o.open(ctx, "mirror:"+d); err == nil {
			return r, nil
		}
	}
	return s.o.open(ctx, location)
}

// isFile says whether a location is on this machine, where reading it again
// costs nothing and its content may change under its name.
func isFile(location string) bool {
	u, err := url.Parse(location)
	return err == nil && strings.EqualFold(u.Scheme, "file")
}

// download streams a location into the work directory, hashing on the way.
// What arrives gives is told of all that the file holds.
func (s *session) download(ctx context.Context, location string, into *content, limit int64, arrives func(*os.File) (io.Writer, error)) (err error) {
	r, err := s.open(ctx, location)
	if err != nil {
		return err
	}
	defer r.Close()
	total := int64(-1)
	switch v := r.(type) {
	case interface{ Size() int64 }:
		total = v.Size()
	case *os.File:
		if info, err := v.Stat(); err == nil {
			total = info.Size()
		}
	}
	if total > limit {
		return fmt.Errorf("%w of %d bytes: it has %d", ErrTooLarge, limit, total)
	}
	f, err := os.CreateTemp(s.work.dir, "fetch-*")
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	h := newBackground()
	defer h.busy.Wait()
	w := io.MultiWriter(h, f)
	if arrives != nil {
		told, err := arrives(f)
		if err != nil {
			return err
		}
		w = io.MultiWriter(h, f, told)
	}
	n, err := copyBounded(ctx, w, r, limit, func(n int64) {
		s.o.Events.fetched(s.c, location, n, total)
	})
	if err != nil {
		return err
	}
	if total >= 0 && n != total {
		return fmt.Errorf("%d of %d bytes: %w", n, total, io.ErrUnexpectedEOF)
	}
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	into.file, into.hex = f.Name(), h.hex()
	return nil
}
