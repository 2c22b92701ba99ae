package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

// Init is the hook of the SDK: call it first in main. In a process that a
// sandbox started it does not return.
func Init() { sandbox.Init() }

// Executor runs actions in sandboxes on this machine. It holds no state
// between actions and may run several at once.
type Executor struct {
	temp    string
	plain   []string // components whose preprocessed text is not kept
	noText  bool     // of none at all
	limits  sandbox.Limits
	tmpSize int64
}

// Option changes one setting of an Executor.
type Option func(*Executor)

// WithTempDir names the directory for private working directories. It must
// lie on a file system that can hold an overlay's upper layer. Default: the
// parent of Job.Out.
func WithTempDir(dir string) Option { return func(e *Executor) { e.temp = dir } }

// WithoutPreprocessed leaves out the preprocessed text of the C units of the
// named components, or of all when none is named. The source analysis reads
// it, and answers unknown without it; it costs about as much as half of a very
// small compilation. Default: it is kept.
func WithoutPreprocessed(components ...string) Option {
	return func(e *Executor) { e.plain, e.noText = components, len(components) == 0 }
}

// WithMemory limits the address space of each process, in bytes. Default: no
// limit.
func WithMemory(n uint64) Option { return func(e *Executor) { e.limits.Memory = n } }

// WithProcesses limits the number of processes of a build. Default: 4096.
func WithProcesses(n uint64) Option { return func(e *Executor) { e.limits.Processes = n } }

// WithTmpSize limits /tmp, in bytes. Default: 2 GiB.
func WithTmpSize(n int64) Option { return func(e *Executor) { e.tmpSize = n } }

// New makes an executor.
func New(opts ...Option) *Executor {
	e := &Executor{limits: sandbox.Limits{Processes: 4096}, tmpSize: 2 << 30}
	for _, o := range opts {
		o(e)
	}
	return e
}

func (e *Executor) preprocesses(component string) bool {
	return !e.noText && !slices.Contains(e.plain, component)
}

var _ compile.Executor = (*Executor)(nil)

// ErrNotHermetic is returned when the sandbox measured a way out.
var ErrNotHermetic = errors.New("the sandbox is not isolated from the network")

// Execute implements [compile.Executor]. Job.Out is filled only when the
// whole action succeeded; the private working directory is removed in any
// case.
func (e *Executor) Execute(ctx context.Context, job *compile.Job) (result *compile.Result, err error) {
	a := &job.Action
	defer func() {
		if err != nil {
			err = fmt.Errorf("build %s %s: %w", a.Component, a.Version, err)
		}
	}()
	if err := checkJob(job); err != nil {
		return nil, err
	}
	w, err := e.prepare(job)
	if err != nil {
		return nil, err
	}
	defer func() {
		if rerr := sandbox.RemoveAll(w.dir); rerr != nil && err == nil {
			result, err = nil, fmt.Errorf("remove the working directory: %w", rerr)
		}
	}()
	result = &compile.Result{}
	log := newLog(job.Log, a.Component)
	for i, c := range a.Commands {
		ran, outcome, err := w.command(ctx, log, i, c)
		if err != nil {
			return nil, err
		}
		result.Commands = append(result.Commands, *ran)
		if result.Hermetic, err = hermetic(&outcome.Probe); err != nil {
			return nil, err
		}
		if outcome.Exit != 0 {
			return nil, &compile.BuildError{Component: a.Component, Command: c, Exit: outcome.Exit, Tail: log.lines()}
		}
	}
	if err := log.err(); err != nil {
		return nil, fmt.Errorf("write the build log: %w", err)
	}
	if err := w.collect(ctx, result); err != nil {
		return nil, err
	}
	return result, nil
}

func checkJob(job *compile.Job) error {
	a := &job.Action
	switch {
	case a.Component == "" || strings.ContainsAny(a.Component, "/\x00") || a.Component[0] == '.':
		return fmt.Errorf("component name %q cannot be a path element", a.Component)
	case a.Platform != "linux/amd64":
		return fmt.Errorf("platform %q: the local executor builds linux/amd64", a.Platform)
	case len(a.Commands) == 0:
		return errors.New("the action has no commands")
	case a.Flags.Libc != "" && job.Needs[a.Flags.Libc] == "":
		return fmt.Errorf("the C library %q is not among the needs", a.Flags.Libc)
	case a.Epoch <= 0:
		return errors.New("the action has no epoch")
	}
	for _, n := range a.Needs {
		if job.Needs[n.Name] == "" {
			return fmt.Errorf("the dev part of %s is not given", n.Name)
		}
	}
	if len(job.Needs) != len(a.Needs) {
		return errors.New("the job gives needs that the action does not name")
	}
	if list, err := os.ReadDir(job.Out); err != nil {
		return err
	} else if len(list) > 0 {
		return fmt.Errorf("%s is not empty", job.Out)
	}
	return nil
}

// hermetic turns a probe into the record's form, or refuses it.
func hermetic(p *sandbox.Probe) (compile.Hermetic, error) {
	h := compile.Hermetic{Interfaces: p.Interfaces, Reached: p.Reached, Namespaces: p.Namespaces, UID: p.UID, Seccomp: p.Seccomp && p.NoNewPrivs}
	up := slices.ContainsFunc(p.Interfaces, func(i string) bool { return !strings.HasSuffix(i, " down") })
	if p.Reached || p.Routes != 0 || up || !slices.Contains(p.Namespaces, "net") || !h.Seccomp {
		b, _ := json.Marshal(p)
		return h, fmt.Errorf("%w: measured %s", ErrNotHermetic, b)
	}
	return h, nil
}

// command runs one command of the action in a sandbox of its own.
func (w *work) command(ctx context.Context, log *buildLog, i int, c compile.Command) (*compile.Execution, *sandbox.Outcome, error) {
	a := &w.job.Action
	args := slices.Clone(c.Args)
	if len(args) == 0 {
		return nil, nil, fmt.Errorf("command %d is empty", i)
	}
	jobs := w.job.Jobs
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	for k := range args {
		args[k] = strings.ReplaceAll(args[k], "{jobs}", strconv.Itoa(jobs))
	}
	program, err := w.lookup(args[0], c.Dir, a.Env["PATH"])
	if err != nil {
		return nil, nil, fmt.Errorf("command %d: %w", i, err)
	}
	stdout, stderr := log.stream(i, "stdout"), log.stream(i, "stderr")
	start := time.Now()
	outcome, err := w.run(ctx, w.traceDir(i), sandbox.Process{Path: program, Args: args, Env: environment(a.Env), Dir: c.Dir}, stdout, stderr)
	stdout.flush()
	stderr.flush()
	if err != nil {
		return nil, nil, fmt.Errorf("command %d (%s): %w", i, c.Args[0], err)
	}
	return &compile.Execution{Command: c, Env: a.Env, Exit: outcome.Exit, Duration: time.Since(start)}, outcome, nil
}

func environment(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// lookup finds a program as execvp would, but from the outside: with a slash
// it is relative to the command's directory, without one it is searched in
// the toolchain along path.
func (w *work) lookup(name, dir, path string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	if strings.Contains(name, "/") {
		return filepath.Join(dir, name), nil
	}
	for _, d := range filepath.SplitList(path) {
		p := filepath.Join(d, name)
		if _, err := os.Lstat(filepath.Join(w.job.Toolchain, p)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("the toolchain has no program %s in PATH %s", name, path)
}
