package sandbox

import (
	"debug/elf"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/internal/trace"
)

// symbol is the address of one of this test program's own functions.
func symbol(t *testing.T, name string) uint64 {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := f.Symbols()
	if err != nil {
		t.Skipf("the test program is stripped: %v", err)
	}
	for _, s := range list {
		if s.Name == "github.com/cleanstart/cleanstart/internal/sandbox."+name {
			return s.Value
		}
	}
	t.Fatalf("no symbol %s", name)
	return 0
}

func TestTrace(t *testing.T) {
	cfg, proc := self(t)
	ran, not := symbol(t, "report"), symbol(t, "grow")
	cfg.Seccomp = SeccompTrace
	cfg.Trace = &trace.Plan{Files: []trace.File{{Path: "/bin/self", Addresses: []uint64{min(ran, not), max(ran, not)}}}}
	o, out := run(t, cfg, proc("report"))
	if o.Exit != 0 || o.Trace == nil {
		t.Fatalf("outcome = %+v\n%s", o, out)
	}
	if d := cmp.Diff([]trace.Hit{{Path: "/bin/self", Address: ran}}, o.Trace.Hits); d != "" {
		t.Errorf("hits (-want +got):\n%s", d)
	}
	if o.Trace.Armed != 2 {
		t.Errorf("armed = %d, want 2", o.Trace.Armed)
	}
	if o, _ := run(t, cfg, proc("exit", "7")); o.Exit != 7 || len(o.Trace.Hits) != 0 {
		t.Errorf("exit %d, hits %v", o.Exit, o.Trace.Hits)
	}
}
