package source

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"
)

// ErrComponent says that a component or its policy is not well formed, or
// asks for nothing.
var ErrComponent = errors.New("component is not acceptable")

// AllowSHA1 names the one exception known today: a signature whose digest is
// SHA-1.
const AllowSHA1 = "sha1"

// Validate checks the component without touching the network or the cache.
// Every error wraps [ErrComponent] and names the field.
func (c Component) Validate() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrComponent, fmt.Sprintf(format, a...))
	}
	switch {
	case c.Name == "":
		return bad("name is empty")
	case c.Version == "":
		return bad("%s: version is empty", c.Name)
	case len(c.Places) == 0:
		return bad("%s: places: no place to fetch it from", c.Name)
	}
	for i, p := range c.Places {
		if err := checkLocation(p.Archive); err != nil {
			return bad("%s: places[%d].archive: %v", c.Name, i, err)
		}
		if p.Signature != "" {
			if err := checkLocation(p.Signature); err != nil {
				return bad("%s: places[%d].signature: %v", c.Name, i, err)
			}
		}
	}
	if err := c.Policy.validate(); err != nil {
		return bad("%s: policy: %v", c.Name, err)
	}
	return nil
}

func checkLocation(s string) error {
	if s == "" {
		return errors.New("location is empty")
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	if u.Scheme == "" {
		return fmt.Errorf("location %q has no scheme", s)
	}
	return nil
}

func (p Policy) validate() error {
	switch {
	case p.Least == Ungraded:
		return errors.New("grade is not set: want signed, logged or pinned")
	case p.Least < Pinned || p.Least > Signed:
		return fmt.Errorf("grade %v is unknown", p.Least)
	case len(p.Keys) == 0 && p.Digest == "":
		return errors.New("neither keys nor a digest: nothing could be proven")
	case p.Least == Signed && len(p.Keys) == 0:
		return errors.New("grade signed needs keys")
	}
	if p.Digest != "" {
		if _, err := ParseDigest(p.Digest); err != nil {
			return fmt.Errorf("digest: %w", err)
		}
	}
	for i, k := range p.Keys {
		if _, err := NormalFingerprint(k.Fingerprint); err != nil {
			return fmt.Errorf("keys[%d]: %w", i, err)
		}
		if !fs.ValidPath(k.File) || k.File == "." {
			return fmt.Errorf("keys[%d]: file %q is not a slash-separated path inside the folder of keys", i, k.File)
		}
	}
	for i, x := range p.Exceptions {
		if err := x.validate(); err != nil {
			return fmt.Errorf("exceptions[%d]: %w", i, err)
		}
	}
	return nil
}

func (x Exception) validate() error {
	if x.Allow != AllowSHA1 {
		return fmt.Errorf("allow %q is unknown: the only exception is %s", x.Allow, AllowSHA1)
	}
	if strings.TrimSpace(x.Reason) == "" {
		return fmt.Errorf("%s: reason is empty", x.Allow)
	}
	if _, err := x.end(); err != nil {
		return fmt.Errorf("%s: until: %w", x.Allow, err)
	}
	return nil
}

// end is the first instant at which the exception no longer holds: the day
// named by Until still counts, in UTC.
func (x Exception) end() (time.Time, error) {
	t, err := time.Parse(time.DateOnly, x.Until)
	return t.AddDate(0, 0, 1), err
}

// Exception is the policy's exception of that name if it holds at now, or
// nil. A malformed one does not hold.
func (p Policy) Exception(allow string, now time.Time) *Exception {
	for _, x := range p.Exceptions {
		if x.Allow != allow || x.validate() != nil {
			continue
		}
		if end, err := x.end(); err == nil && now.Before(end) {
			return &x
		}
	}
	return nil
}

// ParseDigest gives the lower-case hexadecimal part of "sha256:HEX".
func ParseDigest(s string) (string, error) {
	hex, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not sha256: and 64 lower-case hexadecimal digits", s)
	}
	return hex, nil
}

// NormalFingerprint gives an OpenPGP fingerprint in upper case without
// spaces. Key IDs are refused: they do not identify a key.
func NormalFingerprint(s string) (string, error) {
	f := strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	if len(f) != 40 && len(f) != 64 || strings.Trim(f, "0123456789ABCDEF") != "" {
		return "", fmt.Errorf("fingerprint %q is not 40 (v4) or 64 (v6) hexadecimal digits", s)
	}
	return f, nil
}
