package attest

import (
	"encoding/json"
	"fmt"
	"slices"

	prov "github.com/in-toto/attestation/go/predicates/provenance/v1"
	ita "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/source"
)

// buildProvenance is artifact 3: SLSA provenance v1. External parameters are
// the whole specification, so nothing a user can vary is left out; resolved
// dependencies are every source tree with who signed it, and every package of
// the toolchain. Whether the build was hermetic is what the executor measured,
// component by component; whether it is reproducible is not claimed, because
// one build cannot show it.
func buildProvenance(in *Input, f *facts, ev *Evidence) (*product, error) {
	external, err := toStruct(map[string]any{"spec": f.record.Spec, "specDigest": f.record.SpecDigest})
	if err != nil {
		return nil, err
	}
	internal, err := toStruct(internalParameters(f, in.Builder.Level))
	if err != nil {
		return nil, err
	}
	deps, err := sourceDependencies(f)
	if err != nil {
		return nil, err
	}
	deps = append(deps, toolchainDependencies(f)...)
	p := &prov.Provenance{
		BuildDefinition: &prov.BuildDefinition{
			BuildType:            buildType,
			ExternalParameters:   external,
			InternalParameters:   internal,
			ResolvedDependencies: deps,
		},
		RunDetails: &prov.RunDetails{
			Builder:  &prov.Builder{Id: in.Builder.ID},
			Metadata: &prov.BuildMetadata{InvocationId: f.record.SpecDigest + "/" + f.manifest, FinishedOn: timestamppb.New(in.Time)},
			Byproducts: []*ita.ResourceDescriptor{{
				Name:      "build-log.jsonl",
				Digest:    map[string]string{"sha256": hexOf(digestOf(ev.Documents[BuildLog]))},
				MediaType: "application/jsonl",
			}},
		},
	}
	if in.Builder.Version != "" {
		p.RunDetails.Builder.Version = map[string]string{toolURI: in.Builder.Version}
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	b, err := marshalProto(p)
	if err != nil {
		return nil, err
	}
	return &product{predicate: b}, nil
}

// hermetic says whether a measurement shows isolation: no way out was found,
// nothing but a loopback device was seen, in a network namespace.
func hermetic(h compile.Hermetic) bool {
	if h.Reached || !slices.Contains(h.Namespaces, "net") {
		return false
	}
	return !slices.ContainsFunc(h.Interfaces, func(i string) bool { return i != "lo" })
}

type builtComponent struct {
	Name     string           `json:"name"`
	Key      string           `json:"key"`
	Action   compile.Action   `json:"action"`
	Output   string           `json:"output"`
	Units    int              `json:"units"`
	Links    int              `json:"links"`
	Log      string           `json:"log"`
	Hermetic bool             `json:"hermetic"`
	Measured compile.Hermetic `json:"measured"`
	// Excised are functions that the specification had compiled out.
	Excised []compile.Excision `json:"excised,omitempty"`
}

type linkedRuntime struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func internalParameters(f *facts, level int) map[string]any {
	all := len(f.record.Components) > 0
	comps := []builtComponent{}
	for i := range f.record.Components {
		c := &f.record.Components[i]
		h := hermetic(c.Result.Hermetic)
		all = all && h
		comps = append(comps, builtComponent{c.Component.Name, c.Key, c.Action, c.Result.Output.Digest,
			len(c.Result.Units), len(c.Result.Links), c.Log, h, c.Result.Hermetic, c.Result.Excised})
	}
	runtime := []linkedRuntime{}
	for _, c := range f.components {
		for _, o := range c.objects {
			runtime = append(runtime, linkedRuntime{o.name, "sha256:" + o.digest, o.size})
		}
	}
	return map[string]any{
		"cleanstart_hermetic":     all,
		"cleanstart_reproducible": "not assessed",
		"cleanstart_epoch":        f.record.Epoch,
		"cleanstart_components":   comps,
		// What a toolchain links in itself is not from verified source unless
		// the toolchain is: the image's chain begins at this seed.
		"cleanstart_slsa_v01_level4": slsaMatrix(f, level),
		"cleanstart_inheritance":     map[string]any{"seed": f.record.Toolchain.Digest, "linked": runtime},
	}
}

func sourceDependencies(f *facts) ([]*ita.ResourceDescriptor, error) {
	var out []*ita.ResourceDescriptor
	for i := range f.record.Components {
		c := &f.record.Components[i]
		if c.Archive == "" {
			return nil, fmt.Errorf("component %s has no archive digest", c.Component.Name)
		}
		b, err := json.Marshal(source.Describe(c.Component.Component, c.Place, c.Archive, c.Tree, c.Proofs))
		if err != nil {
			return nil, err
		}
		d := new(ita.ResourceDescriptor)
		if err := protojson.Unmarshal(b, d); err != nil {
			return nil, fmt.Errorf("component %s: %w", c.Component.Name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

func toolchainDependencies(f *facts) []*ita.ResourceDescriptor {
	t := f.record.Toolchain
	out := []*ita.ResourceDescriptor{{Name: "toolchain", Uri: "pkg:generic/toolchain@" + hexOf(t.Digest), Digest: map[string]string{"sha256": hexOf(t.Digest)}}}
	for _, p := range t.Packages {
		out = append(out, &ita.ResourceDescriptor{Name: p.Name, Uri: packagePURL(t.Kind, p.Name, p.Version), Digest: map[string]string{"sha256": p.SHA256}})
	}
	return out
}
