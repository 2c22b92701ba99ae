// Package gitsnap is the form in which one commit of a git repository travels:
// a tar archive of its files, with the commit object, the tag object and the
// commits of pinned submodules in the header.
//
// Whoever reads one need not trust who made it: the object ids of all files
// and directories are computed again, with collision detection where they are
// SHA-1, up to the tree that the commit names, the commit that the tag names,
// and the submodule commits that the trees name. What is left to believe is
// the tag or the commit itself, and that is for a signature to say.
//
// The archive begins with a pax global header (POSIX.1-2001) of these records,
// in the order of their names:
//
//	CLEANSTART.git.commit        the commit object, as git hashes it, without its header line
//	CLEANSTART.git.format        sha1 or sha256
//	CLEANSTART.git.module.PATH   the commit object of the submodule at PATH, in which = is %3D and % is %25
//	CLEANSTART.git.tag           the annotated tag object, where there is one
//
// Then directories, files and symbolic links follow below "tree/", in the
// order of git's trees and each directory before what it holds. Each has the
// mode that git records and the committer's time. A submodule is a directory.
//
// The same commit and tag give the same bytes, and no other bytes are accepted
// for them: [Read] writes what it reads once more and compares. So what one
// tar reader makes of a snapshot is what every other makes of it, and whoever
// passes one on cannot give it another digest.
//
// Attributes are not applied and large-file pointers not followed: content is
// what the repository records. File names that a working tree could not hold,
// and objects that git's own fsck calls errors, are refused.
package gitsnap
