package first

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_AARCH64
	foreignBit = 0x40000000 // no number is that large
)

// deniedHere are the calls that exist on this architecture only.
var deniedHere = []uint32{unix.SYS_KEXEC_FILE_LOAD}
