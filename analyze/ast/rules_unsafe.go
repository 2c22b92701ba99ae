package ast

import (
	"slices"
	"strings"

	"modernc.org/cc/v4"
)

// unsafeRules are calls of the C library that overflow, or that let others
// choose what is done.
var unsafeRules = []*Rule{
	{"gets", "gets cannot be used safely; C11 removed it. Use fgets or getline.", 242, High,
		obsolete("has no bound; use fgets", "gets", "_getws")},
	{"getwd", "getwd has no bound; use getcwd.", 120, Medium, obsolete("has no bound; use getcwd", "getwd")},
	{"sprintf-fixed", "sprintf into an array of fixed size overflows when a string is longer; use snprintf.", 120, High, sprintfFixed},
	{"sprintf-overlap", "sprintf reads what it writes; the result is undefined.", 628, Medium, sprintfOverlap},
	{"strcpy", "strcpy overflows its destination when the source is longer; use strlcpy or snprintf.", 120, High, unbounded("strcpy", "stpcpy", "wcscpy", "lstrcpy")},
	{"strcat", "strcat overflows its destination when the source is longer; use strlcat or snprintf.", 120, High, unbounded("strcat", "wcscat", "lstrcat")},
	{"strncpy-unterminated", "strncpy leaves the destination without terminator when the source fills it.", 170, Medium, strncpyUnterminated},
	{"strncat-size", "strncat's size is what may be added, not that of the destination.", 787, High, strncatSize},
	{"scanf-width", "%s and %[ without a width have no bound; give one.", 120, High, scanfWidth},
	{"format-not-constant", "A format that is data lets who wrote it read and write memory; use \"%s\".", 134, High, formatNotConstant},
	{"command-not-constant", "A shell runs what the string says; use execv with an argument list.", 78, High, commandNotConstant},
	{"exec-path", "A program without a slash is looked for in PATH, which others may set.", 426, Medium, execPath},
	{"temporary-name", "Between the name and the file is time for someone else; use mkstemp.", 377, High,
		obsolete("gives a name, not a file; use mkstemp", "mktemp", "tmpnam", "tmpnam_r", "tempnam", "_mktemp")},
	{"obsolete-call", "Removed from POSIX, or unsafe in threads.", 477, Low,
		obsolete("is obsolete; use memcpy, memset, memcmp, strchr, strrchr, getaddrinfo, getnameinfo, inet_pton, nanosleep",
			"bcopy", "bzero", "index", "rindex", "gethostbyname", "gethostbyname2", "gethostbyaddr", "inet_aton", "inet_addr", "usleep", "getpass", "cuserid", "vfork", "ualarm")},
	{"access-then-open", "Between the test and the use the file may be another one; open first and fstat.", 367, Medium, accessThenOpen},
}

func sprintfFixed(p *Pass) {
	for _, c := range p.calls("sprintf", "vsprintf") {
		size, fixed := array(c.arg(0))
		if !fixed {
			continue
		}
		format, ok := p.text(c.arg(1))
		if !ok {
			p.Reportf(c.node, "%s into %d bytes with a format that is not constant", c.name, size)
			continue
		}
		for _, v := range parseFormat(format) {
			if v.verb == 's' && !v.precision {
				p.Reportf(c.node, "%s into %d bytes with %%s", c.name, size)
				break
			}
		}
	}
}

func sprintfOverlap(p *Pass) {
	for _, c := range p.calls("sprintf", "snprintf") {
		first := 2
		if c.name == "snprintf" {
			first = 3
		}
		for i := first; i < len(c.args); i++ {
			if to := textOf(c.args[0]); to != "" && textOf(c.args[i]) == to {
				p.Reportf(c.node, "%s reads %s, which it writes", c.name, to)
				break
			}
		}
	}
}

// unbounded flags copies whose source is no literal that fits.
func unbounded(names ...string) func(*Pass) {
	return func(p *Pass) {
		for _, c := range p.calls(names...) {
			if len(c.args) < 2 {
				continue
			}
			if s, ok := p.text(c.args[1]); ok {
				size, fixed := array(c.args[0])
				if !fixed || int64(len(s)) < size {
					continue
				}
				p.Reportf(c.node, "%s of %d bytes into %d", c.name, len(s)+1, size)
				continue
			}
			p.Reportf(c.node, "%s has no bound", c.name)
		}
	}
}

func strncpyUnterminated(p *Pass) {
	for _, c := range p.calls("strncpy", "wcsncpy") {
		size, fixed := array(c.arg(0))
		if !fixed || len(c.args) < 3 {
			continue
		}
		n, ok := p.value(c.args[2])
		if !ok || n < size {
			continue
		}
		if s, ok := p.text(c.args[1]); ok && int64(len(s)) < n {
			continue
		}
		if !p.terminated(textOf(c.args[0])) {
			p.Reportf(c.node, "%s may fill %s to its last byte", c.name, textOf(c.args[0]))
		}
	}
}

// terminated reports whether an element of the array is set to zero somewhere
// in the function.
func (p *Pass) terminated(name string) bool {
	for _, a := range p.fn.assigns {
		if strings.HasPrefix(a.to, name+"[") || a.to == "*"+name {
			if v, ok := p.value(a.value); ok && v == 0 {
				return true
			}
		}
	}
	return false
}

func strncatSize(p *Pass) {
	for _, c := range p.calls("strncat", "wcsncat") {
		size, fixed := array(c.arg(0))
		n, ok := p.value(c.arg(2))
		if fixed && ok && n >= size {
			p.Reportf(c.node, "%s may add %d bytes to an array of %d", c.name, n, size)
		}
	}
}

