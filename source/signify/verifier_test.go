package signify_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/signify"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

var archive = []byte("the bytes of a release\r\nwith lines\n")

const file = "release.tar.gz"

// key is a key pair; tests sign with it as the format says, and bend it.
type key struct {
	number  string // 8 bytes
	private ed25519.PrivateKey
}

func newKey(t testing.TB) key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{string(private[:8]), private}
}

func (k key) public() string {
	return base64.StdEncoding.EncodeToString(slices.Concat([]byte("Ed"+k.number), k.private.Public().(ed25519.PublicKey)))
}

func (k key) sign(message []byte) []byte { return k.signAs("Ed", message) }

func (k key) signAs(algorithm string, message []byte) []byte {
	sig := slices.Concat([]byte(algorithm+k.number), ed25519.Sign(k.private, message))
	return []byte("untrusted comment: verify with key.pub\n" + base64.StdEncoding.EncodeToString(sig) + "\n")
}

func by(k key, signature []byte) sourcetest.Case {
	return sourcetest.Case{
		Archive:   archive,
		Signature: signature,
		File:      file,
		Policy:    source.Policy{Least: source.Signed, Keys: []source.Key{{Kind: source.Signify, Fingerprint: k.public()}}},
	}
}

func listOf(archive []byte, name string) []byte {
	return fmt.Appendf(nil, "SHA256 (other) = %064d\nSHA256 (%s) = %x\n", 0, name, sha256.Sum256(archive))
}

// embedded is a list that bears its signature.
func embedded(k key, list []byte) sourcetest.Case {
	c := by(k, nil)
	c.List = slices.Concat(k.sign(list), list)
	return c
}

func TestVerifier(t *testing.T) {
	k, other := newKey(t), newKey(t)
	forger := key{k.number, other.private}
	good := by(k, k.sign(archive))
	wrong, forged := good, good
	wrong.Signature = other.sign(archive)
	forged.Signature = forger.sign(archive)
	sourcetest.TestVerifier(t, signify.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: map[string]sourcetest.Case{
		"wrong signer": wrong, "forged key number": forged,
	}})

	list := listOf(archive, file)
	detached := good
	detached.List, detached.Signature = list, k.sign(list)
	sourcetest.TestVerifier(t, signify.Verifier{}, sourcetest.Suite{Good: detached, Grade: source.Signed})

	before := embedded(k, list) // what is not signed names the archive
	before.List = slices.Concat([]byte("untrusted comment: x\n"), bytes.Split(k.sign(list), []byte("\n"))[1], []byte("\n"), list, list)
	comment := embedded(k, listOf([]byte("another"), file))
	comment.List = bytes.Replace(comment.List, []byte("verify with key.pub"), bytes.TrimSpace(bytes.Split(list, []byte("\n"))[1]), 1)
	foreign, forgery := embedded(k, list), embedded(k, list)
	foreign.List = slices.Concat(other.sign(list), list)
	forgery.List = slices.Concat(forger.sign(list), list)
	sourcetest.TestVerifier(t, signify.Verifier{}, sourcetest.Suite{Good: embedded(k, list), Grade: source.Signed, Bad: map[string]sourcetest.Case{
		"wrong signer":           foreign,
		"forged key number":      forgery,
		"list twice":             before,
		"archive in the comment": comment,
		"list of another":        embedded(k, listOf([]byte("another"), file)),
		"list not signed":        {Archive: archive, List: list, File: file, Policy: good.Policy},
	}})
}

// Every bit counts but those of the comment.
func TestFlippedBits(t *testing.T) {
	k := newKey(t)
	for name, c := range map[string]sourcetest.Case{"detached": by(k, k.sign(archive)), "embedded": embedded(k, listOf(archive, file))} {
		field := func(c *sourcetest.Case) *[]byte {
			if c.List != nil {
				return &c.List
			}
			return &c.Signature
		}
		text := *field(&c)
		first := bytes.IndexByte(text, '\n')
		for i := range 8 * len(text) {
			flipped := bytes.Clone(text)
			flipped[i/8] ^= 1 << (i % 8)
			*field(&c) = flipped
			if _, err := (signify.Verifier{}).Verify(t.Context(), c.Subject()); err == nil && i/8 >= first {
				t.Errorf("%s: bit %d of byte %d (%q) makes no difference", name, i%8, i/8, text[i/8])
			}
		}
	}
}

