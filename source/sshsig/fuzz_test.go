package sshsig

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cleanstart/cleanstart/source"
)

const seedKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHCHCUwAe3fzhP4rp6ok5U/MqQmiFtpP7e3nVkQ4hG2"

// FuzzSignature: a file gives a signature or a classified error, and never a
// panic.
func FuzzSignature(f *testing.F) {
	f.Add([]byte(begin + "\nU1NIU0lH\n" + end + "\n"))
	f.Add([]byte(begin + "\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAggcIcJTAB7d/OE/iunqiTlT8ypCaI\nW2k/t7edWRDiEbYAAAAEZmlsZQAAAAAAAAAGc2hhNTEyAAAAAA==\n" + end))
	f.Fuzz(func(t *testing.T, b []byte) {
		sig, err := parse(b)
		if err == nil != (sig != nil) {
			t.Fatalf("parse = %v, %v", sig, err)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrWeak) {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		if !isSignature(b) {
			t.Fatal("parsed, and not recognised")
		}
		sig.strength(source.Subject{})
		sig.signedData(nil)
	})
}

// FuzzAllowed: an allowed_signers file that does not hold the key's base64
// does not allow it.
func FuzzAllowed(f *testing.F) {
	f.Add([]byte("rm@example.org " + seedKey))
	f.Add([]byte(`"a b" namespaces="*,!git",valid-after="20200101Z" ` + seedKey))
	f.Add([]byte("# x\n\n\"\n"))
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(seedKey))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := allowed(b, key, "file", time.Unix(1790000000, 0))
		if err != nil && !errors.Is(err, ErrNotAllowed) {
			t.Fatalf("unclassified error: %v", err)
		}
		if err == nil && !bytes.Contains(bytes.ReplaceAll(b, []byte("\r"), nil), []byte(seedKey[40:70])) {
			t.Fatal("allowed, and not named")
		}
	})
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"file", "file", true}, {"file", "files", false}, {"f*", "file", true}, {"*", "", true}, {"?", "", false},
		{"f?le", "file", true}, {"*l*e", "file", true}, {"**", "file", true}, {"", "file", false}, {"", "", true}, {"*x", "file", false},
	} {
		if got := match(c.pattern, c.s); got != c.want {
			t.Errorf("match(%q, %q) = %v, want %v", c.pattern, c.s, got, c.want)
		}
	}
}
