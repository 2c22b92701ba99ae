package source

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"time"
)

// Component is one upstream project at one version: what to fetch, and whom
// to believe about it.
type Component struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	PURL    string  `json:"purl"`    // package URL, as in ECMA-427
	License string  `json:"license"` // SPDX licence expression
	Places  []Place `json:"places"`  // tried in order; a place is transport, never trust
	Policy  Policy  `json:"policy"`
}

// Place is one location of the release archive and its detached signature.
// Both are URLs of a scheme that one of the transports opens: https, http,
// file, mirror (mirror:sha256:HEX) and debian
// (debian:PACKAGE@UPSTREAM-VERSION/orig.tar, and …/orig.tar.asc).
type Place struct {
	Archive   string `json:"archive"`
	Signature string `json:"signature,omitempty"`
}

// Grade orders proofs by how strongly they bind bytes to an upstream. The
// zero value is below every grade, so a policy that names none accepts none.
type Grade int

const (
	Ungraded Grade = iota
	Pinned         // a digest that the specification's author wrote down
	Logged         // included in a transparency log
	Signed         // signed by an upstream key that the policy pins
)

var grades = [...]string{Ungraded: "ungraded", Pinned: "pinned", Logged: "logged", Signed: "signed"}

func (g Grade) String() string {
	if g < 0 || int(g) >= len(grades) {
		return fmt.Sprintf("Grade(%d)", int(g))
	}
	return grades[g]
}

// MarshalText writes the grade's name.
func (g Grade) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText accepts the names pinned, logged and signed.
func (g *Grade) UnmarshalText(b []byte) error {
	for v := Pinned; v <= Signed; v++ {
		if grades[v] == string(b) {
			*g = v
			return nil
		}
	}
	return fmt.Errorf("unknown grade %q: want pinned, logged or signed", b)
}

// Policy says which proofs make a component's archive acceptable.
type Policy struct {
	Least      Grade       `json:"grade"`            // least acceptable grade; pinned must be asked for by name
	Digest     string      `json:"digest,omitempty"` // "sha256:HEX" of the archive; checked whenever set
	Keys       []Key       `json:"keys,omitempty"`   // any one of them must have signed
	Exceptions []Exception `json:"exceptions,omitempty"`
}

// Key pins an upstream OpenPGP signer by its primary key.
type Key struct {
	Fingerprint string `json:"fingerprint"` // primary key, 40 (v4) or 64 (v6) hexadecimal digits
	File        string `json:"file"`        // certificate, armored or binary, in Options.Keys; its fingerprint is checked
}

// Exception accepts one named weakness until a date; it is recorded in the
// proof that needed it.
type Exception struct {
	Allow  string `json:"allow"`  // the only name known today: sha1
	Reason string `json:"reason"` // required
	Until  string `json:"until"`  // date, 2006-01-02, required
}

// Proof is one verified statement about the archive's bytes.
type Proof struct {
	Grade       Grade      `json:"grade"`
	Mechanism   string     `json:"mechanism"`             // openpgp or digest
	Digest      string     `json:"digest"`                // "sha256:HEX" of the bytes it covers
	Signer      string     `json:"signer,omitempty"`      // primary fingerprint, upper-case hexadecimal
	SigningKey  string     `json:"signingKey,omitempty"`  // fingerprint of the (sub)key that made the signature
	Algorithm   string     `json:"algorithm,omitempty"`   // such as RSA-4096 or EdDSA
	Hash        string     `json:"hash,omitempty"`        // such as SHA-256
	SignedAt    *time.Time `json:"signedAt,omitempty"`    // as the signature states, UTC
	Exception   *Exception `json:"exception,omitempty"`   // the exception this proof needed
	Description string     `json:"description,omitempty"` // one line for people
}

// Transport opens a location. It moves bytes and vouches for nothing. The
// reader must be closed; the size of what it yields is bounded by the caller.
type Transport interface {
	Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error)
}

// Tree is source after verification and safe extraction. Only [Verify] and
// [Load] make one.
type Tree struct {
	component Component
	digest    string
	archive   string
	proofs    []Proof
	place     Place
	epoch     time.Time
	dir       string
	root      fs.FS
}

// Component is what was asked for.
func (t *Tree) Component() Component { return t.component }

// Digest is "sha256:HEX" over the tree's names, modes and contents.
func (t *Tree) Digest() string { return t.digest }

// ArchiveDigest is "sha256:HEX" of the archive as fetched.
func (t *Tree) ArchiveDigest() string { return t.archive }

// Proofs are the statements that the policy accepted, strongest first.
func (t *Tree) Proofs() []Proof { return append([]Proof(nil), t.proofs...) }

// Place is where the archive was found.
func (t *Tree) Place() Place { return t.place }

// Epoch is the newest modification time in the archive, UTC, whole seconds.
func (t *Tree) Epoch() time.Time { return t.epoch }

// FS reads the tree.
func (t *Tree) FS() fs.FS { return t.root }

// Dir is the read-only directory that holds the tree.
func (t *Tree) Dir() string { return t.dir }
