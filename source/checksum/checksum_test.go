package checksum_test

import (
	"testing"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/checksum"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

func TestVerifier(t *testing.T) {
	good := sourcetest.Case{Archive: []byte("an archive"), Policy: source.Policy{Least: source.Pinned}}
	good.Policy.Digest = good.Subject().Digest
	malformed, weak := good, good
	malformed.Policy.Digest = "sha256:" + good.Policy.Digest
	weak.Policy.Digest = "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"
	sourcetest.TestVerifier(t, checksum.Verifier{}, sourcetest.Suite{
		Good:  good,
		Grade: source.Pinned,
		Bad:   map[string]sourcetest.Case{"malformed digest": malformed, "weak hash": weak},
	})
}
