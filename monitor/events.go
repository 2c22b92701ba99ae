package monitor

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
)

// The kinds of entry that [Step] writes, and what their data is. Entries of
// other kinds are an embedder's own and are passed over.
const (
	KindImage      = "image"      // ImageEvent: a live image was compared with every advisory
	KindPoll       = "poll"       // PollEvent: the feed had changed
	KindUnreadable = "unreadable" // UnreadableEvent: a record cannot be read and is pending
	KindFinding    = "finding"    // Finding: opened
	KindRetracted  = "retracted"  // RetractedEvent: a finding does not hold any more
	KindNoFix      = "no-fix"     // NoFix
	KindOverdue    = "overdue"    // Finding: its deadline has passed
	KindPlan       = "plan"       // Plan
	KindRebuild    = "rebuild"    // RebuildEvent: begun
	KindFailed     = "failed"     // FailedEvent
	KindReleased   = "released"   // Release: the image was rebuilt as planned and is to be live
	KindReplaced   = "replaced"   // ReplacedEvent: the inventory has it
)

// The kinds that only a [Service] writes.
const (
	KindAssessed = "assessed" // AssessedEvent: an analysis answered a finding
	KindStage    = "stage"    // StageEvent: a stage of a job is done
	KindIncident = "incident" // IncidentEvent: a job ended without a release and is not tried again by itself
	KindOrder    = "order"    // OrderEvent: somebody gave an order
	KindSilent   = "silent"   // SilenceEvent: the feed has not been read whole for too long
	KindHeard    = "heard"    // SilenceEvent: it is read again
)

// Finding is one advisory about one component of one live image.
type Finding struct {
	Image     string    `json:"image"`  // name
	Digest    string    `json:"digest"` // of the image
	Component string    `json:"component"`
	Version   string    `json:"version"`
	PURL      string    `json:"purl,omitempty"`
	Advisory  string    `json:"advisory"`
	Aliases   []string  `json:"aliases,omitempty"`
	Severity  string    `json:"severity,omitempty"`
	Undecided bool      `json:"undecided,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Published time.Time `json:"published,omitzero"` // as the advisory says
	Seen      time.Time `json:"seen"`               // by this monitor, about an image of this name
	Start     time.Time `json:"start"`              // of the clock; never moves later
	Deadline  time.Time `json:"deadline"`
}

func (f *Finding) key() string {
	return strings.Join([]string{f.Image, f.Digest, f.Component, f.Version, f.Advisory}, "\x00")
}

// ImageEvent names an image.
type ImageEvent struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// PollEvent sums up a batch.
type PollEvent struct {
	Feed      string    `json:"feed"`
	New       int       `json:"new,omitempty"`
	Changed   int       `json:"changed,omitempty"`
	Withdrawn int       `json:"withdrawn,omitempty"`
	Deleted   int       `json:"deleted,omitempty"`
	Pending   int       `json:"pending,omitempty"`
	Newest    time.Time `json:"newest,omitzero"`
	Cursor    string    `json:"cursor"` // "sha256:HEX" of the cursor behind it
}

// UnreadableEvent is one record that is pending.
type UnreadableEvent struct {
	Feed   string `json:"feed"`
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"`
	Reason string `json:"reason"`
}

// RetractedEvent takes a finding back.
type RetractedEvent struct {
	Finding Finding `json:"finding"`
	Reason  string  `json:"reason"`
}

// RebuildEvent is one attempt at a plan.
type RebuildEvent struct {
	Plan    string `json:"plan"` // key
	Image   string `json:"image"`
	Attempt int    `json:"attempt"` // from 1
}

// FailedEvent says where an attempt ended. The next step tries again.
type FailedEvent struct {
	Plan   string `json:"plan"`
	Image  string `json:"image"`
	Stage  string `json:"stage"` // rebuild, check, rescan or publish
	Reason string `json:"reason"`
}

// Release is a finished rebuild.
type Release struct {
	Plan       string          `json:"plan"` // key
	Base       string          `json:"base"` // digest it replaces
	Image      inventory.Image `json:"image"`
	Rebuilt    []string        `json:"rebuilt"`            // whose action is another than in the base
	CutOff     []string        `json:"cutOff,omitempty"`   // planned, and not needed: nothing they need came out differently
	Kept       []string        `json:"kept"`               // same action, output and layer
	Executed   []string        `json:"executed,omitempty"` // as the rebuilder says: built now, not taken from a store
	Advisories []string        `json:"advisories"`         // fixed
	Deadline   time.Time       `json:"deadline"`
	Met        bool            `json:"met"` // released before the deadline
}

// ReplacedEvent says that the inventory was changed, or that somebody else had
// changed it before and theirs stayed.
type ReplacedEvent struct {
	Plan   string `json:"plan"`
	Image  string `json:"image"`
	Base   string `json:"base"`
	Digest string `json:"digest"`
	// Superseded: another image than the base was live, and still is.
	Superseded bool `json:"superseded,omitempty"`
}

