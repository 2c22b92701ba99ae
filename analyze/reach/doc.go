// Package reach is layer 3: what runs. It runs the image's declared workload
// in a sandbox over the image's own root file system, under one-shot
// breakpoints (package internal/trace) on the code of the mapped functions:
// entries, and the first instruction of every inlined copy.
//
// # Promise
//
// It only raises. A function that was observed is Present; one that was not is
// Unknown, whatever the coverage, since the workload is a sample. The files
// that run are the ones that are shipped; addresses come from their
// unstripped twins, whose code is compared with theirs byte by byte.
//
// A process of the workload that does not do what the specification expects of
// it is an error: a workload that fails exercises nothing.
//
// # Blind spots
//
// A copy of a function of which no instruction of its own is left cannot be
// observed. Neither can code in a file whose twin is not at hand. Breakpoints
// are placed on code only where a symbol of type function or the debug
// information says that an instruction starts: a label of assembly may be
// data.
package reach
