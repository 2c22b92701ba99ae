package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/cleanstart/cleanstart/compile/local"
)

func TestMain(m *testing.M) {
	local.Init()
	os.Exit(m.Run())
}

// TestE2ESurgical runs the example: the step itself refuses a release in which
// a component that was to stay came out differently.
func TestE2ESurgical(t *testing.T) {
	if os.Getenv("CLEANSTART_E2E_TLS") != "1" {
		t.Skip("tls: set CLEANSTART_E2E_TLS=1 to build two releases of OpenSSL (ten minutes)")
	}
	out := filepath.Join(t.TempDir(), "release")
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"-out", out, "-spec", "../quickstart/tls.yaml"}, &stdout); err != nil {
		t.Fatal(err)
	}
	t.Log(stdout.String())
	for _, want := range []string{
		`(?m)^rebuilt +openssl, curl$`,
		`(?m)^layer +same .* musl$`,
		`(?m)^layer +same .* zlib$`,
		`(?m)^layer +new .* openssl$`,
		`(?m)^layer +new .* curl$`,
		`(?m)^fixed +CVE-2025-9230,`,
		`(?m) released `,
	} {
		if !regexp.MustCompile(want).MatchString(stdout.String()) {
			t.Errorf("the output has no line like %s", want)
		}
	}
	for _, name := range []string{"before", "after"} {
		if _, err := os.Stat(filepath.Join(out, name, "evidence", "manifest.json")); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusesAnExistingDirectory(t *testing.T) {
	if err := run(t.Context(), []string{"-out", t.TempDir()}, &bytes.Buffer{}); err == nil {
		t.Error("a directory that exists is taken")
	}
}
