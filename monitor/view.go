package monitor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// View is everything that there is to be shown, at one time.
type View struct {
	Now       time.Time
	Feed      FeedView
	Head      ledger.Head
	Images    []ImageView // the most urgent first
	Jobs      []JobView   // the turn excepted; unfinished ones first
	Incidents []IncidentEvent
	Paused    []OrderEvent
}

// FeedView is how it stands with the feed.
type FeedView struct {
	Name    string
	Heard   time.Time
	Silent  bool
	Pending int    // records that cannot be read
	Held    string // why it is not believed
	Key     string // of the state that is held, for an order to accept it
}

// Clock is where an image stands with its promise.
type Clock string

// The clocks, from best to worst.
const (
	ClockClean   Clock = "clean"    // nothing is open
	ClockOnTrack Clock = "on track" //
	ClockAtRisk  Clock = "at risk"  // the release is predicted behind the deadline, or none is planned
	ClockFlagged Clock = "flagged"  // the deadline has passed
)

// ImageView is a live image.
type ImageView struct {
	Admission
	Revision  *inventory.Image
	Clock     Clock
	Deadline  time.Time // the earliest of what is open
	Predicted time.Time // when its release is expected; zero where none is planned or nothing was measured
}

// JobView is a job.
type JobView struct {
	Key, Kind, Image, Base string
	State                  queue.State
	Rank                   int
	Deadline, NotBefore    time.Time
	Stages                 []Stage
	Done                   []StageDone
	Next                   Stage
	Plan                   *Plan
	Findings               []Finding
	Failures               int
	Reason, Owner          string
	Created, Ended         time.Time
}

// View looks at everything.
func (s *Service) View(ctx context.Context) (*View, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	return v, nil
}

