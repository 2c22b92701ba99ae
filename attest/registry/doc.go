// Package registry moves evidence between a layout and OCI registries.
//
// [Push] copies an image with all of its referrers from an output directory to
// any registry: by the referrers API of OCI distribution 1.1 where there is
// one, else by the fallback tag sha256-HEX, one referrer after the other,
// since that tag is read, changed and written. Push verifies nothing; verify
// the directory before.
//
// [Handler] is a registry in memory for tests and demonstrations.
package registry
