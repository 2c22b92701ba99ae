package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// Config is what a service works with. The first group is required; the zero
// value of everything else is useful.
type Config struct {
	FeedName string // under which the feed's cursor is kept
	Feed     feed.Feed
	Store    queue.Store
	Upgrades Upgrades
	Pipeline Pipeline
	Now      func() time.Time

	// Owner names this process among all that work on the store; required where
	// the store is shared.
	Owner string
	// Workers is how many jobs are done at a time; 0 means one.
	Workers int
	// Interval is the time between two readings of the feed; 0 means a minute.
	Interval time.Duration
	// Lease is how long a job stays claimed after its worker was last heard of;
	// 0 means a minute. A shared store gives a dead worker's jobs to others then.
	Lease time.Duration
	// Silence is how long the feed may go unread before nothing counts as free
	// of known flaws any more; 0 means two hours.
	Silence time.Duration
	// Attempts is how often a stage is tried before the job ends with an
	// incident; 0 means eight.
	Attempts int

	SLA       SLA
	Series    func(component, version string) string // see [Planner]
	AnySeries bool                                   // see [Planner]
	// MaxLoss and MaxBack are as of [feed.Guard], which every feed stands behind.
	MaxLoss, MaxBack float64
	// Assess asks the analysis about the live image before anything is rebuilt:
	// a finding that it proves not to apply gets a VEX statement and no rebuild.
	Assess bool
	// Approve names plans whose release waits, tested, for somebody's order.
	Approve func(Plan) bool
	// DryRun ends every job before anything leaves the house.
	DryRun bool
	// Exploited says what is known of attacks with a flaw, by CVE. It gives
	// order and never takes a finding away.
	Exploited func(cve string) (feed.Exploitation, bool)
	// Progress is called after each durable entry.
	Progress func(ledger.Entry)
	// Wait waits for a time, or until ctx ends; nil waits by the machine's clock.
	// Tests that have a clock of their own give one.
	Wait func(ctx context.Context, d time.Duration)
}

var (
	zeroTime time.Time
	errLost  = errors.New("the job was taken by another worker, or cancelled")
)

// Service is the monitor as a durable workflow. A turn reads the feed, finds
// what is affected, and queues assessments, builds and releases; workers carry
// them out, stage by stage. Everything that was decided and how far it is
// stands in one store: kill the process anywhere and start it again, and it
// goes on with the stage that was not finished. Several services may share a
// store.
type Service struct {
	opts    Config
	library library

	turning sync.Mutex // held for a turn
	turn    *state     // as of the turn

	mu   sync.Mutex
	fold *state // as of workers and readers
}

