// Package objfile reads what a link was made from and what the linker said
// about it: relocatable ELF objects (gABI, ELF64 little-endian), Unix archives
// in the GNU variant, and GNU ld's map file. Every reader works on bytes in
// memory, is bounded by their length, and refuses what it does not know:
// a graph built on half-read input would prove what is not true.
package objfile
