package reach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
	"github.com/cleanstart/cleanstart/internal/trace"
)

// maxOutput bounds what is kept of a process's output.
const maxOutput = 1 << 20

// head keeps the first bytes of what a process writes.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), max(0, maxOutput-h.Len()))])
	return len(p), nil
}

// run starts one process of the workload as the image's configuration says
// and checks that it did what the specification expects.
func (o *Observer) run(ctx context.Context, s *analyze.Subject, plan *trace.Plan, r compile.Run) (*trace.Result, error) {
	if len(r.Args) == 0 {
		return nil, errors.New("it has no program")
	}
	image := s.Image.Record.Spec.Image
	work, err := os.MkdirTemp(s.Work, "reach-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	points := filepath.Join(work, "points")
	for _, d := range []string{"proc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(points, d), 0o755); err != nil {
			return nil, err
		}
	}
	uid, gid, err := user(image.User)
	if err != nil {
		return nil, err
	}
	cfg := sandbox.Config{
		Mounts: []sandbox.Mount{
			// the image need not bring the mount points
			{Kind: sandbox.Overlay, Target: "/", Lower: []string{s.Rootfs, points}, ReadOnly: true},
			{Kind: sandbox.Proc, Target: "/proc"},
			{Kind: sandbox.Dev, Target: "/dev"},
			{Kind: sandbox.Tmpfs, Target: "/tmp", Size: 64 << 20},
		},
		Hostname: "reach", UID: uid, GID: gid, Umask: 0o022, Seccomp: sandbox.SeccompTrace, Trace: plan,
	}
	if slices.ContainsFunc(r.Args, func(a string) bool { return strings.Contains(a, "{server}") }) {
		cfg.Loopback, cfg.Serve = true, &sandbox.Server{Files: o.opts.Files}
	}
	p := sandbox.Process{Args: r.Args, Dir: image.WorkDir}
	if p.Dir == "" {
		p.Dir = "/"
	}
	for k, v := range image.Env {
		p.Env = append(p.Env, k+"="+v)
	}
	slices.Sort(p.Env)
	limit, cancel := context.WithTimeout(ctx, o.opts.Timeout)
	defer cancel()
	var stdout, stderr head
	out, err := sandbox.Run(limit, cfg, p, &stdout, &stderr)
	switch {
	case err != nil && ctx.Err() == nil && limit.Err() != nil:
		return nil, fmt.Errorf("it did not end within %v", o.opts.Timeout)
	case err != nil:
		return nil, err
	case out.Trace == nil:
		return nil, errors.New("the sandbox did not trace it")
	case out.Exit != r.Exit:
		return nil, fmt.Errorf("exit status %d, want %d: %s", out.Exit, r.Exit, lastLine(stderr.String()))
	case !strings.Contains(stdout.String(), r.Stdout):
		return nil, fmt.Errorf("standard output does not hold %q", r.Stdout)
	}
	return out.Trace, nil
}

// user splits "UID:GID"; 65532:65532 when empty.
func user(s string) (uid, gid int, err error) {
	if s == "" {
		s = "65532:65532"
	}
	u, g, ok := strings.Cut(s, ":")
	if !ok {
		g = u
	}
	uid, err = strconv.Atoi(u)
	if err == nil {
		gid, err = strconv.Atoi(g)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("user %q is not numeric", s)
	}
	return uid, gid, nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
