// Package derive proposes which functions of a release a vulnerability is in,
// from the commits that fix it, in a git repository of upstream's.
//
// # The rule
//
// The cited commits are seldom all of them: CVE-2022-32207 cites one that
// changes curl's cookie.c, and the next two repair altsvc.c and hsts.c. So the
// set is the union, up to the release that is fixed, of the commits that are
// cited, those that change the same functions, and those that use a symbol
// which one of the set introduces. What they change outside of functions
// counts for the whole file.
//
// # What it is worth
//
// A proposal, for a person to review: it may be too large, and nothing proves
// that it is not too small. Its completeness is [advisory.Derived], which
// silences nothing. A function that the release does not have is named as
// missing, never dropped.
//
// With each function come two hashes of its text at the release: as it is, and
// with all hunks of the fix applied. [Check] compares a tree with them: a
// back-port of the whole fix is recognised, and anything else is not fixed.
package derive
