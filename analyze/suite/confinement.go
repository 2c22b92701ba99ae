package suite

import (
	"context"
	"fmt"
	"slices"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

var confinementTests = []Test{
	{
		ID: "confinement/unprivileged", Family: Confinement, Run: unprivileged,
		Title:   "It runs without privilege",
		Asserts: "each check passes as the image's user, with no capability and no way to gain privilege and under a system-call filter, as measured inside",
		Why:     "a process that needs less can do less when it is taken over",
		Refs:    []string{"CWE-250", "CIS Docker 5.4", "CIS Docker 5.22", "CIS Docker 5.26", "NIST SP 800-190 4.4.3"},
	},
	{
		ID: "confinement/isolated", Family: Confinement, Run: isolated,
		Title:   "It runs without a network",
		Asserts: "each check passes with no interface but loopback, no route and no way out, as measured inside",
		Why:     "what phones home at start fails where it must not, and leaks where it can",
		Refs:    []string{"CIS Docker 5.10", "NIST SP 800-190 4.4.2"},
	},
	{
		ID: "confinement/writes-nothing", Family: Confinement, Run: writesNothing,
		Title:   "It writes nothing but temporary files",
		Asserts: "each check, given a root file system that takes writes, changes nothing of it outside /tmp",
		Why:     "what writes to its own root cannot run read-only, and keeps what an intruder leaves",
		Refs:    []string{"CIS Docker 5.13", "NIST SP 800-190 4.4.4"},
	},
	{
		ID: "confinement/any-user", Family: Confinement, Run: anyUser,
		Title:   "It runs as any user",
		Asserts: "each check passes as user 1000650000, group 0, who owns nothing in the image",
		Why:     "clusters that give every tenant its own user id cannot run anything else",
		Refs:    []string{"CWE-250"},
	},
	{
		ID: "confinement/limits", Family: Confinement, Run: withinLimits,
		Title:   "It runs within limits",
		Asserts: "each check passes with no file larger than 16 MiB and within Bounds.Memory of resident memory and a 4 GiB address space",
		Why:     "a limit that breaks the program will be taken away",
		Refs:    []string{"CWE-770", "CIS Docker 5.11", "CIS Docker 5.19"},
	},
	{
		ID: "confinement/no-scratch", Family: Confinement, Run: noScratch,
		Title:   "It runs where nothing can be written",
		Asserts: "each check passes with a read-only root, /tmp and /dev/shm",
		Why:     "what must have a place to write must be given one, and an intruder uses it to fetch tools",
		Refs:    []string{"CIS Docker 5.13", "NIST SP 800-190 4.4.4"},
	},
	{
		ID: "confinement/no-forbidden-call", Family: Confinement, Run: noForbiddenCall,
		Title:   "It asks the kernel for nothing forbidden",
		Asserts: "each check passes under a filter that ends the process at the first system call for mounts, namespaces, tracing, keys, modules, clocks, BPF and the like",
		Why:     "a refusal that a program overlooks hides what it would do where it is allowed",
		Refs:    []string{"CIS Docker 5.22", "NIST SP 800-190 4.4.3"},
	},
	{
		ID: "confinement/no-run-time-code", Family: Confinement, Run: noRunTimeCode,
		Title:   "It makes no code at run time",
		Asserts: "each check passes where memory can be written or run, and never first one and then the other",
		Why:     "injected code needs such memory; a service that does without can be refused it for good",
		Refs:    []string{"CWE-94"},
	},
}

func unprivileged(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{}, func(_ compile.Run, got *ran) string {
		switch p := got.Probe; {
		case p.UID == 0:
			return "ran as root"
		case !p.NoCaps:
			return "held a capability"
		case !p.NoNewPrivs:
			return "could have gained privilege"
		case !p.Seccomp:
			return "ran without a system-call filter"
		}
		return ""
	})
}

func isolated(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{}, func(_ compile.Run, got *ran) string {
		p := got.Probe
		switch {
		case p.Reached:
			return "reached an outside address"
		case p.Routes != 0:
			return fmt.Sprintf("had %d routes", p.Routes)
		case !slices.Contains(p.Namespaces, "net"):
			return "shared the host's network namespace"
		}
		for _, i := range p.Interfaces {
			if i != "lo down" && i != "lo up" && i != "lo" {
				return "had interface " + i
			}
		}
		return ""
	})
}

func writesNothing(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{writable: true}, func(_ compile.Run, got *ran) string {
		if len(got.Written) > 0 {
			return fmt.Sprintf("changed %q", got.Written[:min(len(got.Written), 5)])
		}
		return ""
	})
}

func anyUser(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{user: "1000650000:0"}, nil)
}

func withinLimits(ctx context.Context, s *Subject) Outcome {
	limits := sandbox.Limits{FileSize: 16 << 20, Memory: 4 << 30}
	return eachCheck(ctx, s, variant{limits: limits}, func(_ compile.Run, got *ran) string {
		if n := got.Usage.MaxRSS; n > s.Bounds.Memory {
			return fmt.Sprintf("needed %d bytes, at most %d are allowed", n, s.Bounds.Memory)
		}
		return ""
	})
}

func noScratch(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{sealed: true}, nil)
}

func noForbiddenCall(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{filter: sandbox.SeccompKill}, nil)
}

func noRunTimeCode(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{filter: sandbox.SeccompWX}, nil)
}
