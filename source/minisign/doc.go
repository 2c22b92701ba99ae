// Package minisign proves an archive or a checksum list by a detached minisign
// signature made by a key that the policy pins. It reads the format as
// jedisct1.github.io/minisign states it, prehashed (ED) and legacy (Ed).
//
// What is pinned is the public key itself. Its key ID, which a signature
// states without signing it, only says which pinned key to try. Both
// signatures of a file must be good: the one over the message, and the global
// one over that and the trusted comment. So the trusted comment is the
// signer's word, and two of its fields count. The timestamp is the time of the
// signature; one that lies ahead, is no number or is there twice is refused,
// and a comment without one gives a proof that states no time. The file of a
// signature over the archive must be the archive's name at the place it came
// from; where that place gives it none the file is only recorded in the
// proof's description, and so it is for signatures over anything else. The
// untrusted comment is not looked at.
//
// The floor: Ed25519 over BLAKE2b-512, or over the message itself. A legacy
// signature is over the message itself, which must be whole in memory, so a
// message of more than 16 MiB is refused with one; prehashed ones, which are
// what minisign now makes, have no such limit.
//
// Blind spots: the time is the signer's word, and minisign knows no
// expiry and no revocation; the policy's from, until and revoked are all there
// is. A trusted comment that its signer wrote by hand may say nothing of file
// or time.
package minisign
