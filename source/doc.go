// Package source answers one question about a component: is this exactly
// what upstream released, who says so, and how strongly?
//
// A [Component] names places to fetch from and a [Policy]. A place is
// transport, never trust: the archive may come from upstream's site, from a
// distribution's source archive or from a mirror, and is accepted only by a
// [Proof] that the policy asks for. Verification happens over the archive's
// bytes before anything is extracted.
package source
