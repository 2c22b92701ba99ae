package sshsig_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/sourcetest"
	"github.com/cleanstart/cleanstart/source/sshsig"
)

var (
	now     = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	archive = []byte("the bytes of a release\r\nwith lines\n")
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func signer(t testing.TB, key crypto.Signer) ssh.Signer {
	t.Helper()
	return must[ssh.Signer](t)(ssh.NewSignerFromSigner(key))
}

func newEd25519(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer(t, key)
}

func newRSA(t testing.TB, bits int) ssh.Signer {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	return signer(t, must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, bits)))
}

// parts are what a signature is made of; tests bend one or another.
type parts struct {
	version                   uint32
	namespace, reserved, hash string
	key                       []byte
	signature                 []byte // as it is, instead of one that is made
	format                    string // of an RSA signature
}

func pack(p parts) []byte {
	raw := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{p.version, p.key, p.namespace, p.reserved, p.hash, p.signature})...)
	return armor(raw)
}

func armor(raw []byte) []byte {
	text := base64.StdEncoding.EncodeToString(raw)
	var b bytes.Buffer
	b.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for len(text) > 0 {
		n := min(70, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	b.WriteString("-----END SSH SIGNATURE-----\n")
	return b.Bytes()
}

// signed is what a key signs.
func signed(p parts, message []byte) []byte {
	digest := sha512.Sum512(message)
	sum := digest[:]
	if p.hash == "sha256" {
		short := sha256.Sum256(message)
		sum = short[:]
	}
	return append([]byte("SSHSIG"), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{p.namespace, p.reserved, p.hash, sum})...)
}

func sign(t testing.TB, key ssh.Signer, message []byte, change ...func(*parts)) []byte {
	t.Helper()
	p := parts{version: 1, namespace: "file", hash: "sha512", key: key.PublicKey().Marshal()}
	if key.PublicKey().Type() == ssh.KeyAlgoRSA {
		p.format = ssh.KeyAlgoRSASHA512
	}
	for _, f := range change {
		f(&p)
	}
	if p.signature == nil {
		s := must[*ssh.Signature](t)(key.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, signed(p, message), p.format))
		p.signature = ssh.Marshal(s)
	}
	return pack(p)
}

func fingerprint(k ssh.PublicKey) string { return ssh.FingerprintSHA256(k) }

func by(k ssh.PublicKey, signature []byte) sourcetest.Case {
	return sourcetest.Case{
		Archive:   archive,
		Signature: signature,
		Policy:    source.Policy{Least: source.Signed, Keys: []source.Key{{Kind: source.SSH, Fingerprint: fingerprint(k)}}},
		Now:       now,
	}
}

func allowing(c sourcetest.Case, lines ...string) sourcetest.Case {
	keys := append([]source.Key(nil), c.Policy.Keys...)
	keys[0].File = "allowed_signers"
	c.Policy.Keys = keys
	c.Keys = fstest.MapFS{"allowed_signers": {Data: []byte(strings.Join(lines, "\n"))}}
	return c
}

func authorized(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

func TestVerifier(t *testing.T) {
	key, other := newEd25519(t), newEd25519(t)
	good := by(key.PublicKey(), sign(t, key, archive))
	wrong := good
	wrong.Signature = sign(t, other, archive)
	forged := good // other's signature that says it is key's
	forged.Signature = sign(t, other, archive, func(p *parts) { p.key = key.PublicKey().Marshal() })
	git := good
	git.Signature = sign(t, key, archive, func(p *parts) { p.namespace = "git" })
	noTime := good
	noTime.Now = time.Time{}
	sourcetest.TestVerifier(t, sshsig.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: map[string]sourcetest.Case{
		"wrong signer": wrong, "forged signer": forged, "another namespace": git, "no time": noTime,
	}})

	line := "rm@example.org " + authorized(key.PublicKey())
	sourcetest.TestVerifier(t, sshsig.Verifier{}, sourcetest.Suite{Good: allowing(good, "# signers", line), Grade: source.Signed,
		Bad: map[string]sourcetest.Case{"not in the file": allowing(good, "rm@example.org "+authorized(other.PublicKey()))}})

	sum := sha256.Sum256(archive)
	list := []byte(hex.EncodeToString(sum[:]) + "  release.tar.gz\n")
	listed := good
	listed.List, listed.File, listed.Signature = list, "release.tar.gz", sign(t, key, list)
	sourcetest.TestVerifier(t, sshsig.Verifier{}, sourcetest.Suite{Good: listed, Grade: source.Signed})

	object := []byte("object 0123\ntype commit\ntag v1\n\nv1\n")
	tag := good
	tag.Over, tag.Message, tag.Git = source.OverTag, object, &source.Git{Format: "sha1", Tag: "v1"}
	tag.Signature = sign(t, key, object, func(p *parts) { p.namespace = "git" })
	file := tag
	file.Signature = sign(t, key, object)
	sourcetest.TestVerifier(t, sshsig.Verifier{}, sourcetest.Suite{Good: tag, Grade: source.Signed,
		Bad: map[string]sourcetest.Case{"signed as a file": file}})
}

