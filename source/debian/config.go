package debian

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"sort"
	"strings"
)

// ErrNoSources says that the configuration names no usable archive.
var ErrNoSources = errors.New("apt is not configured with any usable archive")

// Config is what apt's configuration means to us. It is data: [ReadConfig]
// fills one from a file system, and a caller without apt can write one.
type Config struct {
	Entries []Entry
	Arch    string            // Debian's name of the architecture
	Proxies map[string]string // scheme → proxy URL; "DIRECT" and "" mean none
	Auth    []Auth
	// IgnoreValidUntil and IgnoreDate are Acquire::Check-Valid-Until and
	// Acquire::Check-Date "false": a frozen mirror sets them.
	IgnoreValidUntil bool
	IgnoreDate       bool
	// Ignored says which entries of the configuration are left out, and why.
	Ignored []string
}

// Entry is one suite of one archive.
type Entry struct {
	URIs       []string // equivalent locations, tried in order
	Suite      string
	Components []string
	Keyrings   [][]byte // OpenPGP certificates, binary or armored
	Signers    []string // fingerprints that narrow the keyrings; empty for no narrowing
	Binary     bool     // a deb entry; false serves only source packages
}

// Auth is one line of auth.conf (netrc form).
type Auth struct {
	Machine  string // host, or scheme://host/path prefix
	Login    string
	Password string
}

const (
	maxConfigFile = 1 << 20
	maxKeyring    = 8 << 20
)

// ReadConfig reads apt's configuration below etc/apt of the root file
// system: sources.list, sources.list.d (one-line and deb822), the keyrings
// that they name, apt.conf, apt.conf.d and auth.conf. An entry that names no
// keyring trusts trusted.gpg and trusted.gpg.d, as with apt.
func ReadConfig(root fs.FS) (*Config, error) {
	c := &Config{Arch: nativeArch(), Proxies: map[string]string{}}
	if err := c.readSettings(root); err != nil {
		return nil, fmt.Errorf("read apt's settings: %w", err)
	}
	if err := c.readAuth(root); err != nil {
		return nil, fmt.Errorf("read apt's auth.conf: %w", err)
	}
	r := &sourcesReader{root: root, config: c}
	files, err := list(root, "etc/apt/sources.list", "etc/apt/sources.list.d", ".list", ".sources")
	if err != nil {
		return nil, fmt.Errorf("read apt's sources: %w", err)
	}
	for _, name := range files {
		b, err := readFile(root, name, maxConfigFile)
		if err != nil {
			return nil, fmt.Errorf("read apt's sources: %w", err)
		}
		parse := r.oneLine
		if path.Ext(name) == ".sources" {
			parse = r.deb822
		}
		if err := parse(b); err != nil {
			return nil, fmt.Errorf("read apt's sources: /%s: %w", name, err)
		}
	}
	c.merge()
	if len(c.Entries) == 0 {
		err := ErrNoSources
		if len(c.Ignored) > 0 {
			err = fmt.Errorf("%w; left out: %s", err, strings.Join(c.Ignored, "; "))
		}
		return nil, err
	}
	return c, nil
}

// merge joins entries of the same suite: deb beside deb-src, or one line for
// each component.
func (c *Config) merge() {
	var out []Entry
next:
	for _, e := range c.Entries {
		for i := range out {
			o := &out[i]
			if o.Suite != e.Suite || strings.Join(o.URIs, " ") != strings.Join(e.URIs, " ") ||
				!equalKeyrings(o.Keyrings, e.Keyrings) || strings.Join(o.Signers, " ") != strings.Join(e.Signers, " ") {
				continue
			}
			if o.Binary != e.Binary && strings.Join(o.Components, " ") != strings.Join(e.Components, " ") {
				continue
			}
			o.Binary = o.Binary || e.Binary
			for _, comp := range e.Components {
				if !contains(o.Components, comp) {
					o.Components = append(o.Components, comp)
				}
			}
			continue next
		}
		out = append(out, e)
	}
	c.Entries = out
}

func equalKeyrings(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// id names what the configuration selects and trusts, so that a recorded
// look-up dies when it changes.
func (c *Config) id() string {
	b, err := json.Marshal(struct {
		Entries []Entry
		Arch    string
	}{c.Entries, c.Arch})
	if err != nil {
		panic("debian: " + err.Error()) // strings and bytes always marshal
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// nativeArch is Debian's name of the architecture this program runs on.
func nativeArch() string {
	switch runtime.GOARCH {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return runtime.GOARCH
}

// list gives the main file, if it is there, and then the files of dir that
// apt would read: names of letters, digits, _, - and . with one of the
// extensions, sorted.
func list(root fs.FS, main, dir string, exts ...string) ([]string, error) {
	var out []string
	if _, err := fs.Stat(root, main); err == nil {
		out = append(out, main)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	des, err := fs.ReadDir(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	var more []string
	for _, de := range des {
		name := de.Name()
		if de.IsDir() || strings.HasPrefix(name, ".") || !safeName(name) {
			continue
		}
		if contains(exts, path.Ext(name)) {
			more = append(more, path.Join(dir, name))
		}
	}
	sort.Strings(more)
	return append(out, more...), nil
}

func readFile(root fs.FS, name string, max int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("/%s is larger than %d bytes", name, max)
	}
	return b, nil
}
