package source

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Check reads every file of the tree and compares it with the digest.
// [Verify] and [Load] compare names, modes, sizes and times only, but for the
// first time after the machine was restarted. The error wraps [ErrModified] where the tree is not what was extracted.
func (t *Tree) Check(ctx context.Context) error {
	m, err := readManifestFile(t.dir + ".manifest")
	if err != nil {
		return err
	}
	if m.digest != t.digest {
		return fmt.Errorf("%w: digest is %s, not %s", ErrModified, m.digest, t.digest)
	}
	return m.check(t.dir, contentOf(ctx, t.dir))
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
	b.WriteByte('\n')
	explain(&b, t, "  ")
	if t.origin != nil {
		fmt.Fprintf(&b, "  origin   %s\n", t.origin.place.Archive)
		explain(&b, t.origin, "    ")
	}
	return b.String()
}

func explain(b *strings.Builder, t *Tree, indent string) {
	line := func(label, format string, a ...any) {
		fmt.Fprintf(b, "%s%-8s %s\n", indent, label, fmt.Sprintf(format, a...))
	}
	line("policy", "%s", t.component.Policy.text())
	line("archive", "%s", t.archive)
	line("", "from %s (transport only)", t.place.Archive)
	for _, p := range t.proofs {
		text := ""
		if p.Description != "" {
			text = ": " + p.Description
		}
		line("proof", "%v by %s%s", p.Grade, p.Mechanism, text)
		if p.Signer != "" {
			line("", "%s %s", map[bool]string{true: "primary key", false: "signer"}[p.Mechanism == OpenPGP], p.Signer)
		}
		if p.Issuer != "" {
			line("", "vouched for by %s", p.Issuer)
		}
		if p.SigningKey != "" && p.SigningKey != p.Signer {
			line("", "signing key %s", p.SigningKey)
		}
		if p.Algorithm != "" {
			when := ""
			if p.SignedAt != nil {
				when = ", on " + p.SignedAt.Format(time.DateOnly)
				if p.Witness != "" {
					when += " as witnessed by " + p.Witness
				}
			}
			line("", "%s, %s%s", p.Algorithm, p.Hash, when)
		}
		if p.Log != "" {
			line("", "in the log %s", p.Log)
		}
		if g := p.Git; g != nil && p.Mechanism != "tagmatch" {
			if g.TagID != "" {
				line("", "tag %s is object %s", g.Tag, g.TagID)
			}
			line("", "commit %s (%s), whose files were hashed", g.Commit, g.Format)
		}
		if s := p.Succession; s != nil {
			line("", "named by %s of release %s, which %s signed", s.File, s.Version, s.Signer)
		}
		if x := p.Exception; x != nil {
			line("", "by exception %s until %s: %s", x.Allow, x.Until, x.Reason)
		}
	}
	if t.report != nil {
		for _, f := range t.component.Origin.Generated {
			line("", "generated %s: %s", f.Path, f.Reason)
		}
		for _, f := range t.component.Origin.Changed {
			line("", "changed %s: %s", f.Path, f.Reason)
		}
	}
	line("tree", "%s", t.digest)
	line("", "epoch %s", t.epoch.Format(time.RFC3339))
}

// text is the policy in a line.
func (p Policy) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at least %v", p.Least)
	if p.Digest != "" {
		b.WriteString(", digest pinned")
	}
	if p.Tag != "" {
		fmt.Fprintf(&b, ", tag %s", p.Tag)
	}
	if p.Commit != "" {
		fmt.Fprintf(&b, ", commit %s", p.Commit)
	}
	if p.Module != "" {
		fmt.Fprintf(&b, ", module %s in the log %s", p.Module, p.Log)
	}
	if n := len(p.Keys); n > 0 {
		fmt.Fprintf(&b, ", signed by %s of %d pinned key%s", number(max(1, p.Threshold)), n, map[bool]string{false: "s"}[n == 1])
	}
	if p.Directory != "" {
		fmt.Fprintf(&b, ", directory %s", p.Directory)
	}
	return b.String()
}

func number(n int) string {
	if n == 1 {
		return "one"
	}
	return fmt.Sprint(n)
}
