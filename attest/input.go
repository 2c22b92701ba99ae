package attest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	govex "github.com/openvex/go-vex/pkg/vex"
	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/vex"
)

// Input is all that the evidence says. Every field is required unless it says
// otherwise.
type Input struct {
	Image     *compile.Image
	Report    *analyze.Report
	Decisions []vex.Decision // one per finding, in any order
	VEX       *govex.VEX     // all statements in one document
	Each      []*govex.VEX   // the same statements, one document each
	Time      time.Time      // when the evidence is made
	Builder   Builder        // optional
	// Supersedes is what this evidence replaces: the evidence manifests of
	// earlier runs of the same name, newest first, as [Verification.Chain] of
	// the last gives them. Empty for the first.
	Supersedes []string
}

// Builder identifies who ran the build. Its id alone determines the level that
// a consumer may grant; the level here is the operator's claim.
type Builder struct {
	ID      string // URI; the embedded local executor when empty
	Version string
	Level   int // SLSA build level claimed, 1 to 3; 1 when zero: a library on a workstation shows no more
}

const (
	localBuilder = "https://github.com/cleanstart/cleanstart/builders/local/v1"
	buildType    = "https://github.com/cleanstart/cleanstart/buildtypes/spec/v1"
	toolURI      = "https://github.com/cleanstart/cleanstart"
	// maxBuildLevel is the highest build level of SLSA 1.2; there is no fourth.
	maxBuildLevel = 3
	// maxChain bounds what a manifest supersedes; a chain that is longer is cut
	// at its old end by who hands it over.
	maxChain = 10_000
)

func (in *Input) check() error {
	switch {
	case in.Image == nil || in.Image.Image == nil || in.Image.Record == nil:
		return errors.New("evidence: no image with a record")
	case in.Report == nil:
		return errors.New("evidence: no analysis report")
	case in.VEX == nil:
		return errors.New("evidence: no VEX document")
	case in.Time.IsZero():
		return errors.New("evidence: no time")
	case in.Builder.Level < 0 || in.Builder.Level > maxBuildLevel:
		return fmt.Errorf("evidence: build level %d: SLSA has levels 1 to %d", in.Builder.Level, maxBuildLevel)
	}
	if d := in.Image.Record.Image.Manifest; in.Report.Image != d {
		return fmt.Errorf("evidence: the report is about image %s, the record about %s", in.Report.Image, d)
	}
	if len(in.Supersedes) > maxChain {
		return fmt.Errorf("evidence: supersedes %d manifests, at most %d are listed", len(in.Supersedes), maxChain)
	}
	for i, d := range in.Supersedes {
		if _, err := v1.NewHash(d); err != nil || slices.Contains(in.Supersedes[:i], d) {
			return fmt.Errorf("evidence: supersedes %q: want the digests of different manifests", d)
		}
	}
	if n := len(in.Report.Findings); len(in.Decisions) != n || len(in.VEX.Statements) != n || len(in.Each) != n {
		return fmt.Errorf("evidence: %d findings, %d decisions, %d merged and %d single VEX statements; want one each per finding",
			n, len(in.Decisions), len(in.VEX.Statements), len(in.Each))
	}
	return nil
}

// Statement is one statement of the evidence before it is signed.
type Statement struct {
	Kind          string // of the eleven
	Name          string // tells several of one kind apart: the vulnerability of a single VEX document
	PredicateType string
	Payload       []byte // the in-toto statement
}

// Evidence is the content of the artifacts, unsigned: statements, and the
// documents that are written as files. It is deterministic in [Input].
type Evidence struct {
	Image      string // manifest digest
	Statements []Statement
	Documents  map[string][]byte // by kind: the file below evidence/, of all kinds but the bundle
	Sums       []byte            // SHA256SUMS
	Counts     Counts
	// ComponentSet is the digest of the sorted package URLs, which the two
	// bills of materials and the licence report share.
	ComponentSet string
	Redactions   int // secrets removed from the build log

	image      *compile.Image
	time       time.Time
	builder    Builder
	supersedes []string
}

