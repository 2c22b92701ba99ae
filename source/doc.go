// Package source answers one question about a component: is this exactly
// what upstream released, who says so, and how strongly?
//
// A [Component] names places to fetch from and a [Policy]. A place is
// transport, never trust: the archive may come from upstream's site, from a
// distribution's source archive or from a mirror, and is accepted only by a
// [Proof] that the policy asks for. Verification happens over the archive's
// bytes before anything is unpacked.
//
//	Component ─▶ Transport ─▶ Verifier ─▶ extraction ─▶ *Tree
//	 places       bytes        proofs      bounded       read-only, content-addressed
//
// [Verify] is the whole of it, and the only way to a [Tree] together with
// [Load], which does the same without a network. Transports and verifiers are
// the caller's to choose: the sub-packages archive, debian and mirror are
// transports, openpgp and checksum are verifiers, and sourcetest holds the
// suites for those who write their own.
//
// Proofs are graded: signed by a key that the policy pins, logged in a
// transparency log, or pinned by a digest, which says only that the bytes are
// the ones the specification's author saw. A policy names the least grade it
// accepts, and none by default.
//
// What is promised: a policy that is not satisfied gives no tree; the cache
// is no more trusted than a place; the same archive gives the same tree and
// digest for any user, umask and time zone; an interrupted call leaves
// nothing that a later one takes for whole. What is not: that upstream is
// honest, or that its release is what its version control holds.
package source
