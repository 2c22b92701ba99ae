package attest

// requirement is one row of the matrix of SLSA v0.1's level 4. That level no
// longer exists: SLSA 1.2 has build levels up to 3. Its twenty requirements
// are still what people mean by it, so each is answered by name.
type requirement struct {
	ID       string `json:"id"`
	Group    string `json:"group"`
	Status   string `json:"status"` // met, not-met, not-assessed, asserted
	Why      string `json:"why"`
	Evidence string `json:"evidence,omitempty"` // digest
}

const (
	met         = "met"
	notMet      = "not-met"
	notAssessed = "not-assessed"
	asserted    = "asserted" // by the operator of the builder, not shown by the build
)

// slsaMatrix answers the twenty requirements. What only an organisation can
// know is not assessed; what only a hosted builder can give is asserted from
// the level that its operator claims, or not met.
func slsaMatrix(f *facts, level int) []requirement {
	claim := func(least int, why string) (string, string) {
		if level >= least {
			return asserted, "claimed by the builder's operator"
		}
		return notMet, why
	}
	isHermetic := met
	for i := range f.record.Components {
		if !hermetic(f.record.Components[i].Result.Hermetic) {
			isHermetic = notMet
		}
	}
	if len(f.record.Components) == 0 {
		isHermetic = notAssessed
	}
	service, whyService := claim(2, "built by an embedded library, not by a hosted service")
	generated, whyGenerated := claim(2, "provenance is made by the process that builds")
	falsify, whyFalsify := claim(3, "the signing key is within reach of the process that builds")
	org := "only the upstream project or its host can show it"
	platform := "only the operator of the platform can show it"
	spec, tools := f.record.SpecDigest, f.record.Toolchain.Digest
	return []requirement{
		{"version-controlled", "source", notAssessed, org, ""},
		{"verified-history", "source", notAssessed, org, ""},
		{"retained-indefinitely", "source", notAssessed, org, ""},
		{"two-person-reviewed", "source", notAssessed, org, ""},
		{"scripted-build", "build", met, "every command comes from the recorded recipe", spec},
		{"build-service", "build", service, whyService, ""},
		{"build-as-code", "build", met, "the specification is a file with a digest", spec},
		{"ephemeral-environment", "build", isHermetic, "a root and a copy of the tree for each action, in namespaces as measured from inside", tools},
		{"isolated", "build", isHermetic, "namespaces as measured from inside, by component", ""},
		{"parameterless", "build", met, "the specification is the only external parameter", spec},
		{"hermetic", "build", isHermetic, "network devices and a probe as measured from inside, by component", ""},
		{"reproducible", "build", notAssessed, "one build cannot show it", ""},
		{"available", "provenance", met, "attached to the image", ""},
		{"authenticated", "provenance", met, "signed and time-stamped", ""},
		{"service-generated", "provenance", generated, whyGenerated, ""},
		{"non-falsifiable", "provenance", falsify, whyFalsify, ""},
		{"dependencies-complete", "provenance", met, "every tree and every toolchain package by digest; the build had no other input", tools},
		{"security", "common", notAssessed, platform, ""},
		{"access", "common", notAssessed, platform, ""},
		{"superusers", "common", notAssessed, platform, ""},
	}
}
