package first

import (
	"errors"
	"fmt"
	"syscall"
)

// Name is argv[0] of the re-executed program. Early, as argv[1], lets the
// first process take over before the program is initialised; see [Main].
const (
	Name  = "cleanstart-sandbox"
	Early = "early"
)

// SetupError is a step of making the sandbox that did not succeed. No process
// has run when Run returns one, except at stage "wait".
type SetupError struct {
	Stage string // mount, pivot, hostname, loopback, probe, exec, …
	Path  string // the path that it was about, as inside the sandbox
	Err   error  // a syscall.Errno where the kernel refused
}

func (e *SetupError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("sandbox: %s: %v", e.Stage, e.Err)
	}
	return fmt.Sprintf("sandbox: %s %s: %v", e.Stage, e.Path, e.Err)
}

func (e *SetupError) Unwrap() error { return e.Err }

// Request crosses to the first process.
type Request struct {
	Config     Config            `json:"config"`
	Process    Process           `json:"process"`
	Namespaces map[string]string `json:"namespaces"` // of the caller
}

// Reply comes back, one JSON value for each event.
type Reply struct {
	Hello   bool       `json:"hello,omitempty"`
	Error   *WireError `json:"error,omitempty"`
	Outcome *Outcome   `json:"outcome,omitempty"`
}

// WireError is a [SetupError] as it crosses.
type WireError struct {
	Stage string        `json:"stage"`
	Path  string        `json:"path,omitempty"`
	Errno syscall.Errno `json:"errno,omitempty"`
	Text  string        `json:"text,omitempty"`
}

// ToWire prepares an error for crossing.
func ToWire(err error) *WireError {
	var s *SetupError
	if !errors.As(err, &s) {
		return &WireError{Stage: "setup", Text: err.Error()}
	}
	w := &WireError{Stage: s.Stage, Path: s.Path, Text: s.Err.Error()}
	errors.As(s.Err, &w.Errno)
	return w
}

// Namespaces are the kinds of namespace that a sandbox has for itself.
func Namespaces() []string { return []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} }
