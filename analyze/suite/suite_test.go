package suite

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
	"github.com/cleanstart/cleanstart/source"
)

func TestGoodImagePassesAll(t *testing.T) {
	s, opts := good().build(t)
	results, err := Run(t.Context(), All(), s, opts)
	check(t, err)
	if len(results) != len(All()) {
		t.Errorf("%d results of %d tests", len(results), len(All()))
	}
	for _, r := range results {
		if r.Status != analyze.Passed {
			t.Errorf("%s: %s %q", r.ID, r.Status, r.Detail)
		}
	}
	if !slices.IsSortedFunc(results, func(a, b analyze.TestResult) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("results are not sorted by id")
	}
}

// The list is a promise: waivers, reports and signed evidence name the tests.
func TestTheSeventyEight(t *testing.T) {
	want := map[string]int{Provenance: 12, Hardening: 16, FileSystem: 14, Config: 10, Function: 12, Performance: 6, Confinement: 8}
	ref := regexp.MustCompile(`^(CWE-[1-9][0-9]*|CIS Docker [1-7]\.[0-9]+|NIST SP 800-190 4\.[1-6]\.[1-6])$`)
	n, ids := map[string]int{}, map[string]bool{}
	for _, x := range All() {
		n[x.Family]++
		if ids[x.ID] || !regexp.MustCompile(`^`+x.Family+`/[a-z-]+$`).MatchString(x.ID) {
			t.Errorf("%s: id is taken, or is not FAMILY/name", x.ID)
		}
		ids[x.ID] = true
		if x.Title == "" || x.Asserts == "" || x.Why == "" {
			t.Errorf("%s: title, assertion or reason is missing", x.ID)
		}
		for _, r := range x.Refs {
			if !ref.MatchString(r) {
				t.Errorf("%s: reference %q is of no known form", x.ID, r)
			}
		}
	}
	if d := cmp.Diff(want, n); d != "" || len(ids) != 78 {
		t.Errorf("%d tests; families (-want +got):\n%s", len(ids), d)
	}
	golden(t, "ids.txt", []byte(strings.Join(slices.Sorted(maps.Keys(ids)), "\n")+"\n"))
}

// inseparable are the tests that cannot fail alone, and why.
var inseparable = map[string]string{
	"function/checks-pass":   "a check that does not pass as configured is no base for any other judgment of it",
	"hardening/examined":     "a file without facts lacks each of them, and of one that cannot be read nothing else can be said",
	"filesystem/plain-types": "no component's output holds any other type, so that such an entry is unexplained as well",
}

