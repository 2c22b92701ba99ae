// Package openpgp proves an archive by a detached OpenPGP signature (RFC 9580
// and RFC 4880) made by a key that the policy pins.
//
// What is pinned is a fingerprint of a primary key; the certificate file is
// only where the rest of that key is read from, and a file that does not hold
// the pinned key is refused. The proof names the key that signed and its
// primary: being in a keyring proves nothing.
//
// A signature counts when it was made while its key was valid. A key that has
// expired since is no objection, for releases outlive keys; a signature made
// after the expiry, or dated in the future, is refused. A revoked key is
// refused for signatures of any time when the reason is compromise or not
// given, and for signatures since the revocation otherwise.
// What held at that time is read from the self-signatures of that time: a
// certificate file that keeps only the newest, made later, is refused for
// older releases.
//
// Blind spot: the time of a signature is the signer's word. Whoever steals an
// expired key can date a signature back; only a revocation, or an independent
// timestamp, which upstreams do not give, would tell.
//
// The floor: RSA of at least 2048 bits, ECDSA on the NIST curves, or EdDSA,
// over SHA-2 or SHA-3. A signature over SHA-1 passes only by the policy's
// exception of that name, which the proof then carries. The self-signature of
// the pinned primary key may be over SHA-1, since the fingerprint already
// identifies the key; that of a signing subkey may not without the exception.
package openpgp
