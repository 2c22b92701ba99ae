package monitor

import "time"

// SLA says when a finding must be gone.
type SLA struct {
	Window time.Duration // from the start of the clock; 0 means 24 hours
	// Start says when the clock of a finding starts; nil means [Earliest].
	// Whatever it says, a clock that once started never starts later.
	Start func(published, seen, added time.Time) time.Time
}

// Earliest starts the clock when the advisory was published or seen, whichever
// came first, but not before the image was there to be affected.
func Earliest(published, seen, added time.Time) time.Time {
	start := seen
	if !published.IsZero() && published.Before(seen) {
		start = published
	}
	if start.Before(added) {
		start = added
	}
	return start
}

func (s SLA) start(published, seen, added time.Time) time.Time {
	if s.Start == nil {
		return Earliest(published, seen, added)
	}
	return s.Start(published, seen, added)
}

func (s SLA) deadline(start time.Time) time.Time {
	if s.Window <= 0 {
		return start.Add(24 * time.Hour)
	}
	return start.Add(s.Window)
}
