// Package gomod fetches Go modules from module proxies and proves them by a
// checksum database.
//
// The proof is graded logged: a transparency log, whose signed tree head
// verifies, holds the module's h1: hash, with an inclusion proof from its
// tiles, and the log is consistent with what it showed before (the Go
// checksum database, golang.org/design/25530-sumdb, and
// golang.org/x/mod/sumdb). That says that everybody was shown the same bytes
// for this version, and not that its author signed them: Go modules bear no
// signatures.
//
// The archive is the module zip; its tree is what is below PATH@VERSION, and
// the h1: hash is over the files, so a proxy that packs them anew changes
// nothing but the archive's digest.
package gomod
