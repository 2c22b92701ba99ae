package sshsig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cleanstart/cleanstart/source"
)

const maxAllowed = 1 << 20

func readAllowed(files fs.FS, name string) ([]byte, error) {
	if files == nil {
		return nil, fmt.Errorf("%w: there are no key files", ErrKeyFile)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAllowed+1))
	if err == nil && len(b) > maxAllowed {
		err = fmt.Errorf("%w of %d bytes", source.ErrTooLarge, maxAllowed)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, name, err)
	}
	return b, nil
}

// allowed says whether an allowed_signers file allows the key for a namespace
// at a time: one line that does is enough, as it is for ssh-keygen. Lines
// about other keys count for nothing, well formed or not.
func allowed(file []byte, key ssh.PublicKey, namespace string, now time.Time) error {
	var refused []error
	number := 0
	for text := range bytes.Lines(file) {
		number++
		line := strings.TrimSpace(string(text))
		if line == "" || line[0] == '#' {
			continue
		}
		k, _, options, _, err := ssh.ParseAuthorizedKey([]byte(afterPrincipals(line)))
		if err != nil || !bytes.Equal(k.Marshal(), key.Marshal()) {
			continue
		}
		if err := judge(options, namespace, now); err != nil {
			refused = append(refused, fmt.Errorf("line %d: %w", number, err))
			continue
		}
		return nil
	}
	if len(refused) > 0 {
		return fmt.Errorf("%w: %w", ErrNotAllowed, errors.Join(refused...))
	}
	return fmt.Errorf("%w: the file does not hold it", ErrNotAllowed)
}

// afterPrincipals is what follows a line's first field, which may be quoted.
func afterPrincipals(line string) string {
	stop := " \t"
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		line, stop = quoted, `"`
	}
	i := strings.IndexAny(line, stop)
	if i < 0 {
		return ""
	}
	return line[i+1:]
}

// judge says whether a line's options allow the namespace at the time.
func judge(options []string, namespace string, now time.Time) error {
	seen := map[string]bool{}
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		name = strings.ToLower(name)
		if seen[name] {
			return fmt.Errorf("option %s is there twice", name)
		}
		seen[name] = true
		if name == "cert-authority" {
			return errors.New("it is for an authority's certificates, which are not accepted")
		}
		value, ok := unquote(value)
		if !ok {
			return fmt.Errorf("option %s has no quoted value", name)
		}
		switch name {
		case "namespaces":
			if !matchList(value, namespace) {
				return fmt.Errorf("it is for the namespaces %s, not for %s", value, namespace)
			}
		case "valid-after", "valid-before":
			at, err := parseTime(value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if name == "valid-after" && now.Before(at) || name == "valid-before" && now.After(at) {
				return fmt.Errorf("%w: %s %s", ErrExpired, name, value)
			}
		default:
			return fmt.Errorf("option %q is not known", name)
		}
	}
	return nil
}

func unquote(s string) (string, bool) {
	s, begins := strings.CutPrefix(s, `"`)
	s, ends := strings.CutSuffix(s, `"`)
	return s, begins && ends && !strings.ContainsAny(s, `"\`)
}

// parseTime reads YYYYMMDDZ and YYYYMMDDHHMM[SS]Z. Without the mark a time is
// in the zone of whoever reads it, which would make the answer depend on it.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{"20060102Z", "200601021504Z", "20060102150405Z"} {
		if len(s) == len(layout) {
			return time.Parse(layout, s)
		}
	}
	return time.Time{}, fmt.Errorf("%q is not YYYYMMDDZ or YYYYMMDDHHMM[SS]Z; times must be in UTC", s)
}

// matchList matches a pattern-list of ssh_config(5): one pattern must match,
// and none that is negated.
func matchList(list, s string) bool {
	found := false
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if match(pattern, s) {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}

// match knows * and ?. It keeps the set of positions in s that the pattern's
// beginning can end at, so that no pattern makes it slow.
func match(pattern, s string) bool {
	at := make([]bool, len(s)+1)
	at[0] = true
	for _, c := range []byte(pattern) {
		if c == '*' {
			for i := range s {
				at[i+1] = at[i+1] || at[i]
			}
			continue
		}
		for i := len(s); i > 0; i-- {
			at[i] = at[i-1] && (c == '?' || c == s[i-1])
		}
		at[0] = false
	}
	return at[len(s)]
}
