package attest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// State is what verification found of one artifact. The zero value is Missing:
// what was not shown to be there is not there.
type State int

const (
	Missing State = iota // not there
	Present              // there, whole, signed, and in agreement with the rest
	Forged               // bytes or signature are not the signer's
	Stale                // the signer's, but superseded, outside the key's window, or about an earlier image of the name
	Foreign              // there and not part of the set: about something else, added later, or nobody's
)

var states = [...]string{Missing: "missing", Present: "present", Forged: "forged", Stale: "stale", Foreign: "foreign"}

func (s State) String() string {
	if s < 0 || int(s) >= len(states) {
		return fmt.Sprintf("State(%d)", int(s))
	}
	return states[s]
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts the names that String writes.
func (s *State) UnmarshalText(b []byte) error {
	for i, n := range states {
		if n == string(b) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown state %q", b)
}

// Problem is one thing that is wrong, with the artifact it concerns: one of the
// eleven kinds, or manifest, vsa, checksums, image, layout, key, trust, extra.
type Problem struct {
	Artifact string `json:"artifact"`
	State    State  `json:"state"`
	Path     string `json:"path,omitempty"` // in the directory
	Detail   string `json:"detail"`
}

func (p Problem) String() string {
	s := p.Artifact + ": " + p.State.String() + ": " + p.Detail
	if p.Path != "" {
		s += " (" + p.Path + ")"
	}
	return s
}

// Artifact is the verdict on one of the eleven.
type Artifact struct {
	Number     int        `json:"number"`
	Kind       string     `json:"kind"`
	Title      string     `json:"title"`
	State      State      `json:"state"`
	Statements int        `json:"statements"` // that verified
	SignedAt   *time.Time `json:"signedAt,omitempty"`
	Problems   []string   `json:"problems,omitempty"`
}

// Verification is the result of checking one output directory.
type Verification struct {
	OK         bool       `json:"ok"` // every artifact present, and no problem
	Image      string     `json:"image,omitempty"`
	Name       string     `json:"name,omitempty"`
	Policy     string     `json:"policy,omitempty"`
	Key        string     `json:"key,omitempty"`        // hint of the key that signed
	CoSigners  []string   `json:"coSigners,omitempty"`  // hints of the further trusted keys that signed the evidence manifest
	KeySource  string     `json:"keySource,omitempty"`  // caller, or directory: then integrity is shown, origin is not
	TimeSource string     `json:"timeSource,omitempty"` // self or third-party, as the manifest states
	SignedAt   *time.Time `json:"signedAt,omitempty"`   // of the evidence manifest
	Counts     Counts     `json:"counts"`
	Artifacts  []Artifact `json:"artifacts"` // the eleven, in order
	Problems   []Problem  `json:"problems"`
	// Manifest is the evidence manifest that verified, nil without one;
	// ManifestDigest is the digest of its statement, for Options.Last.
	Manifest       *Manifest `json:"manifest,omitempty"`
	ManifestDigest string    `json:"manifestDigest,omitempty"`
}

// Chain is what evidence that is made next supersedes: this manifest, and what
// it superseded. It is empty without a manifest.
func (v *Verification) Chain() []string {
	if v.Manifest == nil {
		return nil
	}
	return append([]string{v.ManifestDigest}, v.Manifest.Supersedes...)
}

// Artifact is the verdict on one kind.
func (v *Verification) Artifact(kind string) Artifact {
	for _, a := range v.Artifacts {
		if a.Kind == kind {
			return a
		}
	}
	return Artifact{Kind: kind}
}

// Err is nil when everything is in order; otherwise its text names every
// artifact concerned.
func (v *Verification) Err() error {
	if v.OK {
		return nil
	}
	var names []string
	for _, p := range v.Problems {
		if n := p.Artifact + " " + p.State.String(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return fmt.Errorf("evidence of %s does not verify: %s", v.Image, strings.Join(names, ", "))
}

// WriteText prints the verdict for people, one line an artifact.
func (v *Verification) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "image      %s\n", orNone(v.Image))
	if v.Name != "" {
		fmt.Fprintf(&b, "name       %s\n", v.Name)
	}
	source := v.KeySource
	if source == keyFromDirectory {
		source += "; this shows integrity, not origin: compare the key with one you trust"
	}
	fmt.Fprintf(&b, "key        %s (from the %s)\n", orNone(v.Key), source)
	for _, k := range v.CoSigners {
		fmt.Fprintf(&b, "co-signer  %s\n", k)
	}
	if v.TimeSource != "" {
		fmt.Fprintf(&b, "time       %s\n", v.TimeSource)
	}
	for _, a := range v.Artifacts {
		mark := "ok"
		if a.State != Present {
			mark = "FAIL"
		}
		fmt.Fprintf(&b, "%-4s %2d  %-21s %-8s", mark, a.Number, a.Kind, a.State)
		if a.Statements > 1 {
			fmt.Fprintf(&b, " %d statements", a.Statements)
		}
		if a.SignedAt != nil {
			fmt.Fprintf(&b, " signed %s", a.SignedAt.Format(time.RFC3339))
		}
		b.WriteByte('\n')
	}
	for _, p := range v.Problems {
		fmt.Fprintf(&b, "problem    %s\n", p)
	}
	if v.OK {
		c := v.Counts
		fmt.Fprintf(&b, "verified   %d components, %d files, %d tests, %d CVEs with %d VEX statements\n", c.Components, c.Files, c.Tests, c.CVEs, c.VEX)
	} else {
		fmt.Fprintf(&b, "REFUSED    %d problems\n", len(v.Problems))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
