package attest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of referrers and of the layout's index.
const (
	annotationContent       = "dev.sigstore.bundle.content"
	annotationPredicateType = "dev.sigstore.bundle.predicateType"
	annotationRole          = "org.cleanstart.evidence.role"
	annotationName          = "org.cleanstart.evidence.name"
	annotationKind          = "kind" // how cosign finds the image in a layout
	cosignImage             = "dev.cosignproject.cosign/image"

	emptyConfigType = "application/vnd.oci.empty.v1+json"
)

var emptyConfig = []byte("{}")

// referrer is one artifact attached to the image: a manifest with one layer.
type referrer struct {
	entry    Entry
	blob     []byte
	manifest []byte
	desc     ocispec.Descriptor // as index.json lists it
}

// newReferrer makes the OCI manifest for a blob. It is deterministic in its
// arguments. Title is the file name under which clients store the blob.
func newReferrer(subject ocispec.Descriptor, e Entry, title string, created time.Time, blob []byte) (*referrer, error) {
	notes := map[string]string{
		ocispec.AnnotationCreated: created.UTC().Format(time.RFC3339),
		annotationRole:            e.Role,
	}
	if e.Name != "" {
		notes[annotationName] = e.Name
	}
	if e.ArtifactType == bundleMediaType {
		notes[annotationContent] = "message-signature"
		if e.PredicateType != "" {
			notes[annotationContent] = "dsse-envelope"
			notes[annotationPredicateType] = e.PredicateType
		}
	}
	e.Blob = digestOf(blob)
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: e.ArtifactType,
		Config:       ocispec.Descriptor{MediaType: emptyConfigType, Digest: digest.Digest(digestOf(emptyConfig)), Size: int64(len(emptyConfig)), Data: emptyConfig},
		Layers: []ocispec.Descriptor{{
			MediaType: e.ArtifactType, Digest: digest.Digest(e.Blob), Size: int64(len(blob)),
			Annotations: map[string]string{ocispec.AnnotationTitle: title},
		}},
		Subject:     &subject,
		Annotations: notes,
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	e.Referrer = digestOf(raw)
	return &referrer{entry: e, blob: blob, manifest: raw, desc: referrerDescriptor(raw, &m)}, nil
}

// referrerDescriptor is how an index lists a referrer: a function of its
// manifest.
func referrerDescriptor(raw []byte, m *ocispec.Manifest) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType:    ocispec.MediaTypeImageManifest,
		Digest:       digest.Digest(digestOf(raw)),
		Size:         int64(len(raw)),
		ArtifactType: m.ArtifactType,
		Annotations:  m.Annotations,
	}
}

// imageDescriptor describes the image, without annotations: as a subject.
func imageDescriptor(img v1.Image) (ocispec.Descriptor, error) {
	raw, err := img.RawManifest()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	mt, err := img.MediaType()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if mt != ocispec.MediaTypeImageManifest {
		return ocispec.Descriptor{}, fmt.Errorf("the image has media type %s; an OCI image manifest is required", mt)
	}
	return ocispec.Descriptor{MediaType: string(mt), Digest: digest.Digest(digestOf(raw)), Size: int64(len(raw))}, nil
}

// renderIndex is index.json: the image and its referrers. The writer and the
// verifier share it, so no byte of the file is free.
func renderIndex(image ocispec.Descriptor, name string, referrers []ocispec.Descriptor) ([]byte, error) {
	image.Annotations = map[string]string{annotationKind: cosignImage, ocispec.AnnotationRefName: name}
	list := slices.Clone(referrers)
	slices.SortFunc(list, func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(rank(a.Annotations[annotationRole]), rank(b.Annotations[annotationRole])),
			cmp.Compare(a.Annotations[annotationName], b.Annotations[annotationName]), cmp.Compare(a.Digest, b.Digest))
	})
	return marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: append([]ocispec.Descriptor{image}, list...),
	})
}

// rank orders roles: the kinds by number, then the rest.
func rank(role string) int {
	if k, ok := kindOf(role); ok {
		return k.Number
	}
	switch role {
	case roleSums:
		return 20
	case roleVSA:
		return 21
	case roleManifest:
		return 22
	}
	return 30
}

const blobDir = "oci/blobs/sha256"

// blobPath is where the layout keeps the bytes with a digest.
func blobPath(digest string) string { return blobDir + "/" + hexOf(digest) }

// isBlob says whether a path of the output directory is a content-addressed
// blob.
func isBlob(p string) bool { return path.Dir(p) == blobDir }

// layoutFile is oci-layout.
var layoutFile = []byte(`{"imageLayoutVersion":"1.0.0"}`)
