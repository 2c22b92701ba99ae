package gitsnap

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"strings"
	"time"
)

const (
	prefix = "CLEANSTART.git."
	module = prefix + "module."
	top    = "tree/"
)

// A record's name ends at the first equals sign.
var (
	escape   = strings.NewReplacer("%", "%25", "=", "%3D")
	unescape = strings.NewReplacer("%25", "%", "%3D", "=")
)

// encoder writes archives in the one way that this format knows.
type encoder struct {
	tar  *tar.Writer
	time time.Time
}

func (e *encoder) head(s *Snapshot) error {
	records := map[string]string{prefix + "format": s.Format, prefix + "commit": string(s.Commit)}
	if s.Tag != nil {
		records[prefix+"tag"] = string(s.Tag)
	}
	for _, m := range s.Modules {
		records[module+escape.Replace(m.Path)] = string(m.Commit)
	}
	return e.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: records, Format: tar.FormatPAX})
}

// entry writes the header of an entry; the content of a file comes next.
func (e *encoder) entry(kind byte, path, target string, mode, size int64) error {
	return e.tar.WriteHeader(&tar.Header{Typeflag: kind, Name: top + path, Linkname: target, Mode: mode, Size: size, ModTime: e.time, Format: tar.FormatPAX})
}

// echo hands bytes through and expects them to be written back to it.
type echo struct {
	ctx     context.Context
	r       io.Reader
	pending bytes.Buffer
}

func (e *echo) Read(p []byte) (int, error) {
	if err := context.Cause(e.ctx); err != nil {
		return 0, err
	}
	n, err := e.r.Read(p)
	e.pending.Write(p[:n])
	return n, err
}

func (e *echo) Write(p []byte) (int, error) {
	if got := e.pending.Next(len(p)); !bytes.Equal(got, p) {
		return 0, malformed("archive is not written as this format writes it")
	}
	return len(p), nil
}