func TestStates(t *testing.T) {
	k, other := newKey(t), newKey(t)
	minisign := slices.Concat(k.sign(archive), []byte("trusted comment: x\n"), bytes.Split(k.sign(archive), []byte("\n"))[1], []byte("\n"))
	badKey, collision := by(k, k.sign(archive)), by(k, k.sign(archive))
	badKey.Policy.Keys = []source.Key{{Kind: source.Signify, Fingerprint: "RWQ="}}
	collision.Policy.Keys = append([]source.Key{{Kind: source.Signify, Fingerprint: key{k.number, other.private}.public()}}, collision.Policy.Keys...)
	large := by(k, nil)
	large.Archive = make([]byte, 16<<20+1)
	large.Signature = k.sign(large.Archive)
	for name, c := range map[string]struct {
		c    sourcetest.Case
		want error // nil: accepted
	}{
		"detached":                   {by(k, k.sign(archive)), nil},
		"embedded":                   {embedded(k, listOf(archive, file)), nil},
		"minisign's":                 {by(k, minisign), source.ErrNoSignature},
		"another kind":               {by(k, []byte("-----BEGIN PGP SIGNATURE-----\n")), source.ErrNoSignature},
		"no comment":                 {by(k, k.sign(archive)[len("untrusted comment: verify with key.pub\n"):]), source.ErrNoSignature},
		"embedded as a signature":    {by(k, slices.Concat(k.sign(archive), archive)), signify.ErrMalformed},
		"no line end":                {by(k, bytes.TrimSpace(k.sign(archive))), signify.ErrMalformed},
		"another algorithm":          {by(k, k.signAs("ED", archive)), signify.ErrMalformed},
		"long comment":               {by(k, bytes.Replace(k.sign(archive), []byte("verify"), bytes.Repeat([]byte("x"), 2000), 1)), signify.ErrMalformed},
		"of another archive":         {by(k, k.sign([]byte("another"))), signify.ErrBad},
		"too large":                  {large, source.ErrTooLarge},
		"key that is none":           {badKey, signify.ErrKey},
		"key numbers that collide":   {collision, nil},
		"list that does not name it": {embedded(k, listOf(archive, "other.tar.gz")), source.ErrNotListed},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := signify.Verifier{}.Verify(t.Context(), c.c.Subject())
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify = %+v, %v, want %v", proofs, err, c.want)
			}
			if err == nil && (proofs[0].Signer != k.public() || proofs[0].SignedAt != nil) {
				t.Errorf("Verify = %+v, want it signed by %s at no time", proofs[0], k.public())
			}
		})
	}
	var e *signify.SignerError
	if _, err := (signify.Verifier{}).Verify(t.Context(), by(k, other.sign(archive)).Subject()); !errors.As(err, &e) || len(e.Pinned) != 1 {
		t.Errorf("another signer: %v, want a SignerError", err)
	}
}

// The same key under two numbers is one signer.
func TestSeveral(t *testing.T) {
	a, b := newKey(t), newKey(t)
	again := key{"12345678", a.private}
	c := by(a, a.sign(archive))
	for _, k := range []key{again, b} {
		c.Policy.Keys = append(c.Policy.Keys, source.Key{Kind: source.Signify, Fingerprint: k.public()})
	}
	s := c.Subject()
	s.Statements = append(s.Statements, s.Detached("mem:2", again.sign(archive)), s.Detached("mem:3", []byte("x")),
		s.Detached("mem:4", b.sign(archive)), s.Detached("mem:5", newKey(t).sign(archive)))
	proofs, err := signify.Verifier{}.Verify(t.Context(), s)
	if err != nil || len(proofs) != 2 || proofs[1].Signer != b.public() {
		t.Errorf("Verify = %+v, %v, want proofs by two signers", proofs, err)
	}
}

// What signify signs.
func TestSignify(t *testing.T) {
	tool, err := exec.LookPath("signify-openbsd")
	if err != nil {
		need.Skip(t, "signify-openbsd", err.Error())
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("signify %q: %v\n%s", args, err, out)
		}
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, b := range map[string][]byte{file: archive, "SHA256": listOf(archive, file)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("-G", "-n", "-p", "key.pub", "-s", "key.sec")
	run("-S", "-s", "key.sec", "-m", file, "-x", file+".sig")
	run("-S", "-e", "-s", "key.sec", "-m", "SHA256", "-x", "SHA256.sig")
	policy := source.Policy{Least: source.Signed, Keys: []source.Key{{Kind: source.Signify, Fingerprint: strings.Split(string(read("key.pub")), "\n")[1]}}}
	sourcetest.TestVerifier(t, signify.Verifier{}, sourcetest.Suite{Grade: source.Signed,
		Good: sourcetest.Case{Archive: archive, Signature: read(file + ".sig"), Policy: policy}})
	sourcetest.TestVerifier(t, signify.Verifier{}, sourcetest.Suite{Grade: source.Signed,
		Good: sourcetest.Case{Archive: archive, List: read("SHA256.sig"), File: file, Policy: policy}})
}
