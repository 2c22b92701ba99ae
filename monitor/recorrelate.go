package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Correlation is the live images that a rule affects.
type Correlation struct {
	Rule   Rule
	Images inventory.Set
}

// Recorrelation compares every rule with every image: after a restore, after a
// change of the comparators, or now and then, against what events may have
// missed. It goes on where it was stopped.
type Recorrelation struct {
	// Name is under which its position is kept.
	Name string
	// Revision names the rules, such as a digest of the feed's cursor. A
	// position of another revision is not gone on from.
	Revision string
	// Rules yields the rules from the one numbered from on, always in the same
	// order for a revision.
	Rules     func(from uint64) iter.Seq2[Rule, error]
	Index     inventory.Index
	Positions inventory.Cursors
	// Take makes the result of the rules numbered from first on durable. It is
	// called in order, and again with the same rules after a crash before the
	// position was kept.
	Take func(ctx context.Context, first uint64, found []Correlation) error
	// Every is the number of rules between two positions; 0 means 8192.
	Every int
}

// position is what is kept. Done says that the last one was reached.
type position struct {
	Revision string `json:"revision"`
	Next     uint64 `json:"next"`
	Done     bool   `json:"done,omitempty"`
}

// Run does what is left of the revision, on every core, and returns the number
// of rules that are behind it. A revision that was done is not done again.
func (r *Recorrelation) Run(ctx context.Context) (uint64, error) {
	if r.Name == "" || r.Rules == nil || r.Index == nil || r.Positions == nil || r.Take == nil {
		return 0, errors.New("monitor: recorrelate: a required field is missing")
	}
	n, err := r.run(ctx)
	if err != nil {
		return n, fmt.Errorf("monitor: recorrelate from rule %d: %w", n, err)
	}
	return n, nil
}

func (r *Recorrelation) run(ctx context.Context) (uint64, error) {
	every := r.Every
	if every <= 0 {
		every = 8192
	}
	pos, err := r.load(ctx)
	if err != nil || pos.Done {
		return pos.Next, err
	}
	next, stop := iter.Pull2(r.Rules(pos.Next))
	defer stop()
	orders := &advisory.Orders{}
	for !pos.Done {
		rules := make([]Rule, 0, every)
		for len(rules) < every {
			rule, err, more := next()
			if err != nil {
				return pos.Next, err
			}
			if !more {
				pos.Done = true
				break
			}
			rules = append(rules, rule)
		}
		if len(rules) > 0 {
			found, err := r.correlate(ctx, orders, rules)
			if err != nil {
				return pos.Next, err
			}
			if err := r.Take(ctx, pos.Next, found); err != nil {
				return pos.Next, err
			}
		}
		pos.Next += uint64(len(rules))
		if err := r.keep(ctx, pos); err != nil {
			return pos.Next - uint64(len(rules)), err
		}
	}
	return pos.Next, nil
}

// correlate asks for the rules on every core; the result is in their order.
func (r *Recorrelation) correlate(ctx context.Context, orders *advisory.Orders, rules []Rule) ([]Correlation, error) {
	found := make([]Correlation, len(rules))
	g, gctx := errgroup.WithContext(ctx)
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		g.Go(func() error {
			for i := part; i < len(rules); i += parts {
				set, err := inventory.Select(gctx, r.Index, rules[i].Package(), rules[i].Affects(orders))
				if err != nil {
					return fmt.Errorf("%s: %w", rules[i].ID, err)
				}
				found[i] = Correlation{rules[i], set}
			}
			return nil
		})
	}
	return found, g.Wait()
}

func (r *Recorrelation) key() string { return "recorrelation " + r.Name }

func (r *Recorrelation) load(ctx context.Context) (position, error) {
	fresh := position{Revision: r.Revision}
	b, err := r.Positions.Cursor(ctx, r.key())
	if err != nil || b == nil {
		return fresh, err
	}
	var p position
	if err := json.Unmarshal(b, &p); err != nil {
		return fresh, fmt.Errorf("position: %w", err)
	}
	if p.Revision != r.Revision {
		return fresh, nil
	}
	return p, nil
}

func (r *Recorrelation) keep(ctx context.Context, p position) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return r.Positions.SetCursor(ctx, r.key(), b)
}
