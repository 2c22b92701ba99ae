package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/compile"
)

// limits on what a build may install
const (
	maxInstalled     = 200_000
	maxInstalledFile = 2 << 30
)

// installed is one file or symbolic link below DESTDIR.
type installed struct {
	path string
	mode fs.FileMode
	link string // target of a symbolic link
	elf  *elfFile
}

// parts assigns an installed file to the parts that carry it.
func (w *work) partsOf(f *installed) []string {
	runtime := matches(w.job.Action.Runtime, f.path)
	name := path.Base(f.path)
	var parts []string
	if runtime {
		parts = append(parts, compile.PartRuntime)
	}
	switch {
	case strings.HasSuffix(name, ".la"): // libtool's memory of absolute paths
	case !runtime && documentation(f.path):
	case runtime && !strings.Contains(name, ".so"):
	default:
		parts = append(parts, compile.PartDev)
	}
	return parts
}

func documentation(p string) bool {
	for _, d := range []string{"usr/share/man/", "usr/share/doc/", "usr/share/info/", "usr/share/locale/", "usr/man/", "usr/share/gtk-doc/"} {
		if strings.HasPrefix(p, d) {
			return true
		}
	}
	return false
}

// matches reports whether a pattern of the list matches the path or names one
// of its parent directories.
func matches(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pat string) bool { return matchOne(pat, p) })
}

func matchOne(pattern, p string) bool {
	pattern = strings.Trim(path.Clean("/"+pattern), "/")
	for q := p; q != "."; q = path.Dir(q) {
		if ok, err := path.Match(pattern, q); err == nil && ok {
			return true
		}
	}
	return pattern == ""
}

