package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

type closer struct{ *bytes.Reader }

func (closer) Close() error { return nil }

// TestConfirm: a list vouches for the archive that it names, by a digest that
// is strong enough, and for nothing else.
func TestConfirm(t *testing.T) {
	archive := []byte("the archive")
	hex256 := fmt.Sprintf("%x", sha256.Sum256(archive))
	hex512 := fmt.Sprintf("%x", sha512.Sum512(archive))
	hex3 := fmt.Sprintf("%x", sha3.Sum256(archive))
	zeros := strings.Repeat("0", 64)
	var mismatch *DigestError
	for name, c := range map[string]struct {
		list string
		want any // nil: confirmed; an error, or &mismatch
	}{
		"coreutils":             {hex256 + "  a-1.0.tar.gz\n", nil},
		"coreutils, binary":     {hex256 + " *a-1.0.tar.gz\n", nil},
		"coreutils, CRLF":       {zeros + "  other\r\n" + hex256 + "  a-1.0.tar.gz\r\n", nil},
		"below a dot":           {hex256 + "  ./a-1.0.tar.gz\n", nil},
		"upper case":            {strings.ToUpper(hex256) + "  a-1.0.tar.gz\n", nil},
		"BSD":                   {"SHA256 (a-1.0.tar.gz) = " + hex256 + "\n", nil},
		"BSD SHA-512":           {"SHA512 (a-1.0.tar.gz) = " + hex512 + "\n", nil},
		"BSD SHA3":              {"SHA3-256 (a-1.0.tar.gz) = " + hex3 + "\n", nil},
		"two kinds, both right": {hex256 + "  a-1.0.tar.gz\n" + hex512 + "  a-1.0.tar.gz\n", nil},
		// The strongest decides, so a right weak one beside it is no help.
		"two kinds, stronger wrong": {hex256 + "  a-1.0.tar.gz\n" + strings.Repeat("0", 128) + "  a-1.0.tar.gz\n", &mismatch},
		"last line without an end":  {hex256 + "  a-1.0.tar.gz", nil},
		"other digest":              {zeros + "  a-1.0.tar.gz\n", &mismatch},
		"other name":                {hex256 + "  b-1.0.tar.gz\n", ErrNotListed},
		"name with a directory":     {hex256 + "  old/a-1.0.tar.gz\n", ErrNotListed},
		"longer name":               {hex256 + "  a-1.0.tar.gz.asc\n", ErrNotListed},
		"MD5":                       {strings.Repeat("0", 32) + "  a-1.0.tar.gz\n", ErrNotListed},
		"SHA-1":                     {"SHA1 (a-1.0.tar.gz) = " + strings.Repeat("0", 40) + "\n", ErrNotListed},
		"label and length differ":   {"SHA512 (a-1.0.tar.gz) = " + hex256 + "\n", ErrNotListed},
		"twice, and not the same":   {hex256 + "  a-1.0.tar.gz\n" + zeros + "  a-1.0.tar.gz\n", ErrNotListed},
		"one space":                 {hex256 + " a-1.0.tar.gz\n", ErrNotListed},
		"empty":                     {"", ErrNotListed},
		"digest in a comment":       {"# " + hex256 + "  a-1.0.tar.gz\n", ErrNotListed},
	} {
		t.Run(name, func(t *testing.T) {
			s := Subject{Digest: "sha256:" + hex256, File: "a-1.0.tar.gz",
				Open: func() (io.ReadSeekCloser, error) { return closer{bytes.NewReader(archive)}, nil }}
			err := s.Confirm(context.Background(), s.Listed("mem:list", nil, nil), []byte(c.list))
			switch want := c.want.(type) {
			case nil:
				if err != nil {
					t.Error(err)
				}
			case error:
				if !errors.Is(err, want) {
					t.Errorf("Confirm = %v, want %v", err, want)
				}
			default:
				if !errors.As(err, want) {
					t.Errorf("Confirm = %v, want a DigestError", err)
				}
			}
		})
	}
	s := Subject{Digest: "sha256:" + hex256, File: "a-1.0.tar.gz",
		Open: func() (io.ReadSeekCloser, error) { return closer{bytes.NewReader([]byte("another"))}, nil }}
	if err := s.Confirm(context.Background(), s.Listed("mem:list", nil, nil), []byte(hex256+"  a-1.0.tar.gz\n")); !errors.As(err, &mismatch) {
		t.Errorf("other bytes behind the digest: %v, want a DigestError", err)
	}
}

func FuzzSums(f *testing.F) {
	f.Add([]byte(strings.Repeat("0", 64)+"  a\n"), "a")
	f.Add([]byte("SHA256 (a) = "+strings.Repeat("0", 64)), "a")
	f.Add([]byte("x (a) = y (a) = z"), "a) = y (a")
	f.Fuzz(func(t *testing.T, list []byte, file string) {
		d, err := findSum(list, file)
		if err != nil && !errors.Is(err, ErrNotListed) {
			t.Fatalf("unclassified error: %v", err)
		}
		if err == nil && (d.new == nil || len(d.hex) != 2*d.new().Size() || !bytes.Contains(list, []byte(file))) {
			t.Fatalf("%+v of %q", d, list)
		}
	})
}