// negatives hold, for every test, a change of the good image that makes it
// fail, and the other tests that must fail with it: none for at least one row
// of each test, but for those that are inseparable.
var negatives = []struct {
	test   string
	change func(*fixture)
	also   []string
}{
	{test: "provenance/files-explained", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Image.Layers[0].Files[0].Digest = sum(nil) }
	}},
	{test: "provenance/files-explained", change: func(f *fixture) { // missing from the component's output
		f.onRecord = func(r *compile.Record) {
			r.Components[1].Result.Output.Parts[compile.PartRuntime] = compile.Part{}
		}
	}},
	{test: "provenance/files-explained", change: func(f *fixture) { // recorded and not shipped
		f.onRecord = func(r *compile.Record) {
			r.Image.Layers[0].Files = append(r.Image.Layers[0].Files, compile.File{Path: "gone"})
		}
	}},
	{test: "provenance/rootfs-is-the-layers", change: func(f *fixture) {
		f.onRootfs = func(dir string) error { return os.WriteFile(filepath.Join(dir, "extra"), nil, 0o644) }
	}},
	{test: "provenance/rootfs-is-the-layers", change: func(f *fixture) {
		f.onRootfs = func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "share/data"), []byte("DATA\n"), 0o644)
		}
	}},
	{test: "provenance/rootfs-is-the-layers", change: func(f *fixture) {
		f.onRootfs = func(dir string) error { return os.Remove(filepath.Join(dir, "share/data")) }
	}},
	{test: "provenance/layers-recorded", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Image.Layers[1].Digest = sum(nil) }
	}},
	{test: "provenance/layers-recorded", also: []string{"provenance/files-explained"}, change: func(f *fixture) { // a base layer
		f.order = []string{"base", "lib", "app"}
		f.layers["base"] = []file{regular("base", 0o644, []byte("inherited"))}
	}},
	{test: "provenance/manifest-recorded", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Image.Manifest = sum(nil) }
	}},
	{test: "provenance/inputs-traced", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[2].Result.Links[0].Inputs[1].Digest = sum([]byte("prebuilt")) }
	}},
	{test: "provenance/inputs-traced", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[2].Result.Links[0].Inputs[2].Origin = "stranger" }
	}},
	{test: "provenance/toolchain-runtime-only", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) {
			in := &r.Components[2].Result.Links[0].Inputs[0]
			in.Path, in.Member = "/usr/lib/libz.a", "inflate.o"
		}
	}},
	{test: "provenance/toolchain-runtime-only", change: func(f *fixture) { // libc from the toolchain beside our own
		f.onRecord = func(r *compile.Record) { r.Components[2].Result.Links[0].Inputs[0].Path = "/usr/lib/libc.a" }
	}},
	{test: "provenance/elf-linked", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[2].Result.Links[0].Output = "usr/bin/other" }
	}},
	{test: "provenance/proofs-meet-policy", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[1].Proofs[0].Grade = source.Pinned }
	}},
	{test: "provenance/proofs-meet-policy", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[1].Proofs[0].Signer = "EEEE" }
	}},
	{test: "provenance/proofs-meet-policy", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) {
			r.Components[1].Proofs[0].Exception = &source.Exception{Allow: "sha1", Reason: "old", Until: "2026-11-23"}
		}
	}},
	{test: "provenance/inputs-chained", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[2].Action.Needs[0].Output = sum(nil) }
	}},
	{test: "provenance/inputs-chained", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[1].Action.Tree = sum(nil) }
	}},
	{test: "provenance/commands-complete", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[1].Result.Commands[0].Exit = 2 }
	}},
	{test: "provenance/commands-complete", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[1].Result.Commands = nil }
	}},
	{test: "provenance/hermetic", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { r.Components[1].Result.Hermetic.Interfaces = []string{"eth0"} }
	}},
	{test: "provenance/licences-kept", change: func(f *fixture) {
		f.onRecord = func(r *compile.Record) { delete(r.Components[1].Result.Output.Parts, compile.PartLicenses) }
	}},

	{test: "hardening/pie", change: fact("pie", analyze.Absent)},
	{test: "hardening/relro", change: fact("relro", analyze.Unknown)},
	{test: "hardening/bind-now", change: fact("bind-now", analyze.Absent)},
	{test: "hardening/nx", change: fact("nx", analyze.Absent)},
	{test: "hardening/canary", change: fact("canary", analyze.Unknown)},
	{test: "hardening/fortify", change: fact("fortify", analyze.Absent)},
	{test: "hardening/stack-clash", change: fact("stack-clash", analyze.Absent)},
	{test: "hardening/cet-ibt", change: fact("cet-ibt", analyze.Absent)},
	{test: "hardening/cet-shstk", change: fact("cet-shstk", analyze.Absent)},
	{test: "hardening/rpath", change: fact("rpath", analyze.Present)},
	{test: "hardening/textrel", change: fact("textrel", analyze.Unknown)},
	{
		test: "hardening/examined", change: func(f *fixture) { f.protection = nil },
		also: []string{
			"hardening/bind-now", "hardening/canary", "hardening/cet-ibt", "hardening/cet-shstk", "hardening/fortify", "hardening/nx",
			"hardening/pie", "hardening/relro", "hardening/rpath", "hardening/stack-clash", "hardening/textrel",
		},
	},
	{
		test: "hardening/examined", change: func(f *fixture) { f.elf["usr/bin/app"] = []byte("\x7fELF garbage") },
		also: []string{"hardening/closed", "hardening/machine", "hardening/stripped", "hardening/wx-segment"},
	},
	{test: "hardening/wx-segment", change: program(elfOptions{writable: true})},
	{test: "hardening/machine", change: program(elfOptions{machine: 183})},
	{test: "hardening/stripped", change: program(elfOptions{section: ".debug_info"})},
	{test: "hardening/closed", change: program(elfOptions{interp: "/lib/ld.so"})},
	{test: "hardening/closed", change: program(elfOptions{needed: "libz.so.1"})},

	{test: "filesystem/no-setuid", change: add(regular("share/x", 0o4755, []byte("x")))},
	{test: "filesystem/no-setuid", change: add(directory("d", 0o2755))},
	{test: "filesystem/no-capabilities", change: add(with(regular("share/x", 0o755, []byte("x")), func(h *tar.Header) {
		h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01"}
	}))},
	{test: "filesystem/no-world-writable", change: add(regular("share/x", 0o666, []byte("x")))},
	{test: "filesystem/no-world-writable", change: add(directory("d", 0o777))},
	{test: "filesystem/root-owned", change: add(with(regular("share/x", 0o644, []byte("x")), func(h *tar.Header) { h.Uid = 1000 }))},
	{test: "filesystem/links-stay-inside", change: add(link("share/x", "/share/data"))},
	{test: "filesystem/links-stay-inside", change: add(link("share/x", "../../share/data"))},
	{test: "filesystem/links-resolve", change: add(link("share/x", "nothing"))},
	{test: "filesystem/links-resolve", change: add(link("share/x", "x"))},
	{
		test: "filesystem/plain-types", also: []string{"provenance/files-explained", "provenance/rootfs-is-the-layers"},
		change: add(with(regular("share/x", 0o600, nil), func(h *tar.Header) { h.Typeflag = tar.TypeChar })),
	},
	{test: "filesystem/clean-names", change: add(regular("share/a\tb", 0o644, []byte("x")))},
	{test: "filesystem/clean-names", change: add(regular("share/../share/x", 0o644, []byte("x")))},
	{test: "filesystem/clean-names", change: add(regular("share/DATA", 0o644, []byte("x")))},
	{test: "filesystem/no-overlap", change: func(f *fixture) {
		f.layers["app"] = append(f.layers["app"], f.layers["lib"][1])
	}},
	{test: "filesystem/no-overlap", change: add(regular("share/.wh.data", 0o644, nil))},
	{test: "filesystem/fixed-times", change: add(with(regular("share/x", 0o644, []byte("x")), func(h *tar.Header) { h.ModTime = now }))},
	{test: "filesystem/no-package-manager", change: add(regular("var/lib/dpkg/status", 0o644, []byte("x")))},
	{test: "filesystem/no-package-manager", change: add(regular("sbin/apk", 0o755, []byte("x")))},
	{test: "filesystem/no-shell", change: add(regular("usr/bin/bash", 0o755, []byte("x")))},
	{test: "filesystem/no-shell", change: add(regular("share/run", 0o755, []byte("#! /usr/bin/env python3\n")))},
	{test: "filesystem/no-secrets", change: add(regular("share/key", 0o644, []byte("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n")))},
	{test: "filesystem/no-secrets", change: add(regular("etc/shadow", 0o600, []byte("x")))},
	{test: "filesystem/no-leftovers", change: add(regular("usr/lib/libz.a", 0o644, []byte("x")))},
	{test: "filesystem/no-leftovers", change: add(regular("var/cache/x", 0o644, []byte("x")))},

	{test: "config/non-root", change: func(f *fixture) { f.spec.User = "0:0" }, also: []string{"confinement/unprivileged"}},
	{test: "config/non-root", change: func(f *fixture) { f.spec.User = "65532" }},
	{test: "config/entrypoint", also: []string{"function/checks-declared"}, change: func(f *fixture) { f.spec.Entrypoint = []string{"app"} }},
	{test: "config/entrypoint", also: []string{"function/checks-declared"}, change: func(f *fixture) { f.spec.Entrypoint = []string{"/share/data"} }},
	{test: "config/entrypoint", change: func(f *fixture) { // of which the checks are, too
		f.spec.Entrypoint, f.spec.Checks[0].Args = []string{"/usr/bin/gone"}, []string{"/usr/bin/gone", "--version"}
	}},
	{test: "config/as-specified", change: config(func(c *v1.Config) { c.Cmd = []string{"--other"} })},
	{test: "config/as-specified", change: config(func(c *v1.Config) { c.Labels["maintainer"] = "base" })},
	{test: "config/evidence-label", change: config(func(c *v1.Config) { delete(c.Labels, compile.EvidenceLabel) })},
	{test: "config/no-secrets", change: func(f *fixture) { f.spec.Env["DB_PASSWORD"] = "x" }},
	{test: "config/no-secrets", change: func(f *fixture) { f.spec.Cmd = []string{"https://user:pw@example.com/"} }},
	{test: "config/safe-environment", change: func(f *fixture) { f.spec.Env["LD_PRELOAD"] = "/x.so" }},
	{test: "config/safe-environment", change: func(f *fixture) { f.spec.Env["PATH"] = "/usr/bin:." }},
	{test: "config/safe-environment", change: func(f *fixture) { f.spec.Env["PATH"] = "/tmp" }},
	{test: "config/created", change: func(f *fixture) { f.onConfig = func(c *v1.ConfigFile) { c.Created = v1.Time{Time: now} } }},
	{test: "config/platform", change: func(f *fixture) { f.onConfig = func(c *v1.ConfigFile) { c.OS = "windows" } }},
	{test: "config/layers-accounted", change: func(f *fixture) {
		f.onConfig = func(c *v1.ConfigFile) { c.History = append(c.History, v1.History{EmptyLayer: true}) }
	}},
	{test: "config/minimal", change: config(func(c *v1.Config) { c.Volumes = map[string]struct{}{"/data": {}} })},
	{test: "config/minimal", change: config(func(c *v1.Config) { c.ExposedPorts = map[string]struct{}{"80/tcp": {}} })},

	{test: "function/checks-declared", change: func(f *fixture) { f.spec.Checks[0].Stdout = "" }},
	{
		test: "function/checks-declared", change: func(f *fixture) { f.spec.Checks = nil },
		also: []string{
			"confinement/any-user", "confinement/isolated", "confinement/limits", "confinement/no-forbidden-call", "confinement/no-run-time-code",
			"confinement/no-scratch", "confinement/unprivileged", "confinement/writes-nothing",
			"function/checks-pass", "function/clean-start", "function/closed-streams", "function/concurrent-starts", "function/deterministic",
			"function/leaves-nothing-running", "function/missing-environment", "performance/memory", "performance/start-up",
		},
	},
	{
		test: "function/checks-pass", change: behaves(func(o *sandbox.Outcome, _ sandbox.Process) { o.Exit = 1 }),
		also: []string{
			"confinement/any-user", "confinement/isolated", "confinement/limits", "confinement/no-forbidden-call", "confinement/no-run-time-code",
			"confinement/no-scratch", "confinement/unprivileged", "confinement/writes-nothing",
			"function/clean-start", "function/concurrent-starts", "function/deterministic", "function/leaves-nothing-running",
			"function/stops-on-term", "function/workload-runs", "performance/memory", "performance/start-up",
		},
	},
	{test: "function/workload-runs", change: behaves(func(o *sandbox.Outcome, p sandbox.Process) {
		if hasArg(p, "{server}") {
			o.Exit = 7
		}
	})},
	{test: "function/deterministic", change: func(f *fixture) {
		f.run = func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error) {
			o, out, errs, err := wellBehaved(cfg, p, n)
			return o, out + strings.Repeat("x", n), errs, err
		}
	}},
	{test: "function/clean-start", change: func(f *fixture) {
		f.run = func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error) {
			o, out, _, err := wellBehaved(cfg, p, n)
			return o, out, "app: warning: cannot set locale\n", err
		}
	}},
	{test: "function/entrypoint-starts", change: func(f *fixture) {
		f.spec.Cmd = []string{"--crash"}
		behaves(func(o *sandbox.Outcome, p sandbox.Process) {
			if hasArg(p, "--crash") && p.Signal == 0 {
				o.Exit = 139
			}
		})(f)
	}},
	{test: "function/stops-on-term", change: stopped(sandbox.Stop{Handled: false, Took: 1e6}, 143)},
	{test: "function/stops-on-term", change: stopped(sandbox.Stop{Handled: true, Took: 1e6}, 139)},
	{test: "function/stops-on-term", change: stopped(sandbox.Stop{Handled: true, Took: int64(time.Minute)}, 0)},
	{test: "function/stops-on-term", change: asked(func(_ sandbox.Config, p sandbox.Process) bool { return p.Signal == int(syscall.SIGTERM) }, 1)}, // by itself
	{test: "function/missing-environment", change: asked(func(_ sandbox.Config, p sandbox.Process) bool { return len(p.Env) == 0 }, 139)},
	{test: "function/unknown-argument", change: asked(func(_ sandbox.Config, p sandbox.Process) bool { return hasArg(p, unknown) }, 134)},
	{test: "function/closed-streams", change: asked(func(_ sandbox.Config, p sandbox.Process) bool { return p.Closed }, 139)},
	{test: "function/leaves-nothing-running", change: behaves(func(o *sandbox.Outcome, _ sandbox.Process) { o.Left = 1 })},
	{test: "function/concurrent-starts", change: asked(func(c sandbox.Config, _ sandbox.Process) bool { return mounted(c, "/tmp").Kind == sandbox.Bind }, 1)},

	{test: "performance/size", change: func(f *fixture) { f.bounds.Size = 10 }},
	{test: "performance/files", change: func(f *fixture) { f.bounds.Files = 1 }},
	{test: "performance/layers", change: func(f *fixture) { f.bounds.Layers = 1 }},
	{test: "performance/no-duplicates", change: func(f *fixture) {
		b := bytes.Repeat([]byte("x"), 4096)
		add(regular("share/x", 0o644, b))(f)
		add(regular("share/y", 0o644, b))(f)
	}},
	{test: "performance/start-up", change: func(f *fixture) { f.bounds.Start = time.Millisecond }},
	{test: "performance/memory", also: []string{"performance/start-up"}, change: behaves(func(o *sandbox.Outcome, _ sandbox.Process) { o.Usage = sandbox.Usage{} })},
	{test: "performance/memory", change: func(f *fixture) { f.bounds.Memory = 1 }, also: []string{"confinement/limits"}},
	{test: "performance/memory", change: func(f *fixture) { // takes what it is not refused
		f.run = func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error) {
			o, out, errs, err := wellBehaved(cfg, p, n)
			if cfg.Limits.Memory == 0 {
				o.Usage.MaxRSS = 1 << 40
			}
			return o, out, errs, err
		}
	}},

	{test: "confinement/unprivileged", change: behaves(func(o *sandbox.Outcome, _ sandbox.Process) { o.Probe.NoNewPrivs = false })},
	{test: "confinement/unprivileged", change: behaves(func(o *sandbox.Outcome, _ sandbox.Process) { o.Probe.NoCaps = false })},
	{test: "confinement/no-scratch", change: asked(func(c sandbox.Config, _ sandbox.Process) bool {
		return mounted(c, "/tmp").ReadOnly && mounted(c, "/dev/shm").ReadOnly
	}, 1)},
	{test: "confinement/no-forbidden-call", change: asked(func(c sandbox.Config, _ sandbox.Process) bool { return c.Seccomp == sandbox.SeccompKill }, 159)},
	{test: "confinement/no-run-time-code", change: asked(func(c sandbox.Config, _ sandbox.Process) bool { return c.Seccomp == sandbox.SeccompWX }, 1)},
	{test: "confinement/isolated", change: behaves(func(o *sandbox.Outcome, _ sandbox.Process) { o.Probe.Routes = 1 })},
	{test: "confinement/isolated", change: behaves(func(o *sandbox.Outcome, _ sandbox.Process) { o.Probe.Interfaces = []string{"eth0 up"} })},
	{test: "confinement/writes-nothing", change: func(f *fixture) {
		f.run = func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error) {
			if dir := upper(cfg); dir != "" {
				os.WriteFile(filepath.Join(dir, "state"), nil, 0o644)
			}
			return wellBehaved(cfg, p, n)
		}
	}},
	{test: "confinement/any-user", change: func(f *fixture) {
		f.run = func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error) {
			o, out, errs, err := wellBehaved(cfg, p, n)
			if cfg.UID != 65532 {
				o.Exit = 1
			}
			return o, out, errs, err
		}
	}},
	{test: "confinement/limits", change: func(f *fixture) {
		f.run = func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error) {
			if cfg.Limits.Memory != 0 {
				return nil, "", "", errors.New("cannot allocate memory")
			}
			return wellBehaved(cfg, p, n)
		}
	}},
}

