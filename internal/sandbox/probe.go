package sandbox

import (
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// probe measures the isolation from inside, after everything is mounted and
// before the target starts. hosts are the caller's namespaces.
func probe(hosts map[string]string) (Probe, error) {
	var p Probe
	links, err := net.Interfaces()
	if err != nil {
		return p, err
	}
	for _, l := range links {
		state := " down"
		if l.Flags&net.FlagUp != 0 {
			state = " up"
		}
		p.Interfaces = append(p.Interfaces, l.Name+state)
	}
	p.Routes = routes("/proc/self/net/route", 0) + routes("/proc/self/net/ipv6_route", 9)
	p.Reached = reached(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: 80}) ||
		reached(unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}, Port: 80})
	for _, n := range namespaceNames {
		if id, err := os.Readlink("/proc/self/ns/" + n); err == nil && hosts[n] != "" && hosts[n] != id {
			p.Namespaces = append(p.Namespaces, n)
		}
	}
	p.UID = os.Getuid()
	return p, nil
}

// routes counts the entries of a route table whose device is not lo. A table
// that cannot be read has none: the kernel was built without that protocol.
func routes(table string, device int) int {
	b, err := os.ReadFile(table)
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > device && f[device] != "lo" && f[device] != "Iface" {
			n++
		}
	}
	return n
}

// reached tries a connection to a documentation address. Without a route the
// kernel refuses in the call itself; anything else, a connection in progress
// included, means that packets could have left.
func reached(family int, to unix.Sockaddr) bool {
	s, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false // no such protocol
	}
	defer unix.Close(s)
	switch unix.Connect(s, to) {
	case unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EHOSTUNREACH, unix.EACCES, unix.EPERM:
		return false
	}
	return true
}
