package analyze

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/compile"
)

// Verdict is a layer's answer about one thing. The zero value is Unknown and
// means "affected" downstream.
type Verdict int

const (
	Unknown Verdict = iota
	Present
	Absent
)

var verdicts = [...]string{Unknown: "unknown", Present: "present", Absent: "absent"}

func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdicts) {
		return fmt.Sprintf("Verdict(%d)", int(v))
	}
	return verdicts[v]
}

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText accepts the names that String writes.
func (v *Verdict) UnmarshalText(b []byte) error {
	for i, s := range verdicts {
		if s == string(b) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q", b)
}

// The names of the four layers.
const (
	LayerAST    = "ast"
	LayerBinary = "binary"
	LayerReach  = "reach"
	LayerUsage  = "usage"
)

// Subject is what is analysed. Rootfs is the image's file system as one
// directory on this machine; Image gives the record, the trees and the debug
// parts.
type Subject struct {
	Image  *compile.Image
	Rootfs string // directory; read-only
	Work   string // directory for temporary files
}

// Part reads one part of a component's output.
func (s *Subject) Part(component, part string) (fs.FS, error) { return s.Image.Part(component, part) }

// Candidate is one advisory that matches one component by version.
type Candidate struct {
	Advisory  *advisory.Advisory `json:"advisory"`
	Component string             `json:"component"`
	Version   string             `json:"version"`
	PURL      string             `json:"purl"`
}

// Layer is one analysis. Examine returns exactly one Evidence per candidate,
// in the candidates' order; an error makes every one of them Unknown.
type Layer struct {
	Name    string // one of the four
	Doc     string // what it answers, its soundness and its blind spots
	Examine func(ctx context.Context, s *Subject, cands []Candidate) ([]Evidence, error)
}

// Evidence is what one layer says of one candidate.
type Evidence struct {
	Layer     string         `json:"layer"`
	Verdict   Verdict        `json:"verdict"` // over all mapped functions: Absent only if every one is Absent
	Reason    string         `json:"reason"`
	Functions []FunctionFact `json:"functions,omitempty"` // one per function of the advisory's map, in its order
	// Fixed is the ast layer's answer whether every fix patch is in the
	// compiled source; Linked is the binary layer's answer whether any
	// compiled input of a shipped file comes from the component; Closed is the
	// usage layer's answer whether the world is closed (no unresolved dlsym).
	// Each is Unknown from the other layers.
	Fixed      Verdict           `json:"fixed"`
	Linked     Verdict           `json:"linked"`
	Closed     Verdict           `json:"closed"`
	Conditions []ConditionFact   `json:"conditions,omitempty"`
	Facts      map[string]string `json:"facts,omitempty"`    // machine-readable, layer-specific
	Premises   map[string]string `json:"premises,omitempty"` // what the verdict rests on: name → digest
	Error      string            `json:"error,omitempty"`
}

// FunctionFact is what a layer says of one mapped function.
type FunctionFact struct {
	File    string   `json:"file"`
	Name    string   `json:"name"`
	Verdict Verdict  `json:"verdict"`
	How     string   `json:"how,omitempty"`   // symbol, inlined, line-row, live, not-live, observed, …
	Where   []string `json:"where,omitempty"` // ELF files, objects or units, sorted
}

// ConditionFact is one reviewed condition of an advisory, evaluated: Present
// when the condition of the flaw holds in this build, Absent when it is
// proved false.
type ConditionFact struct {
	Condition advisory.Condition `json:"condition"`
	Verdict   Verdict            `json:"verdict"`
	Reason    string             `json:"reason"`
}

// Finding is a candidate with the evidence of every layer that was run.
type Finding struct {
	Candidate
	Evidence []Evidence `json:"evidence"` // in layer order
	// Conditions are the conditions of the advisory's map, in its order,
	// evaluated from what the layers say of their leaves (see [Evaluate]).
	Conditions []ConditionFact `json:"conditions,omitempty"`
}

// Layer is the evidence of the named layer, or an Unknown one that says the
// layer was not run.
func (f *Finding) Layer(name string) Evidence {
	for _, e := range f.Evidence {
		if e.Layer == name {
			return e
		}
	}
	return Evidence{Layer: name, Reason: "layer was not run"}
}

// Exclusion is an advisory about a component of the image whose upstream range
// does not hold the version: no finding, but logged.
type Exclusion struct {
	ID        string `json:"id"`
	Component string `json:"component"`
	Version   string `json:"version"`
	Reason    string `json:"reason"`
}

// Report is the whole analysis of one image.
type Report struct {
	Image      string       `json:"image"` // manifest digest
	Advisories Database     `json:"advisories"`
	Started    time.Time    `json:"started"`
	Finished   time.Time    `json:"finished"`
	Findings   []Finding    `json:"findings"`   // sorted by component, then advisory id
	Excluded   []Exclusion  `json:"excluded"`   // sorted alike
	Protection []Protection `json:"protection"` // per ELF file of the image, sorted by path
	Coverage   Coverage     `json:"coverage"`
	Tests      []TestResult `json:"tests"`           // sorted by id
	Scans      []Scan       `json:"scans,omitempty"` // sorted by component
}

// Scan is what the rules of layer 1 found in the source of one component. It
// is advice: no verdict rests on it, and what it does not name may be there
// all the same.
type Scan struct {
	Component string     `json:"component"`
	Rules     int        `json:"rules"`             // that were asked
	Units     int        `json:"units"`             // that were checked
	Skipped   []string   `json:"skipped,omitempty"` // units that were not, each with the reason; sorted
	Found     []Weakness `json:"found,omitempty"`   // by file and line
	// How many of either were left out to keep the report bounded. The most
	// severe are kept.
	MoreSkipped int `json:"moreSkipped,omitempty"`
	MoreFound   int `json:"moreFound,omitempty"`
}

// Weakness is one finding of a rule.
type Weakness struct {
	Rule     string `json:"rule"`
	CWE      int    `json:"cwe"`
	Severity string `json:"severity"` // low, medium, high
	Message  string `json:"message"`
	File     string `json:"file"` // in the upstream tree
	Line     int    `json:"line"`
	Function string `json:"function,omitempty"`
}

// Database identifies the advisories that were used.
type Database struct {
	Records  int       `json:"records"`
	Digest   string    `json:"digest"`   // over the records' bytes, sorted by id
	Modified time.Time `json:"modified"` // newest of the records
}

// Protection is the hardening of one ELF file.
type Protection struct {
	Path  string    `json:"path"`
	Facts []Feature `json:"facts"` // sorted by name
}

// Feature is one hardening property: Present, Absent or Unknown, with what
// was seen.
type Feature struct {
	Name    string  `json:"name"` // pie, relro, bind-now, nx, canary, fortify, cet-ibt, cet-shstk, stack-clash, rpath, textrel
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"`
}

// Coverage says how much the workload exercised.
type Coverage struct {
	Armed    int `json:"armed"`    // functions under observation
	Observed int `json:"observed"` // of those, executed
	Runs     int `json:"runs"`     // workload processes
}

// Status of one test.
type Status string

const (
	Passed        Status = "passed"
	Failed        Status = "failed"
	Waived        Status = "waived"         // failed, and excused by name until a date
	NotApplicable Status = "not-applicable" // counts as failed for an image that has a record
)

// TestResult is the result of one test of the suite.
type TestResult struct {
	ID     string          `json:"id"`
	Title  string          `json:"title"`
	Family string          `json:"family"`
	Status Status          `json:"status"`
	Detail []string        `json:"detail,omitempty"` // what was seen; on failure names what, where
	Waiver *compile.Waiver `json:"waiver,omitempty"`
}
