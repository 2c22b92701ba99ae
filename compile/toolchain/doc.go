// Package toolchain makes compiler roots: directories that a sandbox can use
// as its root file system, pinned by the digest of their file tree.
//
// [Debian] unpacks binary packages that package source/debian has verified.
// No maintainer script runs; the few effects that a compiler root needs of
// them (sh, awk, cc, c++, passwd) are made the same way every time, so the
// same packages give the same digest whatever the user, umask, time zone or
// host.
//
// A root is a seed: it is identified, enumerated and reproducible, and it is
// not built from source by us. The zero-inheritance proof says so.
package toolchain
