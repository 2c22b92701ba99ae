package inventory

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestContainerIsASet grows one over the bound of a list and shrinks it again.
func TestContainerIsASet(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[uint16]bool{}
	var c container
	compare := func() {
		t.Helper()
		if err := c.check(); err != nil {
			t.Fatal(err)
		}
		got := c.list()
		if len(got) != len(want) || !slices.IsSorted(got) {
			t.Fatalf("%d members, sorted %t, want %d", len(got), slices.IsSorted(got), len(want))
		}
		for _, v := range got {
			if !want[v] {
				t.Fatalf("%d is a member", v)
			}
		}
		if c.bitmap() != (len(want) >= listMax) {
			t.Errorf("bitmap is %t with %d members", c.bitmap(), len(want))
		}
	}
	for i := 0; len(want) < 2*listMax; i++ {
		v := uint16(rnd.Uint32())
		c, want[v] = c.with(v), true
		if i%97 == 0 {
			compare()
		}
	}
	compare()
	all := c.list()
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i, v := range all {
		c = c.without(v)
		delete(want, v)
		if i%97 == 0 {
			compare()
		}
	}
	compare()
	if len(c) != 0 {
		t.Errorf("an empty set has %d bytes", len(c))
	}
	if c = c.without(7); len(c) != 0 {
		t.Error("removing from an empty set adds")
	}
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
