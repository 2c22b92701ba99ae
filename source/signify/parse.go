package signify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	untrusted  = "untrusted comment:"
	trusted    = "trusted comment:" // minisign's
	maxComment = 1024               // as in signify
)

// key is a public key, and the number by which signatures name it.
type key struct {
	number [8]byte
	public ed25519.PublicKey
}

// signature is what two lines hold.
type signature struct {
	number [8]byte
	bytes  []byte
}

// isSignature says whether a text begins as a signature of this kind does,
// well formed or not.
func isSignature(b []byte) bool {
	if !bytes.HasPrefix(b, []byte(untrusted)) {
		return false
	}
	lines := bytes.SplitN(b, []byte("\n"), 4)
	return len(lines) < 3 || !bytes.HasPrefix(lines[2], []byte(trusted))
}

// parseKey reads a public key as the second line of a .pub file has it.
func parseKey(s string) (key, error) {
	k := key{}
	b, err := decode(s, ed25519.PublicKeySize)
	if err != nil {
		return k, fmt.Errorf("%w: %q: %w", ErrKey, s, err)
	}
	copy(k.number[:], b[2:])
	k.public = ed25519.PublicKey(b[10:])
	return k, nil
}

// parse reads a signature, and gives what follows it.
func parse(b []byte) (*signature, []byte, error) {
	malformed := func(format string, a ...any) (*signature, []byte, error) {
		return nil, nil, fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
	}
	comment, b, ok := bytes.Cut(b, []byte("\n"))
	if !ok || !bytes.HasPrefix(comment, []byte(untrusted+" ")) || len(comment) > maxComment {
		return malformed("its first line is not a comment")
	}
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return malformed("its second line has no end")
	}
	raw, err := decode(string(line), ed25519.SignatureSize)
	if err != nil {
		return malformed("%v", err)
	}
	s := &signature{bytes: raw[10:]}
	copy(s.number[:], raw[2:])
	return s, rest, nil
}

// decode reads the algorithm, the key number and so many bytes more.
func decode(line string, size int) ([]byte, error) {
	if strings.ContainsAny(line, "\r\n") { // which the decoder passes over
		return nil, fmt.Errorf("%q is not a line of base64", line)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	switch {
	case err != nil:
		return nil, err
	case len(b) != 2+8+size:
		return nil, fmt.Errorf("it is %d bytes, not %d", len(b), 2+8+size)
	case string(b[:2]) != "Ed":
		return nil, fmt.Errorf("algorithm %q", b[:2])
	}
	return b, nil
}