func fact(name string, v analyze.Verdict) func(*fixture) {
	return func(f *fixture) { f.protection[name] = v }
}

func program(o elfOptions) func(*fixture) {
	return func(f *fixture) { f.elf["usr/bin/app"] = elfFile(o) }
}

func add(e file) func(*fixture) {
	return func(f *fixture) { f.layers["lib"] = append(f.layers["lib"], e) }
}

func with(e file, change func(*tar.Header)) file {
	change(&e.Header)
	return e
}

func config(change func(*v1.Config)) func(*fixture) {
	return func(f *fixture) { f.onConfig = func(c *v1.ConfigFile) { change(&c.Config) } }
}

func behaves(change func(*sandbox.Outcome, sandbox.Process)) func(*fixture) {
	return func(f *fixture) {
		f.run = func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error) {
			o, out, errs, err := wellBehaved(cfg, p, n)
			change(o, p)
			return o, out, errs, err
		}
	}
}

// asked ends with exit where what was asked of the sandbox is so.
func asked(so func(sandbox.Config, sandbox.Process) bool, exit int) func(*fixture) {
	return func(f *fixture) {
		f.run = func(cfg sandbox.Config, p sandbox.Process, n int) (*sandbox.Outcome, string, string, error) {
			o, out, errs, err := wellBehaved(cfg, p, n)
			if so(cfg, p) {
				o.Exit = exit
			}
			return o, out, errs, err
		}
	}
}

