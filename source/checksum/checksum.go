// Package checksum proves an archive by a digest that the specification's
// author wrote down. It says that the bytes are the author's, not that
// upstream released them: the weakest grade, which a policy must ask for by
// name.
package checksum

import (
	"context"

	"github.com/cleanstart/cleanstart/source"
)

// Verifier compares the archive with Policy.Digest. Without one it proves
// nothing. A mismatch is a [*source.DigestError].
type Verifier struct{}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier].
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	want := s.Policy.Digest
	if want == "" {
		return nil, nil
	}
	if _, err := source.ParseDigest(want); err != nil {
		return nil, err
	}
	got, err := s.Rehash(ctx)
	if err != nil {
		return nil, err
	}
	if got != want {
		return nil, &source.DigestError{Want: want, Got: got}
	}
	return []source.Proof{{
		Grade:       source.Pinned,
		Mechanism:   "digest",
		Digest:      got,
		Hash:        "SHA-256",
		Description: "the specification pins these bytes",
	}}, nil
}
