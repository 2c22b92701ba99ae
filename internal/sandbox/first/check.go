package first

import (
	"fmt"
	"path"
)

// Check refuses a configuration that could not work or would not isolate.
func (c *Config) Check(p Process) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("sandbox: configuration: "+format, args...)
	}
	if len(c.Mounts) == 0 || c.Mounts[0].Target != "/" {
		return bad("the first mount must have the target /")
	}
	proc := false
	for i, m := range c.Mounts {
		if !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || i > 0 && m.Target == "/" {
			return bad("mount %d: target %q is not a clean absolute path", i, m.Target)
		}
		switch m.Kind {
		case Bind:
			if !path.IsAbs(m.Source) {
				return bad("mount %s: source %q is not absolute", m.Target, m.Source)
			}
		case Overlay:
			if len(m.Lower) == 0 || (m.Upper == "") != (m.Work == "") {
				return bad("mount %s: an overlay wants lower directories, and upper and work together or neither", m.Target)
			}
			for _, d := range append([]string{m.Upper, m.Work}, m.Lower...) {
				if d != "" && !path.IsAbs(d) {
					return bad("mount %s: %q is not absolute", m.Target, d)
				}
			}
		case Proc:
			proc = true
		case Tmpfs, Dev:
		default:
			return bad("mount %s: unknown kind %q", m.Target, m.Kind)
		}
		if i == 0 && m.Kind != Bind && m.Kind != Overlay && m.Kind != Tmpfs {
			return bad("the root must be a bind, overlay or tmpfs mount")
		}
	}
	if !proc {
		return bad("a proc mount is needed")
	}
	if len(p.Args) == 0 || !path.IsAbs(p.program()) || !path.IsAbs(p.Dir) {
		return bad("the process wants an absolute program and an absolute directory")
	}
	switch {
	case p.Signal < 0 || p.Signal > 64 || p.After < 0 || p.After > 0 && p.Signal == 0:
		return bad("signal %d after %s", p.Signal, p.After)
	case c.Trace != nil && (p.Signal != 0 || p.Closed):
		return bad("a traced process takes no signal and keeps its streams")
	}
	if c.UID < 0 || c.GID < 0 {
		return bad("negative user or group")
	}
	if _, err := filter(c.Seccomp); err != nil {
		return bad("%w", err)
	}
	return nil
}

func (p *Process) program() string {
	if p.Path != "" {
		return p.Path
	}
	return p.Args[0]
}