// Counts are what the manifest promises about the content.
type Counts struct {
	Components int `json:"components"`
	Files      int `json:"files"`
	Tests      int `json:"tests"`
	Failed     int `json:"failedTests"`
	CVEs       int `json:"cves"`
	VEX        int `json:"vex"`
}

// Build makes the statements and documents.
func Build(ctx context.Context, in Input) (*Evidence, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if in.Builder.ID == "" {
		in.Builder.ID = localBuilder
	}
	if in.Builder.Level == 0 {
		in.Builder.Level = 1
	}
	in.Time = in.Time.UTC().Truncate(time.Second)
	f, err := gather(ctx, &in)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	ev := &Evidence{
		Image:        f.manifest,
		Documents:    map[string][]byte{},
		ComponentSet: componentSet(f.purls()),
		image:        in.Image,
		time:         in.Time,
		builder:      in.Builder,
		supersedes:   in.Supersedes,
	}
	builders := []struct {
		kind string
		make func(*Input, *facts, *Evidence) (*product, error)
	}{
		{BuildLog, buildLog}, // first: the provenance names its digest
		{SBOMCycloneDX, buildCycloneDX},
		{SBOMSPDX, buildSPDX},
		{Provenance, buildProvenance},
		{TestReport, buildTestReport},
		{VulnerabilityReport, buildVulnerabilityReport},
		{VEX, buildVEX},
		{Signature, buildSignature},
		{Hash, buildHash},
		{Licenses, buildLicenses},
	}
	products := make([]*product, len(builders))
	run := func(i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := builders[i].make(&in, f, ev)
		if err != nil {
			return fmt.Errorf("evidence: %s: %w", builders[i].kind, err)
		}
		products[i] = p
		return nil
	}
	if err := run(0); err != nil {
		return nil, err
	}
	ev.Documents[BuildLog] = products[0].document
	var g errgroup.Group // each sets fields of its own
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range builders[1:] {
		g.Go(func() error { return run(i + 1) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, k := range Kinds() {
		for i, b := range builders {
			if b.kind != k.Name {
				continue
			}
			if err := ev.add(b.kind, f, products[i]); err != nil {
				return nil, fmt.Errorf("evidence: %s: %w", b.kind, err)
			}
		}
	}
	ev.Counts.Components = len(f.components)
	for _, c := range f.components {
		ev.Counts.Files += len(c.files)
	}
	return ev, nil
}

// product is what building one kind gives: a predicate, the file where it is
// not the predicate, further subjects, and further predicates by name.
type product struct {
	predicate []byte
	document  []byte // nil: the predicate, or the statement, as the kind says
	subjects  []Subject
	more      []named
}

type named struct {
	name      string
	predicate []byte
}

// add signs nothing: it wraps a product into statements and sets its document.
func (ev *Evidence) add(kind string, f *facts, p *product) error {
	k, ok := kindOf(kind)
	if !ok {
		return fmt.Errorf("no kind %q", kind)
	}
	image := f.subject()
	payload, err := newStatement(append([]Subject{image}, p.subjects...), k.PredicateType, p.predicate)
	if err != nil {
		return err
	}
	ev.Statements = append(ev.Statements, Statement{Kind: kind, PredicateType: k.PredicateType, Payload: payload})
	for _, m := range p.more {
		payload, err := newStatement([]Subject{image}, k.PredicateType, m.predicate)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		ev.Statements = append(ev.Statements, Statement{Kind: kind, Name: m.name, PredicateType: k.PredicateType, Payload: payload})
	}
	switch {
	case p.document != nil:
		ev.Documents[kind] = p.document
	case k.Statement:
		ev.Documents[kind] = ev.Statements[len(ev.Statements)-1-len(p.more)].Payload
	default:
		ev.Documents[kind] = p.predicate
	}
	return nil
}
