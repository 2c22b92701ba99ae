package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// DefaultPath is where tools are looked for unless the caller says otherwise.
const DefaultPath = "/usr/local/bin:/usr/bin:/bin"

// MissingError says that the host has no such tool.
type MissingError struct {
	Tool, Path string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not in %s: install it, or name the directory that holds it", e.Tool, e.Path)
}

// ExitError says that a tool ran and failed.
type ExitError struct {
	Tool   string
	Args   []string
	Code   int    // exit status; -1 when a signal ended it
	Stderr string // its end
}

func (e *ExitError) Error() string {
	last := strings.TrimSpace(e.Stderr)
	last = last[strings.LastIndexByte(last, '\n')+1:]
	if last == "" {
		last = "it said nothing"
	}
	return fmt.Sprintf("%s ended with status %d: %s", e.Tool, e.Code, last)
}

// Format writes all of what the tool said under %+v.
func (e *ExitError) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('+') {
		fmt.Fprintf(f, "%s %q ended with status %d:\n%s", e.Tool, e.Args, e.Code, e.Stderr)
		return
	}
	io.WriteString(f, e.Error())
}

// Command is one run of a tool. Tool is required.
type Command struct {
	Tool   string // base name
	Path   string // directories, separated by colons. Default: DefaultPath
	Args   []string
	Env    []string // all of it
	Dir    string   // default: the root directory
	Stdin  io.Reader
	Stdout io.Writer // default: discarded
}

// Find gives the absolute path of a tool, or a [*MissingError].
func Find(tool, path string) (string, error) {
	if path == "" {
		path = DefaultPath
	}
	if tool == "" || tool != filepath.Base(tool) {
		return "", fmt.Errorf("%q is not the base name of a tool", tool)
	}
	for _, dir := range filepath.SplitList(path) {
		name := filepath.Join(dir, tool)
		// A relative directory would find what lies about.
		if info, err := os.Stat(name); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return name, nil
		}
	}
	return "", &MissingError{tool, path}
}

// Run starts the tool and waits for its end. Errors are a [*MissingError], an
// [*ExitError], the context's cause, or what reading Stdin or writing Stdout
// gave.
func (c Command) Run(ctx context.Context) error {
	p, err := c.start(ctx, false)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Process is a tool that runs.
type Process struct {
	In  io.WriteCloser
	Out io.ReadCloser
	ctx context.Context
	c   Command
	cmd *exec.Cmd
	err *tail
}

// Start starts a tool to talk with; Stdin and Stdout must not be set. The
// caller calls Wait, after reading what it wants.
func (c Command) Start(ctx context.Context) (*Process, error) { return c.start(ctx, true) }

func (c Command) start(ctx context.Context, pipes bool) (*Process, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	name, err := Find(c.Tool, c.Path)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, name, c.Args...)
	cmd.Env = append([]string{}, c.Env...) // not nil, which would be ours
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = string(filepath.Separator)
	}
	p := &Process{ctx: ctx, c: c, cmd: cmd, err: &tail{}}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, p.err
	group(cmd)
	// A grandchild that left the group may hold the pipes.
	cmd.WaitDelay = 5 * time.Second
	if pipes {
		if p.In, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
		if p.Out, err = cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Wait closes the process's input and waits for its end; the errors are those
// of [Command.Run].
func (p *Process) Wait() error {
	if p.In != nil {
		p.In.Close()
	}
	err := p.cmd.Wait()
	if err == nil {
		return nil
	}
	if cause := context.Cause(p.ctx); cause != nil {
		return cause
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &ExitError{p.c.Tool, p.c.Args, exit.ExitCode(), p.err.String()}
	}
	return fmt.Errorf("%s: %w", p.c.Tool, err)
}

// tail keeps the end of what is written to it.
type tail struct {
	b   []byte
	cut bool
}

const maxTail = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxTail):]...)
	if over := len(t.b) - maxTail; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	if t.cut {
		return "…" + string(t.b)
	}
	return string(t.b)
}
