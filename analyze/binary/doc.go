// Package binary is layer 2: what was linked. It reads the ELF files of the
// image together with their unstripped twins, the objects that were linked and
// the record of the build.
//
// # Presence
//
// A function is present where the file holds code of it: a symbol of its name
// or of a clone (.cold, .constprop, .isra, .part), a body or an inlined copy
// by the debug information, or any live row of a line table inside the lines
// of its definition. A symbol table alone proves nothing: a third of a
// program's functions may exist only inlined.
//
// It is absent only when the whole image is explained: every ELF file of the
// image has a recorded link and a twin with the same code, every object of
// that link is there and carries debug information (objects assembled from
// other sources and the compiler's runtime excepted), the tree holds the file
// and in it a definition of the function, and no piece of code leads back to
// it. Whatever is missing, or read only in part, makes it unknown.
//
// # Blind spots
//
// A macro leaves no trace of its own in debug information: a mapped macro is
// never absent while its component is linked. A source file that another
// component carries as a copy is found by its path; a copy under another path
// is not. Code that exists as data (a byte-code program) is not seen.
package binary
