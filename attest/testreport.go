package attest

import (
	"fmt"

	testresult "github.com/in-toto/attestation/go/predicates/test_result/v0"
	ita "github.com/in-toto/attestation/go/v1"

	"github.com/cleanstart/cleanstart/analyze"
)

// buildTestReport is artifact 5: every test of the suite by id. A waived test
// is a warning, and one that did not apply counts as failed: a report with
// gaps must not look clean. What each test saw is in the annotations of the
// configuration, which also pins the list of tests by digest.
func buildTestReport(in *Input, _ *facts, ev *Evidence) (*product, error) {
	p := &testresult.TestResult{Result: "PASSED"}
	type listed struct {
		ID     string `json:"id"`
		Title  string `json:"title"`
		Family string `json:"family"`
	}
	list := []listed{}
	seen := map[string]bool{}
	for _, t := range in.Report.Tests {
		if t.ID == "" || seen[t.ID] {
			return nil, fmt.Errorf("test id %q is empty or not unique", t.ID)
		}
		seen[t.ID] = true
		list = append(list, listed{t.ID, t.Title, t.Family})
		switch t.Status {
		case analyze.Passed:
			p.PassedTests = append(p.PassedTests, t.ID)
		case analyze.Waived:
			p.WarnedTests = append(p.WarnedTests, t.ID)
		default:
			p.FailedTests = append(p.FailedTests, t.ID)
		}
	}
	switch {
	case len(p.FailedTests) > 0 || len(list) == 0:
		p.Result = "FAILED"
	case len(p.WarnedTests) > 0:
		p.Result = "WARNED"
	}
	suite, err := marshal(list)
	if err != nil {
		return nil, err
	}
	notes, err := toStruct(map[string]any{"tests": in.Report.Tests, "protection": in.Report.Protection, "coverage": in.Report.Coverage})
	if err != nil {
		return nil, err
	}
	p.Configuration = []*ita.ResourceDescriptor{{
		Name:        "suite",
		Uri:         toolURI,
		Digest:      map[string]string{"sha256": hexOf(digestOf(suite))},
		Annotations: notes,
	}}
	b, err := marshalProto(p)
	if err != nil {
		return nil, err
	}
	ev.Counts.Tests, ev.Counts.Failed = len(list), len(p.FailedTests)
	return &product{predicate: b}, nil
}
