package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// readSettings reads the few settings of apt.conf(5) that bear on what we
// do.
func (c *Config) readSettings(root fs.FS) error {
	files, err := list(root, "etc/apt/apt.conf", "etc/apt/apt.conf.d", "", ".conf")
	if err != nil {
		return err
	}
	if len(files) > 0 && files[0] == "etc/apt/apt.conf" { // apt reads the directory first
		files = append(files[1:], files[0])
	}
	for _, name := range files {
		b, err := readFile(root, name, maxConfigFile)
		if err != nil {
			return err
		}
		err = parseSettings(string(b), func(key, value string) {
			switch key = strings.ToLower(key); key {
			case "apt::architecture":
				if value != "" {
					c.Arch = value
				}
			case "acquire::check-valid-until":
				c.IgnoreValidUntil = isFalse(value)
			case "acquire::check-date":
				c.IgnoreDate = isFalse(value)
			case "acquire::http::proxy":
				c.Proxies["http"] = value
			case "acquire::https::proxy":
				c.Proxies["https"] = value
			}
		})
		if err != nil {
			return fmt.Errorf("/%s: %w", path.Clean(name), err)
		}
	}
	if _, ok := c.Proxies["https"]; !ok && c.Proxies["http"] != "" {
		c.Proxies["https"] = c.Proxies["http"] // apt-transport-https(1)
	}
	return nil
}

func isFalse(s string) bool {
	return contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(s))
}

// parseSettings calls set for each "name value;" with nested scopes joined
// by "::". Directives (#clear, #include) are comments to us.
func parseSettings(text string, set func(key, value string)) error {
	var scope []string
	var words []string
	i := 0
	for i < len(text) {
		switch ch := text[i]; {
		case ch == '#' || strings.HasPrefix(text[i:], "//"):
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case strings.HasPrefix(text[i:], "/*"):
			end := strings.Index(text[i+2:], "*/")
			if end < 0 {
				return errors.New("comment is not closed")
			}
			i += end + 4
		case ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r':
			i++
		case ch == '"':
			end := strings.IndexByte(text[i+1:], '"')
			if end < 0 {
				return errors.New("string is not closed")
			}
			words = append(words, text[i+1:i+1+end])
			i += end + 2
		case ch == '{':
			scope = append(scope, strings.Join(words, " "))
			words = nil
			i++
		case ch == '}':
			if len(scope) == 0 {
				return errors.New("} without {")
			}
			scope, words = scope[:len(scope)-1], nil
			i++
		case ch == ';':
			if len(words) >= 2 {
				set(strings.Join(append(append([]string(nil), scope...), words[0]), "::"), words[1])
			}
			words = nil
			i++
		default:
			start := i
			for i < len(text) && !strings.ContainsRune(" \t\r\n\"{};", rune(text[i])) {
				i++
			}
			words = append(words, text[start:i])
		}
	}
	if len(scope) > 0 {
		return errors.New("{ without }")
	}
	return nil
}

// readAuth reads apt_auth.conf(5): netrc tokens.
func (c *Config) readAuth(root fs.FS) error {
	files, err := list(root, "etc/apt/auth.conf", "etc/apt/auth.conf.d", "", ".conf")
	if err != nil {
		return err
	}
	for _, name := range files {
		b, err := readFile(root, name, maxConfigFile)
		if errors.Is(err, fs.ErrPermission) {
			continue // meant for root's apt; the archive says 401 if it was needed
		}
		if err != nil {
			return err
		}
		var cur *Auth
		words := strings.Fields(string(b))
		for i := 0; i+1 < len(words); i += 2 {
			switch words[i] {
			case "machine":
				c.Auth = append(c.Auth, Auth{Machine: words[i+1]})
				cur = &c.Auth[len(c.Auth)-1]
			case "login", "password":
				if cur == nil {
					return fmt.Errorf("/%s: %s before machine", name, words[i])
				}
				if words[i] == "login" {
					cur.Login = words[i+1]
				} else {
					cur.Password = words[i+1]
				}
			default:
				return fmt.Errorf("/%s: unknown word", name) // not quoted: it may be a secret
			}
		}
	}
	return nil
}
