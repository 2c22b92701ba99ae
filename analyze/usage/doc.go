// Package usage is layer 4: what could run. It builds the reference graph over
// the objects of every link of the image and answers whether the code of a
// function is in the part of it that can be reached.
//
// # Model
//
// A node is an input section of the process image; an edge is a relocation in
// it, resolved as the recorded link resolved it. Compiled with one section for
// each function and each datum, that is a graph of functions and data. The
// roots are the entry of the program, what it exports, and what the linker
// keeps whatever refers to it: constructors and destructors, notes, retained
// sections. A reference to __start_X or __stop_X leads to every section X; the
// members of a section group stand and fall together; unwind tables are no
// source of references, but lead from a function to its personality routine
// and its exception tables.
//
// # Soundness
//
// Code runs only when something comes to its address: by a relocation, by a
// rule of the linker or loader, by a look-up of its name at run time, or by
// code generation and corrupted pointers. The first two are in the graph, the
// third opens the world (Evidence.Closed), the last is outside the model. It
// is the rule by which GNU ld --gc-sections deletes code, so the linker's own
// list of what it discarded is compared with the dead set of each link: a
// section that it kept and the graph calls dead fails the layer.
package usage
