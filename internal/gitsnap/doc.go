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
// The archive begins with a pax global header of these records:
//
//	CLEANSTART.git.format        sha1 or sha256
//	CLEANSTART.git.commit        the commit object, as git hashes it, without its header line
//	CLEANSTART.git.tag           the annotated tag object, where there is one
//	CLEANSTART.git.module.PATH   the commit object of the submodule at PATH
//
// Then the files follow below the directory "tree", in the order of git's
// trees, each with the mode that git records and the committer's time. The
// same commit and tag give the same bytes.
package gitsnap
