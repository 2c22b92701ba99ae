package image

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// level is the pinned compression level. Changing it changes every blob and
// manifest digest, though no diffID.
const level = 6

// File is one file or symbolic link of a layer.
type File struct {
	Path   string // slash-separated, relative, clean
	Mode   uint32 // permission bits
	Size   int64
	Digest string // "sha256:HEX", checked while the layer is written; empty for links
	Link   string // target of a symbolic link
}

// Layer is a v1.Layer over files that stay where they are: nothing is kept in
// memory, each read makes the same bytes again and fails when a file has
// changed.
type Layer struct {
	fsys           fs.FS
	files          []File
	epoch          time.Time
	digest, diffID v1.Hash
	size           int64
}

var _ v1.Layer = (*Layer)(nil)

// NewLayer reads the files once and computes the layer's digests. The order
// of files does not matter; a path that is named twice or is not clean and
// relative is an error.
func NewLayer(fsys fs.FS, files []File, epoch time.Time) (*Layer, error) {
	l := &Layer{fsys: fsys, files: slices.Clone(files), epoch: epoch.UTC().Truncate(time.Second)}
	slices.SortFunc(l.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for i, f := range l.files {
		switch {
		case !fs.ValidPath(f.Path) || f.Path == ".":
			return nil, fmt.Errorf("layer: %q is not a relative, clean path", f.Path)
		case strings.HasPrefix(path.Base(f.Path), ".wh."):
			return nil, fmt.Errorf("layer: %s would delete a file of a lower layer: no file may be named .wh.*", f.Path)
		case i > 0 && l.files[i-1].Path == f.Path:
			return nil, fmt.Errorf("layer: %s is named twice", f.Path)
		}
	}
	blob, diff := &counter{h: sha256.New()}, sha256.New()
	if err := l.write(blob, diff); err != nil {
		return nil, err
	}
	l.digest, l.size, l.diffID = sum(blob.h), blob.n, sum(diff)
	return l, nil
}

type counter struct {
	h hash.Hash
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.h.Write(p)
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// write gives the compressed layer to blob and the tar to diff.
func (l *Layer) write(blob, diff io.Writer) error {
	z, err := gzip.NewWriterLevel(blob, level) // no name, no time
	if err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	if err := l.writeTar(io.MultiWriter(z, diff)); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	return nil
}

func (l *Layer) writeTar(w io.Writer) error {
	buf := bufio.NewWriterSize(w, 1<<16)
	tw := tar.NewWriter(buf)
	dirs := map[string]bool{}
	for _, f := range l.files {
		if err := l.writeDirs(tw, path.Dir(f.Path), dirs); err != nil {
			return fmt.Errorf("layer: %s: %w", f.Path, err)
		}
		if err := l.writeFile(tw, f); err != nil {
			return fmt.Errorf("layer: %s: %w", f.Path, err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	return nil
}

// writeDirs writes dir and what stands above it, each once.
func (l *Layer) writeDirs(tw *tar.Writer, dir string, done map[string]bool) error {
	if dir == "." || done[dir] {
		return nil
	}
	if err := l.writeDirs(tw, path.Dir(dir), done); err != nil {
		return err
	}
	done[dir] = true
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: l.epoch})
}

func (l *Layer) writeFile(tw *tar.Writer, f File) error {
	if f.Link != "" {
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: f.Path, Linkname: f.Link, Mode: 0o777, ModTime: l.epoch})
	}
	r, err := l.fsys.Open(f.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Size: f.Size, Mode: int64(f.Mode & 0o777), ModTime: l.epoch}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	got := sha256.New()
	n, err := io.Copy(io.MultiWriter(tw, got), io.LimitReader(r, f.Size+1))
	if err != nil && !errors.Is(err, tar.ErrWriteTooLong) {
		return err
	}
	if d := "sha256:" + hex.EncodeToString(got.Sum(nil)); n != f.Size || d != f.Digest {
		return fmt.Errorf("the file is not the one that was recorded: want %d bytes with digest %s", f.Size, f.Digest)
	}
	return nil
}

// Digest is the digest of the compressed layer.
func (l *Layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID is the digest of the tar.
func (l *Layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size is the size of the compressed layer in bytes.
func (l *Layer) Size() (int64, error) { return l.size, nil }

// MediaType is that of an OCI layer compressed with gzip.
func (l *Layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// Files are the layer's files, sorted by path.
func (l *Layer) Files() []File { return slices.Clone(l.files) }

// Compressed reads the compressed layer. The reader must be closed.
func (l *Layer) Compressed() (io.ReadCloser, error) {
	return pipe(func(w io.Writer) error { return l.write(w, io.Discard) }), nil
}

// Uncompressed reads the tar. The reader must be closed.
func (l *Layer) Uncompressed() (io.ReadCloser, error) { return pipe(l.writeTar), nil }

// reader joins its writer when it is closed.
type reader struct {
	*io.PipeReader
	done chan struct{}
}

func pipe(fill func(io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(fill(w))
	}()
	return &reader{r, done}
}

func (r *reader) Close() error {
	err := r.PipeReader.Close()
	<-r.done
	return err
}
