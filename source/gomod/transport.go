package gomod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"

	"golang.org/x/mod/module"

	"github.com/cleanstart/cleanstart/source"
)

// Transport opens gomod:PATH@VERSION as the module's zip file.
type Transport struct {
	// Proxies are base URLs of module proxies, tried in order while one
	// answers that it has no such file (go.dev/ref/mod#goproxy-protocol).
	// [ReadConfig] gives the system's.
	Proxies []string
	// HTTP opens https and http URLs, such as an archive.Transport. Required.
	HTTP source.Transport
}

var _ source.Transport = Transport{}

// Open implements [source.Transport]. The error wraps [fs.ErrNotExist] where
// no proxy has the module.
func (t Transport) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	m, err := parseModule(ref.Opaque)
	if err != nil || ref.Scheme != "gomod" {
		return nil, fmt.Errorf("%s: want gomod:PATH@VERSION: %w", ref, errors.Join(err))
	}
	p, err := module.EscapePath(m.Path)
	if err != nil {
		return nil, err
	}
	v, err := module.EscapeVersion(m.Version)
	if err != nil {
		return nil, err
	}
	return first(ctx, t.HTTP, t.Proxies, "/"+p+"/@v/"+v+".zip")
}

// first opens a path below the first base that has it.
func first(ctx context.Context, tr source.Transport, bases []string, path string) (io.ReadCloser, error) {
	if tr == nil {
		return nil, errors.New("gomod: no transport for HTTP")
	}
	if len(bases) == 0 {
		return nil, errors.New("gomod: no module proxy; GOPROXY names none")
	}
	var failures []error
	for _, base := range bases {
		ref, err := url.Parse(strings.TrimSuffix(base, "/") + path)
		if err != nil {
			return nil, err
		}
		r, err := tr.Open(ctx, ref)
		if err == nil {
			return r, nil
		}
		failures = append(failures, err)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, errors.Join(failures...)
}

// parseModule reads PATH@VERSION. Versions are canonical: a branch or "latest"
// names no bytes.
func parseModule(s string) (module.Version, error) {
	path, version, ok := strings.Cut(s, "@")
	if !ok {
		return module.Version{}, fmt.Errorf("%q is not PATH@VERSION", s)
	}
	if err := module.Check(path, version); err != nil {
		return module.Version{}, err
	}
	return module.Version{Path: path, Version: version}, nil
}
