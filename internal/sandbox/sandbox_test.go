package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/internal/sandbox/first"
	"github.com/cleanstart/cleanstart/internal/trace"
)

func TestMain(m *testing.M) {
	// In a sandbox this test program is its own target: "-probe" runs a check
	// from inside and prints what it saw.
	Init()
	if len(os.Args) > 2 && os.Args[1] == "-inside" {
		os.Exit(insider(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// self is a configuration whose only program is this test binary.
func self(t testing.TB) (Config, func(args ...string) Process) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Mounts: []Mount{
			{Kind: Tmpfs, Target: "/"},
			{Kind: Proc, Target: "/proc"},
			{Kind: Dev, Target: "/dev"},
			{Kind: Tmpfs, Target: "/tmp"},
			{Kind: Bind, Target: "/bin/self", Source: exe, ReadOnly: true},
		},
		Hostname: "cleanstart", UID: 1000, GID: 1000, Umask: 0o022,
	}
	// a test binary built with cgo wants its loader and libraries
	for _, d := range []string{"/lib", "/lib64", "/usr/lib"} {
		if _, err := os.Stat(d); err == nil {
			cfg.Mounts = append(cfg.Mounts, Mount{Kind: Bind, Target: d, Source: d, ReadOnly: true})
		}
	}
	return cfg, func(args ...string) Process {
		return Process{Args: append([]string{"/bin/self", "-inside"}, args...), Env: []string{"A=b"}, Dir: "/"}
	}
}

// run fails the test on any error but skips where namespaces are missing.
func run(t testing.TB, cfg Config, p Process) (*Outcome, string) {
	t.Helper()
	var out bytes.Buffer
	o, err := Run(t.Context(), cfg, p, &out, &out)
	if errors.Is(err, ErrNoUserNamespaces) {
		need.Skip(t, "user namespaces", err.Error())
	}
	if err != nil {
		t.Fatalf("Run: %v\n%s", err, out.String())
	}
	return o, out.String()
}

func TestIsolation(t *testing.T) {
	cfg, proc := self(t)
	o, out := run(t, cfg, proc("report"))
	if o.Exit != 0 {
		t.Fatalf("exit %d:\n%s", o.Exit, out)
	}
	for _, want := range []string{
		"uid=1000 gid=1000", "host=cleanstart", "umask=0022", "env=[A=b]", "cwd=/", "pid-alone=true", "descriptors=1024",
		"caps=0000000000000000", "bounding=0000000000000000", "nnp=1", "seccomp=2", "fds=[0 1 2]",
		"parent-environ=denied", "root=[bin dev lib lib64 proc tmp usr]",
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("report lacks %q", want)
		}
	}
	p := o.Probe
	if !slices.Contains(p.Interfaces, "lo down") || p.Reached || p.Routes != 0 || p.UID != 1000 || !p.Seccomp || !p.NoNewPrivs {
		t.Errorf("probe = %+v", p)
	}
	if !p.NoCaps || o.Left != 0 || o.Stop != nil {
		t.Errorf("outcome = %+v", o)
	}
	if want := []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}; !slices.Equal(p.Namespaces, want) {
		t.Errorf("new namespaces = %v, want %v", p.Namespaces, want)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestDenied(t *testing.T) {
	cfg, proc := self(t)
	for _, call := range []string{"mount", "unshare", "ptrace", "keyctl", "bpf", "clone-newuser", "vsock", "ioctl-tiocsti", "io_uring", "chroot", "sethostname", "write-root-ro"} {
		t.Run(call, func(t *testing.T) {
			cfg := cfg
			cfg.Mounts = slices.Clone(cfg.Mounts)
			cfg.Mounts[0].ReadOnly = true
			o, out := run(t, cfg, proc("denied", call))
			if o.Exit != 0 {
				t.Errorf("allowed: %s", out)
			}
		})
	}
}

// Two levels refuse more, or in another way, than the one for running.
func TestLevels(t *testing.T) {
	cfg, proc := self(t)
	for _, c := range []struct {
		level SeccompLevel
		call  string
		exit  int // of the insider: 0 means refused
	}{
		{SeccompRun, "mmap-wx", 1}, {SeccompWX, "mmap-wx", 0},
		{SeccompRun, "mprotect-x", 1}, {SeccompWX, "mprotect-x", 0},
		{SeccompWX, "mount", 0}, {SeccompKill, "mount", 128 + int(syscall.SIGSYS)}, {SeccompKill, "ptrace", 128 + int(syscall.SIGSYS)},
		{SeccompKill, "ioctl-tiocsti", 128 + int(syscall.SIGSYS)}, {SeccompKill, "io_uring", 0}, {SeccompKill, "none", 1},
	} {
		cfg.Seccomp = c.level
		if o, out := run(t, cfg, proc("denied", c.call)); o.Exit != c.exit {
			t.Errorf("%s under %q: exit %d, want %d: %s", c.call, c.level, o.Exit, c.exit, out)
		}
	}
}

func TestStop(t *testing.T) {
	cfg, proc := self(t)
	const after = 500 * time.Millisecond
	for _, c := range []struct {
		args    []string
		signal  syscall.Signal
		after   time.Duration
		exit    int
		sent    bool
		handled bool
	}{
		{args: []string{"term"}, signal: syscall.SIGTERM, after: after, exit: 3, sent: true, handled: true},
		{args: []string{"term", "ignore"}, signal: syscall.SIGTERM, after: after, exit: 4, sent: true},
		{args: []string{"term"}, signal: syscall.SIGKILL, after: after, exit: 128 + 9, sent: true},
		{args: []string{"exit", "7"}, signal: syscall.SIGTERM, after: time.Hour, exit: 7},
		{args: []string{"exit", "7"}, exit: 7},
	} {
		p := proc(c.args...)
		p.Signal, p.After = int(c.signal), c.after
		o, out := run(t, cfg, p)
		switch {
		case o.Exit != c.exit || (o.Stop != nil) != c.sent:
			t.Errorf("%q, %v: exit %d, want %d; stop %+v: %s", c.args, c.signal, o.Exit, c.exit, o.Stop, out)
		case c.sent && (o.Stop.Handled != c.handled || o.Stop.Took <= 0):
			t.Errorf("%q, %v: stop %+v, want handled %v", c.args, c.signal, o.Stop, c.handled)
		}
	}
}

func TestClosed(t *testing.T) {
	cfg, proc := self(t)
	p := proc("streams")
	p.Closed = true
	if o, _ := run(t, cfg, p); o.Exit != 0 {
		t.Error("a stream was open")
	}
	if o, _ := run(t, cfg, proc("streams")); o.Exit != 1 {
		t.Error("no stream was open")
	}
}

func TestExitAndSignal(t *testing.T) {
	cfg, proc := self(t)
	if o, _ := run(t, cfg, proc("exit", "7")); o.Exit != 7 {
		t.Errorf("exit = %d, want 7", o.Exit)
	}
	if o, _ := run(t, cfg, proc("kill-self")); o.Exit != 128+9 {
		t.Errorf("exit = %d, want 137", o.Exit)
	}
}

// The first process outlives every signal of the target.
func TestSignalsToInit(t *testing.T) {
	cfg, proc := self(t)
	if o, out := run(t, cfg, proc("kill-init")); o.Exit != 0 {
		t.Errorf("exit = %d: %s", o.Exit, out)
	}
}

func TestServe(t *testing.T) {
	cfg, proc := self(t)
	cfg.Serve = &Server{Files: map[string][]byte{"/hello": []byte("hi there")}}
	o, out := run(t, cfg, proc("get", "{server}/hello"))
	if o.Exit != 0 || out != "200 hi there\n" {
		t.Errorf("exit %d, %q", o.Exit, out)
	}
	if !slices.Contains(o.Probe.Interfaces, "lo up") || o.Probe.Reached {
		t.Errorf("probe = %+v", o.Probe)
	}
	if o, out := run(t, cfg, proc("get", "{server}/else")); o.Exit != 0 || !strings.HasPrefix(out, "404 ") {
		t.Errorf("exit %d, %q", o.Exit, out)
	}
}

func TestOverlayKeepsLowerClean(t *testing.T) {
	cfg, proc := self(t)
	dir := t.TempDir()
	for _, d := range []string{"lower/etc", "upper", "work", "x:y,z/sub"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "lower/etc/f"), []byte("lower"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg.Mounts[0] = Mount{Kind: Overlay, Target: "/", Lower: []string{filepath.Join(dir, "x:y,z"), filepath.Join(dir, "lower")},
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	o, out := run(t, cfg, proc("write", "/etc/f", "upper"))
	if o.Exit != 0 {
		t.Fatal(out)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "lower/etc/f")); string(b) != "lower" {
		t.Errorf("lower holds %q", b)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "upper/etc/f")); string(b) != "upper" {
		t.Errorf("upper holds %q", b)
	}
	if err := RemoveAll(dir); err != nil {
		t.Errorf("RemoveAll: %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there", dir)
	}
}

// A mount's target that is a link of the root's own stays inside the root.
func TestTargetLinkStaysInside(t *testing.T) {
	cfg, proc := self(t)
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, outside), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg.Mounts[0] = Mount{Kind: Overlay, Target: "/", Lower: []string{dir}}
	cfg.Mounts = slices.DeleteFunc(cfg.Mounts, func(m Mount) bool { return m.Target == "/tmp" })
	cfg.Mounts = append(cfg.Mounts, Mount{Kind: Tmpfs, Target: "/data"})
	o, out := run(t, cfg, proc("write", "/data/f", "x"))
	if o.Exit != 0 {
		t.Fatal(out)
	}
	if list, _ := os.ReadDir(outside); len(list) != 0 {
		t.Errorf("the host's directory holds %v", list)
	}
}

// trigger calls act once the text has been written.
type trigger struct {
	seen []byte
	text string
	act  func()
}

func (t *trigger) Write(b []byte) (int, error) {
	t.seen = append(t.seen, b...)
	if bytes.Contains(t.seen, []byte(t.text)) {
		t.act()
	}
	return len(b), nil
}

func TestCancelKillsTheTree(t *testing.T) {
	cfg, proc := self(t)
	run(t, cfg, proc("exit", "0")) // skips where there are no namespaces
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &trigger{text: "grandchild", act: cancel}
	// Run returns only when every holder of the output pipe is gone, and the
	// grandchild sleeps for an hour.
	if _, err := Run(ctx, cfg, proc("forest"), out, out); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

// A daemon that outlives the process dies with the sandbox.
func TestDaemonDies(t *testing.T) {
	cfg, proc := self(t)
	if o, out := run(t, cfg, proc("daemon")); o.Exit != 0 || o.Left != 1 { // which sleeps for an hour
		t.Errorf("exit %d, %d left: %s", o.Exit, o.Left, out)
	}
}

func TestLimits(t *testing.T) {
	cfg, proc := self(t)
	cfg.Limits = Limits{FileSize: 1 << 16, Processes: 100}
	if o, out := run(t, cfg, proc("write-big", "/tmp/f")); o.Exit != 0 {
		t.Errorf("a file of 1 MiB was written: %s", out)
	}
}

func TestErrors(t *testing.T) {
	cfg, proc := self(t)
	run(t, cfg, proc("exit", "0"))
	var setup *SetupError

	p := proc("exit", "0")
	p.Args[0] = "/bin/absent"
	_, err := Run(t.Context(), cfg, p, nil, nil)
	if !errors.As(err, &setup) || setup.Stage != "exec" || setup.Path != "/bin/absent" || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("missing program: %v", err)
	}
	p = proc("exit", "0")
	p.Dir = "/absent"
	if _, err := Run(t.Context(), cfg, p, nil, nil); !errors.As(err, &setup) || setup.Stage != "directory" {
		t.Errorf("missing directory: %v", err)
	}
	bad := cfg
	bad.Mounts = append(slices.Clone(cfg.Mounts), Mount{Kind: Bind, Target: "/x", Source: "/does/not/exist"})
	if _, err := Run(t.Context(), bad, proc("exit", "0"), nil, nil); !errors.As(err, &setup) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("missing source: %v", err)
	}
}

