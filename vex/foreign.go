package vex

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	govex "github.com/openvex/go-vex/pkg/vex"
	packageurl "github.com/package-url/packageurl-go"

	"github.com/cleanstart/cleanstart/analyze"
)

// Foreign is someone else's document. Signer is who the caller has verified
// that it comes from; without one it is a rumour, which only fills notes.
type Foreign struct {
	Document *govex.VEX
	Signer   string
	Digest   string // "sha256:HEX" of its bytes
}

const maxForeign = 32 << 20

// ReadForeign reads an OpenVEX document that the caller has verified.
func ReadForeign(b []byte, signer, digest string) (Foreign, error) {
	if len(b) > maxForeign {
		return Foreign{}, fmt.Errorf("foreign vex: larger than %d bytes", maxForeign)
	}
	if !digestPattern.MatchString(digest) {
		return Foreign{}, fmt.Errorf("foreign vex: digest %.80q: want sha256:HEX", digest)
	}
	doc, err := govex.Parse(b)
	if err != nil {
		return Foreign{}, fmt.Errorf("foreign vex: %w", err)
	}
	for i := range doc.Statements {
		if err := doc.Statements[i].Validate(); err != nil {
			return Foreign{}, fmt.Errorf("foreign vex: statement %d: %w", i, err)
		}
	}
	return Foreign{doc, signer, digest}, nil
}

// Trust is what one signer's statements may do. Without Silence they are
// notes. Each vulnerability that they may silence is named, in the component
// that is named: nothing stands for all.
type Trust struct {
	Signer  string
	Silence []Grant
}

// Grant lets a signer's statement silence one vulnerability in one component.
type Grant struct {
	Vulnerability string
	Component     string // as the record names it
	Reason        string // why the signer is believed; required
}

// ErrGrant is a policy that trusts without naming what, whom or why.
var ErrGrant = errors.New("a grant names a signer, a vulnerability, a component and a reason")

// Consider adds what others say to decisions of ours, in their order, and
// changes none of the slice given. A foreign not_affected or fixed silences
// only under a grant by name, never what layer 3 has seen running, and never
// where another foreign statement of a verified signer says affected; then
// the rule is "foreign". A foreign affected is a note, also on a proof of
// ours, which stands.
func Consider(decisions []Decision, documents []Foreign, policy []Trust) ([]Decision, error) {
	grants := map[[3]string]string{}
	for _, t := range policy {
		for _, g := range t.Silence {
			if t.Signer == "" || g.Vulnerability == "" || g.Component == "" || g.Reason == "" || strings.ContainsAny(g.Vulnerability+g.Component+t.Signer, "*") {
				return nil, fmt.Errorf("vex policy: %q %+v: %w", t.Signer, g, ErrGrant)
			}
			grants[[3]string{t.Signer, g.Vulnerability, g.Component}] = g.Reason
		}
	}
	out := slices.Clone(decisions)
	for i := range out {
		d := &out[i]
		d.Notes = slices.Clone(d.Notes)
		var believed *claim
		disputed := false
		for _, c := range claims(d, documents) {
			d.Notes = append(d.Notes, c.String())
			disputed = disputed || c.signer != "" && (c.Status == govex.StatusAffected || c.Status == govex.StatusUnderInvestigation)
			if c.signer == "" || !silent(c.Status) {
				continue
			}
			if reason, ok := grants[[3]string{c.signer, d.ID, d.Component}]; ok && believed == nil {
				c.reason = reason
				believed = &c
			}
		}
		if believed == nil || silent(d.Status) {
			continue
		}
		switch {
		case disputed:
			d.Notes = append(d.Notes, "what others say contradicts itself, so that none of it silences")
		case observed(d.Finding):
			d.Notes = append(d.Notes, "a mapped function was observed running, so that nothing that others say silences")
		default:
			believed.silence(d)
		}
	}
	return out, nil
}

// claim is what one foreign statement says of a decision's subject.
type claim struct {
	*govex.Statement
	signer, digest, reason string
}

func (c claim) String() string {
	who := c.signer
	if who == "" {
		who = "an unverified document"
	}
	s := fmt.Sprintf("%s says %s", who, c.Status)
	if c.Justification != "" {
		s += ", " + string(c.Justification)
	}
	return s + " (" + c.digest + ")"
}

func (c claim) silence(d *Decision) {
	d.Rule, d.Status, d.Justification = "foreign", c.Status, c.Justification
	d.Reason = fmt.Sprintf("%s says so, and the policy lets it: %s", c.signer, c.reason)
	if c.ImpactStatement != "" {
		d.Reason += "; " + c.ImpactStatement
	}
	if c.Status == govex.StatusNotAffected && c.Justification == "" {
		d.Justification = govex.VulnerableCodeNotInExecutePath // the weakest; OpenVEX lets it out beside an impact
	}
	premises := map[string]string{"foreign/" + c.signer: c.digest}
	for k, v := range d.Premises {
		premises[k] = v
	}
	d.Premises = premises
}

// claims are the statements about the decision's vulnerability in its
// component, by any of its names.
func claims(d *Decision, documents []Foreign) []claim {
	ids := append([]string{d.ID}, d.Aliases...)
	var out []claim
	for _, f := range documents {
		if f.Document == nil {
			continue
		}
		for i := range f.Document.Statements {
			s := &f.Document.Statements[i]
			about := slices.Contains(ids, string(s.Vulnerability.Name)) ||
				slices.ContainsFunc(s.Vulnerability.Aliases, func(a govex.VulnerabilityID) bool { return slices.Contains(ids, string(a)) })
			if about && slices.ContainsFunc(components(s), func(name string) bool { return samePackage(name, d.PURL) }) {
				out = append(out, claim{s, f.Signer, f.Digest, ""})
			}
		}
	}
	return out
}

// samePackage reports whether a statement's name covers our package: the same
// type, namespace, name and version, and no qualifier that ours has not. A
// name without a version does not cover one: it speaks of whatever was current
// when it was written.
func samePackage(name, purl string) bool {
	a, err := packageurl.FromString(name)
	if err != nil {
		return false
	}
	b, err := packageurl.FromString(purl)
	if err != nil || a.Version == "" {
		return false
	}
	return a.Version == b.Version && govex.PurlMatches(name, purl)
}

// observed reports whether layer 3 saw a mapped function run.
func observed(f *analyze.Finding) bool {
	if f == nil {
		return false
	}
	for _, e := range f.Evidence {
		if e.Layer != analyze.LayerReach {
			continue
		}
		if e.Verdict == analyze.Present || slices.ContainsFunc(e.Functions, func(fn analyze.FunctionFact) bool { return fn.Verdict == analyze.Present }) {
			return true
		}
	}
	return false
}