// NewService checks the configuration. It starts nothing.
func NewService(ctx context.Context, c Config) (*Service, error) {
	if c.FeedName == "" || c.Feed == nil || c.Store == nil || c.Upgrades == nil || c.Pipeline == nil || c.Now == nil {
		return nil, errors.New("monitor: a required field of the configuration is missing")
	}
	or := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	or(&c.Interval, time.Minute)
	or(&c.Lease, time.Minute)
	or(&c.Silence, 2*time.Hour)
	if c.Workers <= 0 {
		c.Workers = 1
	}
	if c.Attempts <= 0 {
		c.Attempts = 8
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	s := &Service{opts: c, turn: newState(), fold: newState()}
	s.opts.Feed = feed.Guard{Feed: c.Feed, MaxLoss: c.MaxLoss, MaxBack: c.MaxBack, Now: c.Now, Accept: s.accepted}
	s.library = library{feed: s.opts.Feed}
	if x, ok := c.Store.(queue.Exclusive); ok {
		if err := x.Release(ctx); err != nil {
			return nil, fmt.Errorf("monitor: %w", err)
		}
	} else if c.Owner == "" {
		return nil, errors.New("monitor: a service on a shared store needs a name of its own (Owner)")
	}
	return s, s.prepare(ctx)
}

// prepare queues the turn.
func (s *Service) prepare(ctx context.Context) error {
	err := s.opts.Store.Update(ctx, func(tx queue.Tx) error {
		_, err := tx.Job(s.turnKey())
		if !errors.Is(err, queue.ErrNoJob) {
			return err
		}
		return tx.Put(&queue.Job{Key: s.turnKey(), Kind: JobTurn, State: queue.Ready, Body: json.RawMessage(`{}`)})
	})
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	return nil
}

func (s *Service) turnKey() string { return JobTurn + " " + s.opts.FeedName }

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Run works until ctx ends, and then returns nil once the workers have let go
// of what they had. What goes wrong in a store or a feed is told to problem,
// which may be nil, and tried again.
func (s *Service) Run(ctx context.Context, problem func(error)) error {
	g := new(errgroup.Group)
	for range s.opts.Workers {
		g.Go(func() error {
			for failures := 0; ctx.Err() == nil; {
				worked, err := s.Work(ctx)
				switch {
				case err != nil && ctx.Err() == nil:
					failures++
					if problem != nil {
						problem(err)
					}
					s.opts.Wait(ctx, min(time.Minute, time.Second<<min(failures, 6)))
				case worked:
					failures = 0
				default:
					failures = 0
					s.opts.Wait(ctx, min(s.opts.Interval, time.Second))
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// Drain works until nothing is left that can be done now, the turn included.
func (s *Service) Drain(ctx context.Context) error {
	for {
		worked, err := s.Work(ctx)
		if err != nil || !worked {
			return err
		}
	}
}

// current brings a state up to the ledger's end.
func (s *Service) current(ctx context.Context, st *state) error {
	for e, err := range s.opts.Store.Entries(ctx, st.seq) {
		if err != nil {
			return err
		}
		if err := st.apply(e); err != nil {
			return err
		}
	}
	return nil
}

// accepted is the guard's question. The order is in the ledger.
func (s *Service) accepted(h feed.Held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fold.noted["accepted\x00"+h.Key]
}

// hurry has the next turn come at once.
func (s *Service) hurry(tx queue.Tx) error {
	j, err := tx.Job(s.turnKey())
	if err != nil {
		return err
	}
	if j.State == queue.Running {
		j.Body = json.RawMessage(`{"again":true}`)
	} else {
		j.NotBefore = zeroTime
	}
	return tx.Put(j)
}

// library is what the feed says, read again only where it changed.
type library struct {
	feed feed.Feed

	mu     sync.Mutex
	cursor []byte
	known  knowledge
	loaded bool
}

// heldError is a feed that is not believed.
type heldError struct{ reason string }

func (e *heldError) Error() string { return "the feed is held: " + e.reason }

// newest is every record as of now. Kept is the cursor that the feed was last
// believed at.
func (l *library) newest(ctx context.Context, kept []byte) (knowledge, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loaded {
		l.cursor = kept
	}
	if l.cursor != nil {
		b, err := l.feed.Since(ctx, l.cursor)
		switch {
		case err != nil:
			return knowledge{}, err
		case b.Held():
			return knowledge{}, &heldError{b.Problems[len(b.Problems)-1].Reason}
		case l.loaded && len(b.Changes) == 0:
			return l.known, nil
		}
	}
	b, err := l.feed.Since(ctx, nil)
	if err != nil {
		return knowledge{}, err
	}
	if b.Held() {
		return knowledge{}, &heldError{b.Problems[len(b.Problems)-1].Reason}
	}
	if l.known, err = learn(b); err != nil {
		return knowledge{}, err
	}
	l.cursor, l.loaded = b.Next, true
	return l.known, nil
}

// newest is the library's, from the cursor that is kept.
func (s *Service) newest(ctx context.Context) (knowledge, error) {
	kept, err := s.opts.Store.Cursor(ctx, s.opts.FeedName)
	if err != nil {
		return knowledge{}, err
	}
	return s.library.newest(ctx, kept)
}

// heard is when the feed was last read whole.
type heard struct {
	At      time.Time `json:"at"`
	Pending int       `json:"pending,omitempty"` // records that cannot be read
	Held    string    `json:"held,omitempty"`    // why it is not believed
	Key     string    `json:"key,omitempty"`     // of the state that is held
}

func (s *Service) heardKey() string { return "heard " + s.opts.FeedName }

func (s *Service) lastHeard(ctx context.Context) (h heard, err error) {
	b, err := s.opts.Store.Cursor(ctx, s.heardKey())
	if err != nil || b == nil {
		return h, err
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("when the feed was heard: %w", err)
	}
	return h, nil
}

// stepper is a step's machinery on a state of ours.
func (s *Service) stepper(st *state) *stepper {
	return &stepper{
		Options: Options{
			FeedName: s.opts.FeedName, Feed: s.opts.Feed, Inventory: s.opts.Store, Cursors: s.opts.Store, Ledger: s.opts.Store,
			Upgrades: s.opts.Upgrades, Now: s.opts.Now, SLA: s.opts.SLA, Series: s.opts.Series, AnySeries: s.opts.AnySeries,
			Progress: s.opts.Progress,
		},
		state: st, result: &Result{}, known: s.newest,
		follow: func(ctx context.Context) error { return s.current(ctx, st) },
	}
}
