// Package sandbox starts processes inside fresh user, mount, pid, network,
// ipc and uts namespaces, with no route to anywhere, without privilege. The
// embedding program is re-executed as the first process of the sandbox, so
// its main function must call the documented hook (package local's Init,
// which calls Init here) before anything else.
package sandbox

import "github.com/cleanstart/cleanstart/internal/sandbox/first"

// What crosses between a caller and the first process; see package first.
type (
	Config       = first.Config
	Mount        = first.Mount
	MountKind    = first.MountKind
	SeccompLevel = first.SeccompLevel
	Limits       = first.Limits
	Server       = first.Server
	Process      = first.Process
	Outcome      = first.Outcome
	Stop         = first.Stop
	Probe        = first.Probe
	Usage        = first.Usage
	SetupError   = first.SetupError
)

const (
	Bind    = first.Bind
	Overlay = first.Overlay
	Tmpfs   = first.Tmpfs
	Proc    = first.Proc
	Dev     = first.Dev

	SeccompBuild = first.SeccompBuild
	SeccompRun   = first.SeccompRun
	SeccompTrace = first.SeccompTrace
	SeccompKill  = first.SeccompKill
	SeccompWX    = first.SeccompWX
)
