package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/monitor/embedded"
	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
)

const killDir = "CLEANSTART_MONITOR_CHILD" // set in the child: where it works

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := killed(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// workshop is a pipeline in files. A compile takes a while and leaves its output
// in a store; a push leaves one file for each image that it ever made public.
type workshop struct {
	*world
	dir string
}

func (w *workshop) Do(_ context.Context, t Task) (Output, error) {
	pause := func() { time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond) }
	pause()
	defer pause()
	switch t.Stage {
	case StageAssess:
		var out []Assessment
		for _, f := range t.Findings {
			a := Assessment{Component: f.Component, Advisory: f.Advisory, Status: "affected", Rule: "D9"}
			if f.Component == "zlib" {
				a.Status, a.Rule, a.Evidence = "not_affected", "D4", "sha256:e"
			}
			out = append(out, a)
		}
		return Output{Assessments: out}, nil
	case StageAnalyze: // what is left of the base's, too
		return Output{Assessments: []Assessment{
			{Component: "zlib", Advisory: "CVE-2", Status: "not_affected", Rule: "D4", Evidence: "sha256:e"},
			{Component: "curl", Advisory: "CVE-3", Status: "affected", Rule: "D9"},
		}}, nil
	case StageVEX:
		return Output{}, w.once("vex", t.Base.Name+" "+t.Base.Digest)
	case StageCompile:
		name := filepath.Join(w.dir, "store", strings.TrimPrefix(t.Job, "sha256:"))
		if _, err := os.Stat(name); err == nil {
			return Output{}, nil
		}
		time.Sleep(10 * time.Millisecond)
		return Output{Executed: t.Plan.Rebuild}, atomicfile.WriteBytes(name, 0o644, []byte(t.Job))
	case StageAssemble:
		h := house{world: w.world}
		return h.Do(context.Background(), t)
	case StageTest:
		return Output{Tests: &Tests{Executed: Suite, Passed: Suite}}, nil
	case StagePublish:
		if err := w.once("published", t.Plan.Image+" "+t.Image().Digest); err != nil {
			return Output{}, err
		}
		return Output{}, atomicfile.WriteBytes(filepath.Join(w.dir, "tag "+t.Plan.Image), 0o644, []byte(t.Image().Digest))
	}
	return Output{}, nil
}

func (w *workshop) once(kind, what string) error {
	name := filepath.Join(w.dir, kind, strings.ReplaceAll(what, "sha256:", ""))
	return atomicfile.WriteBytes(name, 0o644, nil)
}

