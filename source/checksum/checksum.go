// Package checksum proves an archive by a digest that the specification's
// author wrote down. It says that the bytes are the author's, not that
// upstream released them: the weakest grade, which a policy must ask for by
// name.
package checksum

import (
	"context"
	"fmt"

	"github.com/cleanstart/cleanstart/source"
)

// Verifier compares the archive with Policy.Digest, and a repository's snapshot
// with Policy.Commit, whose files were hashed up to that commit. Without one
// it proves nothing. A mismatch is a [*source.DigestError].
type Verifier struct{}

var _ source.Verifier = Verifier{}

// Verify implements [source.Verifier].
func (Verifier) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	var proofs []source.Proof
	if want := s.Policy.Digest; want != "" {
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
		proofs = append(proofs, source.Proof{
			Grade:       source.Pinned,
			Mechanism:   "digest",
			Digest:      got,
			Hash:        "SHA-256",
			Description: "the specification pins these bytes",
		})
	}
	if want := s.Policy.Commit; want != "" {
		if _, _, err := source.ParseCommit(want); err != nil {
			return nil, err
		}
		if s.Git == nil {
			return nil, fmt.Errorf("%w: the policy pins commit %s, and the archive is no snapshot of a repository", source.ErrFormat, want)
		}
		if got := s.Git.Format + ":" + s.Git.Commit; got != want {
			return nil, &source.DigestError{Want: want, Got: got}
		}
		proofs = append(proofs, source.Proof{
			Grade:       source.Pinned,
			Mechanism:   "commit",
			Digest:      s.Digest,
			Git:         s.Git,
			Description: "the specification pins this commit",
		})
	}
	return proofs, nil
}
