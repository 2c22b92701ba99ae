package attest

import (
	"time"

	"github.com/cleanstart/cleanstart/compile"
)

// Manifest is the predicate of the evidence manifest: the closed set of all
// that belongs to one image. It is signed last.
type Manifest struct {
	Policy       string    `json:"policy"` // the same as in the image's configuration
	Image        string    `json:"image"`  // manifest digest
	Name         string    `json:"name"`
	Created      time.Time `json:"created"`
	TimeSource   string    `json:"timeSource"`           // self or third-party
	Signer       string    `json:"signer"`               // hint of the key, as in every bundle
	Supersedes   []string  `json:"supersedes,omitempty"` // digests of earlier evidence manifests, newest first
	Counts       Counts    `json:"counts"`
	ComponentSet string    `json:"componentSet"`
	Entries      []Entry   `json:"entries"`
	Files        []Listed  `json:"files"`
}

// Entry is one referrer of the image.
type Entry struct {
	Role          string `json:"role"` // a kind, "vsa" or "checksums"
	Name          string `json:"name,omitempty"`
	PredicateType string `json:"predicateType,omitempty"` // empty for a document as it is
	ArtifactType  string `json:"artifactType"`
	Statement     string `json:"statement,omitempty"` // digest of the payload
	Blob          string `json:"blob"`                // digest of the bundle or document
	Referrer      string `json:"referrer"`            // digest of the OCI manifest
}

// Listed is one file of the output directory. The manifest's own files cannot
// be listed; they are bound by its signature and by oci/index.json, which is a
// function of the referrers.
type Listed struct {
	Path   string `json:"path"`
	Role   string `json:"role"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
}

// manifestPayload is the statement of the evidence manifest.
func manifestPayload(m *Manifest) ([]byte, error) {
	b, err := marshal(m)
	if err != nil {
		return nil, err
	}
	subject := Subject{Name: m.Name, Digest: map[string]string{"sha256": hexOf(m.Image)}}
	return newStatement([]Subject{subject}, manifestPredicate, b)
}

// policy is the one policy that is known: the eleven kinds, all of them.
const policy = compile.EvidencePolicy
