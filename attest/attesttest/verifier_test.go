package attesttest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
)

// lenient is what a verifier that only looks at signatures amounts to: it
// reports nothing that is missing and nothing that is beside the set.
func lenient(t testing.TB, dir string) *attest.Verification {
	v, err := attest.Verify(context.Background(), dir, attest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v.OK = true
	for _, p := range v.Problems {
		v.OK = v.OK && (p.State == attest.Missing || p.State == attest.Foreign)
	}
	return v
}

// TestSuiteCatchesLenientVerifier runs the suite on a wrong verifier in a
// process of its own, where it must fail.
func TestSuiteCatchesLenientVerifier(t *testing.T) {
	if os.Getenv("ATTESTTEST_LENIENT") == "1" {
		dir, _ := attesttest.Write(t)
		attesttest.TestVerifier(t, dir, lenient)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run", "^TestSuiteCatchesLenientVerifier$/^Matrix$/(provenance|nothing|a_file_added)")
	cmd.Env = append(os.Environ(), "ATTESTTEST_LENIENT=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("the suite accepts a verifier that overlooks missing artifacts")
	}
	for _, want := range []string{"provenance.json:_deleted", "nothing_but_the_image_left", "a_file_added"} {
		if !strings.Contains(string(out), "--- FAIL: TestSuiteCatchesLenientVerifier/Matrix/"+want) {
			t.Errorf("the suite does not say %q", want)
		}
	}
}
