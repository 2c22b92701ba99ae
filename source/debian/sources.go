package debian

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"
)

// sourcesReader turns sources.list(5) into entries.
type sourcesReader struct {
	root    fs.FS
	config  *Config
	trusted [][]byte // the default keyrings, once read
}

// stanza is one line or paragraph before it is checked.
type stanza struct {
	types, uris, suites, components []string
	signedBy, arches                string
	enabled                         bool
}

func (r *sourcesReader) oneLine(b []byte) error {
	s := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; s.Scan(); n++ {
		line, _, _ := strings.Cut(s.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		st := stanza{enabled: true}
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				return fmt.Errorf("line %d: option list is not closed", n)
			}
			rest = after
			for _, o := range strings.Fields(options) {
				k, v, _ := strings.Cut(o, "=")
				switch strings.ToLower(k) {
				case "signed-by":
					st.signedBy = strings.ReplaceAll(v, ",", " ")
				case "arch":
					st.arches = strings.ReplaceAll(v, ",", " ")
				}
			}
		}
		f := strings.Fields(rest)
		if len(f) < 2 {
			return fmt.Errorf("line %d: want TYPE URI SUITE COMPONENT", n)
		}
		st.types, st.uris, st.suites, st.components = []string{kind}, f[:1], f[1:2], f[2:]
		if err := r.add(st); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

func (r *sourcesReader) deb822(b []byte) error {
	fields := []string{"Types", "URIs", "Suites", "Components", "Signed-By", "Architectures", "Enabled"}
	return eachParagraph(bytes.NewReader(b), fields, func(v []string) error {
		return r.add(stanza{
			types: strings.Fields(v[0]), uris: strings.Fields(v[1]), suites: strings.Fields(v[2]),
			components: strings.Fields(v[3]), signedBy: v[4], arches: v[5],
			enabled: !contains([]string{"no", "false", "off", "0", "without", "disable"}, strings.ToLower(v[6])),
		})
	})
}

func (r *sourcesReader) add(st stanza) error {
	if !st.enabled {
		return nil
	}
	if len(st.types) == 0 || len(st.uris) == 0 || len(st.suites) == 0 {
		return errors.New("needs Types, URIs and Suites")
	}
	keyrings, signers, err := r.keys(st.signedBy)
	if err != nil {
		return err
	}
	for _, kind := range st.types {
		if kind != "deb" && kind != "deb-src" {
			return fmt.Errorf("unknown type %q", kind)
		}
		for _, raw := range st.uris {
			uris, why := r.locations(raw)
			for _, suite := range st.suites {
				suite = strings.ReplaceAll(suite, "$(ARCH)", r.config.Arch)
				skip := why
				switch {
				case strings.HasSuffix(suite, "/"):
					skip = "flat repositories are not read"
				case !safePath(suite):
					return fmt.Errorf("unsafe suite %q", suite)
				case len(st.components) == 0:
					return fmt.Errorf("suite %s names no component", suite)
				case kind == "deb" && st.arches != "" && !contains(strings.Fields(st.arches), r.config.Arch):
					skip = "not for " + r.config.Arch
				}
				if skip != "" {
					r.config.Ignored = append(r.config.Ignored, fmt.Sprintf("%s %s: %s", kind, suite, skip))
					continue
				}
				for _, c := range st.components {
					if !safePath(c) {
						return fmt.Errorf("unsafe component %q", c)
					}
				}
				r.config.Entries = append(r.config.Entries, Entry{
					URIs: uris, Suite: suite, Components: append([]string(nil), st.components...),
					Keyrings: keyrings, Signers: signers, Binary: kind == "deb",
				})
			}
		}
	}
	return nil
}

// locations expands one URI of the configuration; why is set when none of
// its scheme is read here.
func (r *sourcesReader) locations(raw string) (uris []string, why string) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, "malformed URI"
	}
	switch u.Scheme {
	case "http", "https", "file", "copy":
		return []string{strings.TrimRight(raw, "/")}, ""
	case "mirror+file", "mirror+copy":
		b, err := readFile(r.root, strings.TrimPrefix(path.Clean(u.Path), "/"), maxConfigFile)
		if err != nil {
			return nil, "mirror list: " + err.Error()
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			line, _, _ = strings.Cut(line, "#")
			f := strings.Fields(line) // URI, then tab-separated metadata
			if len(f) == 0 {
				continue
			}
			if m, err := url.Parse(f[0]); err == nil && (m.Scheme == "http" || m.Scheme == "https" || m.Scheme == "file") {
				uris = append(uris, strings.TrimRight(f[0], "/"))
			}
		}
		if len(uris) == 0 {
			return nil, "mirror list names no usable location"
		}
		return uris, ""
	}
	return nil, fmt.Sprintf("scheme %q is not read", u.Scheme)
}

// keys reads what Signed-By names: files, fingerprints, or a certificate
// itself.
func (r *sourcesReader) keys(signedBy string) (keyrings [][]byte, signers []string, err error) {
	if strings.Contains(signedBy, "-----BEGIN PGP") {
		var b strings.Builder
		for line := range strings.SplitSeq(strings.TrimSpace(signedBy), "\n") {
			if line = strings.TrimSpace(line); line == "." {
				line = ""
			}
			b.WriteString(line + "\n")
		}
		return [][]byte{[]byte(b.String())}, nil, nil
	}
	for _, s := range strings.Fields(strings.ReplaceAll(signedBy, ",", " ")) {
		if strings.HasPrefix(s, "/") {
			k, err := readFile(r.root, strings.TrimPrefix(path.Clean(s), "/"), maxKeyring)
			if err != nil {
				return nil, nil, fmt.Errorf("keyring of Signed-By: %w", err)
			}
			keyrings = append(keyrings, k)
			continue
		}
		fpr := strings.ToUpper(strings.TrimSuffix(s, "!"))
		if n, err := hex.DecodeString(fpr); err != nil || len(n) != 20 && len(n) != 32 {
			return nil, nil, fmt.Errorf("Signed-By %q is neither a file nor a fingerprint", s)
		}
		signers = append(signers, fpr)
	}
	if len(keyrings) == 0 {
		if keyrings, err = r.defaultKeys(); err != nil {
			return nil, nil, err
		}
	}
	return keyrings, signers, nil
}

func (r *sourcesReader) defaultKeys() ([][]byte, error) {
	if r.trusted != nil {
		return r.trusted, nil
	}
	names, err := list(r.root, "etc/apt/trusted.gpg", "etc/apt/trusted.gpg.d", ".gpg", ".asc")
	if err != nil {
		return nil, fmt.Errorf("apt's trusted keyrings: %w", err)
	}
	for _, name := range names {
		b, err := readFile(r.root, name, maxKeyring)
		if err != nil {
			return nil, fmt.Errorf("apt's trusted keyrings: %w", err)
		}
		r.trusted = append(r.trusted, b)
	}
	return r.trusted, nil
}
