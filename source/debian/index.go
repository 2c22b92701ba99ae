package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/mikelolasagasti/xz"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// An index is kept in the cache as its body: one line for each package,
// "\nNAME\tVERSION\t…", reduced to the fields that we read. The file is named
// for the digest of the index as the release lists it, and starts with the
// digest of the body, so that a damaged file is noticed and made again.
type indexKind struct {
	name   string
	fields []string
	line   func(values []string) (string, error)
}

const maxBody = 1 << 30

// source lines: name, version, directory, then "file,size,sha256" each.
var sourceIndex = indexKind{
	name:   "sources",
	fields: []string{"Package", "Version", "Directory", "Checksums-Sha256"},
	line: func(v []string) (string, error) {
		if v[2] == "" { // "." in a flat archive
			v[2] = "."
		}
		if !safePath(v[2]) && v[2] != "." {
			return "", fmt.Errorf("unsafe directory %.100q", v[2])
		}
		files, err := parseChecksums(v[3])
		if err != nil {
			return "", err
		}
		out := []string{v[0], v[1], v[2]}
		for _, f := range files {
			out = append(out, f.Name+","+strconv.FormatInt(f.Size, 10)+","+f.SHA256)
		}
		return strings.Join(out, "\t"), nil
	},
}

// package lines: name, version, architecture, size, sha256, file name,
// depends, provides.
var packageIndex = indexKind{
	name:   "packages",
	fields: []string{"Package", "Version", "Architecture", "Size", "SHA256", "Filename", "Pre-Depends", "Depends", "Provides"},
	line: func(v []string) (string, error) {
		if _, err := parseSize(v[3]); err != nil {
			return "", err
		}
		if !isSHA256(v[4]) {
			return "", fmt.Errorf("malformed SHA-256 %.70q", v[4])
		}
		if !safePath(v[5]) {
			return "", fmt.Errorf("unsafe file name %.100q", v[5])
		}
		depends := strings.Trim(v[6]+", "+v[7], ", ")
		clean := strings.NewReplacer("\n", " ", "\t", " ")
		return strings.Join([]string{v[0], v[1], v[2], v[3], v[4], v[5], clean.Replace(depends), clean.Replace(v[8])}, "\t"), nil
	},
}

// loadIndex gives the body of one index of the suite, from the cache or from
// the archive. An index that the release does not list is empty.
func (a *Archive) loadIndex(ctx context.Context, s *suite, name string, kind indexKind) ([]byte, error) {
	// gzip costs a third of xz's time here, and little more to fetch.
	var entry fileEntry
	var unpack func(io.Reader) (io.Reader, error)
	for _, f := range []struct {
		ext    string
		reader func(io.Reader) (io.Reader, error)
	}{
		{".gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{".xz", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r, 128<<20) }},
		{"", func(r io.Reader) (io.Reader, error) { return r, nil }},
	} {
		if e, ok := s.release.files[name+f.ext]; ok {
			entry, unpack = e, f.reader
			break
		}
	}
	if unpack == nil || entry.Size == 0 {
		return nil, nil
	}
	if entry.Size > maxIndex {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", entry.Name, entry.Size, maxIndex)
	}
	cached := filepath.Join(a.dir, "indexes", kind.name+"-"+entry.SHA256)
	body, err := readBody(cached)
	if err == nil {
		return body, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errBody) {
		return nil, err
	}
	var urls []string
	dists := "dists/" + s.entry.Suite + "/"
	for _, base := range s.entry.URIs {
		if s.release.byHash {
			urls = append(urls, base+"/"+dists+path.Dir(entry.Name)+"/by-hash/SHA256/"+entry.SHA256)
		}
		urls = append(urls, base+"/"+dists+entry.Name)
	}
	label := entry
	label.Name = s.entry.Suite + "/" + entry.Name
	if err := a.fetchBlob(ctx, "downloads", urls, label); err != nil {
		return nil, err
	}
	blob := a.blob("downloads", entry.SHA256)
	f, err := os.Open(blob)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := unpack(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label.Name, err)
	}
	if body, err = buildBody(r, kind); err != nil {
		return nil, fmt.Errorf("%s: %w", label.Name, err)
	}
	if err := writeBody(cached, body); err != nil {
		return nil, err
	}
	return body, os.Remove(blob) // the body is all that is needed of it
}

// buildBody reduces an index.
func buildBody(r io.Reader, kind indexKind) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('\n')
	limited := &io.LimitedReader{R: r, N: maxBody}
	err := eachParagraph(limited, kind.fields, func(v []string) error {
		if !safeName(v[0]) || v[1] == "" || strings.ContainsAny(v[1], "\n\t ") {
			return fmt.Errorf("malformed package %.60q version %.60q", v[0], v[1])
		}
		line, err := kind.line(v)
		if err != nil {
			return fmt.Errorf("package %s: %w", v[0], err)
		}
		b.WriteString(line)
		b.WriteByte('\n')
		return nil
	})
	if err == nil && limited.N == 0 {
		err = fmt.Errorf("index is larger than %d bytes", int64(maxBody))
	}
	return b.Bytes(), err
}

var errBody = errors.New("index body is damaged")

func writeBody(name string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	return atomicfile.Write(name, 0o644, func(w io.Writer) error {
		if _, err := io.WriteString(w, hex.EncodeToString(sum[:])); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	})
}

func readBody(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(b) < 64 {
		return nil, errBody
	}
	sum := sha256.Sum256(b[64:])
	if hex.EncodeToString(sum[:]) != string(b[:64]) {
		return nil, errBody
	}
	return b[64:], nil
}

// lookup calls fn with the fields of each line of the named package.
func lookup(body []byte, name string, fn func(fields []string)) {
	key := []byte("\n" + name + "\t")
	for {
		i := bytes.Index(body, key)
		if i < 0 {
			return
		}
		body = body[i+1:]
		end := bytes.IndexByte(body, '\n')
		if end < 0 {
			return
		}
		fn(strings.Split(string(body[:end]), "\t"))
		body = body[end:]
	}
}
