// Package first is the inside of a sandbox: the process that package sandbox
// starts in new namespaces makes the mounts, drops what privilege it has,
// starts the target and measures it. It is a package of its own so that it
// depends on little and can take over early.
package first

import (
	"time"

	"github.com/cleanstart/cleanstart/internal/trace"
)

// Config describes one sandbox. It is data: it crosses to the first process
// as JSON.
type Config struct {
	Mounts   []Mount      `json:"mounts"` // in order; the first has Target "/"
	Hostname string       `json:"hostname"`
	UID      int          `json:"uid"` // inside; the one identity that is mapped
	GID      int          `json:"gid"`
	Umask    int          `json:"umask"`
	Loopback bool         `json:"loopback,omitempty"` // bring lo up; Serve implies it
	Serve    *Server      `json:"serve,omitempty"`
	Trace    *trace.Plan  `json:"trace,omitempty"` // run the process under breakpoints
	Limits   Limits       `json:"limits"`
	Seccomp  SeccompLevel `json:"seccomp,omitempty"`
}

// Mount is one entry of the mount table inside the sandbox.
type Mount struct {
	Kind     MountKind `json:"kind"`
	Target   string    `json:"target"`           // absolute path inside
	Source   string    `json:"source,omitempty"` // bind: host path
	Lower    []string  `json:"lower,omitempty"`  // overlay: host directories, topmost first
	Upper    string    `json:"upper,omitempty"`  // overlay: host directory that receives the writes; empty: read-only
	Work     string    `json:"work,omitempty"`   // overlay: empty directory beside Upper
	ReadOnly bool      `json:"readOnly,omitempty"`
	Size     int64     `json:"size,omitempty"` // tmpfs: bytes, 0 means 1 GiB
}

// MountKind says what a Mount is.
type MountKind string

const (
	Bind    MountKind = "bind"
	Overlay MountKind = "overlay"
	Tmpfs   MountKind = "tmpfs"
	Proc    MountKind = "proc"
	Dev     MountKind = "dev" // null, zero, full, random, urandom, tty; fd links; shm
)

// SeccompLevel selects a system-call filter.
type SeccompLevel string

const (
	SeccompBuild SeccompLevel = "build" // denies what no compiler needs; the default
	SeccompRun   SeccompLevel = "run"   // the same, for the image's own programs
	SeccompTrace SeccompLevel = "trace" // as run, but ptrace is allowed: tracer and traced share the filter
	SeccompKill  SeccompLevel = "kill"  // as run, but what run refuses ends the process by SIGSYS
	SeccompWX    SeccompLevel = "wx"    // as run, and no memory is ever both, or first written and then run
)

// Limits bound the processes of a sandbox; zero means no limit of that kind.
type Limits struct {
	Processes uint64 `json:"processes,omitempty"`
	FileSize  uint64 `json:"fileSize,omitempty"` // bytes of one file
	Memory    uint64 `json:"memory,omitempty"`   // address space of one process, bytes
}

// Server is an HTTP server that the sandbox's first process runs on loopback,
// inside the sandbox's own network namespace. In a Process's arguments the
// text "{server}" becomes its base URL, such as http://127.0.0.1:8080.
type Server struct {
	Files map[string][]byte `json:"files"` // URL path → body; anything else is 404
}

// Process is what to run. Nothing is inherited from the host's environment.
type Process struct {
	Path string   `json:"path,omitempty"` // program; empty: Args[0]
	Args []string `json:"args"`           // absolute path first, unless Path is set
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`

	// Signal is sent to the process, when it still runs, After its start, and
	// once it waits for something: a busy one has up to five seconds more. 0
	// means none.
	Signal int           `json:"signal,omitempty"`
	After  time.Duration `json:"after,omitempty"`
	Closed bool          `json:"closed,omitempty"` // standard input, output and error are not open
}

// Outcome is how the process ended and what was measured from inside.
type Outcome struct {
	Exit  int           `json:"exit"` // 128+signal when killed
	Left  int           `json:"left"` // processes that it started and that outlived it
	Stop  *Stop         `json:"stop,omitempty"`
	Probe Probe         `json:"probe"`
	Trace *trace.Result `json:"trace,omitempty"`
	Usage Usage         `json:"usage"`
}

// Stop is what came of [Process.Signal]; an Outcome has none when the process
// ended before it was due.
type Stop struct {
	// Handled tells that the process had a handler for the signal, or had
	// blocked it to wait for it. The kernel gives process 1 of a container no
	// other signal, so that one without a handler ends here and not there.
	Handled bool  `json:"handled"`
	Took    int64 `json:"took"` // nanoseconds from the signal to the end
}

// Probe is what was measured of the isolation before the process started.
type Probe struct {
	Interfaces []string `json:"interfaces"` // names, each with its state: "lo down"
	Routes     int      `json:"routes"`     // entries of the IPv4 and IPv6 route tables that are not loopback's
	Reached    bool     `json:"reached"`    // a connection to an outside address was not refused by the kernel at once
	Namespaces []string `json:"namespaces"`
	UID        int      `json:"uid"`
	NoNewPrivs bool     `json:"noNewPrivs"`
	Seccomp    bool     `json:"seccomp"`
	NoCaps     bool     `json:"noCaps"` // every capability set is empty, the bounding set included
}

// Usage is the resource use of the process tree.
type Usage struct {
	Wall   int64 `json:"wall"`   // nanoseconds
	CPU    int64 `json:"cpu"`    // user + system, nanoseconds
	MaxRSS int64 `json:"maxRSS"` // bytes, of the largest process
}