func (s *Service) view(ctx context.Context) (*View, error) {
	h, err := s.lastHeard(ctx)
	if err != nil {
		return nil, err
	}
	now := s.opts.Now()
	v := &View{Now: now, Feed: FeedView{s.opts.FeedName, h.At, now.Sub(h.At) > s.opts.Silence, h.Pending, h.Held, h.Key}}
	jobs := map[string][]JobView{}
	for j, err := range s.opts.Store.Jobs(ctx) {
		if err != nil {
			return nil, err
		}
		if j.Kind == JobTurn {
			continue
		}
		x, err := jobView(j)
		if err != nil {
			return nil, err
		}
		v.Jobs = append(v.Jobs, x)
		if j.Kind == JobRelease && !j.State.Finished() {
			jobs[x.Image] = append(jobs[x.Image], x)
		}
	}
	slices.SortStableFunc(v.Jobs, func(a, b JobView) int {
		open := func(x JobView) int {
			if x.State.Finished() {
				return 1
			}
			return 0
		}
		return cmp.Or(open(a)-open(b), b.Ended.Compare(a.Ended), cmp.Compare(a.Rank, b.Rank), a.Deadline.Compare(b.Deadline), cmp.Compare(a.Key, b.Key))
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(ctx, s.fold); err != nil {
		return nil, err
	}
	ahead := map[string]int{} // releases before an image's
	n := 0
	for _, j := range v.Jobs {
		if j.Kind == JobRelease && !j.State.Finished() {
			n++
			ahead[j.Image] = n
		}
	}
	each, known := s.fold.mean(StageAssemble, StageAnalyze, StageTest, StageAttest, StagePublish)
	build, _ := s.fold.mean(StageVerify, StageCompile)
	for img, err := range s.opts.Store.All(ctx) {
		if err != nil {
			return nil, err
		}
		x := ImageView{Admission: Admission{Image: img.Name, Digest: img.Digest, Live: true, Heard: h.At, Silent: v.Feed.Silent, Pending: h.Pending}, Revision: img}
		v.Images = append(v.Images, x)
	}
	fill(v.Images, s.fold, now)
	for i := range v.Images {
		x := &v.Images[i]
		if list := jobs[x.Image]; len(list) > 0 && known {
			x.Predicted = now.Add(build + each*time.Duration((ahead[x.Image]+s.opts.Workers-1)/s.opts.Workers))
		}
		x.clock(len(jobs[x.Image]) > 0, now)
	}
	slices.SortFunc(v.Images, func(a, b ImageView) int {
		return cmp.Or(cmp.Compare(urgency(b.Clock), urgency(a.Clock)), a.Deadline.Compare(b.Deadline), cmp.Compare(a.Image, b.Image))
	})
	for _, k := range sortedKeys(s.fold.incidents) {
		v.Incidents = append(v.Incidents, s.fold.incidents[k])
	}
	for _, k := range sortedKeys(s.fold.paused) {
		v.Paused = append(v.Paused, s.fold.paused[k])
	}
	v.Head = ledger.Head{Seq: s.fold.seq, Hash: s.fold.hash}
	return v, nil
}

// fill gives each image what is open and answered about it, in one walk.
func fill(images []ImageView, st *state, now time.Time) {
	at := map[string]int{}
	for i, x := range images {
		at[x.Digest+x.Image] = i
	}
	few := map[int]*state{}
	of := func(f Finding) *state {
		i, ok := at[f.Digest+f.Image]
		if !ok {
			return nil
		}
		if few[i] == nil {
			few[i] = &state{open: map[string]Finding{}, answered: map[string]AssessedEvent{}}
		}
		return few[i]
	}
	for k, f := range st.open {
		if s := of(f); s != nil {
			s.open[k] = f
		}
	}
	for k, a := range st.answered {
		if s := of(a.Finding); s != nil {
			s.answered[k] = a
		}
	}
	for i, s := range few {
		images[i].Admission.fill(s, now)
	}
}

func (x *ImageView) clock(planned bool, now time.Time) {
	x.Clock = ClockClean
	if len(x.Open) == 0 {
		return
	}
	x.Deadline = x.Open[0].Deadline
	switch {
	case len(x.Overdue) > 0:
		x.Clock = ClockFlagged
	case !planned || x.Predicted.After(x.Deadline):
		x.Clock = ClockAtRisk
	default:
		x.Clock = ClockOnTrack
	}
}

func urgency(c Clock) int {
	return slices.Index([]Clock{ClockClean, ClockOnTrack, ClockAtRisk, ClockFlagged}, c)
}

func jobView(j *queue.Job) (JobView, error) {
	var b work
	if err := json.Unmarshal(j.Body, &b); err != nil {
		return JobView{}, fmt.Errorf("job %s: %w", j.Key, err)
	}
	return JobView{
		Key: j.Key, Kind: j.Kind, Image: b.Image, Base: b.Base, State: j.State, Rank: j.Rank, Deadline: j.Deadline, NotBefore: j.NotBefore,
		Stages: stagesOf(j.Kind), Done: b.Done, Next: b.next(j.Kind), Plan: b.Plan, Findings: b.Findings, Failures: b.Failures,
		Reason: b.Reason, Owner: j.Owner, Created: b.Created, Ended: b.Ended,
	}, nil
}

// History yields the ledger's entries about an image, or all where name is "".
func (s *Service) History(ctx context.Context, name string) ([]ledger.Entry, error) {
	var out []ledger.Entry
	for e, err := range s.opts.Store.Entries(ctx, 0) {
		if err != nil {
			return nil, fmt.Errorf("monitor: %w", err)
		}
		if name == "" || about(e) == name {
			out = append(out, e)
		}
	}
	return out, nil
}

// about is the image that an entry is about.
func about(e ledger.Entry) string {
	if e.Kind == KindPoll || e.Kind == KindUnreadable || e.Kind == KindSilent || e.Kind == KindHeard || e.Kind == KindOrder {
		return ""
	}
	if e.Kind == KindReleased {
		var r struct {
			Image struct{ Name string } `json:"image"`
		}
		if json.Unmarshal(e.Data, &r) == nil {
			return r.Image.Name
		}
	}
	var x struct {
		Image, Name string
		Finding     struct{ Image string }
	}
	if json.Unmarshal(e.Data, &x) != nil {
		return ""
	}
	return cmp.Or(x.Image, x.Finding.Image, x.Name)
}
