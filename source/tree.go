package source

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

func writeManifest(name string, m *manifest) error {
	return atomicfile.Write(name, 0o644, func(w io.Writer) error { return m.write(w) })
}

// Check reads every file of the tree and compares it with the digest.
// [Verify] and [Load] compare names, modes, sizes and times only. The error
// wraps [ErrModified] where the tree is not what was extracted.
func (t *Tree) Check(ctx context.Context) error {
	m, err := readManifestFile(t.dir + ".manifest")
	if err != nil {
		return err
	}
	if m.digest != t.digest {
		return fmt.Errorf("%w: digest is %s, not %s", ErrModified, m.digest, t.digest)
	}
	return m.check(t.dir, func(name string) (string, error) {
		f, err := os.Open(filepath.Join(t.dir, filepath.FromSlash(name)))
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum, _, err := digestReader(ctx, f, DefaultLimits().Tree)
		return sum, err
	})
}

// Explain tells, line by line, why the tree is believed to be what upstream
// released: what was asked for, where the bytes came from, who vouches for
// them and by what means, and what was unpacked.
func Explain(t *Tree) string {
	var b strings.Builder
	c := t.component
	fmt.Fprintf(&b, "%s %s", c.Name, c.Version)
	if c.PURL != "" {
		fmt.Fprintf(&b, " (%s)", c.PURL)
	}
	fmt.Fprintf(&b, "\n  policy   at least %v", c.Policy.Least)
	if c.Policy.Digest != "" {
		b.WriteString(", digest pinned")
	}
	if n := len(c.Policy.Keys); n > 0 {
		fmt.Fprintf(&b, ", signed by one of %d pinned keys", n)
	}
	fmt.Fprintf(&b, "\n  archive  %s\n           from %s (transport only)\n", t.archive, t.place.Archive)
	for _, p := range t.proofs {
		fmt.Fprintf(&b, "  proof    %v by %s", p.Grade, p.Mechanism)
		if p.Description != "" {
			fmt.Fprintf(&b, ": %s", p.Description)
		}
		b.WriteByte('\n')
		if p.Signer != "" {
			fmt.Fprintf(&b, "           primary key %s\n", p.Signer)
			if p.SigningKey != p.Signer {
				fmt.Fprintf(&b, "           signing key %s\n", p.SigningKey)
			}
			fmt.Fprintf(&b, "           %s, %s", p.Algorithm, p.Hash)
			if p.SignedAt != nil {
				fmt.Fprintf(&b, ", on %s", p.SignedAt.Format(time.DateOnly))
			}
			b.WriteByte('\n')
		}
		if x := p.Exception; x != nil {
			fmt.Fprintf(&b, "           by exception %s until %s: %s\n", x.Allow, x.Until, x.Reason)
		}
	}
	fmt.Fprintf(&b, "  tree     %s\n           epoch %s\n", t.digest, t.epoch.Format(time.RFC3339))
	return b.String()
}
