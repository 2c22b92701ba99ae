package reach

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/dwarfx"
	"github.com/cleanstart/cleanstart/internal/trace"
)

const doc = `reach answers whether the mapped functions were observed while the image's workload ran under breakpoints.
It can only raise: a function that was not observed is unknown, never absent.`

// Options are the settings of an Observer. The zero value is useful.
type Options struct {
	Files   map[string][]byte // what the local server answers, by path; nil: / and /hello
	Timeout time.Duration     // for each process of the workload; 0: two minutes
}

// Observer is layer 3 with what it saw.
type Observer struct {
	index *binary.Index
	runs  []compile.Run
	opts  Options

	mu       sync.Mutex
	coverage analyze.Coverage
}

// New makes an observer of a workload. The index may be shared with the other
// layers; nil gives it its own.
func New(x *binary.Index, runs []compile.Run, opts Options) *Observer {
	if x == nil {
		x = new(binary.Index)
	}
	if opts.Files == nil {
		opts.Files = map[string][]byte{"/": []byte("cleanstart\n"), "/hello": []byte("hello from cleanstart\n")}
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 2 * time.Minute
	}
	return &Observer{index: x, runs: slices.Clone(runs), opts: opts}
}

// Coverage is what the last examination armed and observed: functions of all
// components, by entry.
func (o *Observer) Coverage() analyze.Coverage {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.coverage
}

// Layer is the observer as a layer.
func (o *Observer) Layer() analyze.Layer {
	return analyze.Layer{Name: analyze.LayerReach, Doc: doc, Examine: o.examine}
}

// site is one address in one file.
type site struct {
	path    string
	address uint64
}

func (o *Observer) examine(ctx context.Context, s *analyze.Subject, cands []analyze.Candidate) ([]analyze.Evidence, error) {
	if len(o.runs) == 0 { // there is nothing to look at, which is no failure to look
		out := make([]analyze.Evidence, len(cands))
		for i := range out {
			out[i] = analyze.Evidence{Layer: analyze.LayerReach, Reason: "the image declares no workload"}
		}
		return out, ctx.Err()
	}
	w, err := o.index.Load(ctx, s)
	if err != nil {
		return nil, err
	}
	sites := map[site]bool{} // → observed
	entries := map[site]string{}
	for _, p := range w.Programs {
		for at, origin := range functions(p) {
			sites[at], entries[at] = false, origin
		}
	}
	located := make([][]binary.Location, len(cands))
	for i, c := range cands {
		for _, f := range c.Advisory.Map.Functions {
			l := w.Locate(c.Component, f)
			located[i] = append(located[i], l)
			for _, code := range l.Code {
				if observable(code) {
					sites[site{code.Program.Path, code.Address}] = false
				}
			}
		}
	}
	plan := planOf(sites)
	armed := 0
	for _, r := range o.runs {
		res, err := o.run(ctx, s, plan, r)
		if err != nil {
			return nil, fmt.Errorf("reach: workload %q: %w", r.Name, err)
		}
		armed = max(armed, res.Armed)
		for _, h := range res.Hits {
			sites[site{h.Path, h.Address}] = true
		}
	}
	cover := analyze.Coverage{Runs: len(o.runs)}
	byOrigin := map[string]analyze.Coverage{}
	for at, origin := range entries {
		c := byOrigin[origin]
		c.Armed++
		cover.Armed++
		if sites[at] {
			c.Observed++
			cover.Observed++
		}
		byOrigin[origin] = c
	}
	o.mu.Lock()
	o.coverage = cover
	o.mu.Unlock()

	workload, err := json.Marshal(o.runs)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(workload)
	out := make([]analyze.Evidence, len(cands))
	for i, c := range cands {
		e := analyze.Evidence{Layer: analyze.LayerReach, Premises: w.Premises(c), Facts: map[string]string{
			"armed": strconv.Itoa(cover.Armed), "observed": strconv.Itoa(cover.Observed), "runs": strconv.Itoa(cover.Runs),
			"component-armed":    strconv.Itoa(byOrigin[c.Component].Armed),
			"component-observed": strconv.Itoa(byOrigin[c.Component].Observed),
			"breakpoints":        strconv.Itoa(armed),
		}}
		e.Premises["workload"] = "sha256:" + hex.EncodeToString(sum[:])
		for k, f := range c.Advisory.Map.Functions {
			fact := analyze.FunctionFact{File: f.File, Name: f.Name}
			for _, code := range located[i][k].Code {
				if observable(code) && sites[site{code.Program.Path, code.Address}] {
					fact.Verdict, fact.How = analyze.Present, "observed"
					if !slices.Contains(fact.Where, code.Program.Path) {
						fact.Where = append(fact.Where, code.Program.Path)
					}
				}
			}
			slices.Sort(fact.Where)
			e.Functions = append(e.Functions, fact)
		}
		e.Verdict, e.Reason = binary.Summarise(e.Functions, "observed")
		if e.Verdict == analyze.Unknown && len(e.Functions) > 0 {
			e.Reason = fmt.Sprintf("not observed in %d runs that entered %d of %d functions", cover.Runs, cover.Observed, cover.Armed)
		}
		out[i] = e
	}
	return out, nil
}

// functions are the entries of a program's functions, each with the component
// that it comes from.
func functions(p *binary.Program) map[site]string {
	out := map[site]string{}
	if p.Debug == nil {
		return out
	}
	for f := range p.Debug.All {
		for _, i := range f.Instances {
			if i.Kind == dwarfx.Symbol || i.Kind == dwarfx.Body {
				out[site{p.Path, i.Low}] = p.Origin(i.Low)
			}
		}
	}
	return out
}

// observable reports whether an instruction of the code's own starts at its
// address.
func observable(c binary.Code) bool {
	return c.How != dwarfx.Label.String() && (c.How != dwarfx.Inlined.String() || c.End > c.Address)
}

func planOf(sites map[site]bool) *trace.Plan {
	byPath := map[string][]uint64{}
	for at := range sites {
		byPath[at.path] = append(byPath[at.path], at.address)
	}
	plan := &trace.Plan{}
	for path, addresses := range byPath {
		slices.Sort(addresses)
		plan.Files = append(plan.Files, trace.File{Path: path, Addresses: addresses})
	}
	slices.SortFunc(plan.Files, func(a, b trace.File) int { return cmp.Compare(a.Path, b.Path) })
	return plan
}
