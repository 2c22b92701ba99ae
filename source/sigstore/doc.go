// Package sigstore proves an archive or a checksum list by a Sigstore bundle
// (protobuf-specs, versions 0.1 to 0.3) made by an identity that the policy
// pins: the subject alternative name of a short-lived Fulcio certificate and
// the issuer of the token behind it, both exact.
//
// The policy names a trusted root (trusted_root.json), and nothing is believed
// that does not lead to it; it is read from the caller's folder of keys and
// never fetched. A bundle is judged by what that root lists. Where it lists
// transparency logs, one of them must hold the signature, proven by its
// inclusion proof or its signed promise; where it lists certificate
// transparency logs, the certificate must bear a timestamp of one. The time of
// the signature is always a witness's: a log's, or that of a timestamping
// authority of the root. The certificate must have been valid at every such
// time, and the earliest is what the proof states.
//
// A bundle signs the message itself, or an in-toto statement of which the
// message's SHA-256 is a subject. Only statements that say a thing was built
// or released count: SLSA provenance, in-toto's release, and PyPI's publish
// attestation. By a statement of another kind its signer need not mean to vouch
// for anything.
//
// The floor: ECDSA on the NIST curves, Ed25519 in its prehashed form, or RSA
// of at least 2048 bits, over SHA-2 from 256 bits. Keys instead of
// certificates are refused.
//
// Blind spots: the issuer's word is believed about who holds an identity, and
// an identity that names a workflow says nothing of what that workflow ran.
// Nothing here watches the log for signatures that the identity's owner did
// not make. A trusted root that has not been renewed refuses what newer logs
// and authorities witness.
package sigstore
