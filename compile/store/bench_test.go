package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/store"
)

// BenchmarkGet reads a component of OpenSSL's size: 2,000 small files and
// 40 MB to build against, 160 MB for analysis.
func BenchmarkGet(b *testing.B) {
	dir := b.TempDir()
	out := filepath.Join(b.TempDir(), "out")
	write := func(name string, size int) {
		name = filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, size), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 1000 {
		write(fmt.Sprintf("dev/include/%d.h", i), 8<<10)
		write(fmt.Sprintf("debug/obj/%d.o", i), 96<<10)
	}
	for i := range 4 {
		write(fmt.Sprintf("runtime/lib/%d.so", i), 8<<20)
		write(fmt.Sprintf("debug/lib/%d.so", i), 16<<20)
	}
	write(compile.LogName, 1<<20)
	o, err := compile.ScanOutput(out)
	if err != nil {
		b.Fatal(err)
	}
	action := compile.Action{Component: "bench"}
	s := open(b, dir, store.Options{})
	if _, err := s.Put(context.Background(), action.Key(), action, &compile.Result{Output: o}, out); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		opts store.Options
	}{{"hash", store.Options{}}, {"skip-hash", store.Options{SkipHash: true}}} {
		s := open(b, dir, c.opts)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Get(context.Background(), action.Key()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