func scanfWidth(p *Pass) {
	at := map[string]int{"scanf": 0, "vscanf": 0, "fscanf": 1, "sscanf": 1, "vfscanf": 1, "vsscanf": 1,
		"__isoc99_scanf": 0, "__isoc99_fscanf": 1, "__isoc99_sscanf": 1}
	for _, c := range p.fn.calls {
		i, ok := at[c.name]
		if !ok {
			continue
		}
		format, ok := p.text(c.arg(i))
		if !ok {
			continue
		}
		for _, v := range parseFormat(format) {
			if (v.verb == 's' || v.verb == '[') && !v.width && !v.suppressed {
				p.Reportf(c.node, "%s reads a string without a width", c.name)
				break
			}
		}
	}
}

// formats are where functions take a format, and the first argument for it;
// -1 for a va_list.
var formats = map[string]int{
	"printf": 0, "vprintf": 0, "fprintf": 1, "vfprintf": 1, "dprintf": 1, "vdprintf": 1, "sprintf": 1, "vsprintf": 1,
	"snprintf": 2, "vsnprintf": 2, "asprintf": 1, "vasprintf": 1, "syslog": 1, "vsyslog": 1, "err": 1, "errx": 1, "warn": 0, "warnx": 0,
	"scanf": 0, "fscanf": 1, "sscanf": 1, "wprintf": 0, "fwprintf": 1, "swprintf": 2, "setproctitle": 0, "BIO_printf": 1,
}

// translators give a format back in another language.
var translators = []string{"gettext", "dgettext", "dcgettext", "ngettext", "dngettext", "_", "N_"}

func formatNotConstant(p *Pass) {
	for _, c := range p.fn.calls {
		i, ok := formats[c.name]
		if !ok || i >= len(c.args) || strings.HasPrefix(c.name, "v") {
			continue // a function that takes a va_list is given a format by its own callers
		}
		a := c.args[i]
		if _, ok := p.text(a); ok {
			continue
		}
		if init := p.fn.inits[nameOf(a)]; init != nil {
			if _, ok := p.text(init); ok && !p.reassigned(nameOf(a)) {
				continue
			}
		}
		if t := callOf(a); t != nil && slices.Contains(translators, nameOf(t.PostfixExpression)) {
			continue
		}
		if constantArray(a) {
			continue
		}
		p.Reportf(c.node, "the format of %s is not constant", c.name)
	}
}

// reassigned reports whether a variable is assigned behind its declaration.
func (p *Pass) reassigned(name string) bool {
	for _, a := range p.fn.assigns {
		if _, ok := a.node.(*cc.AssignmentExpression); ok && a.to == name {
			return true
		}
	}
	return false
}

// constantArray reports whether an expression names a constant array of
// characters with an initialiser.
func constantArray(n cc.Node) bool {
	x, ok := bare(n).(*cc.PrimaryExpression)
	if !ok {
		return false
	}
	d, ok := x.ResolvedTo().(*cc.Declarator)
	if !ok || !d.HasInitializer() || d.IsParam() {
		return false
	}
	a, ok := d.Type().(*cc.ArrayType)
	return ok && a != nil && a.Elem() != nil && (d.IsConst() || a.Elem().Attributes() != nil && a.Elem().Attributes().IsConst())
}

func commandNotConstant(p *Pass) {
	for _, c := range p.calls("system", "popen", "_popen", "wordexp") {
		if _, ok := p.text(c.arg(0)); ok || len(c.args) == 0 {
			continue
		}
		if v, ok := p.value(c.args[0]); ok && v == 0 {
			continue
		}
		if init := p.fn.inits[nameOf(c.args[0])]; init != nil && !p.reassigned(nameOf(c.args[0])) {
			if _, ok := p.text(init); ok {
				continue
			}
		}
		p.Reportf(c.node, "%s runs a command that is not constant", c.name)
	}
	for _, c := range p.calls("execl", "execle", "execlp") {
		for i := 1; i+1 < len(c.args); i++ {
			if s, ok := p.text(c.args[i]); ok && s == "-c" {
				if _, ok := p.text(c.args[i+1]); !ok {
					p.Reportf(c.node, "%s has a shell run a command that is not constant", c.name)
				}
			}
		}
	}
}

func execPath(p *Pass) {
	for _, c := range p.calls("execlp", "execvp", "execvpe", "posix_spawnp") {
		i := 0
		if c.name == "posix_spawnp" {
			i = 1
		}
		if s, ok := p.text(c.arg(i)); ok && !strings.Contains(s, "/") {
			p.Reportf(c.node, "%s looks for %s in PATH", c.name, s)
		}
	}
	for _, c := range p.calls("system", "popen") {
		if s, ok := p.text(c.arg(0)); ok && s != "" && !strings.HasPrefix(strings.TrimSpace(s), "/") {
			p.Reportf(c.node, "%s looks for its command in PATH", c.name)
		}
	}
}

func accessThenOpen(p *Pass) {
	for _, c := range p.calls("access", "stat", "lstat", "euidaccess", "eaccess") {
		path := textOf(c.arg(0))
		if path == "" {
			continue
		}
		for _, d := range p.after(c) {
			switch d.name {
			case "open", "open64", "fopen", "fopen64", "creat", "chmod", "chown", "lchown", "unlink", "remove", "rename", "mkdir", "rmdir", "truncate", "execv", "execve", "opendir", "freopen":
				if textOf(d.arg(0)) == path {
					p.Reportf(d.node, "%s of %s behind %s: it may be another file by now", d.name, path, c.name)
				}
			}
		}
	}
}
