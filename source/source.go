package source

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"time"

	"github.com/cleanstart/cleanstart/source/tagmatch"
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
	// Origin is what the release must have been made from. Default: nobody
	// compares it with anything.
	Origin *Origin `json:"origin,omitempty"`
}

// Place is one location of the release archive and of what upstream says about
// it. All are URLs of a scheme that one of the transports opens: https, http,
// file, mirror (mirror:sha256:HEX), debian (debian:PACKAGE@UPSTREAM-VERSION/orig.tar,
// and …/orig.tar.asc), gomod (gomod:MODULE@VERSION) and, for a repository of
// which the policy names the tag or the commit, git+https, git+http, git+ssh
// and git+file.
type Place struct {
	Archive string `json:"archive"`
	// Signature is a detached signature over the archive or, where Checksums
	// is set, over that list.
	Signature string `json:"signature,omitempty"`
	// Cosignatures are further ones, of any kind, for policies that ask for
	// more than one signer.
	Cosignatures []string `json:"cosignatures,omitempty"`
	// Over is what a detached signature without a list covers: archive, which
	// is the default, or decompressed, as on kernel.org.
	Over string `json:"over,omitempty"`
	// Checksums is a list that holds the archive's digest: signed by
	// Signature, or clear-signed, or a signify list that bears its signature.
	Checksums string `json:"checksums,omitempty"`
	// File is the archive's name in the list. Default: the last element of
	// the archive's path.
	File string `json:"file,omitempty"`
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
	Least      Grade       `json:"grade"`               // least acceptable grade; pinned must be asked for by name
	Digest     string      `json:"digest,omitempty"`    // "sha256:HEX" of the archive; checked whenever set
	Keys       []Key       `json:"keys,omitempty"`      // the signers that count
	Threshold  int         `json:"threshold,omitempty"` // how many different ones must have signed; default: one of Keys
	Exceptions []Exception `json:"exceptions,omitempty"`
	// Directory is the archive's single top-level directory, such as
	// curl-7.88.1: since the archive is signed and its address is not, this is
	// what keeps an older release, with its own good signature, from being
	// taken for this one.
	Directory string `json:"directory,omitempty"`
	// Tag and Commit ask for a snapshot of a git repository. Keys must have
	// signed the tag object of that name or, without a tag, the commit.
	Tag    string `json:"tag,omitempty"`
	Commit string `json:"commit,omitempty"` // "sha1:HEX" or "sha256:HEX"; checked whenever set
	// Module asks for a Go module, as PATH@VERSION, and Log names the
	// checksum database that must hold it: a known name, such as
	// sum.golang.org, or the database's verifier key.
	Module string `json:"module,omitempty"`
	Log    string `json:"log,omitempty"`
}

// Kinds of signers.
const (
	OpenPGP  = "openpgp"  // RFC 9580, RFC 4880
	SSH      = "ssh"      // OpenSSH PROTOCOL.sshsig
	Minisign = "minisign" // minisign, prehashed or legacy
	Signify  = "signify"  // OpenBSD signify
	Sigstore = "sigstore" // sigstore bundle, with a Fulcio identity
	X509     = "x509"     // CMS (RFC 5652), as S/MIME and gitsign make them
)

// Key is a signer whom the policy accepts. The zero Kind is openpgp.
type Key struct {
	Kind string `json:"kind,omitempty"`
	// Fingerprint pins the signer's key. openpgp: of the primary key, 40 (v4)
	// or 64 (v6) hexadecimal digits. ssh: "SHA256:" and base64, as ssh-keygen
	// prints it. minisign and signify: the public key itself in base64. x509
	// and sigstore pin an identity instead.
	Fingerprint string `json:"fingerprint,omitempty"`
	// File is read from Options.Keys. openpgp: the certificate, armored or
	// binary, whose fingerprint is checked. ssh: optional, an allowed_signers
	// file that must allow the key. sigstore: a trusted root. x509: PEM roots.
	File string `json:"file,omitempty"`
	// Identity and Issuer are the certificate's subject alternative name and
	// the issuer of the token behind it, both exact, for sigstore and x509.
	Identity string `json:"identity,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	// Series are the versions that the signer speaks for: 3.12 means 3.12
	// itself and all that begins with 3.12 and a mark. Default: every version.
	Series []string `json:"series,omitempty"`
	// From and Until are dates; signatures made before the first or after the
	// second do not count, nor do those that state no time.
	From  string `json:"from,omitempty"`
	Until string `json:"until,omitempty"`
	// Revoked is the date from which the signer's signatures, and any that
	// state no time, count no more. A signer whose key was stolen is removed:
	// the time of a signature is its maker's word.
	Revoked string `json:"revoked,omitempty"`
	// AuthorizedBy is a file of an earlier release that names this key, which
	// counts only when that release is verified and signed by another key of
	// this policy.
	AuthorizedBy *Authority `json:"authorizedBy,omitempty"`
}

// Authority is a file of a verified release in which upstream names the
// fingerprints of the keys that sign later ones, such as OpenSSL's
// doc/fingerprints.txt.
type Authority struct {
	Version string `json:"version"` // of the same component
	File    string `json:"file"`    // slash-separated path in its tree
	// Places are where that release may be had, to be verified by the other
	// keys of the policy. Default: it is among Options.Predecessors.
	Places []Place `json:"places,omitempty"`
}

// Exception accepts one named weakness until a date; it is recorded in the
// proof that needed it.
type Exception struct {
	Allow  string `json:"allow"`  // sha1, dsa, rsa-1024 or signer-time
	Reason string `json:"reason"` // required
	Until  string `json:"until"`  // date, 2006-01-02, required
}

// Proof is one verified statement about the archive's bytes.
type Proof struct {
	Grade       Grade       `json:"grade"`
	Mechanism   string      `json:"mechanism"`             // a kind of signer, digest, commit, gosum or tagmatch
	Digest      string      `json:"digest"`                // "sha256:HEX" of the archive
	Over        string      `json:"over,omitempty"`        // what was signed; one of the Over constants
	Signer      string      `json:"signer,omitempty"`      // as Key.Fingerprint pins it, or Key.Identity
	Issuer      string      `json:"issuer,omitempty"`      // as Key.Issuer
	SigningKey  string      `json:"signingKey,omitempty"`  // fingerprint of the (sub)key that made the signature
	Algorithm   string      `json:"algorithm,omitempty"`   // such as RSA-4096 or EdDSA
	Hash        string      `json:"hash,omitempty"`        // such as SHA-256
	SignedAt    *time.Time  `json:"signedAt,omitempty"`    // as the signature states or a witness says, UTC
	Witness     string      `json:"witness,omitempty"`     // who says so, where it is not the signer
	Log         string      `json:"log,omitempty"`         // transparency log that holds it
	Git         *Git        `json:"git,omitempty"`         // what the snapshot is of
	Exception   *Exception  `json:"exception,omitempty"`   // the exception this proof needed
	Succession  *Succession `json:"succession,omitempty"`  // how the signer came to be accepted
	Description string      `json:"description,omitempty"` // one line for people
}

// Succession is how an earlier release vouches for a signer.
type Succession struct {
	Version string `json:"version"`
	File    string `json:"file"`
	Tree    string `json:"tree"`   // digest of the earlier release's tree
	Signer  string `json:"signer"` // who signed it
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
	files     []LockedFile
	origin    *Tree
	earlier   []*Tree // that vouched for a signer
	report    *tagmatch.Report
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
