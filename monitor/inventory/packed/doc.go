// Package packed keeps a large portfolio: hundreds of millions of dependencies
// in a few bytes each, answered in microseconds, with one file as the base and
// a small durable difference beside it.
//
// # The base
//
// A base is an immutable file that [Load] and [Inventory.Compact] write: the
// distinct packages, sorted, each with its versions; the set of images of each
// version, as gaps where it is small and as a Roaring bitmap where it is
// large; and, for each image, its packages by popularity, so that a package
// which is everywhere costs one byte per image. Every section carries a
// checksum that is verified as the file is opened. It is read through the page
// cache: what is not asked for need not be in memory.
//
// # The difference
//
// What changed since the base was written is in a bbolt file: images that were
// added, numbers of the base's images that are not live any more, feed cursors.
// It is mirrored in memory. A [Inventory.Swap] is one transaction of it, so
// that a crash leaves the old image or the new one. Compact writes base and
// difference into a new base and lets go of the old one in one transaction too.
//
// # Measured
//
// On two cores, with the portfolio of BenchmarkScale in the package above: 281
// million dependencies of 834,097 images load at two million a second, take
// 4.75 bytes each, and open in a third of a second; an image is added durably
// in 3 ms. The inventory in one bbolt file takes 54,000 a second, in
// transactions of 300, and 5.5 ms.
package packed
