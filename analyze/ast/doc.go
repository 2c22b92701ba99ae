// Package ast is layer 1: the source that was compiled.
//
// It reads the translation units of the real build as the compiler's own
// preprocessor left them (gcc -E -dD, kept in the debug part), so that it sees
// exactly the configuration that was built. A function is [analyze.Present]
// when a unit of the component defines it, by the parser modernc.org/cc/v4. It
// is [analyze.Absent] when no unit does, which takes every unit of the
// component: C, recorded, and either parsed or free of anything that could be
// a definition of that name. A unit that does not parse makes its functions
// Unknown; the textual scan that spares most units the parser errs towards
// parsing, and never yields Absent where it found something.
//
// It also evaluates the conditions of the kinds file, macro and platform, and
// recognises the fixed form of a function by the hash of its tokens ([Bodies]).
//
// # Rules
//
// [Rules] are checks of the same units by their syntax trees: deprecated
// interfaces, calls that overflow, weak cryptography, results that nobody
// takes. [Check] runs them over one unit, [ScanComponent] over all of a
// component. What they find is reported with its CWE; it never decides about
// a CVE, and what they do not find is no proof.
//
// # Blind spots
//
// Whether an object was linked, whether a call was inlined or is reachable,
// other languages and assembly are other layers' business. The tokens are
// those after preprocessing: a fixed form is recognised only in the
// configuration that its hash was taken in, and otherwise proves nothing.
package ast
