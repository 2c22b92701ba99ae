package suite

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

// Subject is what the tests judge: the image as its own bytes say, beside the
// record of how it was made.
type Subject struct {
	*analyze.Subject
	Record     *compile.Record   // nil for an image that came without one
	Spec       compile.ImageSpec // of the record, or Options.Spec
	Config     *v1.ConfigFile
	Layers     []Layer
	Files      map[string]Entry // what the layers together make, by path
	ELF        []ELF            // every ELF file, in layer order
	Protection map[string]map[string]analyze.Feature
	Now        time.Time
	Bounds     Bounds

	run  runner
	seen observations
}

// Layer is one layer as its tar stream says.
type Layer struct {
	Digest  string
	DiffID  string
	Size    int64 // compressed
	Entries []Entry
}

// Entry is one tar entry. Path is as written, without a trailing slash.
type Entry struct {
	Path    string
	Type    byte // as in archive/tar
	Mode    int64
	UID     int
	GID     int
	Owner   string // user and group names, where the header has any
	Size    int64
	ModTime time.Time
	Link    string
	PAX     map[string]string
	Digest  string // "sha256:HEX" of a regular file
	Secret  string // the kind of credential that its contents hold
	Script  string // the interpreter of a #! line
}

// ELF is one ELF file of the image, by its headers.
type ELF struct {
	Path     string
	Err      string // why it could not be read; then nothing below is set
	Type     elf.Type
	Machine  elf.Machine
	Interp   string
	Needed   []string
	Progs    []elf.ProgHeader
	Sections []string
}

// Bounds limit what the suite reads and what the image may cost. Zero means
// the default.
type Bounds struct {
	Unpacked int64         // bytes of all layers unpacked; more is not read: 4 GiB
	File     int64         // bytes of one file: 512 MiB
	Entries  int           // tar entries: 200,000
	Size     int64         // bytes of all layers, compressed: 64 MiB
	Files    int           // files and links in the image: 2,000
	Layers   int           // layers: 64
	Start    time.Duration // wall time of the first check, from start to end: 2 s
	Memory   int64         // resident bytes of the largest process of a check: 256 MiB
	Check    time.Duration // wall time after which a check is ended: 30 s
	Settle   time.Duration // time that a service gets before it is asked to stop: 500 ms
	Grace    time.Duration // time that it then gets to do so: 10 s
}

func (b Bounds) withDefaults() Bounds {
	set(&b.Unpacked, 4<<30)
	set(&b.File, 512<<20)
	set(&b.Entries, 200_000)
	set(&b.Size, 64<<20)
	set(&b.Files, 2_000)
	set(&b.Layers, 64)
	set(&b.Start, 2*time.Second)
	set(&b.Memory, 256<<20)
	set(&b.Check, 30*time.Second)
	set(&b.Settle, 500*time.Millisecond)
	set(&b.Grace, 10*time.Second)
	return b
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// prepare reads the image once.
func prepare(subject *analyze.Subject, opts Options) (*Subject, error) {
	if subject == nil || subject.Image == nil || subject.Image.Image == nil {
		return nil, errors.New("suite: an image is required")
	}
	s := &Subject{
		Subject:    subject,
		Record:     subject.Image.Record,
		Files:      map[string]Entry{},
		Protection: map[string]map[string]analyze.Feature{},
		Now:        opts.Now,
		Bounds:     opts.Bounds.withDefaults(),
		run:        opts.run,
	}
	if s.run == nil {
		s.run = sandbox.Run
	}
	switch {
	case s.Record != nil:
		s.Spec = s.Record.Spec.Image
	case opts.Spec != nil:
		s.Spec = *opts.Spec
	}
	for _, p := range opts.Protection {
		facts := map[string]analyze.Feature{}
		for _, f := range p.Facts {
			facts[f.Name] = f
		}
		s.Protection[clean(p.Path)] = facts
	}
	var err error
	if s.Config, err = subject.Image.ConfigFile(); err != nil {
		return nil, fmt.Errorf("suite: read the image's configuration: %w", err)
	}
	if s.Config == nil {
		return nil, errors.New("suite: the image has no configuration")
	}
	layers, err := subject.Image.Layers()
	if err != nil {
		return nil, fmt.Errorf("suite: read the image's layers: %w", err)
	}
	left := s.Bounds.Unpacked
	entries := 0
	for i, l := range layers {
		if err := s.readLayer(l, &left, &entries); err != nil {
			return nil, fmt.Errorf("suite: layer %d: %w", i, err)
		}
	}
	return s, nil
}

func (s *Subject) readLayer(l v1.Layer, left *int64, entries *int) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	diffID, err := l.DiffID()
	if err != nil {
		return err
	}
	size, err := l.Size()
	if err != nil {
		return err
	}
	out := Layer{Digest: digest.String(), DiffID: diffID.String(), Size: size}
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	t := tar.NewReader(&bounded{r: r, left: left})
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if *entries++; *entries > s.Bounds.Entries {
			return fmt.Errorf("more than %d entries", s.Bounds.Entries)
		}
		e, err := s.readEntry(h, t)
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		out.Entries = append(out.Entries, e)
	}
	s.Layers = append(s.Layers, out)
	s.stack(out.Entries)
	return nil
}

