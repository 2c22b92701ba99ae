package minisign_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/blake2b"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/minisign"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

var (
	now     = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	signed  = time.Unix(1700000000, 0).UTC()
	archive = []byte("the bytes of a release\r\nwith lines\n")
)

const comment = "timestamp:1700000000\tfile:release.tar.gz\thashed"

// key is a key pair; tests sign with it as the format says, and bend it.
type key struct {
	id      string // 8 bytes
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
	return base64.StdEncoding.EncodeToString(slices.Concat([]byte("Ed"+k.id), k.private.Public().(ed25519.PublicKey)))
}

func (k key) sign(algorithm string, message []byte, comment string) []byte {
	if algorithm == "ED" {
		sum := blake2b.Sum512(message)
		message = sum[:]
	}
	sig := ed25519.Sign(k.private, message)
	global := ed25519.Sign(k.private, slices.Concat(sig, []byte(comment)))
	b64 := base64.StdEncoding.EncodeToString
	return []byte("untrusted comment: x\n" + b64(slices.Concat([]byte(algorithm+k.id), sig)) + "\n" +
		"trusted comment: " + comment + "\n" + b64(global) + "\n")
}

func by(k key, signature []byte) sourcetest.Case {
	return sourcetest.Case{
		Archive:   archive,
		Signature: signature,
		File:      "release.tar.gz",
		Policy:    source.Policy{Least: source.Signed, Keys: []source.Key{{Kind: source.Minisign, Fingerprint: k.public()}}},
		Now:       now,
	}
}

func TestVerifier(t *testing.T) {
	k, other := newKey(t), newKey(t)
	for _, algorithm := range []string{"ED", "Ed"} {
		good := by(k, k.sign(algorithm, archive, comment))
		wrong, forged, noTime := good, good, good
		wrong.Signature = other.sign(algorithm, archive, comment)
		forged.Signature = key{k.id, other.private}.sign(algorithm, archive, comment)
		noTime.Now = time.Time{}
		sourcetest.TestVerifier(t, minisign.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: map[string]sourcetest.Case{
			"wrong signer": wrong, "forged key ID": forged, "no time": noTime,
		}})

		sum := sha256.Sum256(archive)
		list := good
		list.List = []byte(hex.EncodeToString(sum[:]) + "  release.tar.gz\n")
		list.Signature = k.sign(algorithm, list.List, "timestamp:1700000000\tfile:SHA256SUMS")
		sourcetest.TestVerifier(t, minisign.Verifier{}, sourcetest.Suite{Good: list, Grade: source.Signed})
	}
}

func TestFlippedBits(t *testing.T) {
	k := newKey(t)
	good := by(k, k.sign("ED", archive, comment))
	want, err := minisign.Verifier{}.Verify(t.Context(), good.Subject())
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(good.Signature, '\n')
	for i := range 8 * len(good.Signature) {
		c := good
		c.Signature = bytes.Clone(good.Signature)
		c.Signature[i/8] ^= 1 << (i % 8)
		proofs, err := minisign.Verifier{}.Verify(t.Context(), c.Subject())
		if err != nil {
			continue
		}
		p := proofs[0]
		if !p.SignedAt.Equal(*want[0].SignedAt) || p.Signer != want[0].Signer || p.Description != want[0].Description {
			t.Errorf("bit %d: the proof changed: %+v", i, p)
		}
		if at := i / 8; at >= first && at < len(good.Signature)-1 {
			t.Errorf("bit %d of byte %d (%q) makes no difference", i%8, at, good.Signature[at])
		}
	}
}