func TestErrorsFromInside(t *testing.T) {
	for _, c := range []struct {
		stage string
		errno syscall.Errno
		none  bool
	}{
		{"private", syscall.EPERM, true}, {"proc", syscall.EPERM, true}, {"private", syscall.ENOMEM, false}, {"bind", syscall.EPERM, false}, {"overlay", syscall.ENODEV, false},
	} {
		err := failure(first.ToWire(&SetupError{Stage: c.stage, Path: "/x", Err: fmt.Errorf("there: %w", c.errno)}))
		var setup *SetupError
		if errors.Is(err, ErrNoUserNamespaces) != c.none || !errors.Is(err, c.errno) || !errors.As(err, &setup) || setup.Stage != c.stage {
			t.Errorf("%s %v: %v", c.stage, c.errno, err)
		}
	}
	if err := startError(syscall.ENOSPC); !errors.Is(err, ErrNoUserNamespaces) {
		t.Errorf("no namespaces left: %v", err)
	}
	if err := startError(syscall.ENOMEM); errors.Is(err, ErrNoUserNamespaces) {
		t.Errorf("no memory left: %v", err)
	}
}

func TestNoHook(t *testing.T) {
	hooked.Store(false)
	defer hooked.Store(true)
	cfg, proc := self(t)
	if _, err := Run(t.Context(), cfg, proc("exit", "0"), nil, nil); !errors.Is(err, ErrNoHook) {
		t.Errorf("err = %v", err)
	}
}

