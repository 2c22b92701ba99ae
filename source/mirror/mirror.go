// Package mirror reads archives by their content from a directory, so that a
// build behind a wall needs neither upstream nor a distribution.
package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/url"

	"github.com/cleanstart/cleanstart/source"
)

// Transport opens mirror:sha256:HEX as the file sha256/HEX of a file system.
// The archives directory of a [source.Options] cache is such a file system.
type Transport struct {
	Files fs.FS // required
}

var _ source.Transport = Transport{}

// Open implements [source.Transport]. The error wraps [fs.ErrNotExist] where
// the mirror lacks the content. Content that is not what its name says is
// reported by the Read that reaches its end, as a [*source.DigestError].
func (t Transport) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	hex, err := source.ParseDigest(ref.Opaque)
	if err != nil || ref.Scheme != "mirror" {
		return nil, fmt.Errorf("%s: want mirror:sha256: and 64 lower-case hexadecimal digits", ref)
	}
	return t.open(ctx, hex)
}

func (t Transport) open(ctx context.Context, hex string) (io.ReadCloser, error) {
	if t.Files == nil {
		return nil, errors.New("the mirror has no directory")
	}
	f, err := t.Files.Open("sha256/" + hex)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("sha256:%s: not a regular file", hex)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &reader{ctx: ctx, f: f, h: sha256.New(), want: hex, size: info.Size()}, nil
}

type reader struct {
	ctx  context.Context
	f    fs.File
	h    hash.Hash
	want string
	size int64
}

// Size is the number of bytes to come.
func (r *reader) Size() int64 { return r.size }

func (r *reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.f.Read(p)
	r.h.Write(p[:n])
	if err == io.EOF {
		if got := hex.EncodeToString(r.h.Sum(nil)); got != r.want {
			return n, &source.DigestError{Want: "sha256:" + r.want, Got: "sha256:" + got}
		}
	}
	return n, err
}

func (r *reader) Close() error { return r.f.Close() }
