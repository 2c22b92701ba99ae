package suite

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
	"sync"
	"syscall"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

// serverFiles is what the local server answers; every other path is 404.
func serverFiles() map[string][]byte {
	return map[string][]byte{
		"/":      []byte("cleanstart\n"),
		"/hello": []byte("hello from cleanstart\n"),
		"/zeros": make([]byte, 1<<20),
	}
}

// variant is how a process is confined beyond what the configuration asks,
// or started otherwise. The zero value is as configured.
type variant struct {
	writable bool   // the root file system takes writes, which ran.Written lists
	sealed   bool   // nothing takes writes, /tmp and /dev/shm included
	tmp      string // directory of the host that is /tmp; an empty one of its own where ""
	user     string
	limits   sandbox.Limits
	filter   sandbox.SeccompLevel // SeccompRun where ""
	bare     bool                 // without any environment
	closed   bool                 // without standard streams
	signal   syscall.Signal       // sent once it has settled
}

// ran is what one process did.
type ran struct {
	sandbox.Outcome
	Stdout, Stderr string
	Written        []string // paths that were created, changed or removed outside /tmp
	TimedOut       bool
}

// slack is what making a sandbox and waiting for a process to settle in it may
// take beside the bounds.
const slack = 10 * time.Second

// maxOutput bounds what is kept of a process's output.
const maxOutput = 1 << 20

