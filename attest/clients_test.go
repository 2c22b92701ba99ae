package attest_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
	"github.com/cleanstart/cleanstart/internal/need"
)

// material gives sigstore-go the authority of trusted_root.json and one key.
type material struct {
	root.TrustedMaterial
	key root.TimeConstrainedVerifier
}

func (m material) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) { return m.key, nil }

// TestSigstoreGoAgrees lets the sigstore project's own verifier judge every
// line of the bundle.
func TestSigstoreGoAgrees(t *testing.T) {
	dir, s := attesttest.Write(t)
	raw, err := os.ReadFile(filepath.Join(dir, "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.Key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	kv, err := signature.LoadDefaultVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := sgverify.NewVerifier(material{tr, root.NewExpiringKey(kv, time.Time{}, time.Time{})}, sgverify.WithSignedTimestamps(1))
	if err != nil {
		t.Fatal(err)
	}
	image, err := hex.DecodeString(strings.TrimPrefix(verify(t, dir, attest.Options{}).Image, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join(dir, "evidence/bundle.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(lines) {
		var b bundle.Bundle
		if err := b.UnmarshalJSON(line); err != nil {
			t.Fatal(err)
		}
		p := sgverify.NewPolicy(sgverify.WithArtifactDigest("sha256", image), sgverify.WithKey())
		if _, err := v.Verify(&b, p); err != nil {
			t.Errorf("line %d: %v", n+1, err)
		}
		n++
		p = sgverify.NewPolicy(sgverify.WithArtifactDigest("sha256", make([]byte, 32)), sgverify.WithKey())
		if _, err := v.Verify(&b, p); err == nil {
			t.Errorf("line %d: verifies for another image", n)
		}
	}
	if n != 14 { // ten kinds, three single VEX documents, the verification summary
		t.Errorf("%d lines, want 14", n)
	}
}

// cosign finds the client, or skips.
func cosign(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("CLEANSTART_COSIGN"); p != "" {
		return p
	}
	p, err := exec.LookPath("cosign")
	if err != nil {
		need.Skip(t, "cosign", "no cosign in PATH or CLEANSTART_COSIGN")
	}
	return p
}

func TestCosignAgrees(t *testing.T) {
	bin := cosign(t)
	dir, _ := attesttest.Write(t)
	run := func(dir string, args ...string) error {
		cmd := exec.Command(bin, args...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + t.TempDir(), "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
	trust := []string{"--key", "cosign.pub", "--trusted-root", "trusted_root.json", "--use-signed-timestamps", "--insecure-ignore-tlog"}
	local := append([]string{"--local-image", "oci"}, trust...)
	if err := run(dir, append([]string{"verify"}, local...)...); err != nil {
		t.Errorf("cosign does not verify the image: %v", err)
	}
	for _, k := range attest.Kinds() {
		if k.PredicateType == "" {
			continue
		}
		if err := run(dir, append([]string{"verify-attestation", "--type", k.PredicateType}, local...)...); err != nil {
			t.Errorf("cosign does not verify the attestation %s: %v", k.Name, err)
		}
	}
	if err := run(dir, append(append([]string{"verify-blob", "--bundle", "evidence/SHA256SUMS.sigstore.json"}, trust...), "evidence/SHA256SUMS")...); err != nil {
		t.Errorf("cosign does not verify SHA256SUMS: %v", err)
	}
	other, _ := attesttest.Write(t)
	pub, err := os.ReadFile(filepath.Join(other, "cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cosign.pub"), pub, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, append([]string{"verify"}, local...)...); err == nil {
		t.Error("cosign verifies with another key: the test above proves nothing")
	}
}

// TestOpenSSLAgrees checks a timestamp as an auditor would.
func TestOpenSSLAgrees(t *testing.T) {
	bin, err := exec.LookPath("openssl")
	if err != nil {
		need.Skip(t, "openssl", "no openssl in PATH")
	}
	dir, _ := attesttest.Write(t)
	lines, err := os.ReadFile(filepath.Join(dir, "evidence/bundle.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := bytes.Cut(lines, []byte("\n"))
	var b struct {
		DSSE struct {
			Signatures []struct{ Sig []byte }
		} `json:"dsseEnvelope"`
		Material struct {
			Data struct {
				Stamps []struct {
					Stamp []byte `json:"signedTimestamp"`
				} `json:"rfc3161Timestamps"`
			} `json:"timestampVerificationData"`
		} `json:"verificationMaterial"`
	}
	if err := json.Unmarshal(first, &b); err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	for name, data := range map[string][]byte{"sig": b.DSSE.Signatures[0].Sig, "tsr": b.Material.Data.Stamps[0].Stamp, "other": []byte("other")} {
		if err := os.WriteFile(filepath.Join(tmp, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for data, ok := range map[string]bool{"sig": true, "other": false} {
		out, err := exec.Command(bin, "ts", "-verify", "-in", filepath.Join(tmp, "tsr"), "-data", filepath.Join(tmp, data), "-CAfile", filepath.Join(dir, "tsa.pem")).CombinedOutput()
		if (err == nil) != ok {
			t.Errorf("openssl ts -verify over %s: %v, want success %v\n%s", data, err, ok, out)
		}
	}
}
