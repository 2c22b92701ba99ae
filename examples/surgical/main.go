// Surgical shows the loop of the monitor on real source: it builds an image
// with OpenSSL 3.0.17, an advisory against that version arrives, and one step
// exchanges OpenSSL for 3.0.20, rebuilds what needs it and nothing else, tests,
// attests and verifies the new release.
//
//	go run ./examples/surgical -out release
package main

import (
	"context"
	"embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/local"
	"github.com/cleanstart/cleanstart/examples/internal/pipeline"
	"github.com/cleanstart/cleanstart/examples/internal/progress"
	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/monitor"
	"github.com/cleanstart/cleanstart/monitor/feed"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/ledger"
)

//go:embed advisories
var advisories embed.FS

const (
	knownFile = "CVE-2022-3602.json" // in the feed from the start; fixed long before 3.0.17
	newFile   = "CVE-2025-9230.json" // arrives while the image is live
)

func main() {
	local.Init() // before anything else: a sandbox's first process is this program
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "surgical:", pipeline.Explain(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("surgical", flag.ContinueOnError)
	out := flags.String("out", "release", "directory to write; must not exist")
	specFile := flags.String("spec", "examples/quickstart/tls.yaml", "specification that holds OpenSSL 3.0.17")
	cache := flags.String("cache", "", "cache directory (default: in the user's)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if _, err := os.Lstat(*out); err == nil {
		return fmt.Errorf("%s exists: name another directory with -out, or remove it", *out)
	}
	if *cache == "" {
		dir, err := pipeline.DefaultCache()
		if err != nil {
			return err
		}
		*cache = dir
	}
	keys := os.DirFS(filepath.Dir(*specFile))
	spec, err := compile.LoadSpec(keys, filepath.Base(*specFile))
	if err != nil {
		return fmt.Errorf("%w (run from the repository's root, or name the specification with -spec)", err)
	}
	now := time.Now().UTC()
	id, err := pipeline.NewIdentity("", "")
	if err != nil {
		return err
	}
	board := progress.New(os.Stderr)
	defer board.Close()
	w, err := pipeline.Open(ctx, pipeline.Settings{Cache: *cache, Now: now, Board: board})
	if err != nil {
		return err
	}
	defer w.Close()
	s := &shop{workshop: w, spec: spec, keys: keys, id: id, out: *out, feed: filepath.Join(*out, "feed")}
	return s.run(ctx, board, stdout)
}

// shop is what the monitor's step works with: it rebuilds and publishes.
type shop struct {
	workshop *pipeline.Workshop
	spec     *compile.Spec
	keys     fs.FS
	id       *pipeline.Identity
	out      string
	feed     string
	last     *pipeline.Built
}

func (s *shop) run(ctx context.Context, board *progress.Board, stdout io.Writer) error {
	if err := os.MkdirAll(s.feed, 0o755); err != nil {
		return err
	}
	if err := s.arrive(knownFile); err != nil {
		return err
	}
	before, err := s.workshop.Build(ctx, s.spec, s.keys)
	if err != nil {
		return err
	}
	if err := s.release(ctx, before, "before"); err != nil {
		return err
	}
	inv, err := inventory.Open(filepath.Join(s.out, "inventory.db"))
	if err != nil {
		return err
	}
	defer inv.Close()
	led, err := ledger.Open(filepath.Join(s.out, "ledger.jsonl"))
	if err != nil {
		return err
	}
	defer led.Close()
	img, err := inventory.FromRecord(before.Image.Record, time.Now())
	if err != nil {
		return err
	}
	if err := inv.Swap(ctx, img.Name, "", img); err != nil {
		return err
	}
	opts := monitor.Options{
		FeedName: "directory", Feed: feed.Dir{FS: os.DirFS(s.feed)}, Inventory: inv, Cursors: inv, Ledger: led,
		Upgrades: s, Rebuilder: s, Now: time.Now,
		Progress: func(e ledger.Entry) { board.Printf("ledger %d: %s", e.Seq, e.Kind) },
	}
	quiet, err := monitor.Step(ctx, opts)
	if err != nil {
		return err
	}
	if len(quiet.Opened) > 0 {
		return fmt.Errorf("the image has findings before the advisory arrives: %v", quiet.Opened)
	}

	if err := s.arrive(newFile); err != nil {
		return err
	}
	board.Printf("an advisory arrives: %s", strings.TrimSuffix(newFile, ".json"))
	result, err := monitor.Step(ctx, opts)
	if err != nil {
		return err
	}
	for _, f := range result.Failed {
		return fmt.Errorf("the rebuild of %s ended at %s: %s", f.Image, f.Stage, f.Reason)
	}
	if len(result.Released) != 1 || s.last == nil {
		return fmt.Errorf("%d images were released, want one (findings without a fix: %v)", len(result.Released), result.NoFix)
	}
	return s.show(ctx, stdout, before, &result.Released[0], led)
}

// arrive puts an advisory into the feed, whole.
func (s *shop) arrive(name string) error {
	b, err := advisories.ReadFile("advisories/" + name)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(s.feed, name), 0o644, b)
}