// start runs one process of the image as its configuration says: its user,
// environment and directory, a read-only root, an empty /tmp, no capability,
// no network but a loopback that the local server needs.
func (s *Subject) start(ctx context.Context, r compile.Run, v variant) (_ *ran, err error) {
	if s.Rootfs == "" {
		return nil, errors.New("the image was not unpacked, so no process of it can run")
	}
	work, err := os.MkdirTemp(s.Work, "suite-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sandbox.RemoveAll(work)) }()
	cfg, err := s.configuration(work, v)
	if err != nil {
		return nil, err
	}
	p := sandbox.Process{Args: r.Args, Env: s.Config.Config.Env, Dir: s.Config.Config.WorkingDir, Closed: v.closed}
	if p.Dir == "" {
		p.Dir = "/"
	}
	if v.bare {
		p.Env = nil
	}
	within := s.Bounds.Check
	if v.signal != 0 {
		p.Signal, p.After = int(v.signal), s.Bounds.Settle
		within = s.Bounds.Settle + s.Bounds.Grace + slack
	}
	for _, a := range r.Args {
		if strings.Contains(a, "{server}") {
			cfg.Loopback, cfg.Serve = true, &sandbox.Server{Files: serverFiles()}
		}
	}
	limit, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var stdout, stderr capped
	out, err := s.run(limit, cfg, p, &stdout, &stderr)
	res := &ran{Stdout: stdout.b.String(), Stderr: stderr.b.String()}
	switch {
	case err != nil && ctx.Err() == nil && limit.Err() != nil:
		res.TimedOut = true
	case err != nil:
		return nil, err
	default:
		res.Outcome = *out
	}
	if v.writable {
		if res.Written, err = writes(filepath.Join(work, "upper")); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// configuration mounts the root file system over a directory that holds only
// the mount points, so that the image need not bring them.
func (s *Subject) configuration(work string, v variant) (sandbox.Config, error) {
	points := filepath.Join(work, "points")
	for _, d := range []string{"points/proc", "points/dev", "points/tmp", "upper", "overlay"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o755); err != nil {
			return sandbox.Config{}, err
		}
	}
	root := sandbox.Mount{Kind: sandbox.Overlay, Target: "/", Lower: []string{s.Rootfs, points}, ReadOnly: !v.writable}
	if v.writable {
		root.Upper, root.Work = filepath.Join(work, "upper"), filepath.Join(work, "overlay")
	}
	user := s.Config.Config.User
	if v.user != "" {
		user = v.user
	}
	uid, gid, err := s.identity(user)
	if err != nil {
		return sandbox.Config{}, err
	}
	tmp := sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/tmp", Size: 16 << 20, ReadOnly: v.sealed}
	if v.tmp != "" {
		tmp = sandbox.Mount{Kind: sandbox.Bind, Target: "/tmp", Source: v.tmp}
	}
	filter := sandbox.SeccompRun
	if v.filter != "" {
		filter = v.filter
	}
	cfg := sandbox.Config{
		Mounts:   []sandbox.Mount{root, {Kind: sandbox.Proc, Target: "/proc"}, {Kind: sandbox.Dev, Target: "/dev"}, tmp},
		Hostname: "suite", UID: uid, GID: gid, Umask: 0o022,
		Limits: v.limits, Seccomp: filter,
	}
	if v.sealed {
		cfg.Mounts = append(cfg.Mounts, sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/dev/shm", ReadOnly: true})
	}
	return cfg, nil
}

// writes lists what an overlay's upper directory received. The mount points
// themselves may be copied there; what is below them is not the root's.
func writes(upper string) ([]string, error) {
	var list []string
	err := filepath.WalkDir(upper, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(upper, name)
		if err != nil {
			return err
		}
		switch rel {
		case ".", "proc", "dev", "tmp":
			return nil
		}
		list = append(list, "/"+rel)
		return nil
	})
	slices.Sort(list)
	return list, err
}

// capped keeps the first bytes and counts no others.
type capped struct{ b bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := maxOutput - c.b.Len(); room > 0 {
		c.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// wrongWith says in what a process did not do what r expects of it.
func wrongWith(r compile.Run, got *ran) string {
	switch {
	case got.TimedOut:
		return r.Name + ": did not end in time"
	case got.Exit == 128+int(syscall.SIGSYS) && got.Exit != r.Exit:
		return r.Name + ": made a system call that the filter forbids"
	case got.Exit != r.Exit:
		return fmt.Sprintf("%s: exit %d, want %d%s", r.Name, got.Exit, r.Exit, lastLine(got.Stderr))
	case !strings.Contains(got.Stdout, r.Stdout):
		return fmt.Sprintf("%s: standard output does not hold %q%s", r.Name, r.Stdout, lastLine(got.Stderr))
	}
	return ""
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return ""
	}
	s = s[strings.LastIndexByte(s, '\n')+1:]
	return fmt.Sprintf(" (%.200q)", s)
}

// observations are the runs as configured, which many tests judge and one
// process shows.
type observations struct {
	mu   sync.Mutex
	runs map[string]*observation
}

type observation struct {
	once sync.Once
	got  *ran
	err  error
}

// observe runs r as configured, once for all who ask.
func (s *Subject) observe(ctx context.Context, r compile.Run) (*ran, error) {
	key := strings.Join(r.Args, "\x00")
	s.seen.mu.Lock()
	if s.seen.runs == nil {
		s.seen.runs = map[string]*observation{}
	}
	o := s.seen.runs[key]
	if o == nil {
		o = new(observation)
		s.seen.runs[key] = o
	}
	s.seen.mu.Unlock()
	o.once.Do(func() { o.got, o.err = s.start(ctx, r, variant{}) })
	return o.got, o.err
}

// eachCheck runs every declared check in one variant and asks judge, after
// the check itself came out right, what is wrong.
func eachCheck(ctx context.Context, s *Subject, v variant, judge func(r compile.Run, got *ran) string) Outcome {
	return eachRun(ctx, s, s.Spec.Checks, "check", v, judge)
}

func eachRun(ctx context.Context, s *Subject, runs []compile.Run, kind string, v variant, judge func(r compile.Run, got *ran) string) Outcome {
	return judgeRuns(ctx, s, runs, kind, "as declared", v, func(r compile.Run, got *ran) string {
		if why := wrongWith(r, got); why != "" {
			return why
		}
		if judge != nil {
			if why := judge(r, got); why != "" {
				return r.Name + ": " + why
			}
		}
		return ""
	})
}

// eachSurvives runs every declared check in a variant that it was not written
// for: it may say no in its own way, and must not crash.
func eachSurvives(ctx context.Context, s *Subject, v variant) Outcome {
	return judgeRuns(ctx, s, s.Spec.Checks, "check", "without a crash", v, func(r compile.Run, got *ran) string {
		if got.TimedOut {
			return r.Name + ": did not end in time"
		}
		if why := crashed(got); why != "" && got.Exit != r.Exit {
			return r.Name + ": " + why
		}
		return ""
	})
}

// crashed says how a process ended without having decided to, or "".
func crashed(got *ran) string {
	switch {
	case got.Exit == 126 || got.Exit == 127:
		return fmt.Sprintf("could not run: exit %d%s", got.Exit, lastLine(got.Stderr))
	case got.Exit > 128:
		return fmt.Sprintf("was ended by %s%s", syscall.Signal(got.Exit-128), lastLine(got.Stderr))
	}
	return ""
}

func judgeRuns(ctx context.Context, s *Subject, runs []compile.Run, kind, right string, v variant, judge func(r compile.Run, got *ran) string) Outcome {
	if len(runs) == 0 {
		return notApplicable("the specification declares no " + kind)
	}
	start := s.start
	if v == (variant{}) {
		start = func(ctx context.Context, r compile.Run, _ variant) (*ran, error) { return s.observe(ctx, r) }
	}
	var wrong []string
	for _, r := range runs {
		got, err := start(ctx, r, v)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", r.Name, err))
		} else if why := judge(r, got); why != "" {
			wrong = append(wrong, why)
		}
	}
	return verdict(wrong, "%d of %d runs %s", len(runs), len(runs), right)
}
