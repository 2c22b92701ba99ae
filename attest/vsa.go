package attest

import (
	"fmt"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// summary is a SLSA verification summary whose input attestations are the
// whole set: the specification says that a list which is not empty must be
// complete, which makes it the one standard form of a closed set. The level is
// the builder's claim and never above what SLSA defines; the result is that of
// the test suite.
func summary(ev *Evidence, entries []Entry) ([]byte, error) {
	s := &vsa.VerificationSummary{
		Verifier:           &vsa.VerificationSummary_Verifier{Id: ev.builder.ID},
		TimeVerified:       timestamppb.New(ev.time),
		ResourceUri:        imagePURL(ev.image.Record.Spec.Name, ev.Image),
		Policy:             &vsa.VerificationSummary_Policy{Uri: toolURI + "/policies/" + policy},
		VerificationResult: "PASSED",
		VerifiedLevels:     []string{fmt.Sprintf("SLSA_BUILD_LEVEL_%d", ev.builder.Level)},
		SlsaVersion:        "1.2",
	}
	if ev.Counts.Failed > 0 || ev.Counts.Tests == 0 {
		s.VerificationResult = "FAILED"
		s.VerifiedLevels = []string{"FAILED"}
	}
	for _, e := range entries {
		if e.PredicateType == "" {
			continue
		}
		s.InputAttestations = append(s.InputAttestations, &vsa.VerificationSummary_InputAttestation{
			Uri:    "oci:blobs/sha256/" + hexOf(e.Blob),
			Digest: map[string]string{"sha256": hexOf(e.Blob)},
		})
	}
	b, err := marshalProto(s)
	if err != nil {
		return nil, err
	}
	subject := Subject{Name: ev.image.Record.Spec.Name, Digest: map[string]string{"sha256": hexOf(ev.Image)}}
	return newStatement([]Subject{subject}, vsaPredicate, b)
}