// release judges, attests and verifies an image.
func (s *shop) release(ctx context.Context, b *pipeline.Built, name string) error {
	judged, err := s.workshop.Judge(ctx, b.Image, os.DirFS(s.feed))
	if err != nil {
		return err
	}
	if err := judged.Err(); err != nil {
		return err
	}
	dir := filepath.Join(s.out, name)
	if _, err := s.workshop.Attest(ctx, judged, s.id, dir); err != nil {
		return err
	}
	v, err := attest.Verify(ctx, dir, attest.Options{Image: b.Image.Record.Image.Manifest})
	if err != nil {
		return err
	}
	return v.Err()
}

// Rebuild implements [monitor.Rebuilder].
func (s *shop) Rebuild(ctx context.Context, plan monitor.Plan) (*monitor.Rebuilt, error) {
	spec := *s.spec
	spec.Components = append([]compile.Component(nil), s.spec.Components...)
	for _, u := range plan.Upgrades {
		for i := range spec.Components {
			if spec.Components[i].Name == u.Component {
				spec.Components[i].Component = u.To
			}
		}
	}
	built, err := s.workshop.Build(ctx, &spec, s.keys)
	if err != nil {
		return nil, err
	}
	s.last = built
	return &monitor.Rebuilt{Record: built.Image.Record, Executed: built.Made}, nil
}

// Publish implements [monitor.Publisher].
func (s *shop) Publish(ctx context.Context, plan monitor.Plan, _ *monitor.Rebuilt) error {
	return s.release(ctx, s.last, "after")
}

// show prints what was rebuilt, what stayed, and when.
func (s *shop) show(ctx context.Context, w io.Writer, before *pipeline.Built, r *monitor.Release, led *ledger.File) error {
	fmt.Fprintf(w, "\nbefore   %s\nafter    %s\n", before.Image.Record.Image.Manifest, r.Image.Digest)
	fmt.Fprintf(w, "rebuilt  %s\nkept     %s (from the store)\n", strings.Join(r.Rebuilt, ", "), strings.Join(s.last.Hits, ", "))
	layers := map[string]string{}
	for _, l := range before.Image.Record.Image.Layers {
		layers[l.Component] = l.Digest
	}
	for _, l := range s.last.Image.Record.Image.Layers {
		state := "new"
		if layers[l.Component] == l.Digest {
			state = "same"
		}
		fmt.Fprintf(w, "layer    %-4s  %s  %s\n", state, l.Digest, l.Component)
	}
	fmt.Fprintf(w, "fixed    %s, deadline %s, met: %v\n\nledger\n", strings.Join(r.Advisories, ", "), r.Deadline.Format(time.RFC3339), r.Met)
	for e, err := range led.Entries(ctx, 0) {
		if err != nil {
			return err
		}
		data, err := json.Marshal(e.Data)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %3d  %s  %-10s %.100s\n", e.Seq, e.Time.UTC().Format(time.RFC3339), e.Kind, data)
	}
	fmt.Fprintf(w, "\nnext:\n  check  go run ./examples/verify %s\n  look   %s\n",
		filepath.Join(s.out, "after"), filepath.Join(s.out, "after", "report.html"))
	return nil
}
