package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// StatementType and PredicateType name what [Tree.Statement] makes.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://github.com/cleanstart/cleanstart/predicates/source/v0.1"
)

// Descriptor describes verified source in the form of an in-toto
// ResourceDescriptor v1, as SLSA provenance v1 lists them in
// resolvedDependencies.
type Descriptor struct {
	Name             string            `json:"name"`
	URI              string            `json:"uri,omitempty"` // package URL
	Digest           map[string]string `json:"digest"`        // of the archive; gitCommit too where it is a snapshot
	DownloadLocation string            `json:"downloadLocation,omitempty"`
	Annotations      Annotations       `json:"annotations"`
}

// Annotations are what verification found.
type Annotations struct {
	Version   string   `json:"version"`
	Tree      string   `json:"tree"`  // Tree.Digest
	Grade     Grade    `json:"grade"` // of the strongest proof
	Signers   []string `json:"signers,omitempty"`
	Policy    string   `json:"policy"` // Policy.Digest
	Proofs    []Proof  `json:"proofs"`
	Signature string   `json:"signaturePlace,omitempty"`
}

// Describe is the descriptor of source that was verified as said.
func Describe(c Component, p Place, archive, tree string, proofs []Proof) Descriptor {
	d := Descriptor{Name: c.Name, URI: c.PURL, DownloadLocation: p.Archive,
		Digest: map[string]string{"sha256": strings.TrimPrefix(archive, "sha256:")},
		Annotations: Annotations{Version: c.Version, Tree: tree, Policy: c.Policy.Sum(), Proofs: proofs, Signature: p.Signature,
			Grade: Pinned}}
	if d.Annotations.Signature == "" {
		d.Annotations.Signature = p.Checksums
	}
	for _, s := range signersOf(proofs) {
		d.Annotations.Signers = append(d.Annotations.Signers, s.Mechanism+":"+s.Signer)
	}
	for _, pr := range proofs {
		d.Annotations.Grade = max(d.Annotations.Grade, pr.Grade)
		if pr.Git != nil && pr.Mechanism != "tagmatch" {
			d.Digest["gitCommit"] = pr.Git.Commit
		}
	}
	return d
}

// Sum is "sha256:HEX" of the policy as JSON, so that evidence says under which
// policy it was made.
func (p Policy) Sum() string {
	b, err := json.Marshal(p)
	if err != nil {
		return "" // a policy is strings and numbers
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Descriptor describes the tree's source.
func (t *Tree) Descriptor() Descriptor {
	return Describe(t.component, t.place, t.archive, t.digest, t.proofs)
}

// Statement is an in-toto Statement v1 in JSON, to be signed, that says of the
// tree, as its subject, from which archive it was unpacked, under which policy
// it was accepted, and by which proofs. The same tree gives the same bytes.
func (t *Tree) Statement() ([]byte, error) {
	type subject struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	}
	type predicate struct {
		Source Descriptor  `json:"source"`
		Origin *Descriptor `json:"origin,omitempty"`
		Match  any         `json:"match,omitempty"` // tagmatch.Report
		Epoch  int64       `json:"epoch"`           // Unix seconds
	}
	p := predicate{Source: t.Descriptor(), Epoch: t.epoch.Unix()}
	if t.origin != nil {
		o := t.origin.Descriptor()
		p.Origin, p.Match = &o, t.report
	}
	return json.Marshal(struct {
		Type          string    `json:"_type"`
		Subject       []subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
		Predicate     predicate `json:"predicate"`
	}{
		// The digest is over a list of names, modes and contents, as dirHash is.
		StatementType, []subject{{t.component.Name + "@" + t.component.Version, map[string]string{"cleanstart_tree_v1": strings.TrimPrefix(t.digest, "sha256:")}}},
		PredicateType, p,
	})
}