// state is what the ledger says, folded.
type state struct {
	images map[string]string    // digest of every image that was compared → name
	open   map[string]Finding   // by key
	starts map[string]time.Time // image, component and a name of the advisory → earliest start
	seen   map[string]time.Time // the same → earliest sight
	plans  map[string]*progress
	noted  map[string]bool // what is said only once
	poll   string          // digest of the cursor of the last poll

	assessed  map[string]bool          // keys of findings that an analysis was asked about
	asked     map[string]int           // how often
	answered  map[string]AssessedEvent // those of them that it proved not to apply
	incidents map[string]IncidentEvent // open, by job
	paused    map[string]OrderEvent    // by image; "" is everything
	took      map[Stage]duration
	gone      map[string]string // digest that was replaced → by which
	silent    bool
	seq       uint64 // of the last entry that was folded in
	hash      string // of the same
}

// duration is a mean.
type duration struct {
	n   int
	sum time.Duration
}

// progress is how far a plan is.
type progress struct {
	plan     Plan
	attempts int
	release  *Release
	replaced bool
}

func newState() *state {
	return &state{
		images: map[string]string{}, open: map[string]Finding{}, starts: map[string]time.Time{}, seen: map[string]time.Time{},
		plans: map[string]*progress{}, noted: map[string]bool{},
		assessed: map[string]bool{}, asked: map[string]int{}, answered: map[string]AssessedEvent{}, incidents: map[string]IncidentEvent{},
		paused: map[string]OrderEvent{}, took: map[Stage]duration{}, gone: map[string]string{},
	}
}

// apply folds one entry in. An entry of ours that does not decode is an error:
// acting on half of what was decided could release twice.
func (s *state) apply(e ledger.Entry) error {
	s.seq, s.hash = e.Seq, e.Hash
	switch e.Kind {
	case KindImage:
		return with(e, func(v ImageEvent) { s.images[v.Digest] = v.Name })
	case KindPoll:
		return with(e, func(v PollEvent) { s.poll = v.Cursor })
	case KindUnreadable:
		return with(e, func(v UnreadableEvent) { s.noted[v.note()] = true })
	case KindFinding:
		return with(e, s.opened)
	case KindRetracted:
		return with(e, func(v RetractedEvent) { delete(s.open, v.Finding.key()) })
	case KindNoFix:
		return with(e, func(v NoFix) { s.noted[v.note()] = true })
	case KindOverdue:
		return with(e, func(v Finding) { s.noted[overdueNote(v)] = true })
	case KindPlan:
		return with(e, func(v Plan) { s.plan(v.Key).plan = v })
	case KindRebuild:
		return with(e, func(v RebuildEvent) { s.plan(v.Plan).attempts = v.Attempt })
	case KindReleased:
		return with(e, s.released)
	case KindReplaced:
		return with(e, func(v ReplacedEvent) { s.plan(v.Plan).replaced = true })
	case KindAssessed:
		return with(e, s.assess)
	case KindStage:
		return with(e, func(v StageEvent) {
			d := s.took[v.Stage]
			s.took[v.Stage] = duration{d.n + 1, d.sum + v.Took}
		})
	case KindIncident:
		return with(e, func(v IncidentEvent) { s.incidents[v.Job] = v })
	case KindOrder:
		return with(e, s.order)
	case KindSilent:
		return with(e, func(SilenceEvent) { s.silent = true })
	case KindHeard:
		return with(e, func(SilenceEvent) { s.silent = false })
	}
	return nil
}

func with[T any](e ledger.Entry, do func(T)) error {
	var v T
	if err := json.Unmarshal(e.Data, &v); err != nil {
		return fmt.Errorf("ledger entry %d (%s): %w", e.Seq, e.Kind, err)
	}
	do(v)
	return nil
}

func (s *state) plan(key string) *progress {
	p := s.plans[key]
	if p == nil {
		p = &progress{}
		s.plans[key] = p
	}
	return p
}

func (s *state) opened(f Finding) {
	s.open[f.key()] = f
	delete(s.answered, f.key())
	delete(s.assessed, f.key())
	for _, n := range names(f.Advisory, f.Aliases) {
		k := clockKey(f.Image, f.Component, n)
		earliest(s.starts, k, f.Start)
		earliest(s.seen, k, f.Seen)
	}
}

func (s *state) released(r Release) {
	s.plan(r.Plan).release = &r
	s.gone[r.Base] = r.Image.Digest
	for k, v := range s.incidents {
		if v.Image == r.Image.Name {
			delete(s.incidents, k)
		}
	}
	for k, v := range s.answered {
		if v.Finding.Digest == r.Base {
			delete(s.answered, k)
			delete(s.assessed, k)
		}
	}
	s.images[r.Image.Digest] = r.Image.Name
	for k, f := range s.open {
		if f.Image == r.Image.Name && f.Digest == r.Base {
			delete(s.open, k)
		}
	}
}

func clockKey(image, component, advisory string) string {
	return strings.Join([]string{image, component, advisory}, "\x00")
}

func earliest(m map[string]time.Time, k string, t time.Time) {
	if old, ok := m[k]; !ok || t.Before(old) {
		m[k] = t
	}
}

func (v UnreadableEvent) note() string {
	return strings.Join([]string{KindUnreadable, v.Feed, v.Name, v.Digest}, "\x00")
}

func (v NoFix) note() string {
	return strings.Join([]string{KindNoFix, v.Image, v.Component, v.Version, strings.Join(v.Advisories, " "), v.Reason}, "\x00")
}

func overdueNote(f Finding) string { return KindOverdue + "\x00" + f.key() }
