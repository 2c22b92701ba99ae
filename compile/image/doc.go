// Package image assembles OCI images from files, the same bytes every time,
// and lays them out again.
//
// A [Layer] is a sorted list of files with the directories above them, owned
// by 0:0, dated with one time. The uncompressed tar is its identity (diffID);
// the compressed blob is an encoding of it by a pinned encoder, so equal
// inputs and equal versions of this module give equal blobs, while a change
// of the encoder changes blob and manifest digests but no diffID.
//
// [Assemble] starts from nothing: an image holds the layers it is given and
// no other file. [Unpack] trusts no layer: names, links, types and sizes are
// checked, and nothing is written outside the directory it is given.
package image
