package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Judge asks about every statement, and gives one proof for each signer: it is
// the frame of a [Verifier] that recognises its own kind of signature. one
// gives neither a proof nor an error for a statement that is not signed in its
// way. When no proof was given the errors are joined in order, and where there
// was none the error wraps [ErrNoSignature] and says what was looked for.
func (s Subject) Judge(ctx context.Context, looked string, one func(Statement) (*Proof, error)) ([]Proof, error) {
	var proofs []Proof
	var failures []error
	for _, st := range s.Statements {
		proof, err := one(st)
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", st.From, err))
			continue
		}
		if proof != nil && !slices.ContainsFunc(proofs, func(p Proof) bool { return p.Signer == proof.Signer && p.Issuer == proof.Issuer }) {
			proofs = append(proofs, *proof)
		}
	}
	switch {
	case len(proofs) > 0:
		return proofs, nil
	case len(failures) > 0:
		return nil, errors.Join(failures...)
	}
	return nil, fmt.Errorf("%w: the policy pins %s, and no signature of that kind is there", ErrNoSignature, looked)
}
