package attest_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
)

func verify(t testing.TB, dir string, opts attest.Options) *attest.Verification {
	t.Helper()
	v, err := attest.Verify(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWriteThenVerify(t *testing.T) {
	dir, s := attesttest.Write(t)
	key, err := s.Key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, opts := range []attest.Options{{}, {Key: key, Authority: s.Time.Chain()}} {
		v := verify(t, dir, opts)
		if !v.OK {
			var b bytes.Buffer
			v.WriteText(&b)
			t.Fatalf("Verify:\n%s", b.String())
		}
		for _, a := range v.Artifacts {
			if a.State != attest.Present {
				t.Errorf("%s is %s", a.Kind, a.State)
			}
		}
		if v.Counts.CVEs != 3 || v.Counts.VEX != 3 || v.Counts.Tests != 4 || v.Counts.Components != 3 || v.Counts.Files != 2 {
			t.Errorf("Counts = %+v", v.Counts)
		}
	}
	if os.Getenv("ATTEST_SHOW") != "" {
		verify(t, dir, attest.Options{}).WriteText(os.Stdout)
	}
}

func TestVerifyRefusesDamage(t *testing.T) {
	s, now := clocked(t)
	end := *now
	*now = end.Add(-30 * time.Minute)
	donors := attesttest.Donors(t, s)
	*now = end
	dir := filepath.Join(t.TempDir(), "out")
	write(t, dir, attesttest.Input(t, "1.0"), s)
	attesttest.TestVerifier(t, dir, func(t testing.TB, dir string) *attest.Verification {
		return verify(t, dir, attest.Options{})
	}, donors...)
}
