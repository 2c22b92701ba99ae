package minisign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	untrusted    = "untrusted comment:"
	trusted      = "trusted comment:"
	maxSignature = 32 << 10 // minisign's own bound is 8 KiB for a comment
)

// key is a public key, and the ID by which signatures name it.
type key struct {
	id     uint64
	public ed25519.PublicKey
}

// signature is what a signature file holds.
type signature struct {
	prehashed bool
	id        uint64
	message   []byte // signature over the message or its digest
	comment   string // trusted once global is good
	global    []byte // signature over message and comment
}

// isSignature says whether a file is of this kind, well formed or not. What
// tells it from signify's is the trusted comment.
func isSignature(b []byte) bool {
	return bytes.HasPrefix(b, []byte(untrusted)) && bytes.Contains(b, []byte("\n"+trusted))
}

// parseKey reads a public key as the second line of a .pub file has it.
func parseKey(s string) (key, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 2+8+ed25519.PublicKeySize || string(b[:2]) != "Ed" {
		return key{}, fmt.Errorf("%w: %q is not a public key in base64", ErrKey, s)
	}
	return key{binary.LittleEndian.Uint64(b[2:]), ed25519.PublicKey(b[10:])}, nil
}

// parse reads a signature file: four lines and nothing else.
func parse(b []byte) (*signature, error) {
	malformed := func(format string, a ...any) (*signature, error) {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
	}
	if len(b) > maxSignature {
		return malformed("it is longer than %d bytes", maxSignature)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) != 4 {
		return malformed("it has %d lines, not 4", len(lines))
	}
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	comment, ok := strings.CutPrefix(lines[2], trusted+" ")
	if !ok || !strings.HasPrefix(lines[0], untrusted) {
		return malformed("its first and third line are not comments")
	}
	first, err := decode(lines[1], 2+8+ed25519.SignatureSize)
	if err != nil {
		return malformed("signature: %v", err)
	}
	global, err := decode(lines[3], ed25519.SignatureSize)
	if err != nil {
		return malformed("global signature: %v", err)
	}
	algorithm := string(first[:2])
	if algorithm != "Ed" && algorithm != "ED" {
		return malformed("algorithm %q", algorithm)
	}
	return &signature{
		prehashed: algorithm == "ED",
		id:        binary.LittleEndian.Uint64(first[2:]),
		message:   first[10:],
		comment:   comment,
		global:    global,
	}, nil
}

func decode(line string, size int) ([]byte, error) {
	if strings.ContainsAny(line, "\r\n") { // which the decoder passes over
		return nil, fmt.Errorf("%q is not a line of base64", line)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	if err == nil && len(b) != size {
		err = fmt.Errorf("it is %d bytes, not %d", len(b), size)
	}
	return b, err
}

// verify does the arithmetic over the message or, if prehashed, its digest.
func (s *signature) verify(k ed25519.PublicKey, message []byte) error {
	if !ed25519.Verify(k, message, s.message) {
		return fmt.Errorf("%w: over the message", ErrBad)
	}
	if !ed25519.Verify(k, slices.Concat(s.message, []byte(s.comment)), s.global) {
		return fmt.Errorf("%w: over the trusted comment", ErrBad)
	}
	return nil
}

// stated are the fields of the trusted comment that minisign writes: the time
// and the name of the file.
func (s *signature) stated() (at *time.Time, file string, err error) {
	seen := map[string]bool{}
	for field := range strings.SplitSeq(s.comment, "\t") {
		name, value, _ := strings.Cut(field, ":")
		if name != "timestamp" && name != "file" {
			continue
		}
		if seen[name] {
			return nil, "", fmt.Errorf("%w: trusted comment %q has two fields %s", ErrMalformed, s.comment, name)
		}
		seen[name] = true
		if name == "file" {
			file = value
			continue
		}
		seconds, err := strconv.ParseUint(value, 10, 40)
		if err != nil {
			return nil, "", fmt.Errorf("%w: trusted comment %q: timestamp: %w", ErrMalformed, s.comment, err)
		}
		t := time.Unix(int64(seconds), 0).UTC()
		at = &t
	}
	return at, file, nil
}
