package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Stage is one step of a job. What a stage gave is durable before the next one
// begins, and is not asked for again.
type Stage string

// The stages of an assessment, of a build and of a release, in order.
const (
	StageAssess Stage = "assess" // do the findings affect the image that is live?
	StageVEX    Stage = "vex"    // publish the answers that no

	StageVerify  Stage = "verify"  // the sources of what is exchanged
	StageCompile Stage = "compile" // it and what needs it

	StageAssemble Stage = "assemble" // the image; what was kept comes from the store
	StageAnalyze  Stage = "analyze"  // the new image, by every layer
	StageTest     Stage = "test"     // all tests
	StageAttest   Stage = "attest"   // sign the evidence, last
	StagePublish  Stage = "publish"  // to where users take it from
	StagePromote  Stage = "promote"  // the monitor's own: ledger and portfolio, in one transaction
	StageAnnounce Stage = "announce" // tell whoever wants to know
)

// The kinds of job. A build is shared by all releases that exchange the same
// components in the same surroundings.
const (
	JobTurn    = "turn"
	JobAssess  = "assess"
	JobBuild   = "build"
	JobRelease = "release"
)

func stagesOf(kind string) []Stage {
	switch kind {
	case JobAssess:
		return []Stage{StageAssess, StageVEX}
	case JobBuild:
		return []Stage{StageVerify, StageCompile}
	case JobRelease:
		return []Stage{StageAssemble, StageAnalyze, StageTest, StageAttest, StagePublish, StagePromote, StageAnnounce}
	}
	return nil
}

// Pipeline does the work of a stage. It is called at least once for each, again
// after a crash or a failure, and must then do the same without doing it twice:
// a build finds its outputs in a store, a push finds its blobs and its tag
// there. It may be called from several goroutines, never for one job at a time.
type Pipeline interface {
	Do(ctx context.Context, t Task) (Output, error)
}

// Task is what a stage works on.
type Task struct {
	Job      string // key: the same work has the same one
	Stage    Stage
	Plan     *Plan            // nil in an assessment
	Base     *inventory.Image // the image that is live; in a build, that of the first plan; nil when it was replaced
	Findings []Finding        // what the image is rebuilt for, or what is asked
	Earlier  []StageDone      // of this job, and for a release of its build before
}

// Data is what an earlier stage gave for later ones; nil where there was none.
func (t *Task) Data(s Stage) json.RawMessage {
	for _, d := range t.Earlier {
		if d.Stage == s {
			return d.Output.Data
		}
	}
	return nil
}

// Image is the image that was assembled; nil before.
func (t *Task) Image() *inventory.Image {
	for _, d := range t.Earlier {
		if d.Output.Image != nil {
			return d.Output.Image
		}
	}
	return nil
}

// Output is what a stage gives. It is kept with the job.
type Output struct {
	Data        json.RawMessage  `json:"data,omitempty"`        // the pipeline's own, for its later stages
	Executed    []string         `json:"executed,omitempty"`    // of compile: what was built now and not taken from a store
	Image       *inventory.Image `json:"image,omitempty"`       // of assemble, required
	Assessments []Assessment     `json:"assessments,omitempty"` // of assess and analyze
	Tests       *Tests           `json:"tests,omitempty"`       // of test, required
}

// StageDone is a stage that is behind.
type StageDone struct {
	Stage  Stage         `json:"stage"`
	Output Output        `json:"output"`
	Began  time.Time     `json:"began"`
	Took   time.Duration `json:"took"`
}

// Assessment is what an analysis says of one advisory about one component.
type Assessment struct {
	Component string `json:"component"`
	Advisory  string `json:"advisory"`
	Status    string `json:"status"` // as OpenVEX has it
	// Rule is the row of the decision table, and Evidence the digest of what the
	// answer rests on. An answer without both silences nothing.
	Rule     string `json:"rule,omitempty"`
	Evidence string `json:"evidence,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// silences reports whether the answer takes a finding away.
func (a *Assessment) silences() bool {
	return (a.Status == "not_affected" || a.Status == "fixed") && a.Rule != "" && a.Evidence != ""
}

// Suite is how many tests an image must pass, all of them.
const Suite = 78

// Tests is the outcome of the suite.
type Tests struct {
	Executed int      `json:"executed"`
	Passed   int      `json:"passed"`           // those waived by name with a reason count
	Failed   []string `json:"failed,omitempty"` // each with what it found
	Evidence string   `json:"evidence,omitempty"`
}

// ErrFinal marks an error of a pipeline that trying again does not mend: the
// job ends with an incident.
var ErrFinal = errors.New("trying again will not help")

// AssessedEvent is an answer to a finding.
type AssessedEvent struct {
	Finding    Finding    `json:"finding"`
	Assessment Assessment `json:"assessment"`
	Silenced   bool       `json:"silenced"` // it does not apply, and a VEX document says so
}

// StageEvent is a stage that was done.
type StageEvent struct {
	Job   string        `json:"job"`
	Plan  string        `json:"plan,omitempty"`
	Image string        `json:"image"`
	Base  string        `json:"base"`
	Stage Stage         `json:"stage"`
	Took  time.Duration `json:"took"`
	Tests *Tests        `json:"tests,omitempty"`
}

// IncidentEvent says why a job came to nothing, with the evidence.
type IncidentEvent struct {
	Job    string   `json:"job"`
	Kind   string   `json:"kind"`
	Image  string   `json:"image"`
	Base   string   `json:"base"`
	Stage  Stage    `json:"stage"`
	Reason string   `json:"reason"`
	Failed []string `json:"failed,omitempty"` // tests, each with what it found
	// Evidence is a digest of the report that the tests gave.
	Evidence string `json:"evidence,omitempty"`
}

// SilenceEvent is about a feed that fell silent, or is heard again.
type SilenceEvent struct {
	Feed  string    `json:"feed"`
	Heard time.Time `json:"heard,omitzero"` // when it was read whole the last time
}

// check refuses an output without what the stage must give.
func (o *Output) check(s Stage, p *Plan, base *inventory.Image) error {
	switch s {
	case StageAssemble:
		if o.Image == nil {
			return fmt.Errorf("%w: no image was given", ErrFinal)
		}
		if err := o.Image.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrFinal, err)
		}
		if _, err := compare(p, base, o.Image); err != nil {
			return fmt.Errorf("%w: %w", ErrFinal, err)
		}
	case StageTest:
		switch t := o.Tests; {
		case t == nil:
			return fmt.Errorf("%w: no outcome of the tests was given", ErrFinal)
		case t.Executed != Suite || t.Passed != Suite || len(t.Failed) > 0:
			return fmt.Errorf("%w: %d of %d tests were executed and %d passed", ErrFinal, t.Executed, Suite, t.Passed)
		}
	}
	return nil
}

func (s *state) assess(v AssessedEvent) {
	k := v.Finding.key()
	s.assessed[k] = true
	s.asked[k]++
	if v.Silenced {
		delete(s.open, k)
		s.answered[k] = v
	}
}
