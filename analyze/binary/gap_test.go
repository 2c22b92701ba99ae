package binary

import (
	"testing"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/objfile"
)

// TestGap: code that nothing describes counts against what it can come from.
func TestGap(t *testing.T) {
	component := func(needs ...string) *compile.ComponentRecord {
		c := &compile.ComponentRecord{}
		for _, n := range needs {
			c.Action.Needs = append(c.Action.Needs, compile.Need{Name: n})
		}
		return c
	}
	w := &World{
		components: map[string]*compile.ComponentRecord{
			"libc": component(), "z": component("libc"), "tool": component("z"), "other": component("libc"),
			"loop": component("pool"), "pool": component("loop"),
		},
		bare: map[string]string{},
	}
	for _, c := range []struct {
		origin, component string
		gap               bool
	}{
		{"libc", "libc", true},
		{"libc", "tool", false},    // the C library cannot hold its user's code
		{"tool", "libc", true},     // but a user may hold code of a header, two needs away
		{"z", "other", false},      // and neighbours know nothing of each other
		{"stranger", "tool", true}, // nothing is known of what the record does not name
		{"loop", "tool", false},    // and a record that goes in circles ends
	} {
		w.bare = map[string]string{c.origin: "bare"}
		if got := w.Gap(c.component) != ""; got != c.gap {
			t.Errorf("Gap(%s) with bare code of %s = %v, want %v", c.component, c.origin, got, c.gap)
		}
	}
	w.bare, w.Gaps = nil, []string{"something is missing"}
	if w.Gap("tool") == "" {
		t.Error("a gap of the whole image is no gap of a component")
	}
}

// TestDiscarded: only what the map names as left out, and nowhere else, is out.
func TestDiscarded(t *testing.T) {
	p := &Program{Map: &objfile.Map{
		Discarded: []objfile.Placed{{File: "out.o", Section: ".text.a"}, {File: "half.o", Section: ".text.b"}},
		Placed:    []objfile.Placed{{File: "half.o", Section: ".text.c"}, {File: "in.o", Section: ".text"}},
	}}
	for name, want := range map[string]bool{"out.o": true, "half.o": false, "in.o": false, "unnamed.o": false} {
		if got := p.discarded(name); got != want {
			t.Errorf("discarded(%s) = %v, want %v", name, got, want)
		}
	}
	if (&Program{}).discarded("out.o") {
		t.Error("without a map something is discarded")
	}
}