// Every bit of what is armored counts, and the armor changes no proof. The
// longer signatures are sampled, a bit of each byte.
func TestFlippedBits(t *testing.T) {
	rsaKey := newRSA(t, 2048)
	p256 := signer(t, must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	for _, key := range []ssh.Signer{newEd25519(t), p256, rsaKey} {
		good := by(key.PublicKey(), sign(t, key, archive))
		want := must[[]source.Proof](t)(sshsig.Verifier{}.Verify(t.Context(), good.Subject()))
		text := good.Signature
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		raw := must[[]byte](t)(base64.StdEncoding.DecodeString(string(bytes.Join(lines[1:len(lines)-1], nil))))
		step := 1
		if len(raw) > 200 {
			step = 9
		}
		for i := 0; i < 8*len(raw); i += step {
			c := good
			b := bytes.Clone(raw)
			b[i/8] ^= 1 << (i % 8)
			c.Signature = armor(b)
			if _, err := (sshsig.Verifier{}).Verify(t.Context(), c.Subject()); err == nil {
				t.Errorf("%s: bit %d of %d makes no difference", want[0].Algorithm, i, 8*len(raw))
			}
		}
		for i := 0; i < 8*len(text); i += step {
			c := good
			c.Signature = bytes.Clone(text)
			c.Signature[i/8] ^= 1 << (i % 8)
			proofs, err := sshsig.Verifier{}.Verify(t.Context(), c.Subject())
			if err == nil && (proofs[0] != want[0] || text[i/8] != '\n') {
				t.Errorf("%s: bit %d of the armor: %+v", want[0].Algorithm, i, proofs[0])
			}
		}
	}
}

func TestStates(t *testing.T) {
	key := newEd25519(t)
	small, tiny, large := newRSA(t, 1024), newRSA(t, 1000), newRSA(t, 2048)
	p384 := signer(t, must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)))
	with := func(key ssh.Signer, change ...func(*parts)) sourcetest.Case {
		return by(key.PublicKey(), sign(t, key, archive, change...))
	}
	excepted := func(c sourcetest.Case, until string) sourcetest.Case {
		c.Policy.Exceptions = []source.Exception{{Allow: source.AllowRSA1024, Reason: "old key", Until: until}}
		return c
	}
	format := func(name string) func(*parts) { return func(p *parts) { p.format = name } }
	good := with(key)
	unpinned := good
	unpinned.Policy.Keys = []source.Key{{Kind: source.SSH, Fingerprint: fingerprint(p384.PublicKey())}}

	for name, c := range map[string]struct {
		c    sourcetest.Case
		want error // nil: accepted
	}{
		"Ed25519":                    {good, nil},
		"Ed25519 over SHA-256":       {with(key, func(p *parts) { p.hash = "sha256" }), nil},
		"ECDSA":                      {with(p384), nil},
		"RSA-2048":                   {with(large), nil},
		"RSA with SHA-256":           {with(large, format(ssh.KeyAlgoRSASHA256)), nil},
		"RSA with SHA-1":             {with(large, format(ssh.KeyAlgoRSA)), sshsig.ErrWeak},
		"RSA-1024":                   {with(small), sshsig.ErrWeak},
		"RSA-1024 by exception":      {excepted(with(small), "2026-11-24"), nil},
		"RSA-1024, lapsed exception": {excepted(with(small), "2026-11-23"), sshsig.ErrWeak},
		"RSA-1024 with SHA-1":        {excepted(with(small, format(ssh.KeyAlgoRSA)), "2026-11-24"), sshsig.ErrWeak},
		"RSA-1000":                   {excepted(with(tiny), "2026-11-24"), sshsig.ErrWeak},
		"version 2":                  {with(key, func(p *parts) { p.version = 2 }), sshsig.ErrMalformed},
		"reserved field":             {with(key, func(p *parts) { p.reserved = "x" }), sshsig.ErrMalformed},
		"digest SHA-1":               {with(key, func(p *parts) { p.hash = "sha1" }), sshsig.ErrWeak},
		"namespace git":              {with(key, func(p *parts) { p.namespace = "git" }), sshsig.ErrNamespace},
		"no namespace":               {with(key, func(p *parts) { p.namespace = "" }), sshsig.ErrNamespace},
		"two signatures":             {by(key.PublicKey(), append(sign(t, key, archive), sign(t, key, archive)...)), sshsig.ErrMalformed},
		"text before it":             {by(key.PublicKey(), append([]byte("x\n"), sign(t, key, archive)...)), sshsig.ErrMalformed},
		"too long":                   {by(key.PublicKey(), append(sign(t, key, archive), bytes.Repeat([]byte("\n"), 1<<17)...)), sshsig.ErrMalformed},
		"bytes after the signature": {with(key, func(p *parts) {
			s := must[*ssh.Signature](t)(key.Sign(rand.Reader, signed(*p, archive)))
			s.Rest = []byte("rest")
			p.signature = ssh.Marshal(s)
		}), sshsig.ErrMalformed},
		"another archive": {by(key.PublicKey(), sign(t, key, []byte("another"))), sshsig.ErrBad},
		"no key pins it":  {unpinned, source.ErrPolicy},
		"another kind":    {by(key.PublicKey(), []byte("-----BEGIN PGP SIGNATURE-----\n\n=aaaa\n-----END PGP SIGNATURE-----\n")), source.ErrNoSignature},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := sshsig.Verifier{}.Verify(t.Context(), c.c.Subject())
			if c.want == source.ErrPolicy {
				var e *sshsig.SignerError
				if !errors.As(err, &e) || e.Key != fingerprint(key.PublicKey()) || len(e.Pinned) != 1 {
					t.Fatalf("Verify = %v, want a SignerError", err)
				}
				return
			}
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify = %+v, %v, want %v", proofs, err, c.want)
			}
			if err == nil && (proofs[0].Exception != nil) != (len(c.c.Policy.Exceptions) > 0) {
				t.Errorf("the proof's exception is %v", proofs[0].Exception)
			}
		})
	}
}

