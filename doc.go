// Package cleanstart is the tour of the CleanStart SDK; it holds no code.
//
// CleanStart builds container images in which every component is compiled
// from verified upstream source, proves it, tells which CVEs really affect
// the result, and rebuilds only what a new CVE touches. The packages are the
// pipeline, left to right, and a package imports only what stands to its
// left:
//
//		source ─▶ compile ─▶ analyze ─▶ vex ─▶ attest ─▶ monitor
//
//	  - [github.com/cleanstart/cleanstart/source] turns a Component and a
//	    Policy into a *Tree: verified, content-addressed source.
//	  - compile turns a Spec and trees into an image and the Record of how it
//	    came to be.
//	  - analyze turns image, record and advisories into a Report: findings with
//	    evidence from four layers, and the results of the test suite.
//	  - vex turns a Report into OpenVEX.
//	  - attest turns all of it into eleven signed artifacts bound to the image
//	    digest, and verifies them offline.
//	  - monitor turns an advisory feed and a portfolio into surgical rebuilds.
//
// The zero value of everything fails closed: an unknown verdict means
// affected, an empty list of verifiers is an error, and silence is never
// safety.
package cleanstart
