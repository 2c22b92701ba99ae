package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/compile"
)

// maxRecord bounds one record of the wrapper: an argument list of the kernel
// is at most this long.
const maxRecord = 8 << 20

// record is what the wrapper wrote about one process.
type record struct {
	kind   string // unit or link
	dir    string // its directory
	file   string // object, or linked file, as an absolute path in the sandbox
	digest string // SHA-256 of that file, hexadecimal
	args   []string
	host   string // path of the record on the host, without its suffix
	in     string // the same in the sandbox
}

// parseRecord reads the NUL-separated form.
func parseRecord(b []byte) (record, error) {
	f := strings.Split(string(b), "\x00")
	if len(f) < 7 || f[len(f)-1] != "" || f[len(f)-2] != "end" {
		return record{}, errors.New("the compiler wrapper's record is not complete")
	}
	f = f[:len(f)-2]
	r := record{kind: f[0], dir: f[1], file: f[2], digest: f[3], args: f[4:]}
	if r.kind != "unit" && r.kind != "link" || !path.IsAbs(r.dir) {
		return record{}, fmt.Errorf("the compiler wrapper's record has kind %q and directory %q", r.kind, r.dir)
	}
	if len(r.digest) != 64 || strings.Trim(r.digest, "0123456789abcdef") != "" {
		return record{}, fmt.Errorf("the compiler wrapper's record of %s has no digest", r.file)
	}
	r.file = absolute(r.dir, r.file)
	return r, nil
}

func absolute(dir, file string) string {
	if path.IsAbs(file) {
		return path.Clean(file)
	}
	return path.Join(dir, file)
}

// readRecords reads the records of all commands. Their order means nothing.
func (w *work) readRecords() ([]record, error) {
	var out []record
	for i := range w.job.Action.Commands {
		dir := w.traceDir(i)
		list, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			ext := filepath.Ext(d.Name())
			if ext != ".unit" && ext != ".link" {
				continue
			}
			p := filepath.Join(dir, d.Name())
			b, err := readBounded(p, maxRecord)
			if err != nil {
				return nil, err
			}
			r, err := parseRecord(b)
			if err != nil {
				return nil, err
			}
			r.host = strings.TrimSuffix(p, ext)
			r.in = path.Join(compile.TraceDir, filepath.Base(r.host))
			for k, a := range r.args {
				r.args[k] = anonymous(a)
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// readBounded reads a regular file that the build wrote.
func readBounded(p string, limit int64) ([]byte, error) {
	fi, err := os.Lstat(p)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: filepath.Base(p), Err: fmt.Errorf("not a regular file of at most %d bytes", limit)}
	}
	return os.ReadFile(p)
}

// valueOptions take their value from the next argument.
var valueOptions = []string{"-o", "-x", "-I", "-L", "-D", "-U", "-A", "-B", "-T", "-u", "-l", "-z", "-e", "-MF", "-MT", "-MQ",
	"-include", "-imacros", "-isystem", "-idirafter", "-iquote", "-isysroot", "-iprefix", "-iwithprefix", "-iwithprefixbefore",
	"-Xlinker", "-Xassembler", "-Xpreprocessor", "-aux-info", "--param", "-wrapper", "-dumpbase", "-dumpbase-ext", "-dumpdir"}

// languages by suffix, as gcc(1) has them.
var languages = map[string]string{
	".c": "c", ".i": "c", ".s": "asm", ".S": "asm", ".sx": "asm",
	".cc": "c++", ".cp": "c++", ".cxx": "c++", ".cpp": "c++", ".c++": "c++", ".C": "c++", ".ii": "c++",
}

// unit is the record in its public form.
func (r *record) unit() compile.Unit {
	u := compile.Unit{Object: relative(r.file), Dir: relative(r.dir), Args: r.args, Digest: "sha256:" + r.digest}
	lang := ""
	for i := 1; i < len(r.args); i++ {
		a := r.args[i]
		switch {
		case a == "-x" && i+1 < len(r.args):
			lang = r.args[i+1]
			i++
		case strings.HasPrefix(a, "-x") && len(a) > 2:
			lang = a[2:]
		case slices.Contains(valueOptions, a):
			i++
		case strings.HasPrefix(a, "-"):
		case languages[path.Ext(a)] != "" || lang != "":
			u.Source = relative(absolute(r.dir, a))
			u.Language = languages[path.Ext(a)]
		}
	}
	switch strings.TrimSuffix(lang, "-header") {
	case "c", "c++":
		u.Language = lang
	case "assembler", "assembler-with-cpp":
		u.Language = "asm"
	}
	return u
}

// processName is a name in the trace directory, which a process id went into.
var processName = regexp.MustCompile(`(` + regexp.QuoteMeta(compile.TraceDir) + `/)[0-9]+(?:-[0-9]+)?\.`)

// anonymous is a text without process ids, so that two runs give the same.
func anonymous(s string) string { return processName.ReplaceAllString(s, "${1}@.") }

// relative is a path as records have it: relative to the source directory
// where it lies there.
func relative(p string) string {
	if p == compile.SourceDir {
		return "."
	}
	return anonymous(strings.TrimPrefix(p, compile.SourceDir+"/"))
}

// splitObject reports whether an object's name was chosen by the wrapper for a
// source in a link: TRACE/ID.N.o.
func splitObject(p string) bool {
	rest, ok := strings.CutPrefix(p, compile.TraceDir+"/")
	if !ok {
		return false
	}
	f := strings.Split(rest, ".")
	if len(f) != 3 || f[2] != "o" {
		return false
	}
	_, err := strconv.Atoi(f[1])
	return err == nil
}
