package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors of the first process.
const (
	requestFD = 3
	replyFD   = 4
)

// Init is the hook. In a process that Run started it takes over and does not
// return; in any other it returns at once. Nothing must run before it in
// main: it would run in the sandbox too.
func Init() {
	hooked.Store(true)
	if os.Args[0] == firstName && os.Getpid() == 1 {
		os.Exit(first())
	}
}

// first is the sandbox's process 1.
func first() int {
	// what the caller's own parents left open would reach the target
	if unix.CloseRange(requestFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil {
		return 125
	}
	// The target may signal process 1, which must not end by it. Handlers do
	// not pass an exec, so the target starts with the default of each signal.
	signal.Notify(make(chan os.Signal, 1))
	in, out := os.NewFile(requestFD, "request"), os.NewFile(replyFD, "reply")
	enc := json.NewEncoder(out)
	if enc.Encode(reply{Hello: true}) != nil {
		return 125
	}
	var req request
	if err := json.NewDecoder(in).Decode(&req); err != nil {
		enc.Encode(reply{Error: toWire(&SetupError{Stage: "request", Err: err})})
		return 125
	}
	go func() { // the caller holds the other end until it is done with us
		io.Copy(io.Discard, in)
		os.Exit(125)
	}()
	outcome, err := setupAndRun(&req)
	if err != nil {
		enc.Encode(reply{Error: toWire(err)})
		return 125
	}
	if enc.Encode(reply{Outcome: outcome}) != nil {
		return 125
	}
	return 0
}

func setupAndRun(req *request) (*Outcome, error) {
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

// serverAddress is fixed: the namespace is the sandbox's own, and a port that
// changed would show in what programs print.
// serve answers GET for the files until the sandbox ends.
const serverAddress = "127.0.0.1:18080"

func serve(s *Server) (base string, err error) {
	l, err := net.Listen("tcp4", serverAddress)
	if err != nil {
		return "", err
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := s.Files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header()["Date"] = nil // the same answer at any time
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body)
	})
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second}
	go srv.Serve(l) // joined by the end of the process, which ends the namespace
	return "http://" + l.Addr().String(), nil
}
