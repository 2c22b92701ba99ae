// Package harden holds hardening profiles as values, and the check that a
// profile reached every translation unit and every link of a build.
//
// # Words
//
// A [Flag] is one or more arguments of the compiler driver that belong
// together, with what they are for, the first GCC that knows them, and what
// they do on musl, where several are without effect. A [Profile] is a list of
// flags. Every profile contains the flags that the analysis layers need (one
// section per function, line tables, no folding of identical functions),
// whether it hardens or not.
//
// # Promise
//
// [Profile.Resolve] gives the same arguments for the same inputs, in the
// order of the table. [Closure] is fail-closed: a unit without a recorded
// command line lacks every flag. It judges the recorded arguments the way GCC
// does, the last of a group of contradicting arguments wins; it does not look
// at the machine code, which package analyze/binary does.
package harden
