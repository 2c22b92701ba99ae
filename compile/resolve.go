package compile

import (
	"bytes"
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

	"github.com/cleanstart/cleanstart/compile/harden"
)

// Systems lists the values of Recipe.System.
var systems = []string{"configure", "make", "cmake", "shell", "go"}

// actionSchema is Action.Schema. It is raised when the same action would be
// executed differently.
const actionSchema = 2

// fixedEnv is the environment of every command. A recipe cannot change it.
func fixedEnv(epoch int64) map[string]string {
	return map[string]string{
		"LC_ALL":            "C",
		"TZ":                "UTC",
		"HOME":              "/build",
		"PATH":              "/usr/bin:/bin",
		"SOURCE_DATE_EPOCH": strconv.FormatInt(epoch, 10),
		"PERL_HASH_SEED":    "0",
		"PYTHONHASHSEED":    "0",
	}
}

// toolEnv is the environment that a recipe may change.
func toolEnv(needs []string) map[string]string {
	env := map[string]string{
		"CC": "gcc", "CXX": "g++", "AR": "ar", "RANLIB": "ranlib", "NM": "nm", "STRIP": "strip",
		"CFLAGS": "-O2", "CXXFLAGS": "-O2",
	}
	var cpp, ld, pc []string
	for _, n := range needs {
		usr := path.Join(NeedsDir, n, "usr")
		cpp = append(cpp, "-I"+usr+"/include")
		ld = append(ld, "-L"+usr+"/lib")
		pc = append(pc, usr+"/lib/pkgconfig")
	}
	if len(needs) > 0 {
		env["CPPFLAGS"] = strings.Join(cpp, " ")
		env["LDFLAGS"] = strings.Join(ld, " ")
		env["PKG_CONFIG_LIBDIR"] = strings.Join(pc, ":")
	}
	return env
}

// resolution is what the recipe of a component becomes on a machine, apart
// from the digests.
type resolution struct {
	commands []Command
	env      map[string]string
	flags    Flags
}

// resolve turns a recipe into commands. Libc is the name of the component
// that provides the C library, or empty.
func resolve(spec *Spec, c *Component, source fs.FS, tc *Toolchain, epoch int64) (*resolution, error) {
	r := &c.Recipe
	libc := spec.libc()
	if libc == c.Name {
		libc = ""
	}
	commands, err := commandsOf(c, source, tc)
	if err != nil {
		return nil, err
	}
	needs := slices.DeleteFunc(slices.Clone(c.Needs), func(n string) bool { return n == libc })
	env := toolEnv(needs)
	for k, v := range r.Env {
		if env[k], err = expandNeeds(v, c.Needs); err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", k, err)
		}
	}
	for k, v := range fixedEnv(epoch) {
		env[k] = v
	}
	profile, err := harden.Lookup(spec.profile())
	if err != nil {
		return nil, err
	}
	gcc, err := tc.gcc()
	if err != nil {
		return nil, err
	}
	f := profile.Resolve(gcc, c.Provides)
	return &resolution{
		commands: commands,
		env:      env,
		flags:    Flags{Profile: profile.Name, Before: f.Before, Compile: f.Compile, Link: f.Link, Libc: libc},
	}, nil
}

