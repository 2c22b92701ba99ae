// Package attesttest makes evidence of a small, synthetic image, and tests
// verifiers of evidence by damaging it.
//
// [TestVerifier] is the conformance suite: given an output directory that
// verifies, it removes, flips, replaces and adds, one thing at a time on a
// copy, and requires that the verifier refuses each and names what was hit.
package attesttest
