package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Guard holds a feed that changes as no honest one does: one that loses many
// records at once, whose records go back to older forms, or that is dated into
// the future. A batch of that kind is not obeyed: nothing changes, the cursor
// stays, and a problem says why, so that the picture counts as incomplete until
// the feed is whole again or somebody decides otherwise.
//
// A first batch, from no cursor, has nothing to be compared with.
type Guard struct {
	Feed Feed
	// MaxLoss is the part of the records that may be deleted or withdrawn at
	// once; 0 means a twentieth. Ten always may.
	MaxLoss float64
	// MaxBack is the part whose modified time may move back at once; 0 means a
	// hundredth. Ten always may.
	MaxBack float64
	// Now, where it is not nil, is compared with the newest modified time,
	// which may be an hour ahead of it.
	Now func() time.Time
	// Accept names, by [Held.Key], a change that somebody looked at and that is
	// to be obeyed.
	Accept func(h Held) bool
}

// Held says why a batch is not obeyed.
type Held struct {
	Key    string // "sha256:HEX" of the state that the feed wants to go to
	Reason string
}

const heldName = "(feed)" // of the problem

// Since implements [Feed].
func (g Guard) Since(ctx context.Context, cursor []byte) (Batch, error) {
	var before struct {
		Live   int    `json:"live"`
		Cursor []byte `json:"cursor"`
	}
	if cursor != nil {
		if err := json.Unmarshal(cursor, &before); err != nil || before.Cursor == nil {
			return Batch{}, errors.Join(errors.New("feed: the cursor is not of this feed"), err)
		}
	}
	b, err := g.Feed.Since(ctx, before.Cursor)
	if err != nil {
		return Batch{}, err
	}
	if reason := g.hold(b, before.Live, cursor == nil); reason != "" {
		h := Held{Key: sum(b.Next), Reason: reason}
		if g.Accept == nil || !g.Accept(h) {
			return Batch{
				Problems: append(b.Problems, Problem{Name: heldName, Digest: h.Key, Reason: "held: " + reason}),
				Next:     cursor, Live: before.Live,
			}, nil
		}
	}
	before.Live, before.Cursor = b.Live, b.Next
	if b.Next, err = json.Marshal(before); err != nil {
		return Batch{}, fmt.Errorf("feed: %w", err)
	}
	return b, nil
}

func (g Guard) hold(b Batch, live int, first bool) string {
	lost, back := 0, 0
	for _, c := range b.Changes {
		switch {
		case c.Kind == Deleted, c.Kind == Withdrawn && !c.Before.IsZero():
			lost++
		case !c.Before.IsZero() && c.Modified.Before(c.Before):
			back++
		}
	}
	allowed := func(part, otherwise float64) int {
		if part <= 0 {
			part = otherwise
		}
		return max(10, int(part*float64(live)))
	}
	switch {
	case g.Now != nil && b.Newest.After(g.Now().Add(time.Hour)):
		return fmt.Sprintf("a record is dated %s, which is in the future", b.Newest.UTC().Format(time.RFC3339))
	case first:
		return ""
	case lost > allowed(g.MaxLoss, 0.05):
		return fmt.Sprintf("%d of %d records are gone or withdrawn at once", lost, live)
	case back > allowed(g.MaxBack, 0.01):
		return fmt.Sprintf("%d of %d records went back to an older form", back, live)
	}
	return ""
}