func TestCheck(t *testing.T) {
	good, proc := self(t)
	for name, breakIt := range map[string]func(*Config, *Process){
		"no mounts":       func(c *Config, _ *Process) { c.Mounts = nil },
		"no root":         func(c *Config, _ *Process) { c.Mounts = c.Mounts[1:] },
		"no proc":         func(c *Config, _ *Process) { c.Mounts = c.Mounts[:1] },
		"relative target": func(c *Config, _ *Process) { c.Mounts = append(c.Mounts, Mount{Kind: Tmpfs, Target: "x"}) },
		"dotted target":   func(c *Config, _ *Process) { c.Mounts = append(c.Mounts, Mount{Kind: Tmpfs, Target: "/a/../b"}) },
		"relative source": func(c *Config, _ *Process) { c.Mounts = append(c.Mounts, Mount{Kind: Bind, Target: "/x", Source: "y"}) },
		"upper alone": func(c *Config, _ *Process) {
			c.Mounts[0] = Mount{Kind: Overlay, Target: "/", Lower: []string{"/x"}, Upper: "/y"}
		},
		"unknown kind":      func(c *Config, _ *Process) { c.Mounts = append(c.Mounts, Mount{Kind: "nfs", Target: "/x"}) },
		"relative args":     func(_ *Config, p *Process) { p.Args = []string{"sh"} },
		"no args":           func(_ *Config, p *Process) { p.Args = nil },
		"no such signal":    func(_ *Config, p *Process) { p.Signal = 65 },
		"time, no signal":   func(_ *Config, p *Process) { p.After = time.Second },
		"signal to a trace": func(c *Config, p *Process) { c.Trace, p.Signal = &trace.Plan{}, 15 },
		"closed and traced": func(c *Config, p *Process) { c.Trace, p.Closed = &trace.Plan{}, true },
		"unknown seccomp":   func(c *Config, _ *Process) { c.Seccomp = "none" },
	} {
		c, p := good, proc("exit", "0")
		c.Mounts = slices.Clone(good.Mounts)
		breakIt(&c, &p)
		if c.Check(p) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := good.Check(proc("exit", "0")); err != nil {
		t.Errorf("good configuration: %v", err)
	}
}

func BenchmarkRun(b *testing.B) {
	cfg, proc := self(b)
	run(b, cfg, proc("exit", "0"))
	for b.Loop() {
		if _, err := Run(b.Context(), cfg, proc("exit", "0"), nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}