// killed is the whole life of a child: it ends when nothing is left to do.
func killed(ctx context.Context, dir string) error {
	for _, d := range []string{"feed", "store", "vex", "published"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	w := &workshop{&world{
		offers: map[string][]string{"openssl": {"3.0.17", "3.0.20"}}, specs: map[string]compile.Spec{}, stable: map[string]bool{},
	}, dir}
	store, err := embedded.Open(filepath.Join(dir, "monitor.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	for _, name := range []string{"api", "web"} {
		img, err := inventory.FromRecord(w.app(name), time.Now())
		if err != nil {
			return err
		}
		// Only where nothing of that name was ever live.
		if err := store.Swap(ctx, name, "", img); err != nil && !errors.Is(err, inventory.ErrConflict) && !errors.Is(err, inventory.ErrRetired) {
			return err
		}
	}
	s, err := NewService(ctx, Config{
		FeedName: "test", Feed: feed.Dir{FS: os.DirFS(filepath.Join(dir, "feed"))}, Store: store, Upgrades: w, Pipeline: w, Now: time.Now,
		Interval: 5 * time.Millisecond, Assess: true, Workers: 2,
	})
	if err != nil {
		return err
	}
	for id, record := range map[string][]byte{
		"CVE-1": monitortest.Record("CVE-1", "openssl", "3.0.20"), "CVE-2": monitortest.Record("CVE-2", "zlib", "1.3"), "CVE-3": monitortest.Record("CVE-3", "curl", "9"),
	} {
		if err := atomicfile.WriteBytes(filepath.Join(dir, "feed", id+".json"), 0o644, record); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(err error) { fmt.Fprintln(os.Stderr, err) }) }()
	for ctx.Err() == nil {
		wait(ctx, 10*time.Millisecond)
		if whole(store) {
			break
		}
	}
	cancel()
	return <-done
}

// whole reports whether both images were released, and nothing is left to do.
func whole(s *embedded.Store) bool {
	for _, name := range []string{"api", "web"} {
		img, err := s.Live(context.Background(), name)
		if err != nil || versions(img)["openssl"] != "3.0.20" {
			return false
		}
	}
	for j, err := range s.Jobs(context.Background()) {
		if err != nil || j.Kind != JobTurn && !j.State.Finished() {
			return false
		}
	}
	return true
}

// TestKill ends a real process with SIGKILL at random instants and starts it
// again until it is done. Every run ends with the same images, each made public
// once, and a ledger that holds.
func TestKill(t *testing.T) {
	kills := 12
	if n, err := strconv.Atoi(os.Getenv("CLEANSTART_KILLS")); err == nil {
		kills = n
	}
	self, err := os.Executable()
	check(t, err)
	top := t.TempDir()
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "kill-"); err == nil {
			top = dir
			t.Cleanup(func() { os.RemoveAll(dir) })
		}
	}
	child := func(dir string) (*exec.Cmd, *bytes.Buffer) {
		var out bytes.Buffer
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		cmd.Stderr = &out
		check(t, cmd.Start())
		return cmd, &out
	}
	began := time.Now()
	cmd, out := child(filepath.Join(top, "undisturbed"))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	whole := time.Since(began)
	want := outcomeOf(t, filepath.Join(top, "undisturbed"))
	t.Logf("an undisturbed run takes %v", whole.Round(time.Millisecond))
	random := rand.New(rand.NewPCG(1, uint64(kills)))
	for run, left := 0, kills; left > 0; run++ {
		dir := filepath.Join(top, strconv.Itoa(run))
		for n := 0; ; n++ {
			cmd, out := child(dir)
			if left == 0 || n == 8 { // let it end
				if err := cmd.Wait(); err != nil {
					t.Fatalf("run %d: %v: %s", run, err, out)
				}
				break
			}
			time.Sleep(time.Duration(random.Int64N(int64(whole))))
			if err := cmd.Process.Kill(); err == nil {
				left--
			}
			cmd.Wait()
			if cmd.ProcessState.Success() {
				left++ // it was done before
				break
			}
		}
		if got := outcomeOf(t, dir); got != want {
			t.Errorf("run %d ends in\n%s\nwant\n%s", run, got, want)
		}
	}
}

// outcomeOf is what a run led to, without times.
func outcomeOf(t *testing.T, dir string) string {
	t.Helper()
	store, err := embedded.Open(filepath.Join(dir, "monitor.db"))
	check(t, err)
	defer store.Close()
	var out []string
	for img, err := range store.All(t.Context()) {
		check(t, err)
		tag, err := os.ReadFile(filepath.Join(dir, "tag "+img.Name))
		check(t, err)
		out = append(out, fmt.Sprintf("%s is %s, users get %s", img.Name, img.Digest, tag))
	}
	for _, kind := range []string{"published", "vex", "store"} {
		entries, err := fs.ReadDir(os.DirFS(dir), kind)
		check(t, err)
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") { // half-written, and never renamed
				out = append(out, kind+" "+e.Name())
			}
		}
	}
	kinds := map[string]int{}
	for e, err := range store.Entries(t.Context(), 0) {
		check(t, err)
		if slices.Contains([]string{KindFinding, KindPlan, KindAssessed, KindReleased, KindReplaced, KindStage, KindIncident, KindFailed}, e.Kind) {
			kinds[e.Kind]++
		}
	}
	for _, k := range sortedKeys(kinds) {
		out = append(out, fmt.Sprintf("%d times %s", kinds[k], k))
	}
	var b bytes.Buffer
	check(t, store.Export(&b))
	if _, err := ledger.Verify(&b, ledger.Head{}); err != nil {
		t.Errorf("%s: %v", dir, err)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