// collect turns what the commands left behind into the parts of the output
// and completes the result.
func (w *work) collect(ctx context.Context, result *compile.Result) error {
	for _, p := range []string{compile.PartRuntime, compile.PartDev, compile.PartDebug, compile.PartLicenses} {
		if err := os.Mkdir(filepath.Join(w.parts, p), 0o755); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(w.out)
	if err != nil {
		return err
	}
	defer root.Close()
	files, err := listInstalled(root)
	if err != nil {
		return err
	}
	if err := w.checkPatterns(files); err != nil {
		return err
	}
	var runtimeELF []*installed
	for i := range files {
		f := &files[i]
		for _, part := range w.partsOf(f) {
			if part == compile.PartRuntime && f.elf != nil && f.elf.linked {
				runtimeELF = append(runtimeELF, f) // written by the links, stripped
				continue
			}
			if err := w.place(root, f, part); err != nil {
				return fmt.Errorf("install %s: %w", f.path, err)
			}
		}
	}
	if err := w.copyLicenses(); err != nil {
		return err
	}
	if err := w.trace(ctx, root, runtimeELF, result); err != nil {
		return err
	}
	if err := w.normalize(); err != nil {
		return err
	}
	for _, p := range []string{compile.PartRuntime, compile.PartDev, compile.PartDebug, compile.PartLicenses} {
		if err := move(filepath.Join(w.parts, p), filepath.Join(w.job.Out, p)); err != nil {
			return err
		}
	}
	result.Output, err = compile.ScanOutput(w.job.Out)
	return err
}

// listInstalled lists DESTDIR. The build may have written anything there.
func listInstalled(root *os.Root) ([]installed, error) {
	var files []installed
	err := walk(root, ".", func(name string, info fs.FileInfo) error {
		if len(files) == maxInstalled {
			return fmt.Errorf("more than %d files were installed", maxInstalled)
		}
		f := installed{path: name, mode: info.Mode()}
		switch info.Mode().Type() {
		case fs.ModeSymlink:
			link, err := root.Readlink(name)
			if err != nil {
				return err
			}
			if strings.HasPrefix(link, compile.OutDir) {
				return fmt.Errorf("the link %s points to %s: links must not hold the staging directory", name, link)
			}
			f.link = link
		case 0:
			if info.Size() > maxInstalledFile {
				return fmt.Errorf("%s has %d bytes", name, info.Size())
			}
			if info.Mode()&0o400 == 0 {
				if err := root.Chmod(name, 0o600|info.Mode().Perm()); err != nil {
					return err
				}
			}
			r, err := root.Open(name)
			if err != nil {
				return err
			}
			f.elf, err = readELF(r)
			r.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		default:
			return fmt.Errorf("%s is neither a file nor a symbolic link (%s)", name, info.Mode().Type())
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// walk visits everything but directories below dir, sorted, and opens
// directories that the build closed to their owner.
func walk(root *os.Root, dir string, visit func(string, fs.FileInfo) error) error {
	if info, err := root.Lstat(dir); err != nil {
		return err
	} else if info.Mode()&0o500 != 0o500 {
		if err := root.Chmod(dir, 0o700|info.Mode().Perm()); err != nil {
			return err
		}
	}
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	list, err := d.Readdir(-1)
	d.Close()
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	for _, info := range list {
		name := path.Join(dir, info.Name())
		if info.IsDir() {
			err = walk(root, name, visit)
		} else {
			err = visit(name, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPatterns refuses a pattern of the recipe that fits nothing.
func (w *work) checkPatterns(files []installed) error {
	var errs []error
	for _, pat := range w.job.Action.Runtime {
		if !slices.ContainsFunc(files, func(f installed) bool { return matchOne(pat, f.path) }) {
			errs = append(errs, fmt.Errorf("the runtime pattern %q matches no installed file", pat))
		}
	}
	return errors.Join(errs...)
}

// place copies one installed file into a part.
func (w *work) place(root *os.Root, f *installed, part string) error {
	to := filepath.Join(w.parts, part, filepath.FromSlash(f.path))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if f.link != "" {
		return os.Symlink(f.link, to)
	}
	perm := fs.FileMode(0o644)
	if f.mode&0o111 != 0 {
		perm = 0o755
	}
	in, err := root.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	var rewrite func([]byte) ([]byte, error)
	switch path.Ext(f.path) {
	case ".a":
		rewrite = func(b []byte) ([]byte, error) {
			if !strings.HasPrefix(string(b[:min(len(b), len(arMagic))]), "!<") {
				return b, nil // a linker script
			}
			return b, normalizeArchive(b)
		}
	case ".pc":
		rewrite = func(b []byte) ([]byte, error) { return w.relocatePC(b), nil }
	}
	if rewrite == nil || part != compile.PartDev {
		return writeNew(to, in, perm)
	}
	b, err := io.ReadAll(io.LimitReader(in, maxInstalledFile))
	if err != nil {
		return err
	}
	if b, err = rewrite(b); err != nil {
		return err
	}
	return writeNew(to, strings.NewReader(string(b)), perm)
}

// relocatePC makes a pkg-config file name the place where dependents find the
// component.
func (w *work) relocatePC(b []byte) []byte {
	lines := strings.SplitAfter(string(b), "\n")
	for i, l := range lines {
		if strings.TrimRight(l, "\r\n ") == "prefix=/usr" {
			lines[i] = "prefix=" + path.Join(compile.NeedsDir, w.job.Action.Component, "usr") + "\n"
		}
	}
	return []byte(strings.Join(lines, ""))
}

// copyLicenses takes the licence texts from the verified tree, not from what
// the build made of it. They also go into the image, below LicenseDir, as most
// licences ask of whoever passes on the binary.
func (w *work) copyLicenses() error {
	for _, name := range w.job.Action.Licenses {
		name = filepath.FromSlash(path.Clean(name))
		shipped := filepath.Join(compile.PartRuntime, filepath.FromSlash(compile.LicenseDir), w.job.Action.Component)
		for _, part := range []string{compile.PartLicenses, shipped} {
			if err := w.copyLicense(name, filepath.Join(w.parts, part, name)); err != nil {
				return fmt.Errorf("licence file: %w", err)
			}
		}
	}
	return nil
}

func (w *work) copyLicense(name, to string) error {
	r, err := w.job.Source.Open(filepath.ToSlash(name))
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return writeNew(to, r, 0o644)
}

// normalize fixes modes and times of everything in the parts.
func (w *work) normalize() error {
	epoch := time.Unix(w.job.Action.Epoch, 0)
	var dirs []string
	err := filepath.WalkDir(w.parts, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, p)
			return os.Chmod(p, 0o755)
		case d.Type() == fs.ModeSymlink:
			return lutimes(p, epoch)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		perm := fs.FileMode(0o644)
		if info.Mode()&0o111 != 0 {
			perm = 0o755
		}
		if err := os.Chmod(p, perm); err != nil {
			return err
		}
		return os.Chtimes(p, epoch, epoch)
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	for _, d := range dirs {
		if err := os.Chtimes(d, epoch, epoch); err != nil {
			return err
		}
	}
	return nil
}
