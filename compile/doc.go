// Package compile turns a [Spec] and verified trees into an image and the
// [Record] of how it came to be.
//
// # Words
//
// An [Action] is the build of one component: the digest of its tree, the
// resolved commands and environment, the toolchain's digest, the digests of
// the outputs it needs, platform and epoch. Its key is the SHA-256 of its
// canonical JSON. Because needs enter by output digest, a rebuild that yields
// the same bytes stops there (early cutoff), and a changed component rebuilds
// exactly the dependents whose inputs changed.
//
// An [Output] is a component's file tree in parts: runtime goes into the
// image, dev to the components that need it, debug to analysis, licenses to
// the evidence.
//
// # Promise
//
// Actions run where an [Executor] puts them: without network, at a fixed
// path, with a fixed clock epoch, locale, umask, user and host name. Nothing
// reaches the image that a component's output does not hold, and nothing is
// linked into one of its ELF files that the [Record] does not name.
package compile
