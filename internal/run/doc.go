// Package run starts the host's tools, for packages that cannot do without
// one. It is the only place outside the sandbox that does.
//
// A tool is found in a list of directories that the caller gives, not in the
// environment's, and started by its absolute path, without a shell, with the
// environment that the caller gives and nothing else. It leads a process
// group of its own, which is killed whole when the context ends.
package run
