package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Admission is what is known of an image when somebody wants to use it. It is
// reckoned when it is asked, from deadlines and the clock, so that no image
// stays in use because a scheduler died.
type Admission struct {
	Image, Digest string
	Live          bool
	ReplacedBy    string // digest; "" unless a release took its place
	Open          []Finding
	Overdue       []Finding // those of them whose deadline has passed
	Answered      []AssessedEvent
	Heard         time.Time // when the feed was last read whole
	Silent        bool      // longer ago than it may be, or never
	Pending       int       // records of the feed that cannot be read
}

// RefusedError says why an image must not be used.
type RefusedError struct{ Image, Digest, Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("image %s %s: %s", e.Image, e.Digest, e.Reason)
}

// ZeroCVE reports whether the image can be said to be free of known flaws: it is
// live, nothing is open about it, and the feed was read, whole, lately.
func (a *Admission) ZeroCVE() bool {
	return a.Live && len(a.Open) == 0 && !a.Silent && a.Pending == 0
}

// Err is a [RefusedError] where the promise does not allow the image to be used.
func (a *Admission) Err() error {
	switch {
	case a.ReplacedBy != "":
		return &RefusedError{a.Image, a.Digest, "it was replaced for its flaws; use " + a.ReplacedBy}
	case !a.Live:
		return &RefusedError{a.Image, a.Digest, "it is not one of the portfolio"}
	case len(a.Overdue) > 0:
		var ids []string
		for _, f := range a.Overdue {
			ids = append(ids, f.Advisory)
		}
		slices.Sort(ids)
		return &RefusedError{a.Image, a.Digest, "the promised time is over for " + strings.Join(slices.Compact(ids), ", ")}
	}
	return nil
}

// Admit asks about an image, by name and digest; an empty digest is the live
// one's.
func (s *Service) Admit(ctx context.Context, name, digest string) (*Admission, error) {
	a, err := s.admit(ctx, name, digest)
	if err != nil {
		return nil, fmt.Errorf("monitor: admit %s: %w", name, err)
	}
	return a, nil
}

func (s *Service) admit(ctx context.Context, name, digest string) (*Admission, error) {
	live, err := s.opts.Store.Live(ctx, name)
	if err != nil && !errors.Is(err, inventory.ErrNotFound) {
		return nil, err
	}
	if live != nil && digest == "" {
		digest = live.Digest
	}
	h, err := s.lastHeard(ctx)
	if err != nil {
		return nil, err
	}
	now := s.opts.Now()
	a := &Admission{Image: name, Digest: digest, Live: live != nil && live.Digest == digest, Heard: h.At, Pending: h.Pending}
	a.Silent = now.Sub(h.At) > s.opts.Silence
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(ctx, s.fold); err != nil {
		return nil, err
	}
	if !a.Live {
		a.ReplacedBy = s.fold.gone[digest]
	}
	a.fill(s.fold, now)
	return a, nil
}

func (a *Admission) fill(st *state, now time.Time) {
	for _, f := range st.open {
		if f.Image != a.Image || f.Digest != a.Digest {
			continue
		}
		a.Open = append(a.Open, f)
		if now.After(f.Deadline) {
			a.Overdue = append(a.Overdue, f)
		}
	}
	for _, v := range st.answered {
		if v.Finding.Image == a.Image && v.Finding.Digest == a.Digest {
			a.Answered = append(a.Answered, v)
		}
	}
	order := func(x, y Finding) int {
		return cmp.Or(x.Deadline.Compare(y.Deadline), cmp.Compare(x.key(), y.key()))
	}
	slices.SortFunc(a.Open, order)
	slices.SortFunc(a.Overdue, order)
	slices.SortFunc(a.Answered, func(x, y AssessedEvent) int { return order(x.Finding, y.Finding) })
}
