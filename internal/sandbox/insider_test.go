package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// insider is the test program inside a sandbox.
func insider(what string, args []string) int {
	switch what {
	case "report":
		report()
	case "denied":
		err := forbidden(args[0])
		if err == nil {
			fmt.Println(args[0], "succeeded")
			return 1
		}
		fmt.Println(args[0], err)
	case "exit":
		n, _ := strconv.Atoi(args[0])
		return n
	case "kill-init":
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGKILL, syscall.SIGUSR1} {
			syscall.Kill(1, sig)
		}
		time.Sleep(50 * time.Millisecond)
	case "term":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		if len(args) > 0 {
			signal.Ignore(syscall.SIGTERM)
		}
		select {
		case <-c:
			return 3
		case <-time.After(2 * time.Second):
			return 4
		}
	case "streams": // the Go runtime opens the null device where a stream is closed
		for _, fd := range []string{"0", "1", "2"} {
			if to, err := os.Readlink("/proc/self/fd/" + fd); err != nil || to != "/dev/null" {
				return 1
			}
		}
	case "kill-self":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "get":
		r, err := http.Get(args[0])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		b, _ := io.ReadAll(r.Body)
		fmt.Println(r.StatusCode, string(b))
	case "write":
		if err := os.WriteFile(args[0], []byte(args[1]), 0o644); err != nil {
			fmt.Println(err)
			return 1
		}
	case "write-big":
		if os.WriteFile(args[0], make([]byte, 1<<20), 0o644) == nil {
			return 1
		}
	case "forest", "daemon", "sleep":
		return grow(what)
	}
	return 0
}

func grow(what string) int {
	if what == "sleep" {
		fmt.Println("grandchild")
		time.Sleep(time.Hour)
	}
	cmd := exec.Command("/bin/self", "-inside", "sleep")
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	if what == "forest" {
		cmd.Wait()
	}
	return 0
}

func report() {
	host, _ := os.Hostname()
	old := unix.Umask(0)
	wd, _ := os.Getwd()
	fmt.Printf("uid=%d gid=%d\nhost=%s\numask=%04o\nenv=%v\ncwd=%s\n", os.Getuid(), os.Getgid(), host, old, os.Environ(), wd)
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		k, v, _ := strings.Cut(line, ":")
		name := map[string]string{"CapPrm": "caps", "CapBnd": "bounding", "NoNewPrivs": "nnp", "Seccomp": "seccomp"}[k]
		if name != "" {
			fmt.Printf("%s=%s\n", name, strings.TrimSpace(v))
		}
	}
	pids := 0
	procs, _ := os.ReadDir("/proc")
	for _, e := range procs {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			pids++
		} else if e.Name() != "self" && e.Name() != "thread-self" {
			fmt.Println("proc entry", e.Name())
		}
	}
	var files syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
	fmt.Printf("descriptors=%d\n", files.Max)
	fmt.Printf("pid-alone=%v\n", pids == 2)
	var fds []string
	for fd := range 64 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			link, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
			if !strings.HasPrefix(link, "anon_inode:") { // the Go runtime's own poller
				fds = append(fds, strconv.Itoa(fd))
			}
		}
	}
	fmt.Printf("fds=%v\n", fds)
	if _, err := os.ReadFile("/proc/1/environ"); err != nil {
		fmt.Println("parent-environ=denied")
	}
	var names []string
	root, _ := os.ReadDir("/")
	for _, e := range root {
		names = append(names, e.Name())
	}
	fmt.Printf("root=%v\n", names)
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	fmt.Printf("mounts:\n%s", mounts)
}

// forbidden tries what the sandbox must refuse.
func forbidden(what string) error {
	switch what {
	case "mount":
		return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "")
	case "unshare":
		return unix.Unshare(unix.CLONE_NEWUSER)
	case "ptrace":
		return unix.PtraceAttach(1)
	case "keyctl":
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
		return err
	case "bpf":
		_, _, e := unix.Syscall(unix.SYS_BPF, 0, 0, 0)
		if e == unix.EPERM {
			return e
		}
		return nil
	case "clone-newuser":
		cmd := exec.Command("/bin/self", "-inside", "exit", "0")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		return cmd.Run()
	case "vsock":
		_, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
		return err
	case "ioctl-tiocsti":
		_, _, e := unix.Syscall(unix.SYS_IOCTL, 1, unix.TIOCSTI, 0)
		if e == unix.EPERM {
			return e
		}
		return nil
	case "io_uring":
		_, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
		if e == unix.ENOSYS {
			return e
		}
		return nil
	case "mmap-wx":
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		return err
	case "mprotect-x":
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return nil
		}
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	case "chroot":
		return unix.Chroot("/tmp")
	case "sethostname":
		return unix.Sethostname([]byte("x"))
	case "write-root-ro":
		return os.WriteFile("/f", nil, 0o644)
	}
	return nil
}