// commandsOf gives the commands of a recipe. A first argument with a slash is
// relative to the command's directory, one without is found in PATH.
func commandsOf(c *Component, source fs.FS, tc *Toolchain) ([]Command, error) {
	r := &c.Recipe
	args := func(lists ...[]string) ([]string, error) {
		var out []string
		for _, a := range slices.Concat(lists...) {
			e, err := expandNeeds(a, c.Needs)
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
		return out, nil
	}
	install := r.Install
	if len(install) == 0 {
		install = []string{"install"}
	}
	var lists [][]string
	add := func(parts ...[]string) error {
		a, err := args(parts...)
		lists = append(lists, a)
		return err
	}
	var err error
	switch r.System {
	case "configure":
		script := r.Script
		if script == "" {
			script = "./configure"
		} else if !strings.Contains(script, "/") {
			script = "./" + script
		}
		var std []string
		if std, err = configureArgs(source, script); err == nil {
			err = errors.Join(
				add([]string{script}, std, r.Configure),
				add([]string{"make", "-j{jobs}"}, r.Make),
				add([]string{"make"}, install, []string{"DESTDIR=" + OutDir}))
		}
	case "make":
		err = errors.Join(
			add([]string{"make", "-j{jobs}", "prefix=/usr", "PREFIX=/usr"}, r.Make),
			add([]string{"make"}, install, []string{"prefix=/usr", "PREFIX=/usr", "DESTDIR=" + OutDir}))
	case "cmake":
		if err = tc.requires("cmake"); err == nil {
			var prefix []string
			for _, n := range c.Needs {
				prefix = append(prefix, path.Join(NeedsDir, n, "usr"))
			}
			err = errors.Join(
				add([]string{"cmake", "-S", ".", "-B", "cleanstart-build", "-DCMAKE_INSTALL_PREFIX=/usr", "-DCMAKE_INSTALL_LIBDIR=lib",
					"-DCMAKE_BUILD_TYPE=None", "-DCMAKE_PREFIX_PATH=" + strings.Join(prefix, ";")}, r.Configure),
				add([]string{"make", "-C", "cleanstart-build", "-j{jobs}"}, r.Make),
				add([]string{"make", "-C", "cleanstart-build"}, install, []string{"DESTDIR=" + OutDir}))
		}
	case "shell":
		for _, s := range r.Steps {
			err = errors.Join(err, add([]string{"/bin/sh", "-e", "-c", s}))
		}
		if len(r.Steps) == 0 {
			err = errors.New("a shell recipe has steps")
		}
	case "go":
		if err = tc.requires("go"); err == nil {
			err = errors.New("recipes of system go are not built yet: use system shell")
		}
	default:
		err = fmt.Errorf("unknown build system %q: want one of %s", r.System, strings.Join(systems, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("recipe of %s: %w", c.Name, err)
	}
	var commands []Command
	for _, a := range lists {
		commands = append(commands, Command{Args: a, Dir: SourceDir})
	}
	return commands, nil
}

// triplet is the one platform of today, named so that no configure script
// asks the machine it runs on.
const triplet = "x86_64-linux-gnu"

// configureArgs are the arguments that a configure script gets before the
// recipe's own: --prefix always, the triplets where the script is one that
// autoconf made.
func configureArgs(source fs.FS, script string) ([]string, error) {
	f, err := source.Open(path.Clean(script))
	if err != nil {
		return nil, fmt.Errorf("the source has no script %s: set recipe.script: %w", script, err)
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", script, err)
	}
	args := []string{"--prefix=/usr"}
	if bytes.Contains(head, []byte("Generated by GNU Autoconf")) {
		args = append(args, "--build="+triplet, "--host="+triplet)
	}
	return args, nil
}

var needsRef = regexp.MustCompile(`\{needs:([^{}]*)\}`)

// expandNeeds replaces {needs:NAME} by the directory of that need.
func expandNeeds(s string, needs []string) (string, error) {
	for _, m := range needsRef.FindAllStringSubmatch(s, -1) {
		if !slices.Contains(needs, m[1]) {
			return "", fmt.Errorf("%s names no need: add %q to needs", m[0], m[1])
		}
	}
	return needsRef.ReplaceAllString(s, NeedsDir+"/$1"), nil
}

// libc is the name of the component that provides the C library, or empty.
func (s *Spec) libc() string {
	for _, c := range s.Components {
		if c.Provides == "libc" {
			return c.Name
		}
	}
	return ""
}

func (s *Spec) profile() string {
	if s.Profile == "" {
		return harden.DefaultProfile
	}
	return s.Profile
}

// needs are the names of the components that c compiles against: its own
// list and the C library, in this order, each once.
func (s *Spec) needs(c *Component) []string {
	needs := slices.Clone(c.Needs)
	if l := s.libc(); l != "" && l != c.Name && !slices.Contains(needs, l) {
		needs = append(needs, l)
	}
	return needs
}

var gccPackage = regexp.MustCompile(`^gcc-([0-9]+)$`)

// gcc is the major version of the toolchain's compiler.
func (t *Toolchain) gcc() (int, error) {
	best := 0
	for _, p := range t.Packages {
		if m := gccPackage.FindStringSubmatch(p.Name); m != nil {
			v, err := strconv.Atoi(m[1])
			if err == nil {
				best = max(best, v)
			}
		}
	}
	if best == 0 {
		return 0, errors.New("the toolchain lists no package gcc-N, so the compiler's version is not known: add gcc to the specification's toolchain")
	}
	return best, nil
}

// requires reports whether the toolchain holds a program.
func (t *Toolchain) requires(program string) error {
	for _, dir := range []string{"usr/bin", "usr/local/bin", "bin"} {
		if _, err := os.Lstat(filepath.Join(t.Dir, dir, program)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the toolchain holds no %s: add the package that has it to the specification's toolchain", program)
}