// stopped is a service: it runs until it is asked to stop.
func stopped(stop sandbox.Stop, exit int) func(*fixture) {
	return behaves(func(o *sandbox.Outcome, p sandbox.Process) {
		if p.Signal == int(syscall.SIGTERM) {
			o.Stop, o.Exit = &stop, exit
		}
	})
}

func TestNegatives(t *testing.T) {
	alone := map[string]bool{} // failed by one row that fails nothing else
	for i, c := range negatives {
		alone[c.test] = alone[c.test] || len(c.also) == 0
		f := good()
		c.change(f)
		s, opts := f.build(t)
		results, err := Run(t.Context(), All(), s, opts)
		if err != nil {
			t.Errorf("%d %s: %v", i, c.test, err)
			continue
		}
		var got []string
		for _, r := range Failures(results) {
			got = append(got, r.ID)
			if len(r.Detail) == 0 {
				t.Errorf("%d %s: %s failed without saying what", i, c.test, r.ID)
			}
		}
		want := append([]string{c.test}, c.also...)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%d %s: failed %q, want %q", i, c.test, got, want)
			for _, r := range Failures(results) {
				t.Logf("  %s: %q", r.ID, r.Detail)
			}
		}
	}
	for _, x := range All() {
		switch only, some := alone[x.ID]; {
		case !some:
			t.Errorf("%s has no negative image", x.ID)
		case !only && inseparable[x.ID] == "":
			t.Errorf("%s has no negative image that fails it alone", x.ID)
		case only && inseparable[x.ID] != "":
			t.Errorf("%s fails alone, and is listed as one that cannot", x.ID)
		}
	}
}

