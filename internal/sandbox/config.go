// Package sandbox starts processes inside fresh user, mount, pid, network,
// ipc and uts namespaces, with no route to anywhere, without privilege. The
// embedding program is re-executed as the first process of the sandbox, so
// its main function must call the documented hook (package local's Init,
// which calls Init here) before anything else.
package sandbox

import "github.com/cleanstart/cleanstart/internal/trace"

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
}

// Outcome is how the process ended and what was measured from inside before
// it started.
type Outcome struct {
	Exit  int           `json:"exit"` // 128+signal when killed
	Probe Probe         `json:"probe"`
	Trace *trace.Result `json:"trace,omitempty"`
	Usage Usage         `json:"usage"`
}

// Probe is what the first process measured about its isolation.
type Probe struct {
	Interfaces []string `json:"interfaces"` // names, each with its state: "lo down"
	Routes     int      `json:"routes"`     // entries of the IPv4 and IPv6 route tables that are not loopback's
	Reached    bool     `json:"reached"`    // a connection to an outside address was not refused by the kernel at once
	Namespaces []string `json:"namespaces"`
	UID        int      `json:"uid"`
	NoNewPrivs bool     `json:"noNewPrivs"`
	Seccomp    bool     `json:"seccomp"`
}

// Usage is the resource use of the process tree.
type Usage struct {
	Wall   int64 `json:"wall"`   // nanoseconds
	CPU    int64 `json:"cpu"`    // user + system, nanoseconds
	MaxRSS int64 `json:"maxRSS"` // bytes, of the largest process
}
