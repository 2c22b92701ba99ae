package first

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleanstart/cleanstart/internal/trace"
)

// runTarget starts the target and reaps until it ends, then ends everything
// else in the sandbox.
func runTarget(cfg *Config, p Process, outcome *Outcome) error {
	unix.Umask(cfg.Umask)
	if fi, err := os.Stat(p.Dir); err != nil || !fi.IsDir() {
		return &SetupError{Stage: "directory", Path: p.Dir, Err: orElse(err, unix.ENOTDIR)}
	}
	// Privilege is dropped by one thread, which the target is forked from and
	// which ends with this goroutine; the runtime never clones a locked thread
	// into another.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- shedAndRun(cfg, p, outcome)
	}()
	if err := <-done; err != nil {
		return err
	}
	outcome.Left = leftOver()
	unix.Kill(-1, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(-1, nil, unix.WALL, nil); err != nil && err != unix.EINTR {
			break
		}
	}
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &ru); err == nil {
		outcome.Usage.CPU = ru.Utime.Nano() + ru.Stime.Nano()
		outcome.Usage.MaxRSS = max(outcome.Usage.MaxRSS, above(ru.Maxrss<<10))
	}
	return nil
}

func shedAndRun(cfg *Config, p Process, outcome *Outcome) error {
	if err := shed(cfg.Seccomp); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return &SetupError{Stage: "probe", Path: "/proc/thread-self/status", Err: err}
	}
	outcome.Probe.NoCaps = true
	for _, set := range []string{"Inh", "Prm", "Eff", "Bnd", "Amb"} {
		v, ok := mask(status, "Cap"+set)
		outcome.Probe.NoCaps = outcome.Probe.NoCaps && ok && v == 0
	}
	outcome.Probe.NoNewPrivs = bytes.Contains(status, []byte("\nNoNewPrivs:\t1\n"))
	outcome.Probe.Seccomp = bytes.Contains(status, []byte("\nSeccomp:\t2\n"))
	if !outcome.Probe.NoNewPrivs || !outcome.Probe.Seccomp || !outcome.Probe.NoCaps {
		return &SetupError{Stage: "probe", Err: errors.New("privilege was dropped and is still there")}
	}
	if err := limitSoft(cfg.Limits); err != nil {
		return &SetupError{Stage: "limits", Err: err}
	}
	files, sys := []uintptr{0, 1, 2}, &syscall.SysProcAttr{Setsid: true}
	if p.Closed {
		const closed = ^uintptr(0) // what syscall.ForkExec takes for "close it"
		files = []uintptr{closed, closed, closed}
	}
	start := time.Now()
	defer func() { outcome.Usage.Wall = int64(time.Since(start)) }()
	if cfg.Trace != nil {
		outcome.Trace, err = trace.Run(cfg.Trace, append([]string{p.program()}, p.Args[1:]...), p.Env, p.Dir, files, sys)
		if err != nil {
			return &SetupError{Stage: "trace", Path: p.Args[0], Err: err}
		}
		outcome.Exit = outcome.Trace.Exit
		return nil
	}
	// os/exec is not used: it would wait for the child, and process 1 reaps
	// whatever ends.
	pid, err := syscall.ForkExec(p.program(), p.Args, &syscall.ProcAttr{Dir: p.Dir, Env: p.Env, Files: files, Sys: sys})
	if err != nil {
		return &SetupError{Stage: "exec", Path: p.program(), Err: err}
	}
	if err := limitHard(pid, cfg.Limits); err != nil && err != unix.ESRCH {
		return &SetupError{Stage: "limits", Err: err}
	}
	stop := watchMemory(pid, &outcome.Usage)
	signalled := signalAfter(pid, p)
	outcome.Exit, err = reap(pid)
	outcome.Stop = signalled()
	stop()
	if err != nil {
		return &SetupError{Stage: "wait", Path: p.Args[0], Err: err}
	}
	return nil
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// reap collects every child until pid is among them.
func reap(pid int) (exit int, err error) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case got == pid && ws.Exited():
			return ws.ExitStatus(), nil
		case got == pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		}
	}
}

// patience bounds how much longer than Process.After a process that does not
// sleep is waited for.
const patience = 5 * time.Second

// signalAfter sends the process its signal in time. The function it returns
// is called once the process has ended, and tells what came of it.
func signalAfter(pid int, p Process) (ended func() *Stop) {
	if p.Signal == 0 {
		return func() *Stop { return nil }
	}
	quit, result := make(chan struct{}), make(chan *Stop, 1)
	// the number may be another process's by then
	fd, err := unix.PidfdOpen(pid, 0)
	go func() {
		var sent *Stop
		defer func() { result <- sent }()
		if err != nil {
			return
		}
		defer unix.Close(fd)
		// One that is still busy starting on a slow machine has no handler yet.
		var status []byte
		end := time.Now().Add(p.After + patience)
		for asleep, pause := 0, p.After; asleep < 2 && time.Now().Before(end); pause = 10 * time.Millisecond {
			select {
			case <-quit:
				return
			case <-time.After(pause):
			}
			status, _ = os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
			if bytes.Contains(status, []byte("\nState:\tS")) {
				asleep++
			} else {
				asleep = 0
			}
		}
		start := time.Now()
		if unix.PidfdSendSignal(fd, unix.Signal(p.Signal), nil, 0) != nil {
			return
		}
		caught, _ := mask(status, "SigCgt")
		blocked, _ := mask(status, "SigBlk")
		<-quit
		sent = &Stop{Handled: (caught|blocked)>>(p.Signal-1)&1 == 1, Took: int64(time.Since(start))}
	}()
	return func() *Stop {
		close(quit)
		return <-result
	}
}

