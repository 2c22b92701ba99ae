package compiletest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/compiletest"
)

// host is an executor that does all of it wrong: it runs commands on the
// host, in the host's environment, keeps what failed, changes the tree,
// believes in its own isolation and lets daemons live.
type host struct{}

func (host) Execute(ctx context.Context, job *compile.Job) (*compile.Result, error) {
	places := strings.NewReplacer(compile.SourceDir, job.SourceDir, compile.OutDir, job.Out, compile.NeedsDir+"/x", job.Needs["x"])
	r := &compile.Result{Hermetic: compile.Hermetic{Interfaces: []string{"eth0 up"}}}
	enc := json.NewEncoder(job.Log)
	for i, c := range job.Action.Commands {
		args := slices.Clone(c.Args)
		for k := range args {
			args[k] = places.Replace(args[k])
		}
		var out bytes.Buffer
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Stdout = job.SourceDir, &out
		start := time.Now()
		if strings.Contains(strings.Join(args, " "), "sleep 60") {
			cmd = exec.Command("echo", "not going to wait")
		}
		cmd.Run()
		for line := range strings.Lines(out.String()) {
			enc.Encode(compile.LogLine{Command: i, Stream: "stdout", Text: strings.TrimSuffix(line, "\n")})
		}
		r.Commands = append(r.Commands, compile.Execution{Command: compile.Command{Args: args, Dir: job.SourceDir}, Duration: time.Since(start)})
	}
	os.WriteFile(filepath.Join(job.Out, "time"), []byte(strconv.FormatInt(time.Now().UnixNano(), 10)), 0o600)
	var err error
	r.Output, err = compile.ScanOutput(job.Out)
	if part, perr := compile.ScanPart(job.Out); perr == nil {
		r.Output.Parts[compile.PartRuntime], r.Output.Digest = part, part.Digest
	}
	return r, err
}

// Every check must fail on it: a check that cannot fail is none.
func TestSuiteFindsWrongExecutor(t *testing.T) {
	// the tree is written to by the wrong executor, so it must be writable
	for _, c := range compiletest.Checks() {
		t.Run(c.Name, func(t *testing.T) {
			err := c.Run(t.Context(), compiletest.Subject{Executor: host{}, Toolchain: "/"}, t.TempDir())
			if err == nil {
				t.Error("passes on an executor that does everything wrong")
			}
			t.Log(err)
		})
	}
}
