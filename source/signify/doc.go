// Package signify proves an archive or a checksum list by an OpenBSD signify
// signature (signify(1)) made by a key that the policy pins: detached, or
// embedded in the list it signs, as signify -S -e makes them.
//
// What is pinned is the public key itself. Its key number, which a signature
// states without signing it, only says which pinned key to try. A comment is
// not signed and is not looked at. A file with a trusted comment is minisign's,
// which is another kind.
//
// Of an embedded signature the message is every byte after its second line,
// and nothing before: that text, and no other, is what vouches for the archive.
// Compressed archives that carry a signature in their header (signify -z) are
// not read.
//
// The floor is the format's only algorithm: Ed25519 over the message itself.
// The message must be whole in memory, so one of more than 16 MiB is refused;
// upstreams sign lists of checksums, which are small.
//
// Blind spots: a signature states no time, and signify knows no expiry and no
// revocation, so a key that was stolen is dealt with by removing it. A policy
// that bounds the time of a key's signatures accepts none of this kind.
package signify
