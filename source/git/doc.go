// Package git fetches one commit of a git repository as a snapshot, with the
// tag and the commit that a signature may be over.
//
// It moves bytes and vouches for nothing: what is in a snapshot is hashed
// again by whoever reads it, up to the commit that the policy pins or the tag
// that a key has signed. So a branch is never fetched, a moved tag is found
// out, and the server is no more trusted than a mirror.
//
// The work is done by the system's git, in a repository that lives as long as
// the reader, with no configuration, hooks, credentials or environment but
// those that the caller gives. Submodules are fetched too, by the commits that
// the repository pins. Large-file storage is not: a snapshot holds the
// pointers that the repository records.
package git