// mask reads one hexadecimal line of a status file.
func mask(status []byte, name string) (uint64, bool) {
	_, rest, ok := bytes.Cut(status, []byte("\n"+name+":\t"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	v, err := strconv.ParseUint(string(line), 16, 64)
	return v, ok && err == nil
}

// leftOver counts the processes that run on beside this one. Those that were
// about to end get a moment to do so.
func leftOver() int {
	n := 0
	for range 20 {
		for {
			if got, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOHANG, nil); got <= 0 && err != unix.EINTR {
				break
			}
		}
		if n = others(); n == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return n
}

func others() int {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	n := 0
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			n++
		}
	}
	return n
}

// shed empties what the calling thread may do, and with it everything that
// the thread forks.
func shed(level SeccompLevel) error {
	program, err := filter(level)
	if err != nil {
		return &SetupError{Stage: "seccomp", Err: err}
	}
	if level == SeccompBuild || level == "" {
		// addresses that differ from run to run leak into output order
		if err := personality(addrNoRandomize); err != nil {
			return &SetupError{Stage: "personality", Err: err}
		}
	}
	if err := dropCapabilities(); err != nil {
		return &SetupError{Stage: "capabilities", Err: err}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &SetupError{Stage: "no_new_privs", Err: err}
	}
	if err := loadFilter(program); err != nil {
		return &SetupError{Stage: "seccomp", Err: err}
	}
	return nil
}

const addrNoRandomize = 0x0040000 // ADDR_NO_RANDOMIZE of personality(2)

func personality(p uintptr) error {
	if _, _, e := syscall.RawSyscall(unix.SYS_PERSONALITY, p, 0, 0); e != 0 {
		return e
	}
	return nil
}

// dropCapabilities empties every set of the calling thread, the bounding set
// included.
func dropCapabilities() error {
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL && c > 0 {
			break // one past the last the kernel knows
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	var data [2]unix.CapUserData
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
}

type limitOf struct {
	resource int
	value    uint64
}

// inherited are the limits that process 1 can bear itself, fixed ones first
// so that a build does not see the caller's.
func inherited(l Limits) []limitOf {
	list := []limitOf{{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, 1024}, {unix.RLIMIT_STACK, 8 << 20}}
	if l.FileSize != 0 {
		list = append(list, limitOf{unix.RLIMIT_FSIZE, l.FileSize})
	}
	return list
}

// limitSoft lowers the soft limits that the target inherits.
func limitSoft(l Limits) error {
	for _, r := range inherited(l) {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(r.resource, &old); err != nil {
			return err
		}
		old.Cur = min(r.value, old.Max)
		// syscall's own, so that the runtime does not give children back the
		// limit on descriptors that it raised for itself
		if err := syscall.Setrlimit(r.resource, &old); err != nil {
			return err
		}
	}
	return nil
}

// limitHard fixes the limits of the target that has just started. Those on
// memory and processes come only now: process 1 would suffer from them.
func limitHard(pid int, l Limits) error {
	list := inherited(l)
	if l.Processes != 0 {
		list = append(list, limitOf{unix.RLIMIT_NPROC, l.Processes})
	}
	if l.Memory != 0 {
		list = append(list, limitOf{unix.RLIMIT_AS, l.Memory})
	}
	for _, r := range list {
		var old unix.Rlimit
		if err := unix.Prlimit(pid, r.resource, nil, &old); err != nil {
			return err
		}
		v := min(r.value, old.Max) // a lower limit of the caller stays
		if err := unix.Prlimit(pid, r.resource, &unix.Rlimit{Cur: v, Max: v}, nil); err != nil {
			return err
		}
	}
	return nil
}

// watchMemory samples the target's own peak. The kernel's count of a forked
// child includes what this process held at the fork.
func watchMemory(pid int, u *Usage) (stop func()) {
	var peak atomic.Int64
	quit, ended := make(chan struct{}), make(chan struct{})
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	go func() {
		defer close(ended)
		if err != nil {
			return
		}
		defer f.Close()
		buf := make([]byte, 4096)
		for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
			n, err := f.ReadAt(buf, 0)
			if err != nil && err != io.EOF {
				return
			}
			if v, ok := highWater(buf[:n]); ok {
				peak.Store(max(peak.Load(), v))
			}
			select {
			case <-quit:
				return
			case <-time.After(wait):
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
		u.MaxRSS = peak.Load()
	}
}

// highWater reads VmHWM of a status file.
func highWater(status []byte) (int64, bool) {
	_, rest, ok := bytes.Cut(status, []byte("\nVmHWM:"))
	var kib int64
	if _, err := fmt.Sscan(string(rest), &kib); !ok || err != nil {
		return 0, false
	}
	return kib << 10, true
}

// above is v, or 0 when v is no more than this process's own peak, which the
// kernel counts into its children.
func above(v int64) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if own, ok := highWater(status); err == nil && ok && v <= own {
		return 0
	}
	return v
}
