package source

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cleanstart/cleanstart/internal/gitsnap"
)

// snapshot hashes a git snapshot's objects, holds them against the policy and
// makes a statement of the signature on its tag or its commit.
func (s *session) snapshot(ctx context.Context, file string, sub *Subject) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	limits := gitsnap.Limits{Bytes: s.o.Limits.Tree, Files: s.o.Limits.Files, Depth: s.o.Limits.Depth}
	snap, err := gitsnap.Read(ctx, f, limits)
	switch {
	case errors.Is(err, gitsnap.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, gitsnap.ErrFormat), errors.Is(err, gitsnap.ErrCollision):
		return fmt.Errorf("%w: %w", ErrFormat, err)
	case err != nil:
		return err
	}
	p := s.c.Policy
	sub.Git = &Git{Format: snap.Format, Tag: snap.TagName, TagID: snap.TagID, Commit: snap.CommitID, Tree: snap.TreeID}
	if p.Commit != "" {
		if format, id, err := ParseCommit(p.Commit); err != nil || format != snap.Format || id != snap.CommitID {
			return &DigestError{p.Commit, snap.Format + ":" + snap.CommitID}
		}
	}
	signed, over, from := snap.SignedCommit, OverCommit, "commit "+snap.CommitID
	if p.Tag != "" {
		if snap.TagID != "" && snap.TagName != p.Tag {
			return fmt.Errorf("%w: the tag object is for %q, the policy asks for %q", ErrPolicy, snap.TagName, p.Tag)
		}
		signed, over, from = snap.SignedTag, OverTag, "tag "+p.Tag
	}
	payload, signature, err := signed()
	if err != nil {
		return err
	}
	if len(signature) > 0 {
		sub.Statements = append(sub.Statements, Statement{Over: over, From: from, Message: message(payload), Signature: signature})
	}
	return nil
}