func TestStates(t *testing.T) {
	k, other := newKey(t), newKey(t)
	with := func(comment string) sourcetest.Case { return by(k, k.sign("ED", archive, comment)) }
	swap := func(old, new string) sourcetest.Case {
		c := with(comment)
		c.Signature = bytes.Replace(c.Signature, []byte(old), []byte(new), 1)
		return c
	}
	// A signature over bytes that are a digest is none over what has it.
	sum := blake2b.Sum512(archive)
	confused := by(k, k.sign("Ed", sum[:], comment))
	relabelled := k.sign("Ed", archive, comment)
	raw, _ := base64.StdEncoding.DecodeString(strings.Split(string(relabelled), "\n")[1])
	raw[1] = 'D'
	relabelled = bytes.Replace(relabelled, bytes.Split(relabelled, []byte("\n"))[1], []byte(base64.StdEncoding.EncodeToString(raw)), 1)
	mixed := k.sign("ED", archive, comment) // another signature's comment
	lines := bytes.SplitAfter(k.sign("ED", []byte("another"), "timestamp:1600000000"), []byte("\n"))
	mixed = slices.Concat(bytes.Join(bytes.SplitAfter(mixed, []byte("\n"))[:2], nil), lines[2], lines[3])
	noName := with(comment)
	noName.File = ""
	badKey := with(comment)
	badKey.Policy.Keys = []source.Key{{Kind: source.Minisign, Fingerprint: "RWQ="}}
	collision := with(comment)
	collision.Policy.Keys = append([]source.Key{{Kind: source.Minisign, Fingerprint: key{k.id, other.private}.public()}}, collision.Policy.Keys...)

	for name, c := range map[string]struct {
		c    sourcetest.Case
		want error // nil: accepted
	}{
		"prehashed":                    {with(comment), nil},
		"legacy":                       {by(k, k.sign("Ed", archive, comment)), nil},
		"another file":                 {with("timestamp:1700000000\tfile:release-2.tar.gz"), minisign.ErrFile},
		"no name to compare":           {noName, nil},
		"no fields":                    {with("trust me"), nil},
		"empty comment":                {with(""), nil},
		"in the future":                {with("timestamp:1900000000"), minisign.ErrExpired},
		"two times":                    {with("timestamp:1700000000\ttimestamp:1700000001"), minisign.ErrMalformed},
		"two files":                    {with("file:release.tar.gz\tfile:x"), minisign.ErrMalformed},
		"no number":                    {with("timestamp:yesterday"), minisign.ErrMalformed},
		"changed trusted comment":      {swap("1700000000", "1600000000"), minisign.ErrBad},
		"comment of another signature": {by(k, mixed), minisign.ErrBad},
		"signature over the digest":    {confused, minisign.ErrBad},
		"legacy relabelled":            {by(k, relabelled), minisign.ErrBad},
		"no trusted comment":           {swap("\ntrusted comment", "\nxtrusted comment"), source.ErrNoSignature},
		"line more":                    {by(k, append(k.sign("ED", archive, comment), "x\n"...)), minisign.ErrMalformed},
		"line ends of Windows":         {by(k, bytes.ReplaceAll(k.sign("ED", archive, comment), []byte("\n"), []byte("\r\n"))), nil},
		"another algorithm":            {by(k, k.sign("Ee", archive, comment)), minisign.ErrMalformed},
		"too long":                     {with(strings.Repeat("x", 1<<16)), minisign.ErrMalformed},
		"key that is none":             {badKey, minisign.ErrKey},
		"key IDs that collide":         {collision, nil},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := minisign.Verifier{}.Verify(t.Context(), c.c.Subject())
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify = %+v, %v, want %v", proofs, err, c.want)
			}
			if err == nil && proofs[0].Signer != k.public() {
				t.Errorf("signed by %s, want %s", proofs[0].Signer, k.public())
			}
		})
	}

	proofs, err := minisign.Verifier{}.Verify(t.Context(), with(comment).Subject())
	if err != nil || !proofs[0].SignedAt.Equal(signed) || proofs[0].Hash != "BLAKE2b-512" {
		t.Errorf("Verify = %+v, %v, want it signed at %s", proofs, err, signed)
	}
	if proofs, err := (minisign.Verifier{}).Verify(t.Context(), with("trust me").Subject()); err != nil || proofs[0].SignedAt != nil {
		t.Errorf("Verify = %+v, %v, want no time", proofs, err)
	}
	var e *minisign.SignerError
	if _, err := (minisign.Verifier{}).Verify(t.Context(), by(k, other.sign("ED", archive, comment)).Subject()); !errors.As(err, &e) || len(e.Pinned) != 1 {
		t.Errorf("another signer: %v, want a SignerError", err)
	}
}