func TestCertificate(t *testing.T) {
	key, authority := newEd25519(t), newEd25519(t)
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	c := by(cert, sign(t, key, archive, func(p *parts) { p.key = cert.Marshal() }))
	for _, k := range []ssh.PublicKey{cert, key.PublicKey()} {
		c.Policy.Keys = []source.Key{{Kind: source.SSH, Fingerprint: fingerprint(k)}}
		if proofs, err := (sshsig.Verifier{}).Verify(t.Context(), c.Subject()); !errors.Is(err, sshsig.ErrWeak) {
			t.Errorf("Verify = %v, %v, want ErrWeak", proofs, err)
		}
	}
}

// A security key signs a digest of the application, flags, a counter and a
// digest of what is signed (OpenSSH PROTOCOL.u2f).
func TestSecurityKey(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := must[ssh.PublicKey](t)(ssh.ParsePublicKey(ssh.Marshal(struct{ Type, Key, App string }{ssh.KeyAlgoSKED25519, string(public), "ssh:"})))
	made := func(flags ...byte) sourcetest.Case {
		p := parts{version: 1, namespace: "file", hash: "sha512", key: key.Marshal()}
		app, data := sha256.Sum256([]byte("ssh:")), sha256.Sum256(signed(p, archive))
		rest := append(flags, 0, 0, 0, 7)
		blob := ed25519.Sign(private, bytes.Join([][]byte{app[:], rest, data[:]}, nil))
		p.signature = ssh.Marshal(ssh.Signature{Format: key.Type(), Blob: blob, Rest: rest})
		return by(key, pack(p))
	}
	sourcetest.TestVerifier(t, sshsig.Verifier{}, sourcetest.Suite{Good: made(1), Grade: source.Signed})
	if _, err := (sshsig.Verifier{}).Verify(t.Context(), made(0).Subject()); !errors.Is(err, sshsig.ErrWeak) {
		t.Errorf("nobody touched it: %v, want ErrWeak", err)
	}
	if _, err := (sshsig.Verifier{}).Verify(t.Context(), made().Subject()); !errors.Is(err, sshsig.ErrMalformed) {
		t.Errorf("no flags: %v, want ErrMalformed", err)
	}
}

