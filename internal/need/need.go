// Package need skips a test for a named missing capability, and fails it on
// the continuous-integration machine, where every capability must be there.
package need

import (
	"os"
	"testing"
)

// Skip ends the test because capability is missing: skipped on a person's
// machine, failed where the environment says CI=true.
func Skip(t testing.TB, capability, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s: %s", capability, why)
	}
	t.Skipf("needs %s: %s", capability, why)
}