// zeros is an archive of many bytes that are nowhere.
type zeros struct{ n, at int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), z.n-z.at)
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	z.at += n
	return int(n), nil
}

func (z *zeros) Close() error                   { return nil }
func (z *zeros) Seek(int64, int) (int64, error) { z.at = 0; return 0, nil }

// A prehashed signature is judged as the archive streams by, a legacy one
// only while the archive is small.
func TestLarge(t *testing.T) {
	const size = 16<<20 + 1
	k := newKey(t)
	big := make([]byte, size)
	for algorithm, want := range map[string]error{"ED": nil, "Ed": source.ErrTooLarge} {
		c := by(k, k.sign(algorithm, big, comment))
		s := c.Subject()
		sum := sha256.Sum256(big)
		s.Digest = "sha256:" + hex.EncodeToString(sum[:])
		s.Open = func() (io.ReadSeekCloser, error) { return &zeros{n: size}, nil }
		s.Statements = []source.Statement{s.Detached("mem", c.Signature)}
		if _, err := (minisign.Verifier{}).Verify(t.Context(), s); !errors.Is(err, want) || err == nil != (want == nil) {
			t.Errorf("%s over %d bytes: %v, want %v", algorithm, size, err, want)
		}
	}
}

// The same key under two IDs is one signer.
func TestSeveral(t *testing.T) {
	a, b := newKey(t), newKey(t)
	again := key{"12345678", a.private}
	c := by(a, a.sign("ED", archive, comment))
	for _, k := range []key{again, b} {
		c.Policy.Keys = append(c.Policy.Keys, source.Key{Kind: source.Minisign, Fingerprint: k.public()})
	}
	s := c.Subject()
	s.Statements = append(s.Statements, s.Detached("mem:2", again.sign("ED", archive, comment)), s.Detached("mem:3", []byte("x")),
		s.Detached("mem:4", b.sign("Ed", archive, comment)), s.Detached("mem:5", newKey(t).sign("ED", archive, comment)))
	proofs, err := minisign.Verifier{}.Verify(t.Context(), s)
	if err != nil || len(proofs) != 2 || proofs[1].Signer != b.public() {
		t.Errorf("Verify = %+v, %v, want proofs by two signers", proofs, err)
	}
}

// What minisign signs.
func TestMinisign(t *testing.T) {
	tool, err := exec.LookPath("minisign")
	if err != nil {
		need.Skip(t, "minisign", err.Error())
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("minisign %q: %v\n%s", args, err, out)
		}
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	run("-G", "-W", "-p", "key.pub", "-s", "key.sec")
	if err := os.WriteFile(filepath.Join(dir, "release.tar.gz"), archive, 0o600); err != nil {
		t.Fatal(err)
	}
	public := strings.Split(string(read("key.pub")), "\n")[1]
	for hash, args := range map[string][]string{"BLAKE2b-512": {"-H"}, "SHA-512": {"-l"}} {
		run(append(args, "-S", "-s", "key.sec", "-m", "release.tar.gz", "-x", hash)...)
		good := sourcetest.Case{Archive: archive, Signature: read(hash), File: "release.tar.gz", Now: time.Now(),
			Policy: source.Policy{Least: source.Signed, Keys: []source.Key{{Kind: source.Minisign, Fingerprint: public}}}}
		renamed := good
		renamed.File = "older.tar.gz"
		sourcetest.TestVerifier(t, minisign.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed,
			Bad: map[string]sourcetest.Case{"renamed": renamed}})
		proofs, err := minisign.Verifier{}.Verify(t.Context(), good.Subject())
		if err != nil || proofs[0].Hash != hash || proofs[0].SignedAt == nil || proofs[0].Signer != public {
			t.Errorf("Verify = %+v, %v", proofs, err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	k := newKey(b)
	big := bytes.Repeat([]byte("release\n"), 1<<20)
	c := by(k, k.sign("ED", big, comment))
	c.Archive = big
	s := c.Subject()
	b.SetBytes(int64(len(big)))
	for b.Loop() {
		if _, err := (minisign.Verifier{}).Verify(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
}
