package source

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrComponent says that a component or its policy is not well formed, or
// asks for nothing.
var ErrComponent = errors.New("component is not acceptable")

// Exceptions that a policy may make, each in words of what is let through.
// Nothing lets MD5 through.
const (
	AllowSHA1       = "sha1"        // a signature over a SHA-1 digest
	AllowDSA        = "dsa"         // a DSA key, of 1024 bits or more
	AllowRSA1024    = "rsa-1024"    // an RSA key of 1024 to 2047 bits
	AllowSignerTime = "signer-time" // a short-lived certificate without a witness of the time
)

var exceptions = []string{AllowSHA1, AllowDSA, AllowRSA1024, AllowSignerTime}

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
		if err := p.validate(c.Policy); err != nil {
			return bad("%s: places[%d].%v", c.Name, i, err)
		}
	}
	if err := c.Policy.validate(); err != nil {
		return bad("%s: policy: %v", c.Name, err)
	}
	if c.Origin != nil {
		if err := c.Origin.validate(c); err != nil {
			return bad("%s: origin: %v", c.Name, err)
		}
	}
	for i, k := range c.Policy.Keys {
		if k.AuthorizedBy == nil || len(k.AuthorizedBy.Places) == 0 {
			continue
		}
		if k.AuthorizedBy.Version == c.Version {
			return bad("%s: policy: keys[%d].authorizedBy: a release cannot vouch for its own signer", c.Name, i)
		}
		if err := c.predecessor(k).Validate(); err != nil {
			return bad("%s: policy: keys[%d].authorizedBy: %v", c.Name, i, err)
		}
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

func (p Place) validate(policy Policy) error {
	for _, f := range []struct{ name, value string }{
		{"archive", p.Archive}, {"signature", p.Signature}, {"checksums", p.Checksums},
	} {
		if f.value == "" && f.name != "archive" {
			continue
		}
		if err := checkLocation(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	for i, s := range p.Cosignatures {
		if err := checkLocation(s); err != nil {
			return fmt.Errorf("cosignatures[%d]: %w", i, err)
		}
	}
	git := isGit(p.Archive)
	switch {
	case p.Over != "" && p.Over != OverArchive && p.Over != OverDecompressed:
		return fmt.Errorf("over: %q is neither %s nor %s", p.Over, OverArchive, OverDecompressed)
	case p.Over == OverDecompressed && p.Checksums != "":
		return errors.New("over: a signature with a checksum list is over that list")
	case len(p.Cosignatures) > 0 && p.Signature == "":
		return errors.New("cosignatures: there is no signature beside which they stand")
	case p.File != "" && p.Checksums == "":
		return errors.New("file: there is no checksum list to find it in")
	case git && policy.Tag == "" && policy.Commit == "":
		return errors.New("archive: a git repository needs a policy that names the tag or the commit")
	case git && strings.Contains(p.Archive, "#"):
		return errors.New("archive: what to take from a repository is the policy's tag or commit, not a fragment of its location")
	case git && (p.Signature != "" || p.Checksums != ""):
		return errors.New("signature: the signature of a git snapshot is in its tag or commit")
	}
	return nil
}

func isGit(location string) bool { return strings.HasPrefix(location, "git+") }

func (p Policy) validate() error {
	signers := len(p.Keys)
	switch {
	case p.Least == Ungraded:
		return errors.New("grade is not set: want signed, logged or pinned")
	case p.Least < Pinned || p.Least > Signed:
		return fmt.Errorf("grade %v is unknown", p.Least)
	case signers == 0 && p.Digest == "" && p.Commit == "" && p.Log == "":
		return errors.New("neither keys nor a digest, a commit or a log: nothing could be proven")
	case p.Least == Signed && signers == 0:
		return errors.New("grade signed needs keys")
	case p.Threshold < 0 || p.Threshold > signers:
		return fmt.Errorf("threshold %d of %d keys", p.Threshold, signers)
	case (p.Module == "") != (p.Log == ""):
		return errors.New("module and log go together: a module is looked up in a log")
	case p.Directory != "" && (!fs.ValidPath(p.Directory) || p.Directory == "."):
		return fmt.Errorf("directory %q is not a slash-separated path inside the archive", p.Directory)
	}
	if p.Digest != "" {
		if _, err := ParseDigest(p.Digest); err != nil {
			return fmt.Errorf("digest: %w", err)
		}
	}
	if p.Commit != "" {
		if _, _, err := ParseCommit(p.Commit); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	if strings.ContainsFunc(p.Tag, func(r rune) bool { return r <= ' ' || strings.ContainsRune("~^:?*[\\\x7f", r) }) {
		return fmt.Errorf("tag %q is no name that git allows", p.Tag)
	}
	for i, k := range p.Keys {
		if err := k.validate(); err != nil {
			return fmt.Errorf("keys[%d]: %w", i, err)
		}
	}
	for i, x := range p.Exceptions {
		if err := x.validate(); err != nil {
			return fmt.Errorf("exceptions[%d]: %w", i, err)
		}
	}
	return nil
}

func (k Key) validate() error {
	needsFile := false
	switch k.kind() {
	case OpenPGP:
		needsFile = true
		if _, err := NormalFingerprint(k.Fingerprint); err != nil {
			return err
		}
	case SSH:
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimPrefix(k.Fingerprint, "SHA256:"))
		if !strings.HasPrefix(k.Fingerprint, "SHA256:") || err != nil || len(b) != 32 {
			return fmt.Errorf("fingerprint %q is not SHA256: and 43 characters of base64, as ssh-keygen -l prints it", k.Fingerprint)
		}
	case Minisign, Signify:
		b, err := base64.StdEncoding.DecodeString(k.Fingerprint)
		if err != nil || len(b) != 42 || string(b[:2]) != "Ed" {
			return fmt.Errorf("fingerprint %q is not a %s public key in base64, the second line of a .pub file", k.Fingerprint, k.Kind)
		}
	case Sigstore, X509:
		needsFile = true
		if k.Identity == "" || k.Kind == Sigstore && k.Issuer == "" || k.Fingerprint != "" {
			return fmt.Errorf("a %s signer is an identity and its issuer, without a fingerprint", k.Kind)
		}
	default: // an engine of the caller's own
		if !strings.HasPrefix(k.Kind, "x-") || k.Fingerprint == "" {
			return fmt.Errorf("kind %q is unknown; one of the caller's own begins with x- and has a fingerprint", k.Kind)
		}
	}
	if k.kind() != Sigstore && k.kind() != X509 && (k.Identity != "" || k.Issuer != "") {
		return fmt.Errorf("identity and issuer do not go with the kind %s", k.kind())
	}
	if (needsFile || k.File != "") && (!fs.ValidPath(k.File) || k.File == ".") {
		return fmt.Errorf("file %q is not a slash-separated path inside the folder of keys", k.File)
	}
	for _, d := range []struct{ name, value string }{{"from", k.From}, {"until", k.Until}, {"revoked", k.Revoked}} {
		if _, err := time.Parse(time.DateOnly, d.value); d.value != "" && err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	for i, s := range k.Series {
		if s == "" {
			return fmt.Errorf("series[%d] is empty, which would be every version", i)
		}
	}
	if a := k.AuthorizedBy; a != nil && (a.Version == "" || !fs.ValidPath(a.File) || a.File == ".") {
		return fmt.Errorf("authorizedBy: want the version of an earlier release and a file in its tree, not %q and %q", a.Version, a.File)
	}
	return nil
}

func (x Exception) validate() error {
	if !slices.Contains(exceptions, x.Allow) {
		return fmt.Errorf("allow %q is unknown: the exceptions are %s", x.Allow, strings.Join(exceptions, ", "))
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

// ParseCommit gives the format, sha1 or sha256, and the hexadecimal id of
// "sha1:HEX" or "sha256:HEX".
func ParseCommit(s string) (format, id string, err error) {
	format, id, _ = strings.Cut(s, ":")
	length := map[string]int{"sha1": 40, "sha256": 64}[format]
	if length == 0 || len(id) != length || strings.Trim(id, "0123456789abcdef") != "" {
		return "", "", fmt.Errorf("%q is not sha1: and 40 or sha256: and 64 lower-case hexadecimal digits", s)
	}
	return format, id, nil
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

// directory is the archive's top-level directory: a module's zip holds
// PATH@VERSION and nothing else.
func (p Policy) directory() string {
	if p.Directory == "" {
		return p.Module
	}
	return p.Directory
}
