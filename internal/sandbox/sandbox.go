package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cleanstart/cleanstart/internal/sandbox/first"
)

// ErrNoHook is returned by Run in a program whose main function did not call
// the hook: re-executed, it would run its own main a second time.
var ErrNoHook = errors.New("the sandbox's hook was not called: call local.Init() first in main, and first in TestMain for tests")

// ErrNoUserNamespaces is returned where the host does not let this user make
// namespaces.
var ErrNoUserNamespaces = errors.New("this host does not allow unprivileged user namespaces: as root, set the sysctls " +
	"kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu) and " +
	"user.max_user_namespaces above 0; in a container, allow the unshare system call and an unmasked /proc")

// hooked is set by Init. It is the one variable of the package: only the
// process itself can know whether its main function took the hook.
var hooked atomic.Bool

// failure is the error that the first process sent, with what it means on
// this host.
func failure(w *first.WireError) error {
	e := &SetupError{Stage: w.Stage, Path: w.Path, Err: errors.New(w.Text)}
	if w.Errno != 0 && w.Text == w.Errno.Error() {
		e.Err = w.Errno
	} else if w.Errno != 0 {
		e.Err = fmt.Errorf("%s: %w", strings.TrimSuffix(w.Text, ": "+w.Errno.Error()), w.Errno)
	}
	refused := w.Errno == unix.EPERM || w.Errno == unix.EACCES
	switch {
	// The kernel grants the namespace and then refuses its first use: how
	// AppArmor's restriction looks from inside. A container's masked /proc
	// forbids another one.
	case refused && (w.Stage == "private" || w.Stage == "proc"):
		return fmt.Errorf("%w (%w)", ErrNoUserNamespaces, e)
	case w.Stage == "overlay" && w.Errno == unix.ENODEV:
		return fmt.Errorf("the kernel's overlay module is not loaded: as root, run modprobe overlay: %w", e)
	}
	return e
}

// Run starts one process in a fresh sandbox and waits until it and all that
// it started are gone. A process that fails is an Outcome, not an error.
// When ctx ends the whole tree is killed and ctx's error returned; it is
// killed as well when this process dies.
func Run(ctx context.Context, cfg Config, p Process, stdout, stderr io.Writer) (*Outcome, error) {
	if !hooked.Load() {
		return nil, ErrNoHook
	}
	if err := cfg.Check(p); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	requests, tell, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	defer tell.Close() // held to the end: the first process takes its closing for our death
	replies, answer, err := os.Pipe()
	if err != nil {
		requests.Close()
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	defer replies.Close()

	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{first.Name}
	if cfg.Serve == nil {
		cmd.Args = append(cmd.Args, first.Early)
	}
	cmd.Env = []string{"GOMAXPROCS=2"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{requests, answer}
	cmd.SysProcAttr = attributes(cfg)

	// The death signal follows the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	requests.Close()
	answer.Close()
	if err != nil {
		return nil, startError(err)
	}
	sent := make(chan error, 1)
	go func() {
		sent <- json.NewEncoder(tell).Encode(first.Request{Config: cfg, Process: p, Namespaces: namespaces()})
	}()
	outcome, err := listen(replies)
	if err != nil {
		cmd.Process.Kill()
	}
	werr := cmd.Wait()
	<-sent // cannot block once the reading process is gone
	switch {
	case ctx.Err() != nil && outcome == nil:
		return nil, fmt.Errorf("sandbox: %s: %w", p.Args[0], ctx.Err())
	case err != nil:
		return nil, err
	case werr != nil:
		return nil, fmt.Errorf("sandbox: first process: %w", werr)
	}
	return outcome, nil
}

// attributes of the first process: every namespace, one identity, and the
// capabilities over its own namespaces that survive the exec.
func attributes(cfg Config) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: cfg.UID, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: cfg.GID, HostID: os.Getegid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP, unix.CAP_DAC_OVERRIDE, unix.CAP_KILL, unix.CAP_SYS_PTRACE},
		Pdeathsig:   syscall.SIGKILL,
		Setsid:      true,
	}
}

func startError(err error) error {
	for _, e := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w (%w)", ErrNoUserNamespaces, err)
		}
	}
	return fmt.Errorf("sandbox: start: %w", err)
}

// listen reads replies until an outcome, an error, or the end.
func listen(r io.Reader) (*Outcome, error) {
	dec := json.NewDecoder(io.LimitReader(r, 64<<20))
	greeted := false
	for {
		var m first.Reply
		err := dec.Decode(&m)
		switch {
		case err != nil && !greeted:
			return nil, ErrNoHook
		case err != nil:
			return nil, &SetupError{Stage: "wait", Err: fmt.Errorf("the first process ended without an answer (out of memory, or killed): %w", err)}
		case m.Error != nil:
			return nil, failure(m.Error)
		case m.Outcome != nil:
			return m.Outcome, nil
		}
		greeted = greeted || m.Hello
	}
}

// namespaces names this process's own, so that the first process can tell
// which of its own are new.
func namespaces() map[string]string {
	m := map[string]string{}
	for _, n := range first.Namespaces() {
		if id, err := os.Readlink("/proc/self/ns/" + n); err == nil {
			m[n] = id
		}
	}
	return m
}
