package attesttest

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
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

	contentAnnotation   = "dev.sigstore.bundle.content"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
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
	b.putReferrer(like, blob, func(*ocispec.Manifest) {})
}

// attachAs is attach under another predicate type.
func (b *box) attachAs(like ocispec.Descriptor, blob []byte, predicate string) {
	b.putReferrer(like, blob, func(m *ocispec.Manifest) {
		m.Annotations = map[string]string{contentAnnotation: "dsse-envelope", predicateAnnotation: predicate}
	})
}

// reattach adds a referrer once more, with another manifest.
func (b *box) reattach(d ocispec.Descriptor, edit func(m *ocispec.Manifest)) {
	b.putReferrer(d, b.blobOf(d), edit)
}

func (b *box) putReferrer(like ocispec.Descriptor, blob []byte, edit func(m *ocispec.Manifest)) {
	m := b.referrerManifest(like)
	m.Layers[0].Digest, m.Layers[0].Size = b.put(blob), int64(len(blob))
	edit(m)
	raw, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	like.Digest, like.Size, like.Annotations = b.put(raw), int64(len(raw)), m.Annotations
	idx := b.index()
	idx.Manifests = append(idx.Manifests, like)
	b.putIndex(idx)
}

// put stores bytes under their digest.
func (b *box) put(data []byte) digest.Digest {
	d := ocispecDigest(data)
	b.write(blobFile(string(d)), data)
	return d
}

// unlist takes one referrer out of the index.
func (b *box) unlist(d ocispec.Descriptor) {
	idx := b.index()
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(x ocispec.Descriptor) bool { return x.Digest == d.Digest })
	b.putIndex(idx)
}

// bundle is the referrer of a role's first signed statement.
func (b *box) bundle(role string) ocispec.Descriptor {
	for _, d := range b.referrers(role) {
		if d.ArtifactType == bundleType {
			return d
		}
	}
	b.t.Fatalf("no bundle of %s", role)
	return ocispec.Descriptor{}
}

func (b *box) blobAt(digest string) []byte { return b.read(blobFile(digest)) }

// blobOf is what a referrer attaches.
func (b *box) blobOf(d ocispec.Descriptor) []byte {
	return b.blobAt(string(b.referrerManifest(d).Layers[0].Digest))
}

// graft adds the referrers of a role from another layout.
func (b *box) graft(dir, role string) {
	from := &box{t: b.t, dir: dir, was: map[string][]byte{}}
	idx := b.index()
	for _, d := range from.referrers(role) {
		m := from.referrerManifest(d)
		for _, digest := range []string{string(d.Digest), string(m.Layers[0].Digest)} {
			b.write(blobFile(digest), from.blobAt(digest))
		}
		idx.Manifests = append(idx.Manifests, d)
	}
	b.putIndex(idx)
}

// Graft adds to the layout in dst those referrers of the layout in src whose
// role keep accepts: what a copier, or an attacker with old files, can do.
func Graft(t testing.TB, dst, src string, keep func(role string) bool) {
	t.Helper()
	to := &box{t: t, dir: dst, was: map[string][]byte{}}
	from := &box{t: t, dir: src, was: map[string][]byte{}}
	roles := map[string]bool{}
	for _, d := range from.referrers("") {
		if r := d.Annotations[roleAnnotation]; keep(r) && !roles[r] {
			roles[r] = true
			to.graft(src, r)
		}
	}
}