// stack lays one layer over the files: what its whiteouts name goes first,
// then its own entries come.
func (s *Subject) stack(layer []Entry) {
	remove := func(gone func(name string) bool) {
		for name := range s.Files {
			if gone(name) {
				delete(s.Files, name)
			}
		}
	}
	for _, e := range layer {
		dir, base := path.Split(clean(e.Path))
		switch hidden, ok := strings.CutPrefix(base, ".wh."); {
		case base == ".wh..wh..opq":
			remove(func(name string) bool { return strings.HasPrefix(name, dir) && name != clean(dir) })
		case ok:
			remove(func(name string) bool { return name == dir+hidden || strings.HasPrefix(name, dir+hidden+"/") })
		}
	}
	for _, e := range layer {
		name := clean(e.Path)
		if strings.HasPrefix(path.Base(name), ".wh.") {
			continue
		}
		if to, ok := s.Files[clean(e.Link)]; e.Type == tar.TypeLink && ok {
			e.Digest, e.Size = to.Digest, to.Size
		}
		s.Files[name] = e
	}
}

func (s *Subject) readEntry(h *tar.Header, r io.Reader) (Entry, error) {
	e := Entry{
		Path: strings.TrimSuffix(h.Name, "/"), Type: h.Typeflag, Mode: h.Mode,
		UID: h.Uid, GID: h.Gid, Size: h.Size, ModTime: h.ModTime, Link: h.Linkname, PAX: h.PAXRecords,
		Owner: strings.Trim(h.Uname+":"+h.Gname, ":"),
	}
	if h.Typeflag != tar.TypeReg {
		return e, nil
	}
	if h.Size > s.Bounds.File {
		return e, fmt.Errorf("%d bytes; at most %d are read", h.Size, s.Bounds.File)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return e, err
	}
	e.Digest = sum(b)
	e.Secret = secretIn(b)
	if rest, ok := bytes.CutPrefix(b, []byte("#!")); ok {
		line, _, _ := bytes.Cut(rest[:min(len(rest), 256)], []byte("\n"))
		e.Script = strings.TrimSpace(string(line))
	}
	if bytes.HasPrefix(b, []byte(elf.ELFMAG)) {
		s.ELF = append(s.ELF, readELF(clean(e.Path), b))
	}
	return e, nil
}

// readELF reads headers only. A file that calls itself ELF and cannot be read
// keeps the reason, and fails the tests that need it.
func readELF(name string, b []byte) ELF {
	out := ELF{Path: name}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		out.Err = err.Error()
		return out
	}
	out.Type, out.Machine = f.Type, f.Machine
	for _, p := range f.Progs {
		out.Progs = append(out.Progs, p.ProgHeader)
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			interp, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err != nil {
				out.Err = err.Error()
				return out
			}
			out.Interp = string(bytes.TrimRight(interp, "\x00"))
		}
	}
	for _, sec := range f.Sections {
		out.Sections = append(out.Sections, sec.Name)
	}
	if out.Needed, err = f.ImportedLibraries(); err != nil {
		out.Err = err.Error()
	}
	return out
}

// secretIn names the kind of credential that b holds, or "". It knows the
// formats that announce themselves; a bare password is not among them.
func secretIn(b []byte) string {
	for _, s := range []struct{ mark, kind string }{
		{"-----BEGIN PRIVATE KEY-----\n", "PKCS #8 private key"},
		{"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "encrypted PKCS #8 private key"},
		{"-----BEGIN RSA PRIVATE KEY-----\n", "RSA private key"},
		{"-----BEGIN EC PRIVATE KEY-----\n", "EC private key"},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\n", "OpenSSH private key"},
		{"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "OpenPGP private key"},
		{"AGE-SECRET-KEY-1", "age identity"},
	} {
		if i := bytes.Index(b, []byte(s.mark)); i >= 0 && looksEncoded(b[i+len(s.mark):]) {
			return s.kind
		}
	}
	return ""
}

// looksEncoded tells a key from a program that only knows the words: a real
// one goes on with its own base64, bech32 or header text.
func looksEncoded(b []byte) bool {
	n := 0
	for n < len(b) && n < 16 && (b[n] >= '0' && b[n] <= '9' || b[n] >= 'A' && b[n] <= 'Z' ||
		b[n] >= 'a' && b[n] <= 'z' || strings.IndexByte("+/=-: ,\n", b[n]) >= 0) {
		n++
	}
	return n == 16
}

// bounded fails, instead of ending, when the allowance is used up.
type bounded struct {
	r    io.Reader
	left *int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if *b.left <= 0 {
		return 0, errors.New("the image unpacks to more than the suite reads")
	}
	if int64(len(p)) > *b.left {
		p = p[:*b.left]
	}
	n, err := b.r.Read(p)
	*b.left -= int64(n)
	return n, err
}

// clean is the path without leading "./" or "/".
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func sum(b []byte) string {
	d := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(d[:])
}
