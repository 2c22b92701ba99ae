package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cleanstart/cleanstart/monitor/ledger"
)

// Report is what an auditor asks about a period: every flaw that a live image
// had in it, since when, until when, and whether the promise was kept.
type Report struct {
	From, To  time.Time
	Head      ledger.Head // of the last entry that the report takes in
	Exposures []Exposure  // sorted by start, image, component and advisory
	Fixed     int         // ended in the period by a release
	Retracted int         // ended in the period because they did not hold
	Open      int         // at the end of the period
	Missed    int         // whose deadline passed before they ended, or before the end of the period
	Longest   time.Duration
	Releases  int
	Failures  int           // attempts at a rebuild
	Polls     int           // that found the feed changed
	ClockBack int           // entries for which the clock had gone back
	Releasing time.Duration // from the sight of a flaw to its release, of those fixed: the longest
}

// State is where a finding stands.
type State string

// An exposure is on track, or it ended, or its deadline passed.
const (
	OnTrack       State = "on-track"
	Late          State = "late" // open behind its deadline
	FixedState    State = "fixed"
	FixedLate     State = "fixed-late"
	RetractedLate State = "retracted-late"
	Retraction    State = "retracted"
)

// Exposure is one advisory about one component of images of one name, as far as
// the ledger shows it up to the end of the period. It goes on through releases
// that do not fix it.
type Exposure struct {
	Finding Finding
	State   State
	Decided time.Time // a plan was made; zero where there was none
	Ended   time.Time // zero while it is open
	Window  time.Duration
	Digest  string // of the image that took its place
	Reason  string // of a retraction
}

// NewReport reads a ledger from its beginning and reports about what was the
// case from one time up to, and without, another.
func NewReport(ctx context.Context, l ledger.Ledger, from, to time.Time) (*Report, error) {
	if !from.Before(to) {
		return nil, errors.New("monitor: report: the period is empty")
	}
	r := &reporter{Report: Report{From: from.UTC(), To: to.UTC()}, open: map[string]*Exposure{}, plans: map[string]time.Time{}}
	for e, err := range l.Entries(ctx, 0) {
		if err == nil && !e.Time.Before(to) {
			break
		}
		if err == nil {
			err = r.entry(e)
		}
		if err != nil {
			return nil, fmt.Errorf("monitor: report: %w", err)
		}
	}
	r.finish()
	return &r.Report, nil
}

type reporter struct {
	Report
	open  map[string]*Exposure
	plans map[string]time.Time // image and base → when the first plan was made
}

func exposureKey(f Finding) string { return clockKey(f.Image, f.Component, f.Advisory) }

func (r *reporter) entry(e ledger.Entry) error {
	r.Head = ledger.Head{Seq: e.Seq, Hash: e.Hash}
	within := !e.Time.Before(r.From)
	count := func(n *int) {
		if within {
			*n++
		}
	}
	if !e.Clock.IsZero() {
		count(&r.ClockBack)
	}
	switch e.Kind {
	case KindPoll:
		count(&r.Polls)
	case KindFailed:
		count(&r.Failures)
	case KindFinding:
		return with(e, func(f Finding) {
			if x := r.open[exposureKey(f)]; x == nil {
				r.open[exposureKey(f)] = &Exposure{Finding: f}
			} else {
				x.Finding.Digest, x.Finding.Version = f.Digest, f.Version
			}
		})
	case KindPlan:
		return with(e, func(p Plan) {
			k := p.Image + "\x00" + p.Base
			if _, known := r.plans[k]; !known {
				r.plans[k] = e.Time
			}
		})
	case KindRetracted:
		return with(e, func(v RetractedEvent) {
			if x := r.open[exposureKey(v.Finding)]; x != nil && x.Finding.Digest == v.Finding.Digest {
				x.Reason = v.Reason
				r.end(x, e.Time, &r.Retracted, Retraction, RetractedLate)
			}
		})
	case KindReleased:
		count(&r.Releases)
		return with(e, func(v Release) {
			for _, x := range r.open {
				fixes := slices.ContainsFunc(names(x.Finding.Advisory, x.Finding.Aliases), func(n string) bool { return slices.Contains(v.Advisories, n) })
				if fixes && x.Finding.Image == v.Image.Name && x.Finding.Digest == v.Base {
					x.Digest = v.Image.Digest
					r.end(x, e.Time, &r.Fixed, FixedState, FixedLate)
					if within {
						r.Releasing = max(r.Releasing, e.Time.Sub(x.Finding.Seen))
					}
				}
			}
		})
	}
	return nil
}

// end closes an exposure; one that ended before the period is not reported.
func (r *reporter) end(x *Exposure, at time.Time, n *int, intime, late State) {
	delete(r.open, exposureKey(x.Finding))
	if at.Before(r.From) {
		return
	}
	x.Ended, x.State = at, intime
	if at.After(x.Finding.Deadline) {
		x.State = late
	}
	*n++
	r.add(x, at)
}

func (r *reporter) add(x *Exposure, until time.Time) {
	x.Decided = r.plans[x.Finding.Image+"\x00"+x.Finding.Digest]
	x.Window = max(0, until.Sub(x.Finding.Start))
	if until.After(x.Finding.Deadline) {
		r.Missed++
	}
	r.Longest = max(r.Longest, x.Window)
	r.Exposures = append(r.Exposures, *x)
}

func (r *reporter) finish() {
	for x := range maps.Values(r.open) {
		x.State = OnTrack
		if r.To.After(x.Finding.Deadline) {
			x.State = Late
		}
		r.Open++
		r.add(x, r.To)
	}
	slices.SortFunc(r.Exposures, func(a, b Exposure) int {
		return cmp.Or(a.Finding.Start.Compare(b.Finding.Start), cmp.Compare(a.Finding.key(), b.Finding.key()))
	})
}
