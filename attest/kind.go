package attest

// The names of the eleven kinds.
const (
	SBOMCycloneDX       = "sbom-cyclonedx"
	SBOMSPDX            = "sbom-spdx"
	Provenance          = "provenance"
	BuildLog            = "build-log"
	TestReport          = "test-report"
	VulnerabilityReport = "vulnerability-report"
	VEX                 = "vex"
	Signature           = "signature"
	Bundle              = "bundle"
	Hash                = "hash"
	Licenses            = "licenses"
)

// Kind is one row of the table.
type Kind struct {
	Number        int
	Name          string
	Title         string
	PredicateType string // of its statement; empty for the bundle, which is made of the others
	File          string // name below evidence/
	MediaType     string // of that file
	// Statement says that the file is the in-toto statement itself. Otherwise
	// it is a document with a format of its own: the statement's predicate, or
	// what the statement refers to by digest.
	Statement bool
}

const inTotoStatement = "application/vnd.in-toto+json"

// Kinds is the closed table of the eleven artifacts, in order. Predicate types
// are the unversioned ones where both exist: clients match them exactly.
func Kinds() [11]Kind {
	return [11]Kind{
		{1, SBOMCycloneDX, "Bill of materials, CycloneDX 1.6", "https://cyclonedx.org/bom", "sbom-cyclonedx.json", "application/vnd.cyclonedx+json", false},
		{2, SBOMSPDX, "Bill of materials, SPDX 2.3", "https://spdx.dev/Document", "sbom-spdx.json", "application/spdx+json", false},
		{3, Provenance, "Build provenance, SLSA 1", "https://slsa.dev/provenance/v1", "provenance.json", inTotoStatement, true},
		{4, BuildLog, "Build log", "https://in-toto.io/attestation/reference/v0.1", "build-log.jsonl", "application/jsonl", false},
		{5, TestReport, "Test report", "https://in-toto.io/attestation/test-result/v0.1", "test-report.json", inTotoStatement, true},
		{6, VulnerabilityReport, "Vulnerability report", "https://in-toto.io/attestation/vulns/v0.2", "vulnerability-report.json", inTotoStatement, true},
		{7, VEX, "VEX, OpenVEX", "https://openvex.dev/ns", "vex.json", "application/vnd.openvex+json", false},
		{8, Signature, "Signature of the image", "https://sigstore.dev/cosign/sign/v1", "signature.json", inTotoStatement, true},
		{9, Bundle, "Bundle of every attestation", "", "bundle.jsonl", "application/vnd.in-toto.bundle", false},
		{10, Hash, "Hashes of manifest, layers and files", "https://in-toto.io/attestation/release/v0.2", "hash.json", inTotoStatement, true},
		{11, Licenses, "Licences, declared and concluded", "https://github.com/cleanstart/cleanstart/predicates/licenses/v0.1", "licenses.json", inTotoStatement, true},
	}
}

// kindOf finds a kind by name.
func kindOf(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// Predicate types beside those of the eleven.
const (
	manifestPredicate = "https://github.com/cleanstart/cleanstart/predicates/evidence-manifest/v0.1"
	vsaPredicate      = "https://slsa.dev/verification_summary/v1"
)

// Names of roles beside the eleven, in the manifest and in a [Verification].
const (
	roleManifest = "manifest"
	roleVSA      = "vsa"
	roleSums     = "checksums"
	roleImage    = "image"
	roleLayout   = "layout"
	roleKey      = "key"
	roleTrust    = "trust"
	roleExtra    = "extra"
)

// nameOfPredicate is the role that a predicate type belongs to, or "".
func nameOfPredicate(t string) string {
	switch t {
	case "":
		return ""
	case manifestPredicate:
		return roleManifest
	case vsaPredicate:
		return roleVSA
	}
	for _, k := range Kinds() {
		if k.PredicateType == t {
			return k.Name
		}
	}
	return ""
}
