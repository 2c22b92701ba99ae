// Package debian reads a Debian archive as the system's apt is configured to,
// in pure Go and without privilege: it writes nothing outside the cache
// directory it is given and runs no program.
//
// The chain of trust is apt's own: InRelease is signed by a key of the
// entry's keyring, lists the indexes by SHA-256, and the indexes list the
// files by SHA-256. Weak digests and unsigned releases are refused whatever
// apt's configuration allows.
//
// An [Archive] serves two kinds of files. It is a source.Transport for
// upstream tarballs and their detached signatures
// (debian:PACKAGE@UPSTREAM-VERSION/orig.tar and …/orig.tar.asc): there the
// archive is only transport, and trust is the upstream's key. And it resolves
// binary packages with their dependencies, from which package toolchain
// unpacks a compiler root: there the archive's signature is the trust.
//
// What was found once is recorded in the cache, so that the same request does
// not need the network again; see [Archive.Open] and [Archive.Resolve].
package debian
