package compile

import (
	"fmt"
	"slices"
)

// SpecError is one mistake in a specification. Several are joined by
// errors.Join in the order of their lines.
type SpecError struct {
	File string
	Line int // from 1
	Msg  string
	Fix  string // what to do about it
}

func (e *SpecError) Error() string {
	s := fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	if e.Fix != "" {
		s += ": " + e.Fix
	}
	return s
}

// nearest is the candidate that a typing error most likely meant, or "".
func nearest(word string, candidates []string) string {
	best, least := "", len(word)/3+2
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of single-byte edits between a and b, bounded by
// the length of b for words too long to be a typing error.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur := make([]int, len(b)+1)
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
		}
		prev = cur
	}
	return prev[len(b)]
}

// didYouMean is the fix for a word that is not among the candidates.
func didYouMean(word string, candidates []string) string {
	if n := nearest(word, candidates); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	c := slices.Sorted(slices.Values(candidates))
	return fmt.Sprintf("want one of %q", c)
}
