package compile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What a killed build left is removed by the next, what a living one uses is
// not.
func TestWorkOfTheDead(t *testing.T) {
	b := newBench(t)
	dead := filepath.Join(b.machine.Work, "build-dead", "lib", "out")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dead), 0o500); err != nil {
		t.Fatal(err)
	}
	living, release, err := claimWork(context.Background(), b.machine.Work)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	b.build(t)
	if _, err := os.Stat(filepath.Join(b.machine.Work, "build-dead")); !os.IsNotExist(err) {
		t.Errorf("the dead build's directory is there: %v", err)
	}
	if _, err := os.Stat(living); err != nil {
		t.Errorf("the living build's directory: %v", err)
	}
}

// Builds that share a work directory and a store build each action once.
func TestBuildsShareWork(t *testing.T) {
	b := newBench(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := build(context.Background(), b.spec, b.trees, b.machine, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	slices.Sort(b.executor.built)
	if got := fmt.Sprint(b.executor.built); got != "[app lib libc]" {
		t.Errorf("four builds at once built %s", got)
	}
	left, err := filepath.Glob(filepath.Join(b.machine.Work, "build-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %s (%v)", strings.Join(left, " "), err)
	}
}