func TestWaivers(t *testing.T) {
	setuid := add(regular("share/x", 0o4755, []byte("x")))
	w := func(test, reason, until string) []compile.Waiver {
		return []compile.Waiver{{Test: test, Reason: reason, Until: until}}
	}
	for _, c := range []struct {
		name    string
		change  func(*fixture)
		waivers []compile.Waiver
		want    analyze.Status
		err     bool
	}{
		{"holds on its last day", setuid, w("filesystem/no-setuid", "r", "2026-11-24"), analyze.Waived, false},
		{"expired", setuid, w("filesystem/no-setuid", "r", "2026-11-23"), analyze.Failed, false},
		{"not needed", func(*fixture) {}, w("filesystem/no-setuid", "r", "2026-11-24"), analyze.Passed, false},
		{"of no test", setuid, w("filesystem/no-such", "r", "2026-11-24"), "", true},
		{"without reason", setuid, w("filesystem/no-setuid", "", "2026-11-24"), "", true},
		{"without date", setuid, w("filesystem/no-setuid", "r", ""), "", true},
		{"twice", setuid, append(w("filesystem/no-setuid", "r", "2026-11-24"), w("filesystem/no-setuid", "r", "2026-11-24")...), "", true},
	} {
		f := good()
		f.spec.Waivers = c.waivers
		c.change(f)
		s, opts := f.build(t)
		results, err := Run(t.Context(), All(), s, opts)
		if (err != nil) != c.err {
			t.Errorf("%s: Run = %v", c.name, err)
			continue
		}
		for _, r := range results {
			if r.ID == "filesystem/no-setuid" && (r.Status != c.want || r.Waiver == nil) {
				t.Errorf("%s: status %s, waiver %v, want %s", c.name, r.Status, r.Waiver, c.want)
			}
		}
	}
}

