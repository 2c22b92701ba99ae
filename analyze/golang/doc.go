// Package golang decides which vulnerabilities of the Go vulnerability
// database a Go program has: from its source ([Source]) or from the program
// alone ([Binary]).
//
// A vulnerability of a module at the version that is built has a [Level].
// Required means that the module is, but none of its vulnerable packages;
// Imported that a vulnerable package is, but none of its vulnerable symbols is
// reached; Called that one is. Unknown, the zero value, counts as Called.
//
// # Soundness
//
// The call graph is VTA (golang.org/x/tools/go/callgraph/vta) over SSA, twice,
// on what class hierarchy analysis can reach from main and every init. It
// follows interfaces, closures and function values, and, as govulncheck does,
// neither reflection nor unsafe nor assembly: those are its blind spots. In a
// program, a symbol is reached when the linker kept it or it was inlined into
// what was kept. A program without symbol table hides what was inlined, so
// that every symbol of its modules counts as reached.
//
// # In a report
//
// [Programs] finds the Go programs of an image, and [DB.Findings] lays out what
// both modes say of their modules as findings, with the evidence of layers 2
// and 4, so that the one decision table of package vex decides them too. A
// module whose version is not known is affected.
package golang
