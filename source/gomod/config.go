package gomod

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// ReadConfig gives the proxies that the system's Go configuration names: the
// variable GOPROXY as env knows it, else as the user's go/env file in root
// sets it, else as GOROOT's go.env does. The words direct and off, and what
// follows off, name no proxy. The error wraps [fs.ErrNotExist] where nothing
// is configured.
func ReadConfig(env func(string) string, root fs.FS) ([]string, error) {
	value := env("GOPROXY")
	if value == "" {
		var files []string
		switch user := env("GOENV"); {
		case user == "off":
		case user != "":
			files = append(files, user)
		case env("XDG_CONFIG_HOME") != "":
			files = append(files, path.Join(env("XDG_CONFIG_HOME"), "go/env"))
		case env("HOME") != "":
			files = append(files, path.Join(env("HOME"), ".config/go/env"))
		}
		for _, goroot := range []string{env("GOROOT"), "/usr/local/go", "/usr/lib/go"} {
			if goroot != "" {
				files = append(files, path.Join(goroot, "go.env"))
			}
		}
		for _, name := range files {
			b, err := fs.ReadFile(root, strings.TrimPrefix(path.Clean(name), "/"))
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if value = lookup(string(b), "GOPROXY"); value != "" {
				break
			}
		}
	}
	if value == "" {
		return nil, fmt.Errorf("gomod: GOPROXY is set nowhere: %w", fs.ErrNotExist)
	}
	var out []string
	for _, p := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == '|' }) {
		switch p = strings.TrimSpace(p); {
		case p == "off":
			return out, nil
		case p == "direct" || p == "":
		case strings.HasPrefix(p, "https://"), strings.HasPrefix(p, "http://"), strings.HasPrefix(p, "file:///"):
			out = append(out, p)
		default:
			return nil, fmt.Errorf("gomod: GOPROXY names %q, which is no URL", p)
		}
	}
	return out, nil
}

// lookup gives a variable of a go/env file.
func lookup(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key == name {
			return value
		}
	}
	return ""
}
