// Package source answers one question about a component: is this exactly
// what upstream released, who says so, and how strongly?
//
// A [Component] names places to fetch from and a [Policy]. A place is
// transport, never trust: the archive may come from upstream's site, from a
// distribution's source archive, from a repository, a module proxy or a
// mirror, and is accepted only by a [Proof] that the policy asks for.
// Verification is of the archive's bytes, and nothing is a tree before it.
//
//	Component ─▶ Transport ─┬▶ Verifier ───┬▶ *Tree
//	 places       bytes     │   proofs     │   read-only, content-addressed
//	                        └▶ extraction ─┘
//	                            bounded, private
//
// [Verify] is the whole of it, and the only way to a [Tree] together with
// [Load], which does the same without a network. Transports and verifiers are
// the caller's to choose, so that a program inherits only what it uses: the
// sub-packages archive, debian, git, gomod and mirror are transports; openpgp,
// sshsig, minisign, signify, sigstore, x509sig, gomod and checksum are
// verifiers; and sourcetest holds the suites for those who write their own.
//
// # Proofs
//
// What is signed and how it is signed are two questions. A [Statement] is a
// message that stands for the archive: its bytes, what they decompress to, a
// list of checksums that names it, or a git tag or commit whose tree it holds.
// This package ties the archive to the message; a [Verifier] judges the
// signature on it. Any kind of signature may be over any kind of message.
//
// Proofs are graded: signed by a key or an identity that the policy pins,
// logged in a transparency log, or pinned by a digest, which says only that
// the bytes are the ones the specification's author saw. A policy names the
// least grade it accepts, and none by default. It pins signers by fingerprint
// or identity, asks for a number of them, bounds the versions and the times
// that each speaks for, and says by which file of an earlier release a new key
// is authorised. Which signer counts is decided here, whatever an engine says.
//
// # Release and repository
//
// A good signature says that upstream made an archive, not that upstream's
// repository holds it. With a [Component.Origin] the release is compared with
// the signed tag's tree, and every file that it adds or changes must be
// explained by name: see package tagmatch.
//
// # Evidence and locks
//
// [Explain] tells a tree's story to a person; [Tree.Statement] and
// [Tree.Descriptor] tell it to a machine. A [Lock] pins what was resolved, and
// with it the same is had from a mirror without a network.
//
// # What is promised
//
// A policy that is not satisfied gives no tree; the cache is no more trusted
// than a place; the same archive gives the same tree and digest for any user,
// umask and time zone; an interrupted call leaves nothing that a later one
// takes for whole. What is not: that upstream is honest; that the time a
// signature states is true, where no witness is named; and, without an origin,
// that a release is what its version control holds.
package source
