package suite

import (
	"slices"
	"testing"

	"github.com/cleanstart/cleanstart/compile"
)

// BenchmarkStatic is the suite without the families that start processes, on
// an image of one program: what a portfolio pays for each image that did not change.
// 3 s are allowed.
func BenchmarkStatic(b *testing.B) {
	f := good()
	f.elf["usr/bin/app"] = compileProgram(b) // as large as the quickstart's
	s, opts := f.build(b)
	opts.Parallel = 0
	tests := slices.DeleteFunc(All(), func(x Test) bool { return x.Family == Function || x.Family == Confinement || x.Alone })
	for b.Loop() {
		if _, err := Run(b.Context(), tests, s, opts); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(tests)), "tests/op")
}

// BenchmarkRunning is the whole suite in real sandboxes, on a program that
// ends at once.
func BenchmarkRunning(b *testing.B) {
	f := good()
	f.elf["usr/bin/app"] = compileProgram(b)
	f.spec.Workload = []compile.Run{{Name: "fetch", Args: []string{"/usr/bin/app", "{server}/hello"}, Stdout: "hello from"}}
	s, opts := f.build(b)
	opts.run, opts.Parallel = nil, 0
	for b.Loop() {
		results, err := Run(b.Context(), All(), s, opts)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range Failures(results) {
			if r.Family == Function || r.Family == Confinement || r.Family == Performance {
				b.Fatalf("%s: %q", r.ID, r.Detail)
			}
		}
	}
}
