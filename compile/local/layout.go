package local

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

//go:embed wrapper.sh
var wrapperText string

//go:embed excise.pl
var exciseText string

//go:embed musl.specs
var specsText string

// Where the executor's own files lie in the sandbox. The real drivers stay one
// level below /usr, so that their paths to the rest of gcc, relative to
// themselves, still hold.
const (
	ownDir     = "/usr/cleanstart"
	specsFile  = ownDir + "/musl.specs"
	exciseFile = ownDir + "/excise.pl"
	kernelDir  = ownDir + "/include" // links to the kernel's headers, without the C library's
	passwdText = "root:x:0:0:root:/:/bin/sh\nbuilder:x:1000:1000:builder:/build:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
	groupText  = "root:x:0:\nbuilder:x:1000:\nnogroup:x:65534:\n"
	hostName   = "cleanstart"
	builder    = 1000
)

// work is one action's private directory on the host.
type work struct {
	job   *compile.Job
	exec  *Executor
	dir   string
	layer string // laid over the toolchain: wrapper, specs, passwd
	src   string // private copy of the source
	out   string // DESTDIR
	parts string // the output being assembled
}

func (e *Executor) prepare(job *compile.Job) (_ *work, err error) {
	parent := e.temp
	if parent == "" {
		parent = filepath.Dir(filepath.Clean(job.Out))
	}
	abs := func(p *string) {
		if err == nil {
			*p, err = filepath.Abs(*p)
		}
	}
	j := *job
	j.Needs = make(map[string]string, len(job.Needs))
	for n, d := range job.Needs {
		abs(&d)
		j.Needs[n] = d
	}
	for _, p := range []*string{&parent, &j.SourceDir, &j.Toolchain, &j.Out} {
		abs(p)
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, ".build-*")
	if err != nil {
		return nil, err
	}
	w := &work{job: &j, exec: e, dir: dir, layer: dir + "/layer", src: dir + "/src", out: dir + "/out", parts: dir + "/parts"}
	defer func() {
		if err != nil {
			sandbox.RemoveAll(dir)
		}
	}()
	for _, d := range []string{w.src, w.out, w.parts, w.layer + "/usr", w.layer + "/etc"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := copySource(j.SourceDir, w.src); err != nil {
		return nil, fmt.Errorf("copy the source: %w", err)
	}
	return w, w.fillLayer()
}

// driver matches the compiler drivers of a Debian toolchain; the other names
// (gcc, cc, c++, …) are links to them.
var driver = regexp.MustCompile(`^(?:[a-z0-9_]+-linux-gnu-)?(?:gcc|g\+\+)(?:-[0-9.]+)?$`)

// fillLayer writes the files that lie over the toolchain.
func (w *work) fillLayer() error {
	write := func(name, text string, perm os.FileMode) error {
		p := filepath.Join(w.layer, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		return writeNew(p, strings.NewReader(text), perm)
	}
	err := errors.Join(
		write("etc/passwd", passwdText, 0o644),
		write("etc/group", groupText, 0o644),
		write("etc/hostname", hostName+"\n", 0o644),
		write("etc/hosts", "127.0.0.1 localhost "+hostName+"\n", 0o644),
		write(exciseFile, exciseText, 0o644),
		write(specsFile, w.specs(), 0o644))
	if err != nil {
		return err
	}
	bin := filepath.Join(w.job.Toolchain, "usr/bin")
	list, err := os.ReadDir(bin)
	if err != nil {
		return fmt.Errorf("toolchain: %w", err)
	}
	found := false
	for _, d := range list {
		if !driver.MatchString(d.Name()) || !d.Type().IsRegular() {
			continue
		}
		real := path.Join(ownDir, d.Name())
		if err := copyFile(filepath.Join(bin, d.Name()), filepath.Join(w.layer, real), 0o755); err != nil {
			return err
		}
		script, err := w.wrapper(real)
		if err != nil {
			return err
		}
		if err := write("usr/bin/"+d.Name(), script, 0o755); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("the toolchain %s has no compiler driver in /usr/bin", w.job.Toolchain)
	}
	if err := w.linkKernelHeaders(); err != nil {
		return err
	}
	// the layer's directories show through: the caller's umask must not
	return filepath.WalkDir(w.layer, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(p, 0o755)
	})
}

// linkKernelHeaders makes a directory with the kernel's headers only: with
// -nostdinc they would be gone with the toolchain's C library.
func (w *work) linkKernelHeaders() error {
	if err := os.MkdirAll(filepath.Join(w.layer, kernelDir), 0o755); err != nil {
		return err
	}
	for name, targets := range map[string][]string{
		"linux": {"/usr/include/linux"}, "asm-generic": {"/usr/include/asm-generic"}, "mtd": {"/usr/include/mtd"},
		"asm": {"/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"},
	} {
		for _, t := range targets {
			if _, err := os.Stat(filepath.Join(w.job.Toolchain, t)); err != nil {
				continue
			}
			if err := os.Symlink(t, filepath.Join(w.layer, kernelDir, name)); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// specs is gcc's specs file for linking static-pie against our C library.
func (w *work) specs() string {
	libc := path.Join(compile.NeedsDir, w.job.Action.Flags.Libc, "usr")
	return strings.NewReplacer("@LIBC@", libc, "@KERNEL@", kernelDir).Replace(specsText)
}

// wrapper is the script that stands in for the driver real.
func (w *work) wrapper(real string) (string, error) {
	f := &w.job.Action.Flags
	before := slices.Clone(f.Before)
	if f.Libc != "" {
		before = append([]string{"-specs=" + specsFile}, before...)
	}
	repl := []string{
		"@REAL@", quote(real), "@TRACE@", quote(compile.TraceDir),
		"@BEFORE@", quote(before...), "@LINK@", quote(f.Link...),
		"@COMPILE@", quote(append(slices.Clone(f.Compile), "-ffile-prefix-map="+compile.SourceDir+"="+w.debugDir())...),
	}
	for name, tool := range map[string]string{"@SHA256SUM@": "sha256sum", "@GZIP@": "gzip", "@CP@": "cp"} {
		p, err := w.lookup(tool, "/", "/usr/bin:/bin")
		if err != nil {
			return "", err
		}
		repl = append(repl, name, p)
	}
	excising, excise := "no", "false"
	if names := w.job.Action.Excise; len(names) > 0 {
		perl, err := w.lookup("perl", "/", "/usr/bin:/bin")
		if err != nil {
			return "", fmt.Errorf("excision needs perl: %w", err)
		}
		excising, excise = "yes", quote(append([]string{perl, exciseFile}, names...)...)
	}
	repl = append(repl, "@EXCISING@", excising, "@EXCISE@", excise)
	yes := "no"
	if w.exec.preprocesses(w.job.Action.Component) {
		yes = "yes"
	}
	return strings.NewReplacer(append(repl, "@PREPROCESS@", yes)...).Replace(wrapperText), nil
}

func (w *work) debugDir() string {
	return compile.DebugRoot + "/" + w.job.Action.Component + "-" + w.job.Action.Version
}

// quote makes words of a shell.
func quote(words ...string) string {
	var b strings.Builder
	for i, s := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("'" + strings.ReplaceAll(s, "'", `'\''`) + "'")
	}
	return b.String()
}

func (w *work) traceDir(command int) string {
	return filepath.Join(w.dir, "trace", strconv.Itoa(command))
}

// run starts one process over the action's mounts, and extra ones.
func (w *work) run(ctx context.Context, trace string, p sandbox.Process, stdout, stderr io.Writer, extra ...sandbox.Mount) (*sandbox.Outcome, error) {
	if err := os.MkdirAll(trace, 0o755); err != nil {
		return nil, err
	}
	mounts := []sandbox.Mount{
		{Kind: sandbox.Overlay, Target: "/", Lower: []string{w.layer, w.job.Toolchain}},
		{Kind: sandbox.Proc, Target: "/proc"},
		{Kind: sandbox.Dev, Target: "/dev"},
		{Kind: sandbox.Tmpfs, Target: "/tmp", Size: w.exec.tmpSize},
		{Kind: sandbox.Tmpfs, Target: path.Dir(compile.SourceDir), Size: 64 << 20},
		{Kind: sandbox.Bind, Target: compile.SourceDir, Source: w.src},
		{Kind: sandbox.Bind, Target: compile.OutDir, Source: w.out},
		{Kind: sandbox.Bind, Target: compile.TraceDir, Source: trace},
	}
	for _, n := range w.job.Action.Needs {
		mounts = append(mounts, sandbox.Mount{Kind: sandbox.Bind, Target: path.Join(compile.NeedsDir, n.Name), Source: w.job.Needs[n.Name], ReadOnly: true})
	}
	return sandbox.Run(ctx, sandbox.Config{
		Mounts: append(mounts, extra...), Hostname: hostName, UID: builder, GID: builder, Umask: 0o022,
		Limits: w.exec.limits, Seccomp: sandbox.SeccompBuild,
	}, p, stdout, stderr)
}

// tool runs a program of the toolchain that is not part of the action. What
// it prints on standard error becomes the error.
func (w *work) tool(ctx context.Context, stdout io.Writer, dir string, args []string, extra ...sandbox.Mount) error {
	program, err := w.lookup(args[0], "/", "/usr/bin:/bin")
	if err != nil {
		return err
	}
	var said strings.Builder
	outcome, err := w.run(ctx, filepath.Join(w.dir, "trace", "tools"),
		sandbox.Process{Path: program, Args: args, Env: []string{"LC_ALL=C", "PATH=/usr/bin:/bin", "TZ=UTC"}, Dir: dir}, stdout, &said, extra...)
	if err != nil {
		return err
	}
	if outcome.Exit != 0 {
		return fmt.Errorf("%s: exit status %d: %s", args[0], outcome.Exit, strings.TrimSpace(said.String()))
	}
	return nil
}
