// Package registry moves evidence between output directories and OCI
// registries.
//
// [Client] pushes a directory, copies between registries, and pulls a directory
// that is as [attest.Write] left it: an image with all of its referrers. It
// uses the referrers API of OCI distribution 1.1 where there is one, else the
// fallback tag sha256-HEX. That tag is read, changed and written, without a
// lock anywhere: so one client writes it one referrer after the other, and then
// looks whether all are listed, and writes again those that somebody else's
// change took away. A client verifies nothing; verify the directory.
//
// [Handler] is a registry in memory for tests and for embedding.
package registry
