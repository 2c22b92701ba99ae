package trace

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const options = unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
	unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL

// Run starts argv under the plan's breakpoints and returns when that process,
// the root, has ended; processes that outlive it are killed. The child gets
// env, dir and files, and what sys asks for, as with [syscall.ForkExec]. It
// is forked from the calling thread, whose restrictions it inherits.
//
// A file of the plan that is never mapped is no error: it was never run. A
// file that is missing or not an ELF file of this machine, or an address
// outside its executable segments, is one.
//
// In process 1 of a pid namespace Run also reaps orphans; elsewhere it waits
// for the children of its own thread only. A traced program that stops itself
// with SIGSTOP is continued at once; one that handles SIGTRAP itself loses its
// handler when a breakpoint is hit while that signal is blocked. Files loaded by dlopen are armed before
// their first instruction runs where the dynamic linker has the usual
// rendezvous, a function _dl_debug_state of one ret; with any other linker
// they are not armed.
func Run(plan *Plan, argv []string, env []string, dir string, files []uintptr, sys *syscall.SysProcAttr) (*Result, error) {
	if len(argv) == 0 {
		return nil, errors.New("trace: no program is named")
	}
	targets, err := resolve(plan)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	attr := syscall.SysProcAttr{}
	if sys != nil {
		attr = *sys
	}
	attr.Ptrace = true
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Dir: dir, Env: env, Files: files, Sys: &attr})
	if err != nil {
		return nil, fmt.Errorf("trace: start %s: %w", argv[0], err)
	}
	t := &tracer{
		targets: targets,
		root:    pid,
		wait:    unix.WALL | unix.WNOTHREAD,
		tasks:   map[int]*task{},
		early:   map[int]bool{},
		linkers: map[string]linker{},
	}
	if os.Getpid() == 1 {
		t.wait = unix.WALL
	}
	exit, err := t.loop()
	t.end()
	if err != nil {
		return nil, fmt.Errorf("trace: %s: %w", argv[0], err)
	}
	return t.result(exit), nil
}

// task is one traced thread.
type task struct {
	space *space
	// born is set until the SIGSTOP that every new task starts with was seen.
	born bool
}

// space is an address space. Threads share one; a fork copies it.
type space struct {
	images []image
	// rendezvous is the address of the dynamic linker's _dl_debug_state, 0
	// when there is none; ret is the address of a ret instruction.
	rendezvous, ret uint64
}

type tracer struct {
	targets []*target
	root    int
	wait    int
	tasks   map[int]*task
	early   map[int]bool // stopped before the event that announces them
	linkers map[string]linker
}

// loop handles stops until the root has ended.
func (t *tracer) loop() (exit int, err error) {
	for started := false; ; {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, t.wait, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("wait: %w", err)
		case ws.Exited() || ws.Signaled():
			delete(t.tasks, tid)
			delete(t.early, tid)
			if tid != t.root {
				continue
			}
			if ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return ws.ExitStatus(), nil
		case !ws.Stopped():
			continue
		case !started && tid == t.root:
			started = true
			if err := unix.PtraceSetOptions(tid, options); err != nil {
				return 0, fmt.Errorf("ptrace options: %w", err)
			}
			t.tasks[tid] = &task{space: &space{}}
			if err := t.scan(tid); err != nil {
				return 0, err
			}
			err = unix.PtraceCont(tid, 0)
		default:
			err = t.stopped(tid, ws)
		}
		// A task that was killed meanwhile fails in many ways; its end is
		// reported by a later wait.
		if err != nil && held(tid) {
			return 0, err
		}
	}
}

// held reports whether the task is alive and stopped under this tracer.
func held(tid int) bool {
	var regs unix.PtraceRegsAmd64
	return unix.PtraceGetRegsAmd64(tid, &regs) == nil
}

// stopped handles one stop and continues the task.
func (t *tracer) stopped(tid int, ws unix.WaitStatus) error {
	k := t.tasks[tid]
	if k == nil { // a new task whose parent has not reported it yet
		t.early[tid] = true
		return nil
	}
	sig := ws.StopSignal()
	if sig == unix.SIGTRAP && ws.TrapCause() > 0 {
		return t.event(tid, k, ws.TrapCause())
	}
	if sig == unix.SIGSTOP && k.born {
		k.born = false
		return unix.PtraceCont(tid, 0)
	}
	if sig == unix.SIGTRAP {
		ours, err := t.trap(tid, k.space)
		if err != nil {
			return err
		}
		if ours {
			sig = 0
		}
	}
	return unix.PtraceCont(tid, int(sig))
}

