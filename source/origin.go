package source

import (
	"context"
	"fmt"

	"github.com/cleanstart/cleanstart/source/tagmatch"
)

// Origin is the repository that a release was made from, at the tag or commit
// that its policy names. The release must hold the files of that tag's tree
// and no other but those that the rules explain by name.
type Origin struct {
	Places []Place `json:"places"`
	Policy Policy  `json:"policy"`
	tagmatch.Rules
}

// component is the origin as something to verify.
func (c Component) origin() Component {
	o := Component{Name: c.Name, Version: c.Version, PURL: c.PURL, License: c.License}
	if c.Origin != nil {
		o.Places, o.Policy = c.Origin.Places, c.Origin.Policy
	}
	return o
}

func (o *Origin) validate(c Component) error {
	if o.Policy.Tag == "" && o.Policy.Commit == "" {
		return fmt.Errorf("policy: names neither the tag nor the commit that the release was made from")
	}
	if err := o.Rules.Validate(); err != nil {
		return err
	}
	return c.origin().Validate()
}

// match verifies the origin and compares the release with it.
func (s *session) match(ctx context.Context, t *Tree) error {
	o := s.o
	if s.lock != nil {
		if s.lock.Origin == nil {
			return fmt.Errorf("%w: it holds no origin", ErrLocked)
		}
		o.Lock = &Lock{Format: 1, Components: []Locked{*s.lock.Origin}}
	}
	origin, err := get(ctx, s.c.origin(), o, s.fetch)
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	release, err := t.list()
	if err != nil {
		return err
	}
	repository, err := origin.list()
	if err != nil {
		return err
	}
	report := tagmatch.Compare(release, repository, s.c.Origin.Rules)
	if err := report.Err(); err != nil {
		return err
	}
	best := origin.proofs[0]
	proof := Proof{Grade: best.Grade, Mechanism: "tagmatch", Digest: t.archive, Signer: best.Signer, Issuer: best.Issuer,
		SigningKey: best.SigningKey, Algorithm: best.Algorithm, Hash: best.Hash, SignedAt: best.SignedAt, Git: best.Git, Over: best.Over,
		Description: fmt.Sprintf("%d files are those of the repository; explained: %d generated, %d changed, %d omitted",
			report.Same, len(report.Generated), len(report.Changed), len(report.Omitted))}
	t.proofs = append(t.proofs, proof)
	t.origin, t.report = origin, report
	return nil
}

// Origin is the repository's tree that the release was compared with, and how
// they differ; nil where the component names none.
func (t *Tree) Origin() (*Tree, *tagmatch.Report) { return t.origin, t.report }

// list is what the tree holds, directories aside.
func (t *Tree) list() ([]tagmatch.File, error) {
	m, err := readManifestFile(t.dir + ".manifest")
	if err != nil {
		return nil, err
	}
	if m.digest != t.digest {
		return nil, fmt.Errorf("%w: digest is %s, not %s", ErrModified, m.digest, t.digest)
	}
	var out []tagmatch.File
	for _, e := range m.entries {
		switch e.kind {
		case 'f', 'x':
			out = append(out, tagmatch.File{Name: e.name, Kind: e.kind, Sum: e.sum})
		case 'l':
			out = append(out, tagmatch.File{Name: e.name, Kind: e.kind, Sum: e.target})
		}
	}
	return out, nil
}
