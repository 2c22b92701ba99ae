package gitsnap

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/pjbgf/sha1cd"
)

// format is a repository's object format.
type format struct {
	name string
	size int // bytes of an id
	new  func() hash.Hash
	sig  string // header of a commit that holds the signature over it
}

func formatOf(name string) (format, error) {
	switch name {
	case "sha1":
		return format{name, sha1cd.Size, sha1cd.New, "gpgsig"}, nil
	case "sha256":
		return format{name, sha256.Size, sha256.New, "gpgsig-sha256"}, nil
	}
	return format{}, malformed("object format %q is neither sha1 nor sha256", name)
}

// begin hashes the line that git puts before every object.
func (f format) begin(kind string, size int64) hash.Hash {
	h := f.new()
	fmt.Fprintf(h, "%s %d\x00", kind, size)
	return h
}

func (f format) id(kind string, content []byte) (string, error) {
	h := f.begin(kind, int64(len(content)))
	h.Write(content)
	return sum(h)
}

// sum ends a hash in hexadecimal, unless what it saw was made to collide.
func sum(h hash.Hash) (string, error) {
	if c, ok := h.(sha1cd.CollisionResistantHash); ok {
		b, collides := c.CollisionResistantSum(nil)
		if collides {
			return "", fmt.Errorf("%w: %x", ErrCollision, b)
		}
		return hex.EncodeToString(b), nil
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// isID says whether s is an id as git writes it.
func (f format) isID(s string) bool {
	if len(s) != 2*f.size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
