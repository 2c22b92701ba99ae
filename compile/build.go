package compile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/source"
)

// Machine is what a build uses of this machine. All fields are required.
type Machine struct {
	Toolchain *Toolchain
	Executor  Executor
	Store     Store
	// Work is a directory for builds under way, best on the store's file
	// system. Processes may share it. Logs of failed builds stay in its
	// sub-directory logs; all else is removed, at the latest by the next build.
	Work string
}

func (m *Machine) check() error {
	switch {
	case m.Toolchain == nil || m.Toolchain.Digest == "":
		return errors.New("build: no toolchain, or one without a digest")
	case m.Executor == nil:
		return errors.New("build: no executor")
	case m.Store == nil:
		return errors.New("build: no store")
	case m.Work == "":
		return errors.New("build: no work directory")
	}
	return nil
}

// Events are told what happens, one call at a time, from the goroutine that
// does it: a slow function slows the build. Nil fields are skipped.
type Events struct {
	Start   func(component, version, key string)         // a build begins
	Hit     func(component, version, key string)         // the result was in the store
	Command func(component string, index int, c Command) // the first line of a command's output
	Line    func(line LogLine)                           // one line of a build log
	Done    func(component, version, key string)         // a build ended well and is stored
}

type options struct {
	events   Events
	parallel int
	jobs     int
}

// Option adjusts [Build].
type Option func(*options)

// WithEvents reports progress. Default: nobody is told.
func WithEvents(e Events) Option { return func(o *options) { o.events = e } }

// WithParallel bounds how many components are built at once. Default: 2.
func WithParallel(n int) Option { return func(o *options) { o.parallel = n } }

// WithJobs bounds the processes of one component's build. It does not change
// what is built. Default: 0, one per processor.
func WithJobs(n int) Option { return func(o *options) { o.jobs = n } }

// tree is a *source.Tree, as much of it as a build reads.
type tree interface {
	verifiedSource
	Component() source.Component
	Digest() string
	ArchiveDigest() string
	Proofs() []source.Proof
	Place() source.Place
}

// Build makes the image of a specification from verified trees, by component
// name. Components whose action is in the store are taken from there; the
// others are built, the independent ones at once. It fails when a hardening
// flag of the profile did not reach every unit, or when a byte of the image
// is not explained by the record (see [VerifyOrigins]). After an error the
// store holds the components that were finished, so that the same call
// carries on.
func Build(ctx context.Context, spec *Spec, trees map[string]*source.Tree, m Machine, opts ...Option) (*Image, error) {
	img, err := build(ctx, spec, asTrees(trees), m, opts)
	if err != nil {
		return nil, err
	}
	img.trees = trees
	return img, nil
}

func asTrees(trees map[string]*source.Tree) map[string]tree {
	out := map[string]tree{}
	for name, t := range trees {
		if t != nil {
			out[name] = t
		}
	}
	return out
}

