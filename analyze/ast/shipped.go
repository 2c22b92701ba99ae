package ast

import (
	"fmt"

	"github.com/cleanstart/cleanstart/compile"
)

// shipped is which objects of a component were linked into files of the
// image.
type shipped struct {
	links   int             // links of the whole image
	objects map[string]bool // digests of the component's objects among their inputs
}

// linked reads the links of every component: a library's objects are inputs of
// other components' links.
func linked(rec *compile.Record, component string) shipped {
	s := shipped{objects: map[string]bool{}}
	for _, c := range rec.Components {
		for _, l := range c.Result.Links {
			s.links++
			for _, in := range l.Inputs {
				if in.Origin == component {
					s.objects[in.Digest] = true
				}
			}
		}
	}
	return s
}

// incomplete says why the recorded units may not be all that was linked, or
// "".
func (s *sources) incomplete() string {
	if s.shipped.links == 0 {
		return "no link is recorded"
	}
	have := map[string]bool{}
	for _, u := range s.units {
		have[u.unit.Digest] = true
	}
	for d := range s.shipped.objects {
		if !have[d] {
			return fmt.Sprintf("the object %s of %s has no recorded unit", d, s.component)
		}
	}
	return ""
}