func TestRunRefuses(t *testing.T) {
	s, opts := good().build(t)
	if _, err := Run(t.Context(), nil, s, opts); err == nil {
		t.Error("a suite without tests ran")
	}
	if _, err := Run(t.Context(), append(All(), All()[0]), s, opts); err == nil {
		t.Error("a suite with one test twice ran")
	}
	if _, err := Run(t.Context(), All(), s, Options{}); err == nil {
		t.Error("a suite without a clock ran")
	}
	small := opts
	small.Bounds.Unpacked = 100
	if _, err := Run(t.Context(), All(), s, small); err == nil {
		t.Error("an image over the bounds was read")
	}
	if _, err := Run(t.Context(), All(), &analyze.Subject{}, opts); err == nil {
		t.Error("a subject without an image was judged")
	}
}

func TestZeroOutcomeFails(t *testing.T) {
	s, opts := good().build(t)
	f := func(o Outcome) analyze.TestResult {
		r, err := Run(t.Context(), []Test{{ID: "x", Run: func(context.Context, *Subject) Outcome { return o }}}, s, opts)
		check(t, err)
		return r[0]
	}
	if got := f(Outcome{}); got.Status != analyze.Failed {
		t.Errorf("zero outcome = %s, want failed", got.Status)
	}
	if got := f(Outcome{Status: analyze.Waived}); got.Status != analyze.Failed {
		t.Errorf("an outcome that waives itself = %s, want failed", got.Status)
	}
	if got := f(Outcome{Status: analyze.NotApplicable}); len(Failures([]analyze.TestResult{got})) != 1 {
		t.Error("not applicable does not count as failed")
	}
}
