package git

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/source"
)

// location is where a repository is.
type location struct {
	protocol string // https, http, ssh or file
	url      *url.URL
	bundle   string // format of the bundle that it names; otherwise empty
}

// target is what is asked of it: a tag or a commit.
type target struct {
	tag        string
	format, id string
}

func refuse(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrLocation, fmt.Sprintf(format, a...))
}

// parse takes a component's location apart.
func parse(ref *url.URL) (location, target, error) {
	fail := func(err error) (location, target, error) { return location{}, target{}, err }
	scheme, ok := strings.CutPrefix(ref.Scheme, "git+")
	if !ok {
		return fail(refuse("%s: scheme is not git+https, git+http, git+ssh or git+file", ref.Redacted()))
	}
	at := *ref
	at.Scheme, at.Fragment, at.RawFragment = scheme, "", ""
	loc, err := locate(&at)
	if err != nil {
		return fail(err)
	}
	kind, value, _ := strings.Cut(ref.Fragment, "=")
	switch kind {
	case "tag":
		if !isTag(value) {
			return fail(refuse("tag %q is no name that git allows", value))
		}
		return loc, target{tag: value}, nil
	case "commit":
		format, id, err := source.ParseCommit(value)
		if err != nil {
			return fail(refuse("commit: %v", err))
		}
		return loc, target{format: format, id: id}, nil
	}
	return fail(refuse("%s: want the fragment tag=NAME or commit=FORMAT:HEX", ref.Redacted()))
}

// locate checks a repository's URL. Nothing in it may look like an option to
// git or ssh, nor name a helper that git would run.
func locate(u *url.URL) (location, error) {
	loc := location{protocol: u.Scheme, url: u}
	_, secret := u.User.Password()
	switch {
	case !slices.Contains([]string{"https", "http", "ssh", "file"}, u.Scheme):
		return loc, refuse("%s: scheme is not https, http, ssh or file", u.Redacted())
	case u.Opaque != "" || !strings.HasPrefix(u.Path, "/") || strings.ContainsAny(u.Path, "\x00\n\r"):
		return loc, refuse("%s: want %s://…/PATH", u.Redacted(), u.Scheme)
	case secret:
		return loc, refuse("%s: a password does not belong into a location", u.Redacted())
	case strings.HasPrefix(u.Host, "-") || strings.HasPrefix(u.User.Username(), "-"):
		return loc, refuse("%s: host or user begins with a dash", u.Redacted())
	case u.Scheme != "file" && u.Hostname() == "":
		return loc, refuse("%s: no host", u.Redacted())
	case u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || u.RawQuery != "" || u.User != nil):
		return loc, refuse("%s: want file:///ABSOLUTE/PATH", u.Redacted())
	}
	if u.Scheme == "file" {
		info, err := os.Stat(u.Path)
		if err != nil {
			return loc, err
		}
		if info.Mode().IsRegular() {
			loc.bundle, err = bundleFormat(u.Path)
		} else if !info.IsDir() {
			err = refuse("%s: neither a directory nor a file", u.Path)
		}
		if err != nil {
			return loc, err
		}
	}
	return loc, nil
}

// remote is the location as git takes it.
func (l location) remote() string {
	switch {
	case l.bundle != "":
		return filepath.Clean(l.url.Path)
	case l.protocol == "file":
		return (&url.URL{Scheme: "file", Path: l.url.Path}).String()
	}
	return l.url.String()
}

// bundleFormat reads the object format in the header of a bundle
// (gitformat-bundle, versions 2 and 3).
func bundleFormat(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := bufio.NewReaderSize(f, 4096)
	line, err := b.ReadSlice('\n')
	if err != nil {
		return "", refuse("%s is neither a directory nor a git bundle", name)
	}
	switch {
	case string(line) == "# v2 git bundle\n":
		return "sha1", nil
	case string(line) != "# v3 git bundle\n":
		return "", refuse("%s is neither a directory nor a git bundle", name)
	}
	for {
		if line, err = b.ReadSlice('\n'); err != nil {
			return "", fmt.Errorf("%s: header of the bundle: %w", name, err)
		}
		if line[0] != '@' {
			return "sha1", nil
		}
		if format, ok := strings.CutPrefix(string(line), "@object-format="); ok {
			return strings.TrimSpace(format), nil
		}
	}
}

// isTag refuses what git-check-ref-format(1) does, and leading dashes.
func isTag(name string) bool {
	bad := func(r rune) bool { return r <= ' ' || strings.ContainsRune("~^:?*[\\\x7f", r) }
	if name == "" || name != path.Clean(name) || strings.ContainsFunc(name, bad) || strings.Contains(name, "@{") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock") || strings.Contains(part, "..") {
			return false
		}
	}
	return true
}

// Variables are the names that Transport.Env may hold. Of HOME git takes
// .netrc; ssh looks for known hosts in its user's home whatever HOME says, so
// GIT_SSH_COMMAND is where to name others.
var Variables = []string{
	"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK", "HOME",
}

// environment checks the caller's variables, and adds those by whose names
// git and curl know them.
func environment(given []string) ([]string, error) {
	alias := map[string]string{"HTTP_PROXY": "http_proxy", "SSL_CERT_FILE": "GIT_SSL_CAINFO", "SSL_CERT_DIR": "GIT_SSL_CAPATH"}
	var out, more []string
	for _, v := range given {
		name, value, ok := strings.Cut(v, "=")
		if !ok || !slices.Contains(Variables, name) || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("variable %q is none of those that are passed to git: %s", name, strings.Join(Variables, ", "))
		}
		out = append(out, v)
		if a := alias[name]; a != "" {
			more = append(more, a+"="+value)
		}
	}
	return append(more, out...), nil
}