func build(ctx context.Context, spec *Spec, trees map[string]tree, m Machine, opts []Option) (*Image, error) {
	o := options{parallel: 2}
	for _, f := range opts {
		f(&o)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	w, err := newWalk(spec, trees, &m)
	if err != nil {
		return nil, err
	}
	dir, release, err := claimWork(ctx, m.Work)
	if err != nil {
		return nil, err
	}
	defer release()
	b := &builder{walk: w, machine: &m, opts: o, events: &serial{e: o.events}, dir: dir, items: map[string]*Item{}}
	if err := b.run(ctx); err != nil {
		return nil, err
	}
	record := &Record{
		Spec: *spec, SpecDigest: spec.Digest(), Toolchain: *m.Toolchain, Epoch: w.epoch(),
	}
	for i := range spec.Components {
		c := &spec.Components[i]
		cr, err := componentRecord(c, trees[c.Name], b.items[c.Name])
		if err != nil {
			return nil, err
		}
		record.Components = append(record.Components, cr)
	}
	return finish(record, b.items)
}

type builder struct {
	*walk
	machine *Machine
	opts    options
	events  *serial
	dir     string           // of this build
	items   map[string]*Item // guarded by walk.mu
}

// run builds every component as soon as its needs are there.
func (b *builder) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	slots := make(chan struct{}, max(1, b.opts.parallel))
	done := map[string]chan struct{}{}
	for _, c := range b.spec.Components {
		done[c.Name] = make(chan struct{})
	}
	for i := range b.spec.Components {
		c := &b.spec.Components[i]
		group.Go(func() error {
			for _, n := range b.spec.needs(c) {
				select {
				case <-done[n]:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := b.component(ctx, c); err != nil {
				return fmt.Errorf("build %s %s: %w", c.Name, c.Version, err)
			}
			close(done[c.Name])
			return nil
		})
	}
	return group.Wait()
}

// component gives one component's item, from the store or by building it.
func (b *builder) component(ctx context.Context, c *Component) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	action, err := b.action(c, b.output)
	if err != nil {
		return err
	}
	key := action.Key()
	if found, err := b.stored(ctx, c, action, key); found || err != nil {
		return err
	}
	unlock, err := lockKey(ctx, b.machine.Work, key)
	if err != nil {
		return err
	}
	defer unlock()
	if found, err := b.stored(ctx, c, action, key); found || err != nil {
		return err // another process built it meanwhile
	}
	b.events.start(c, key)
	item, err := b.execute(ctx, c, action, key)
	if err != nil {
		return err
	}
	b.keep(c.Name, item)
	b.events.done(c, key)
	return nil
}

// stored takes a component from the store, if it is there.
func (b *builder) stored(ctx context.Context, c *Component, action *Action, key string) (bool, error) {
	item, err := b.machine.Store.Get(ctx, key)
	switch {
	case errors.Is(err, ErrNotStored):
		return false, nil
	case err != nil:
		return false, err
	}
	if err := checkResult(c, action, b.gcc, &item.Result); err != nil {
		return false, fmt.Errorf("result %s in the store: %w", key, err)
	}
	b.keep(c.Name, item)
	b.events.hit(c, key)
	return true, nil
}

func (b *builder) keep(name string, item *Item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items[name] = item
}

// output is the digest of a need that is built.
func (b *builder) output(name string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	it := b.items[name]
	if it == nil {
		return "", false
	}
	return it.Result.Output.Digest, true
}

// execute runs the action in a directory of its own and stores the result.
func (b *builder) execute(ctx context.Context, c *Component, action *Action, key string) (*Item, error) {
	dir := filepath.Join(b.dir, c.Name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	defer atomicfile.RemoveTree(dir)
	log, err := newBuildLog(b.machine.Work, c.Name, key, action, b.events)
	if err != nil {
		return nil, err
	}
	defer log.close()
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return nil, err
	}
	t := b.trees[c.Name]
	job := &Job{
		Action: *action, Source: t.FS(), SourceDir: t.Dir(), Toolchain: b.machine.Toolchain.Dir,
		Needs: b.needDirs(action), Out: out, Log: log, Jobs: b.opts.jobs,
	}
	result, err := b.machine.Executor.Execute(ctx, job)
	if err != nil {
		return nil, log.explain(err)
	}
	if err := checkResult(c, action, b.gcc, result); err != nil {
		return nil, log.explain(err)
	}
	if err := log.moveTo(filepath.Join(out, LogName)); err != nil {
		return nil, err
	}
	item, err := b.machine.Store.Put(ctx, key, *action, result, out)
	if err != nil {
		return nil, fmt.Errorf("store the result: %w", err)
	}
	return item, nil
}

// needDirs are the dev parts of an action's needs.
func (b *builder) needDirs(action *Action) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	dirs := map[string]string{}
	for _, n := range action.Needs {
		dirs[n.Name] = filepath.Join(b.items[n.Name].Dir, PartDev)
	}
	return dirs
}

func componentRecord(c *Component, t tree, item *Item) (ComponentRecord, error) {
	logDigest, err := digestLog(item)
	if err != nil {
		return ComponentRecord{}, fmt.Errorf("build log of %s: %w", c.Name, err)
	}
	result := item.Result
	result.Output.Dir = "" // a place on this machine
	return ComponentRecord{
		Component: *c, Tree: t.Digest(), Archive: t.ArchiveDigest(), Place: t.Place(), Proofs: t.Proofs(),
		Action: item.Action, Key: item.Key, Result: result, Log: logDigest,
	}, nil
}
