package attest

import (
	"fmt"
	"strings"

	vulns "github.com/in-toto/attestation/go/predicates/vulns/v02"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/vex"
)

// finding is the annotation of one result: the candidate, the four layers'
// evidence, and the decision it ended in.
type finding struct {
	Component     string                `json:"component"`
	Version       string                `json:"version"`
	PURL          string                `json:"purl"`
	Aliases       []string              `json:"aliases,omitempty"`
	Advisory      string                `json:"advisory"` // digest
	Completeness  advisory.Completeness `json:"completeness"`
	Status        string                `json:"status"`
	Justification string                `json:"justification,omitempty"`
	Rule          string                `json:"rule"`
	Reason        string                `json:"reason"`
	Layers        []analyze.Evidence    `json:"layers"` // always four
}

// buildVulnerabilityReport is artifact 6: every candidate, silenced or not,
// with the map of the four layers.
func buildVulnerabilityReport(in *Input, _ *facts, ev *Evidence) (*product, error) {
	r := in.Report
	p := &vulns.Vulns{
		Scanner: &vulns.Scanner{
			Uri: toolURI,
			Db: &vulns.VulnDatabase{
				Uri:        proto.String("pkg:generic/osv-records@" + hexOf(r.Advisories.Digest)),
				Version:    proto.String(fmt.Sprintf("%d records, %s", r.Advisories.Records, r.Advisories.Digest)),
				LastUpdate: timestamppb.New(r.Advisories.Modified),
			},
		},
		Metadata: &vulns.ScanMetadata{ScanStartedOn: timestamppb.New(r.Started), ScanFinishedOn: timestamppb.New(r.Finished)},
	}
	if in.Builder.Version != "" {
		p.Scanner.Version = proto.String(in.Builder.Version)
	}
	decided := map[string]vex.Decision{}
	for _, d := range in.Decisions {
		key := pairKey(d.ID, d.PURL)
		if _, dup := decided[key]; dup {
			return nil, fmt.Errorf("two decisions for %s in %s", d.ID, d.Component)
		}
		decided[key] = d
	}
	for i := range r.Findings {
		res, err := vulnResult(&r.Findings[i], decided)
		if err != nil {
			return nil, err
		}
		p.Scanner.Result = append(p.Scanner.Result, res)
	}
	b, err := marshalProto(p)
	if err != nil {
		return nil, err
	}
	ev.Counts.CVEs = len(r.Findings)
	return &product{predicate: b}, nil
}

func vulnResult(f *analyze.Finding, decided map[string]vex.Decision) (*vulns.Result, error) {
	d, ok := decided[pairKey(f.Advisory.ID, f.PURL)]
	if !ok {
		return nil, fmt.Errorf("no decision for %s in %s", f.Advisory.ID, f.Component)
	}
	note := finding{
		Component: f.Component, Version: f.Version, PURL: f.PURL, Aliases: f.Advisory.Aliases,
		Advisory: f.Advisory.Digest, Completeness: f.Advisory.Map.Completeness,
		Status: string(d.Status), Justification: string(d.Justification), Rule: d.Rule, Reason: d.Reason,
	}
	if note.Completeness == "" {
		note.Completeness = advisory.None
	}
	for _, name := range []string{analyze.LayerAST, analyze.LayerBinary, analyze.LayerReach, analyze.LayerUsage} {
		note.Layers = append(note.Layers, f.Layer(name))
	}
	s, err := toStruct(note)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Advisory.ID, err)
	}
	res := &vulns.Result{Id: f.Advisory.ID, Annotations: []*structpb.Struct{s}}
	if sev := f.Advisory.Severity; sev != "" {
		method := "source"
		if m, _, isVector := strings.Cut(sev, "/"); isVector && strings.HasPrefix(m, "CVSS:") {
			method = m
		}
		res.Severity = []*vulns.Result_Severity{{Method: method, Score: sev}}
	} else {
		res.Severity = []*vulns.Result_Severity{{Method: "source", Score: "unknown"}}
	}
	return res, nil
}

// pairKey identifies a finding: one vulnerability in one component.
func pairKey(id, purl string) string { return id + "\x00" + purl }
