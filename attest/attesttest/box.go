package attesttest

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// box is a copy of an output directory that is damaged and healed in place.
type box struct {
	t   testing.TB
	dir string
	was map[string][]byte // files as they were, of what was changed; nil: was absent
}

func newBox(t testing.TB, dir string) *box {
	t.Helper()
	b := &box{t: t, dir: filepath.Join(t.TempDir(), "copy"), was: map[string][]byte{}}
	if err := os.CopyFS(b.dir, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return b
}

// files lists the regular files, sorted.
func (b *box) files() []string {
	var names []string
	err := fs.WalkDir(os.DirFS(b.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return names
}

func (b *box) path(name string) string { return filepath.Join(b.dir, filepath.FromSlash(name)) }

func (b *box) read(name string) []byte {
	data, err := os.ReadFile(b.path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

func (b *box) remember(name string) {
	if _, ok := b.was[name]; ok {
		return
	}
	data, err := os.ReadFile(b.path(name))
	if err != nil {
		data = nil
	}
	b.was[name] = data
}

func (b *box) write(name string, data []byte) {
	b.remember(name)
	if err := os.WriteFile(b.path(name), data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) remove(name string) {
	b.remember(name)
	if err := os.Remove(b.path(name)); err != nil {
		b.t.Fatal(err)
	}
}

// heal undoes every change.
func (b *box) heal() {
	for name, data := range b.was {
		os.Remove(b.path(name))
		if data == nil {
			continue
		}
		if err := os.WriteFile(b.path(name), data, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	clear(b.was)
}

const (
	indexFile      = "oci/index.json"
	roleAnnotation = "org.cleanstart.evidence.role"
	bundleType     = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

func blobFile(digest string) string { return "oci/blobs/sha256/" + digest[len("sha256:"):] }

func (b *box) index() *ocispec.Index {
	idx := new(ocispec.Index)
	if err := json.Unmarshal(b.read(indexFile), idx); err != nil {
		b.t.Fatal(err)
	}
	return idx
}

// putIndex writes the index as carefully as an attacker would.
func (b *box) putIndex(idx *ocispec.Index) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(idx); err != nil {
		b.t.Fatal(err)
	}
	b.write(indexFile, bytes.TrimRight(buf.Bytes(), "\n"))
}

// referrers are the entries of the index that hold a role; "" means every
// referrer.
func (b *box) referrers(role string) []ocispec.Descriptor {
	var out []ocispec.Descriptor
	for _, d := range b.index().Manifests {
		if r := d.Annotations[roleAnnotation]; r != "" && (role == "" || r == role) {
			out = append(out, d)
		}
	}
	return out
}

// strip takes referrers out of the index; their blobs stay.
func (b *box) strip(role string) {
	idx := b.index()
	gone := b.referrers(role)
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool {
		return slices.ContainsFunc(gone, func(g ocispec.Descriptor) bool { return g.Digest == d.Digest })
	})
	b.putIndex(idx)
}

func (b *box) referrerManifest(d ocispec.Descriptor) *ocispec.Manifest {
	m := new(ocispec.Manifest)
	if err := json.Unmarshal(b.read(blobFile(string(d.Digest))), m); err != nil {
		b.t.Fatal(err)
	}
	return m
}

// attach adds a blob as one more referrer, shaped like an existing one.
func (b *box) attach(like ocispec.Descriptor, blob []byte) {
	m := b.referrerManifest(like)
	m.Layers[0].Digest, m.Layers[0].Size = ocispecDigest(blob), int64(len(blob))
	raw, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	b.write(blobFile(string(ocispecDigest(blob))), blob)
	b.write(blobFile(string(ocispecDigest(raw))), raw)
	like.Digest, like.Size = ocispecDigest(raw), int64(len(raw))
	idx := b.index()
	idx.Manifests = append(idx.Manifests, like)
	b.putIndex(idx)
}

// Graft adds to the layout in dst those referrers of the layout in src whose
// role keep accepts: what a copier, or an attacker with old files, can do.
func Graft(t testing.TB, dst, src string, keep func(role string) bool) {
	t.Helper()
	from := &box{t: t, dir: src, was: map[string][]byte{}}
	to := &box{t: t, dir: dst, was: map[string][]byte{}}
	idx := to.index()
	for _, d := range from.referrers("") {
		if !keep(d.Annotations[roleAnnotation]) {
			continue
		}
		m := from.referrerManifest(d)
		for _, digest := range []string{string(d.Digest), string(m.Layers[0].Digest)} {
			to.write(blobFile(digest), from.read(blobFile(digest)))
		}
		idx.Manifests = append(idx.Manifests, d)
	}
	to.putIndex(idx)
}
