package first

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
)

// Descriptors of the first process.
const (
	requestFD = 3
	replyFD   = 4
)

// The first process takes over here when it can: long before main, and before
// most of what the embedding program initialises. That takes longer than all
// the rest of a sandbox, and none of it should run in one. Programs are
// initialised in the order of imports and then of paths, so this package keeps
// from importing what comes late: net, os/exec and all that needs them.
func init() {
	if len(os.Args) == 2 && os.Args[1] == Early && Is() {
		os.Exit(Main(nil))
	}
}

// Is tells whether this process is the first one of a sandbox.
func Is() bool { return len(os.Args) > 0 && os.Args[0] == Name && os.Getpid() == 1 }

// Serve starts a server and gives the base URL to reach it at.
type Serve func(*Server) (base string, err error)

// Main is the sandbox's process 1; its result is the exit status. Without a
// serve, a configuration with a server is refused.
func Main(serve Serve) int {
	// what the caller's own parents left open would reach the target
	if unix.CloseRange(requestFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil {
		return 125
	}
	// The target may signal process 1, which must not end by it. Handlers do
	// not pass an exec, so the target starts with the default of each signal.
	signal.Notify(make(chan os.Signal, 1))
	in, out := os.NewFile(requestFD, "request"), os.NewFile(replyFD, "reply")
	enc := json.NewEncoder(out)
	if enc.Encode(Reply{Hello: true}) != nil {
		return 125
	}
	var req Request
	if err := json.NewDecoder(in).Decode(&req); err != nil {
		enc.Encode(Reply{Error: ToWire(&SetupError{Stage: "request", Err: err})})
		return 125
	}
	go func() { // the caller holds the other end until it is done with us
		io.Copy(io.Discard, in)
		os.Exit(125)
	}()
	outcome, err := setupAndRun(&req, serve)
	if err != nil {
		enc.Encode(Reply{Error: ToWire(err)})
		return 125
	}
	if enc.Encode(Reply{Outcome: outcome}) != nil {
		return 125
	}
	return 0
}

func setupAndRun(req *Request, serve Serve) (*Outcome, error) {
	cfg := &req.Config
	if err := mountAll(cfg.Mounts); err != nil {
		return nil, err
	}
	if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
		return nil, &SetupError{Stage: "hostname", Path: cfg.Hostname, Err: err}
	}
	if err := unix.Setdomainname([]byte("(none)")); err != nil {
		return nil, &SetupError{Stage: "domainname", Err: err}
	}
	if cfg.Loopback || cfg.Serve != nil {
		if err := raiseLoopback(); err != nil {
			return nil, &SetupError{Stage: "loopback", Path: "lo", Err: err}
		}
	}
	seen, err := probe(req.Namespaces)
	if err != nil {
		return nil, &SetupError{Stage: "probe", Err: err}
	}
	p := req.Process
	if cfg.Serve != nil {
		if serve == nil {
			return nil, &SetupError{Stage: "serve", Err: errors.New("the first process took over too early for a server")}
		}
		base, err := serve(cfg.Serve)
		if err != nil {
			return nil, &SetupError{Stage: "serve", Err: err}
		}
		for i := range p.Args[1:] {
			p.Args[i+1] = strings.ReplaceAll(p.Args[i+1], "{server}", base)
		}
	}
	// What the target could learn from us through /proc is ours alone.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, &SetupError{Stage: "dumpable", Err: err}
	}
	outcome := &Outcome{Probe: seen}
	if err := runTarget(cfg, p, outcome); err != nil {
		return nil, err
	}
	return outcome, nil
}

// raiseLoopback brings lo up in this network namespace.
func raiseLoopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}
