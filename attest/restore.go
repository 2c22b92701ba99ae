package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Restore completes an output directory of which only the blobs of its layout
// are there, as a registry keeps them: it writes oci/index.json for the image
// and its referrers, and every file that the evidence manifest lists, out of
// the blobs and statements that have its digest. It trusts nothing and decides
// nothing: what cannot be restored stays away, and [Verify] says so.
func Restore(dir, image string, referrers []string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	r := &restorer{root: root, content: map[string][]byte{}}
	raw, err := r.blob(image)
	if err != nil {
		return fmt.Errorf("restore: image: %w", err)
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(image), Size: int64(len(raw))}
	var list []ocispec.Descriptor
	for _, d := range referrers {
		raw, err := r.blob(d)
		if err != nil {
			return fmt.Errorf("restore: referrer %s: %w", d, err)
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("restore: referrer %s: %w", d, err)
		}
		list = append(list, referrerDescriptor(raw, &m))
		for _, l := range m.Layers {
			if err := r.learn(string(l.Digest), m.ArtifactType, image); err != nil {
				return fmt.Errorf("restore: referrer %s: %w", d, err)
			}
		}
	}
	name := ""
	if r.manifest != nil {
		name = r.manifest.Name
	}
	index, err := renderIndex(desc, name, list)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := r.files(index); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// restorer knows the content of files by digest.
type restorer struct {
	root     *os.Root
	content  map[string][]byte
	manifest *Manifest // the newest about the image
	payload  []byte    // its statement
}

func (r *restorer) blob(digest string) ([]byte, error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("%q is not a sha256 digest", digest)
	}
	f, err := r.root.Open(blobPath(digest))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxLog+1))
	if err == nil && len(b) > maxLog {
		err = fmt.Errorf("blob of more than %d bytes", maxLog)
	}
	return b, err
}

// learn reads one attached blob, and the statement in it.
func (r *restorer) learn(digest, artifactType, image string) error {
	b, err := r.blob(digest)
	if err != nil {
		return err
	}
	r.content[digestOf(b)] = b
	if artifactType != bundleMediaType {
		return nil
	}
	bundle, err := parseBundle(b)
	if err != nil {
		return nil // somebody else's: Verify judges it
	}
	payload := bundle.GetDsseEnvelope().GetPayload()
	r.content[digestOf(payload)] = payload
	st, err := parseStatement(payload)
	if err != nil || st.PredicateType != manifestPredicate || !st.about(image) {
		return nil
	}
	m := new(Manifest)
	if strictJSON(st.Predicate, m) == nil && (r.manifest == nil || m.Created.After(r.manifest.Created)) {
		r.manifest, r.payload = m, payload
	}
	return nil
}

// files writes what can be restored. Paths are the manifest's word, which
// nobody has verified yet: os.Root keeps them inside.
func (r *restorer) files(index []byte) error {
	out := map[string][]byte{"oci/index.json": index, "oci/oci-layout": layoutFile}
	if r.manifest != nil {
		out["evidence/manifest.json"] = r.payload
		for _, f := range r.manifest.Files {
			if b, ok := r.content[f.Digest]; ok && !isBlob(f.Path) {
				out[f.Path] = b
			}
		}
	}
	names := make([]string, 0, len(out))
	for n := range out {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if d := path.Dir(n); d != "." {
			if err := r.root.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
		if err := r.root.WriteFile(n, out[n], 0o644); err != nil {
			return err
		}
	}
	return nil
}