// event handles a ptrace event stop.
func (t *tracer) event(tid int, k *task, cause int) error {
	switch cause {
	case unix.PTRACE_EVENT_CLONE, unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK:
		msg, err := unix.PtraceGetEventMsg(tid)
		if err != nil {
			return err
		}
		child := &task{space: k.space, born: true}
		if cause == unix.PTRACE_EVENT_FORK || cause == unix.PTRACE_EVENT_CLONE && !sameGroup(tid, int(msg)) {
			s := *k.space
			s.images = append([]image(nil), s.images...)
			child.space = &s
		}
		t.tasks[int(msg)] = child
		if t.early[int(msg)] {
			delete(t.early, int(msg))
			child.born = false
			if err := unix.PtraceCont(int(msg), 0); err != nil && err != unix.ESRCH {
				return err
			}
		}
	case unix.PTRACE_EVENT_EXEC:
		// The caller of execve takes over its group's id; the other threads
		// are gone without a word.
		if msg, err := unix.PtraceGetEventMsg(tid); err == nil && int(msg) != tid {
			delete(t.tasks, int(msg))
		}
		k.space, k.born = &space{}, false
		if err := t.scan(tid); err != nil {
			return err
		}
	}
	return unix.PtraceCont(tid, 0)
}

// sameGroup reports whether two tasks are threads of one process.
func sameGroup(a, b int) bool {
	x, y := group(a), group(b)
	return x != "" && x == y
}

func group(tid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(status), "\nTgid:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// trap handles a SIGTRAP that is no event: ours says that a breakpoint of
// ours raised it, and that the task may simply go on. The byte is restored
// whether or not the breakpoint was hit before: a racing thread, or a child
// that was forked with the breakpoint in its copy, arrives here later.
func (t *tracer) trap(tid int, s *space) (ours bool, err error) {
	if !fromKernel(tid) {
		return false, nil
	}
	var regs unix.PtraceRegsAmd64
	if err := unix.PtraceGetRegsAmd64(tid, &regs); err != nil {
		return false, err
	}
	pc := regs.Rip - 1
	if s.rendezvous != 0 && pc == s.rendezvous {
		if err := t.scan(tid); err != nil {
			return false, err
		}
		regs.Rip = s.ret
		return true, unix.PtraceSetRegsAmd64(tid, &regs)
	}
	target, addr := s.find(pc)
	if target == nil {
		// A process that shares this memory without being our thread may have
		// loaded the file.
		if err := t.scan(tid); err != nil {
			return false, err
		}
		if target, addr = s.find(pc); target == nil {
			return false, nil
		}
	}
	p := target.points[addr]
	if !p.armed {
		return false, nil
	}
	if _, err := unix.PtracePokeText(tid, uintptr(pc), []byte{p.original}); err != nil {
		return false, err
	}
	p.hit = true
	regs.Rip = pc
	return true, unix.PtraceSetRegsAmd64(tid, &regs)
}

// fromKernel tells the SIGTRAP of an int3 from one that a process sent.
func fromKernel(tid int) bool {
	const siKernel = 0x80
	var info struct { // siginfo_t, 128 bytes
		signo, errno, code int32
		_                  [29]int32
	}
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGINFO, uintptr(tid), 0, uintptr(unsafe.Pointer(&info)), 0, 0)
	return e == 0 && info.code == siKernel
}

// end kills whatever is still traced and reaps it.
func (t *tracer) end() {
	for tid := range t.tasks {
		unix.Kill(tid, unix.SIGKILL)
	}
	for tid := range t.early {
		unix.Kill(tid, unix.SIGKILL)
	}
	for {
		wait := t.wait
		if len(t.tasks)+len(t.early) == 0 {
			wait |= unix.WNOHANG // only what was being born may be left
		}
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, wait, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || tid == 0:
			return
		case ws.Stopped():
			unix.Kill(tid, unix.SIGKILL)
			unix.PtraceCont(tid, 0)
		default:
			delete(t.tasks, tid)
			delete(t.early, tid)
		}
	}
}

func (t *tracer) result(exit int) *Result {
	r := &Result{Exit: exit}
	for _, target := range t.targets {
		for addr, p := range target.points {
			if p.armed {
				r.Armed++
			}
			if p.hit {
				r.Hits = append(r.Hits, Hit{Path: target.path, Address: addr})
			}
		}
	}
	sort.Slice(r.Hits, func(i, j int) bool {
		a, b := r.Hits[i], r.Hits[j]
		return a.Path < b.Path || a.Path == b.Path && a.Address < b.Address
	})
	return r
}
