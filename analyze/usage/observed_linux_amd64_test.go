package usage

import (
	"debug/elf"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/internal/trace"
)

// TestObservedIsLive runs random programs under breakpoints on every function
// that an ungarbaged link kept: what was observed must be live in the graph.
func TestObservedIsLive(t *testing.T) {
	for seed := range uint64(2) {
		h := newHost(t)
		r := rand.New(rand.NewPCG(seed, 2))
		sources := program(r, 150, 30)
		sources["z.c"] = "int f0(int), f1(int), f2(int);\nint main(void) { return (f0(9) + f1(100) + f2(30)) & 1; }\n"
		args := append(h.compile(sources), "-pie", "-Wl,-Map=out.map", "-o", "out")
		h.run(args...)
		g, err := New(h.loaded(filepath.Join(h.dir, "out.map")), Options{Entry: "_start"})
		if err != nil {
			t.Fatal(err)
		}
		live := map[string]bool{}
		for n, s := range g.Nodes {
			if g.Live(n) {
				live[s.Name] = true
			}
		}
		name := filepath.Join(h.dir, "out")
		f, err := elf.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := f.Symbols()
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		plan, at := trace.File{Path: name}, map[uint64]string{}
		for _, s := range symbols {
			if n := 0; strings.HasPrefix(s.Name, "f") && s.Value != 0 {
				if _, err := fmt.Sscanf(s.Name, "f%d", &n); err == nil {
					plan.Addresses = append(plan.Addresses, s.Value)
					at[s.Value] = s.Name
				}
			}
		}
		res, err := trace.Run(&trace.Plan{Files: []trace.File{plan}}, []string{name}, nil, "/", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, hit := range res.Hits {
			if fn := at[hit.Address]; !live[".text."+fn] {
				t.Errorf("seed %d: %s ran and is dead in the graph", seed, fn)
			}
		}
		t.Logf("seed %d: %d of %d functions ran", seed, len(res.Hits), len(at))
		if len(res.Hits) < 3 {
			t.Errorf("seed %d: only %d functions ran", seed, len(res.Hits))
		}
	}
}
