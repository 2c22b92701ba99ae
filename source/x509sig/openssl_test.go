package x509sig_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/sourcetest"
	"github.com/cleanstart/cleanstart/source/x509sig"
)

// What openssl cms signs.
func TestOpenSSL(t *testing.T) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		need.Skip(t, "openssl", err.Error())
	}
	for algorithm, args := range map[string][]string{
		"RSA-2048":   {"-newkey", "rsa:2048"},
		"ECDSA-P384": {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"},
	} {
		t.Run(algorithm, func(t *testing.T) {
			dir := t.TempDir()
			run := func(args ...string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), tool, args...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("openssl %q: %v\n%s", args, err, out)
				}
			}
			read := func(name string) []byte { return must[[]byte](t)(os.ReadFile(filepath.Join(dir, name))) }
			if err := os.WriteFile(filepath.Join(dir, "release"), archive, 0o600); err != nil {
				t.Fatal(err)
			}
			run(append([]string{"req", "-x509", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=test", "-days", "2",
				"-addext", "subjectAltName=email:" + identity, "-addext", "extendedKeyUsage=codeSigning,emailProtection"}, args...)...)
			cms := func(out string, args ...string) []byte {
				t.Helper()
				run(append([]string{"cms", "-sign", "-binary", "-signer", "cert.pem", "-inkey", "key.pem", "-in", "release", "-out", out}, args...)...)
				return read(out)
			}
			with := func(signature []byte) sourcetest.Case {
				return sourcetest.Case{
					Archive:   archive,
					Signature: signature,
					Policy: source.Policy{Least: source.Signed,
						Keys:       []source.Key{{Kind: source.X509, Identity: identity, File: "roots.pem"}},
						Exceptions: []source.Exception{{Allow: source.AllowSignerTime, Reason: "no timestamp", Until: "2100-01-01"}}},
					Keys: fstest.MapFS{"roots.pem": {Data: read("cert.pem")}},
					Now:  time.Now().Add(time.Hour),
				}
			}
			bad := map[string]sourcetest.Case{
				"encapsulated":         with(cms("opaque", "-outform", "DER", "-nodetach")),
				"no signed attributes": with(cms("bare", "-outform", "DER", "-noattr")),
				"SHA-1":                with(cms("sha1", "-outform", "DER", "-md", "sha1")),
				"no certificate":       with(cms("nocert", "-outform", "DER", "-nocerts")),
			}
			for name, args := range map[string][]string{
				"DER": {"-outform", "DER"}, "PEM": {"-outform", "PEM"}, "SHA-512": {"-outform", "DER", "-md", "sha512"}, "key": {"-outform", "DER", "-keyid"},
			} {
				good := with(cms(name, args...))
				sourcetest.TestVerifier(t, x509sig.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: bad})
				proofs, err := x509sig.Verifier{}.Verify(t.Context(), good.Subject())
				if err != nil || proofs[0].Algorithm != algorithm || name == "SHA-512" != (proofs[0].Hash == "SHA-512") {
					t.Errorf("%s: Verify = %+v, %v", name, proofs, err)
				}
			}
		})
	}
}
