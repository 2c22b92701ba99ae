// Package x509sig proves an archive, a checksum list, a git tag or a git
// commit by a detached CMS signature (RFC 5652, which is PKCS #7) made with an
// X.509 certificate of an identity that the policy pins, as smimesign and
// gitsign make them.
//
// What is pinned is a subject alternative name of the certificate, an e-mail
// address, a URI or a DNS name, exact, and where the policy names an issuer,
// that of the token which Fulcio states in its certificates. The policy's file
// holds the certificates that are trusted, in PEM; those that the signature
// carries only complete a chain to one of them. The certificate must be for
// code signing or for e-mail protection, in so many words.
//
// Every certificate of the chain must have been valid at the time of the
// signature. That time is a witness's when the signature bears a timestamp
// (RFC 3161, in the attribute of RFC 3161 appendix A) whose authority leads to
// a certificate of the same file; otherwise it is the signing time that the
// signer wrote down, which passes only by the policy's exception signer-time,
// and the proof then carries that exception. A certificate that has expired
// since is no objection.
//
// A signature must be DER, alone in its file or in PEM, by one signer who
// signed attributes, with nothing encapsulated: what is signed is the message's
// own bytes, as openssl cms -binary does, and not a form with other line ends.
//
// The floor: RSA of at least 2048 bits (PKCS #1 v1.5), ECDSA on the NIST curves
// or Ed25519, over SHA-256, SHA-384 or SHA-512, for the signature, for the
// certificates of its chain and for a timestamp. There is no exception from it.
//
// Blind spots: nothing is fetched, so a revoked certificate is not noticed; the
// policy's revoked date is what there is. A file's certificates are trusted for
// identities and for time alike. gitsign's entry in a transparency log
// is not read, so without a timestamp its signatures need the exception. Where
// a file trusts an authority that serves many, the identity is as good as that
// authority's checks.
package x509sig
