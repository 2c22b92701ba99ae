package first

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The filter is a deny list: what a compiler or a server never needs, and
// what has a record of opening kernels to the unprivileged. Another system
// call ABI than the native one would pass by a list of numbers, so it kills.

const (
	offNr   = 0
	offArch = 4
	offArg0 = 16 // low half of the first argument, little-endian
	argSize = 8

	retAllow = unix.SECCOMP_RET_ALLOW
	retPerm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	retNoSys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	retNoAF  = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
	retKill  = unix.SECCOMP_RET_KILL_PROCESS
)

// newNamespaces are the clone flags that make namespaces.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// denied get EPERM, whatever their arguments.
var denied = []uint32{
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG,
	unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
	unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
	unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES,
}

// absent answer as an older kernel would, so that callers fall back: clone3
// hides its flags behind a pointer, io_uring its operations behind a ring.
var absent = []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}

// families of sockets that a network namespace does not hold in, or that are
// only attack surface.
var families = []uint32{unix.AF_VSOCK, unix.AF_ALG, unix.AF_BLUETOOTH, unix.AF_CAN, unix.AF_TIPC, unix.AF_RDS, unix.AF_KCM, unix.AF_XDP, unix.AF_NFC, unix.AF_IUCV, unix.AF_QIPCRTR, unix.AF_SMC}

// filter assembles the program of a level. SeccompTrace alone allows ptrace:
// the tracer forks the traced process, so both are under the same filter.
func filter(level SeccompLevel) ([]unix.SockFilter, error) {
	list := append(append([]uint32(nil), denied...), deniedHere...)
	refuse := uint32(retPerm)
	switch level {
	case SeccompBuild, SeccompRun, SeccompWX, "":
		list = append(list, unix.SYS_PTRACE)
	case SeccompKill:
		list = append(list, unix.SYS_PTRACE)
		refuse = retKill
	case SeccompTrace:
	default:
		return nil, fmt.Errorf("unknown seccomp level %q", level)
	}
	var p []unix.SockFilter
	load := func(off uint32) {
		p = append(p, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off})
	}
	ret := func(k uint32) { p = append(p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}) }
	jump := func(op uint16, k uint32, t, f uint8) {
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jt: t, Jf: f})
	}

	load(offArch)
	jump(unix.BPF_JEQ, auditArch, 1, 0)
	ret(retKill)
	load(offNr)
	jump(unix.BPF_JGE, foreignBit, 0, 1) // x32 shares the architecture number
	ret(retNoSys)
	for _, nr := range list {
		jump(unix.BPF_JEQ, nr, 0, 1)
		ret(refuse)
	}
	for _, nr := range absent {
		jump(unix.BPF_JEQ, nr, 0, 1)
		ret(retNoSys)
	}
	// argument checks; each block ends by reloading nothing, since it returns
	if level == SeccompWX {
		p = append(p, writeOrRun()...)
	}
	jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4)
	load(offArg0)
	jump(unix.BPF_JSET, newNamespaces, 0, 1)
	ret(refuse)
	ret(retAllow)
	jump(unix.BPF_JEQ, unix.SYS_IOCTL, 0, 5)
	load(offArg0 + argSize)
	jump(unix.BPF_JEQ, unix.TIOCSTI, 1, 0)
	jump(unix.BPF_JEQ, tioclinux, 0, 1)
	ret(refuse)
	ret(retAllow)
	for _, nr := range []uint32{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR} {
		jump(unix.BPF_JEQ, nr, 0, uint8(2+2*len(families)))
		load(offArg0)
		for _, f := range families {
			jump(unix.BPF_JEQ, f, 0, 1)
			ret(retNoAF)
		}
		ret(retAllow)
	}
	ret(retAllow)
	return p, nil
}

// writeOrRun refuses memory that is written and run: a mapping with both
// rights, and the right to run given later, as systemd's
// MemoryDenyWriteExecute does. Loaders map code with its final rights.
func writeOrRun() []unix.SockFilter {
	const both = unix.PROT_WRITE | unix.PROT_EXEC
	third := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offArg0 + 2*argSize}
	perm, allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: retPerm}, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: retAllow}
	p := []unix.SockFilter{
		{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, K: unix.SYS_MMAP, Jf: 5},
		third,
		{Code: unix.BPF_ALU | unix.BPF_K | unix.BPF_AND, K: both},
		{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, K: both, Jf: 1},
		perm, allow,
	}
	for _, c := range []struct{ nr, flag uint32 }{
		{unix.SYS_MPROTECT, unix.PROT_EXEC}, {unix.SYS_PKEY_MPROTECT, unix.PROT_EXEC}, {unix.SYS_SHMAT, shmExec},
	} {
		p = append(p,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, K: c.nr, Jf: 4},
			third,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JSET, K: c.flag, Jf: 1},
			perm, allow)
	}
	return p
}

const shmExec = 0o100000 // SHM_EXEC

const tioclinux = 0x541C // TIOCLINUX: pastes into a console

// loadFilter installs a filter on the calling thread, which must have
// no_new_privs set.
func loadFilter(p []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	_, _, e := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return e
	}
	return nil
}
