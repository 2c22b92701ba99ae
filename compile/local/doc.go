// Package local executes actions on this machine, in namespaces, without
// privilege, network or daemon.
//
// # The hook
//
// The sandbox re-executes the embedding program as its first process. Main
// must therefore begin with
//
//	local.Init()
//
// and TestMain of a test that builds anything, too. Without it Execute
// returns an error that says so.
//
// # What a command sees
//
// A read-only root, which is the toolchain's; its source, writable, at
// [compile.SourceDir]; the dev part of each need below [compile.NeedsDir];
// [compile.OutDir], where it installs; /tmp. User 1000 "builder", host name
// "cleanstart", umask 022, exactly the action's environment. No interface but
// a loopback that is down, and of /proc only its own processes.
//
// # What is written down
//
// The compiler drivers of the toolchain are replaced by a wrapper that adds
// the action's flags and records each translation unit and each link. After
// the last command every installed ELF file of the runtime part is traced
// through its build-id to the link that made it, through that link's map to
// the objects and archive members that the linker loaded, and through their
// digests to the units. A file that cannot be traced fails the build.
//
// Blind spots: a compiler that is not the toolchain's gcc (a build that
// compiles a compiler first) is not wrapped, so what it makes cannot be
// traced and is refused; with --gc-sections a loaded object may have lost
// every section, and is listed all the same.
package local
