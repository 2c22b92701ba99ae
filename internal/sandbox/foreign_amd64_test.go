package sandbox

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// int80 is a static ELF file that calls getpid through the 32-bit system-call
// ABI and exits with status 0.
func int80() []byte {
	code := []byte{
		0xb8, 20, 0, 0, 0, // mov eax, 20
		0xcd, 0x80, // int 0x80
		0xb8, 60, 0, 0, 0, // mov eax, 60
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
	}
	const base, head = 0x400000, 64 + 56
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), uint64(base + head), uint64(64), uint64(0), uint32(0), // type, machine, version, entry, phoff, shoff, flags
		uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), uint64(head + len(code)), uint64(head + len(code)), uint64(0x1000),
	} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	b.Write(code)
	return b.Bytes()
}

// A list of forbidden numbers means nothing in another ABI, so that ABI is
// death.
func TestForeignABI(t *testing.T) {
	cfg, _ := self(t)
	prog := filepath.Join(t.TempDir(), "int80")
	if err := os.WriteFile(prog, int80(), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg.Mounts = append(cfg.Mounts, Mount{Kind: Bind, Target: "/int80", Source: prog})
	o, _ := run(t, cfg, Process{Args: []string{"/int80"}, Dir: "/"})
	// SIGSEGV: the kernel is built without that ABI
	if o.Exit != 128+int(syscall.SIGSYS) && o.Exit != 128+int(syscall.SIGSEGV) {
		t.Errorf("exit = %d", o.Exit)
	}
}
