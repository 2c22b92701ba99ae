package first

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// probe measures the isolation from inside, after everything is mounted and
// before the target starts. hosts are the caller's namespaces.
func probe(hosts map[string]string) (Probe, error) {
	var p Probe
	var err error
	if p.Interfaces, err = interfaces(); err != nil {
		return p, err
	}
	p.Routes = routes("/proc/self/net/route", 0) + routes("/proc/self/net/ipv6_route", 9)
	p.Reached = reached(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: 80}) ||
		reached(unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}, Port: 80})
	for _, n := range Namespaces() {
		if id, err := os.Readlink("/proc/self/ns/" + n); err == nil && hosts[n] != "" && hosts[n] != id {
			p.Namespaces = append(p.Namespaces, n)
		}
	}
	p.UID = os.Getuid()
	return p, nil
}

// interfaces lists the network interfaces, each with its state.
func interfaces() ([]string, error) {
	b, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return nil, err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(s)
	var list []string
	for line := range strings.Lines(string(b)) {
		name, _, ok := strings.Cut(line, ":") // two lines of headings have none
		if !ok {
			continue
		}
		name = strings.TrimSpace(name)
		req, err := unix.NewIfreq(name)
		if err != nil {
			return nil, err
		}
		if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, req); err != nil {
			return nil, err
		}
		state := " down"
		if req.Uint16()&unix.IFF_UP != 0 {
			state = " up"
		}
		list = append(list, name+state)
	}
	return list, nil
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
