package attest_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
)

// BenchmarkElevenArtifacts makes, signs and writes all evidence of an image of
// 50 components and 20,000 files, as after the analyses.
func BenchmarkElevenArtifacts(b *testing.B) {
	in := attesttest.Large(b, 50, 20_000)
	s := attesttest.Signer(b, time.Now())
	dir := filepath.Join(b.TempDir(), "out")
	for b.Loop() {
		ev, err := attest.Build(context.Background(), in)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := attest.Write(context.Background(), dir, ev, s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyRelease verifies an output directory: that of
// CLEANSTART_RELEASE, or of the synthetic image.
func BenchmarkVerifyRelease(b *testing.B) {
	dir := os.Getenv("CLEANSTART_RELEASE")
	if dir == "" {
		dir, _ = attesttest.Write(b)
	}
	benchmarkVerify(b, dir)
}

// BenchmarkVerifyLarge verifies the evidence of 20,000 files, each of which is
// hashed anew.
func BenchmarkVerifyLarge(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "out")
	ev, err := attest.Build(context.Background(), attesttest.Large(b, 50, 20_000))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := attest.Write(context.Background(), dir, ev, attesttest.Signer(b, time.Now())); err != nil {
		b.Fatal(err)
	}
	benchmarkVerify(b, dir)
}

func benchmarkVerify(b *testing.B, dir string) {
	for b.Loop() {
		if v := verify(b, dir, attest.Options{}); !v.OK {
			b.Fatal(v.Problems)
		}
	}
}
