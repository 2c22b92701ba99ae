// Package suite holds the tests that an image must pass before it is
// released. Tests are values in one slice per family; a driver takes the
// slice, so an embedder can add to it or run a part of it.
//
// # Families
//
//   - provenance: zero inheritance. Every byte comes from a component that was
//     compiled from verified source, and nothing else is in the image.
//   - hardening: how the ELF files were compiled and linked.
//   - filesystem: what a root file system must not hold.
//   - config: what the image's configuration tells a runtime to do.
//   - function: the image does what its specification says it does.
//   - performance: size, start-up and memory stay within bounds.
//   - confinement: it does so without root, without a writable file system,
//     without network and without room.
//
// There are 78. Their ids never change: waivers, reports and signed evidence
// name them. Where a catalogue says the same, a test refers to it: CWE, the
// CIS Docker Benchmark 1.6.0 and NIST SP 800-190 (2017).
//
// # What a result means
//
// A test passes, or fails with every place it saw. A test that has nothing to
// judge (no ELF file, no check declared, no build record) is not applicable,
// and for an image of ours that counts as failed: an image about which nothing
// can be said has not been tested. Only a waiver of the image's own
// specification, by test name, with a reason and a date that has not passed,
// excuses a failure, and the waiver stays in the result.
//
// # Images of other origin
//
// Any OCI image can be judged. Without a record, the tests that judge one are
// not applicable, and Options.Spec says what the image should do. An image
// claims to be ours by its record or by the label of its evidence policy; a
// [Report] of one that does not counts as failed only what failed.
//
// # What is read
//
// Everything but the two comparisons that name it is judged on the image's
// own layers and configuration, read once and bounded, never on a directory
// that somebody unpacked. Processes run in package sandbox, in the unpacked
// root file system, which the test provenance/rootfs-is-the-layers compares
// with the layers. A process that runs as configured is started once, and all
// tests that ask for it judge the same run.
//
// # Blind spots
//
// The checks are the specification's: what none of them starts is not run, and
// what it would write, ask of the kernel or leave running is not seen. A
// service is asked to stop once it sleeps after Bounds.Settle: one that sleeps
// while it still starts is asked too early, and fails for it.
package suite
