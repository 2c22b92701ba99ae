// Package dwarfx is an index over the debug information of one linked ELF
// file that answers the questions of analysis about functions: at which
// addresses does code of a function lie, out of line or inlined, and which
// addresses stem from a range of source lines.
//
// Words: an [Instance] is one piece of code of a function. The linker leaves
// the description of a section that it discarded in place and sets its
// addresses to 0 or 1; such an instance, and such a sequence of a line table,
// is dead and not indexed. Where the piece starts decides: in an executable
// section or not.
//
// It reads DWARF 2 to 5 as package debug/dwarf does, with the line tables.
// Split DWARF and supplementary files are refused: what is not in the file
// would be taken for absent.
package dwarfx