func TestAllowedSigners(t *testing.T) {
	key, other := newEd25519(t), newEd25519(t)
	good := by(key.PublicKey(), sign(t, key, archive))
	line := func(options string) string {
		return strings.Join(strings.Fields("rm@example.org "+options+" "+authorized(key.PublicKey())), " ")
	}
	for name, c := range map[string]struct {
		lines []string
		want  error
	}{
		"plain":                   {[]string{line("")}, nil},
		"quoted principals":       {[]string{`"a b,c" ` + authorized(key.PublicKey())}, nil},
		"after others":            {[]string{"# x", "", "nonsense", "a@b " + authorized(other.PublicKey()), line("")}, nil},
		"namespace":               {[]string{line(`namespaces="git,file"`)}, nil},
		"namespace, pattern":      {[]string{line(`Namespaces="f*"`)}, nil},
		"other namespace":         {[]string{line(`namespaces="git"`)}, sshsig.ErrNotAllowed},
		"negated namespace":       {[]string{line(`namespaces="*,!file"`)}, sshsig.ErrNotAllowed},
		"unquoted namespace":      {[]string{line(`namespaces=file`)}, sshsig.ErrNotAllowed},
		"valid":                   {[]string{line(`valid-after="20200101Z",valid-before="202611250000Z"`)}, nil},
		"valid later":             {[]string{line(`valid-after="20261124120001Z"`)}, sshsig.ErrExpired},
		"valid earlier":           {[]string{line(`valid-before="20261124115959Z"`)}, sshsig.ErrExpired},
		"valid until now":         {[]string{line(`valid-before="20261124120000Z"`)}, nil},
		"local time":              {[]string{line(`valid-before="20300101"`)}, sshsig.ErrNotAllowed},
		"certificate authority":   {[]string{line("cert-authority")}, sshsig.ErrNotAllowed},
		"unknown option":          {[]string{line(`other="x"`)}, sshsig.ErrNotAllowed},
		"option twice":            {[]string{line(`namespaces="file",namespaces="file"`)}, sshsig.ErrNotAllowed},
		"one of two lines allows": {[]string{line(`namespaces="git"`), line(`namespaces="file"`)}, nil},
		"no principals":           {[]string{authorized(key.PublicKey())}, sshsig.ErrNotAllowed},
		"commented out":           {[]string{"#" + line("")}, sshsig.ErrNotAllowed},
		"another key":             {[]string{"rm@example.org " + authorized(other.PublicKey())}, sshsig.ErrNotAllowed},
		"empty":                   {nil, sshsig.ErrNotAllowed},
		"too long":                {[]string{line(""), strings.Repeat("#", 2<<20)}, sshsig.ErrKeyFile},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := sshsig.Verifier{}.Verify(t.Context(), allowing(good, c.lines...).Subject())
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify = %+v, %v, want %v", proofs, err, c.want)
			}
		})
	}
	missing := allowing(good)
	missing.Keys = fstest.MapFS{}
	if _, err := (sshsig.Verifier{}).Verify(t.Context(), missing.Subject()); !errors.Is(err, sshsig.ErrKeyFile) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// Two signers, and the second time the same one.
func TestSeveral(t *testing.T) {
	a, b := newEd25519(t), newEd25519(t)
	c := by(a.PublicKey(), sign(t, a, archive))
	c.Policy.Keys = append(c.Policy.Keys, source.Key{Kind: source.SSH, Fingerprint: fingerprint(b.PublicKey())})
	s := c.Subject()
	s.Statements = append(s.Statements, s.Detached("mem:2", []byte("another kind")), s.Detached("mem:3", sign(t, b, archive)),
		s.Detached("mem:4", sign(t, a, archive)), s.Detached("mem:5", sign(t, newEd25519(t), archive)))
	proofs, err := sshsig.Verifier{}.Verify(t.Context(), s)
	if err != nil || len(proofs) != 2 || proofs[0].Signer == proofs[1].Signer {
		t.Errorf("Verify = %+v, %v, want proofs by two signers", proofs, err)
	}
}

// What git signs with an SSH key, in a tag.
func TestGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		need.Skip(t, "git", err.Error())
	}
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		need.Skip(t, "ssh-keygen", err.Error())
	}
	dir := t.TempDir()
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "PATH=" + filepath.Dir(keygen) + ":" + filepath.Dir(git),
			"GIT_AUTHOR_NAME=rm", "GIT_AUTHOR_EMAIL=rm@example.org", "GIT_COMMITTER_NAME=rm", "GIT_COMMITTER_EMAIL=rm@example.org"}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.Bytes())
		}
		return out
	}
	run(keygen, "-q", "-N", "", "-t", "ed25519", "-f", "key")
	key, _, _, _, err := ssh.ParseAuthorizedKey(must[[]byte](t)(os.ReadFile(filepath.Join(dir, "key.pub"))))
	if err != nil {
		t.Fatal(err)
	}
	run(git, "init", "-q")
	run(git, "commit", "-q", "--allow-empty", "-m", "first")
	run(git, "-c", "gpg.format=ssh", "-c", "user.signingKey="+filepath.Join(dir, "key"), "tag", "-s", "-m", "v1", "v1")
	object := run(git, "cat-file", "tag", "v1")
	at := bytes.Index(object, []byte("-----BEGIN SSH SIGNATURE-----"))
	if at < 0 {
		t.Fatalf("no signature in\n%s", object)
	}
	c := by(key, object[at:])
	c.Over, c.Message, c.Git = source.OverTag, object[:at], &source.Git{Format: "sha1", Tag: "v1"}
	file := c
	file.Over, file.Message, file.Archive = source.OverArchive, nil, c.Message
	sourcetest.TestVerifier(t, sshsig.Verifier{}, sourcetest.Suite{Good: c, Grade: source.Signed,
		Bad: map[string]sourcetest.Case{"the tag as an archive": file}})
}

// What ssh-keygen signs.
func TestKeygen(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		need.Skip(t, "ssh-keygen", err.Error())
	}
	for algorithm, args := range map[string][]string{
		"Ed25519": {"-t", "ed25519"}, "RSA-2048": {"-t", "rsa", "-b", "2048"},
		"ECDSA-P256": {"-t", "ecdsa", "-b", "256"}, "ECDSA-P521": {"-t", "ecdsa", "-b", "521"},
	} {
		t.Run(algorithm, func(t *testing.T) {
			dir := t.TempDir()
			run := func(args ...string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), keygen, args...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("ssh-keygen %q: %v\n%s", args, err, out)
				}
			}
			read := func(name string) []byte { return must[[]byte](t)(os.ReadFile(filepath.Join(dir, name))) }
			run(append([]string{"-q", "-N", "", "-f", "key"}, args...)...)
			key, _, _, _, err := ssh.ParseAuthorizedKey(read("key.pub"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "release"), archive, 0o600); err != nil {
				t.Fatal(err)
			}
			signed := func(args ...string) []byte {
				t.Helper()
				os.Remove(filepath.Join(dir, "release.sig"))
				run(append(append([]string{"-q", "-Y", "sign", "-f", "key"}, args...), "release")...)
				return read("release.sig")
			}
			good := allowing(by(key, signed("-n", "file")), `rm@example.org namespaces="file" `+authorized(key))
			git := good
			git.Signature = signed("-n", "git")
			sourcetest.TestVerifier(t, sshsig.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed,
				Bad: map[string]sourcetest.Case{"namespace git": git}})
			short := good
			short.Signature = signed("-n", "file", "-O", "hashalg=sha256")
			for want, c := range map[string]sourcetest.Case{"SHA-512": good, "SHA-256": short} {
				proofs, err := sshsig.Verifier{}.Verify(t.Context(), c.Subject())
				if err != nil || len(proofs) != 1 || proofs[0].Algorithm != algorithm || proofs[0].Hash != want ||
					proofs[0].Signer != fingerprint(key) || proofs[0].SignedAt != nil {
					t.Errorf("Verify = %+v, %v, want one by %s over %s", proofs, err, algorithm, want)
				}
			}
		})
	}
}
