package golang

import (
	"context"
	"errors"
	"fmt"
	"go/token"
	"go/types"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/tools/go/callgraph"
	"golang.org/x/tools/go/callgraph/cha"
	"golang.org/x/tools/go/callgraph/vta"
	"golang.org/x/tools/go/packages"
	"golang.org/x/tools/go/ssa"
	"golang.org/x/tools/go/ssa/ssautil"
)

// Config is what Source does not find in the source. The zero value is useful
// only to programs that are built by the environment given.
type Config struct {
	Dir      string   // of the main module
	Patterns []string // of packages; default ./...
	Env      []string // of the go command, whole
	Tags     string
	Go       string // release of the standard library that will be linked, go1.22.3; default: the go command's
}

// Source builds the packages' syntax and call graph and decides from there.
// A package that does not compile is an error: it would hide calls.
func Source(ctx context.Context, db *DB, cfg Config) ([]Finding, error) {
	patterns := cfg.Patterns
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	pc := &packages.Config{
		Context: ctx, Dir: cfg.Dir, Env: cfg.Env,
		Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps | packages.NeedTypes | packages.NeedSyntax |
			packages.NeedTypesInfo | packages.NeedTypesSizes | packages.NeedModule | packages.NeedFiles | packages.NeedCompiledGoFiles,
	}
	if cfg.Tags != "" {
		pc.BuildFlags = []string{"-tags=" + cfg.Tags}
	}
	roots, err := packages.Load(pc, patterns...)
	if err != nil {
		return nil, fmt.Errorf("go source: %w", err)
	}
	if len(roots) == 0 {
		return nil, errors.New("go source: no package")
	}
	p := &program{packages: map[string]bool{}, reached: map[string][]string{}}
	modules := map[string]module{}
	var errs []error
	packages.Visit(roots, nil, func(pkg *packages.Package) {
		for _, e := range pkg.Errors {
			errs = append(errs, e)
		}
		p.packages[pkg.PkgPath] = true
		if m := pkg.Module; m != nil {
			for m.Replace != nil {
				m = m.Replace
			}
			modules[m.Path] = module{m.Path, m.Version}
		}
	})
	if len(errs) > 0 {
		return nil, fmt.Errorf("go source: %w", errors.Join(errs...))
	}
	release := cfg.Go
	if release == "" {
		if release, err = goVersion(pc); err != nil {
			return nil, err
		}
	}
	modules["stdlib"] = module{"stdlib", release}
	if err := listModules(pc, modules); err != nil {
		return nil, err
	}
	p.goos, p.goarch = platform(cfg.Env)
	for _, m := range modules {
		p.modules = append(p.modules, m)
	}
	slices.SortFunc(p.modules, func(a, b module) int { return strings.Compare(a.path, b.path) })

	prog, ssaPkgs := ssautil.AllPackages(roots, ssa.InstantiateGenerics)
	prog.Build()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.reach(entries(ssaPkgs), prog)
	return p.findings(db), nil
}

// platform is what the environment builds for.
func platform(env []string) (goos, goarch string) {
	goos, goarch = runtime.GOOS, runtime.GOARCH
	for _, kv := range env {
		switch k, v, _ := strings.Cut(kv, "="); {
		case k == "GOOS" && v != "":
			goos = v
		case k == "GOARCH" && v != "":
			goarch = v
		}
	}
	return goos, goarch
}

// entries are main and init of programs, and of other packages what others
// can call.
func entries(pkgs []*ssa.Package) []*ssa.Function {
	var out []*ssa.Function
	for _, pkg := range pkgs {
		if pkg == nil {
			continue
		}
		for name, m := range pkg.Members {
			switch m := m.(type) {
			case *ssa.Function:
				if name == "init" || strings.HasPrefix(name, "init#") || pkg.Pkg.Name() == "main" && name == "main" || pkg.Pkg.Name() != "main" && token.IsExported(name) {
					out = append(out, m)
				}
			case *ssa.Type:
				if pkg.Pkg.Name() == "main" || !token.IsExported(name) {
					continue
				}
				for _, t := range []types.Type{m.Type(), types.NewPointer(m.Type())} {
					set := pkg.Prog.MethodSets.MethodSet(t)
					for i := range set.Len() {
						if f := pkg.Prog.MethodValue(set.At(i)); f != nil && token.IsExported(f.Name()) {
							out = append(out, f)
						}
					}
				}
			}
		}
	}
	return out
}

// reach marks what the entries reach: CHA, its slice, VTA, its slice, VTA.
func (p *program) reach(from []*ssa.Function, prog *ssa.Program) {
	graph := cha.CallGraph(prog)
	for range 2 {
		graph = vta.CallGraph(slice(from, graph), graph)
	}
	type step struct {
		fn     *ssa.Function
		parent int
	}
	var queue []step
	seen := map[*ssa.Function]bool{}
	push := func(f *ssa.Function, parent int) {
		if f != nil && !seen[f] {
			seen[f] = true
			queue = append(queue, step{f, parent})
		}
	}
	for _, f := range from {
		push(f, -1)
	}
	for i := 0; i < len(queue); i++ {
		name := symbol(queue[i].fn)
		if name != "" && !has(p.reached, name) {
			var trace []string
			for j := i; j >= 0; j = queue[j].parent {
				trace = append(trace, queue[j].fn.String())
			}
			slices.Reverse(trace)
			p.reached[name] = trace
		}
		if n := graph.Nodes[queue[i].fn]; n != nil {
			for _, e := range n.Out {
				push(e.Callee.Func, i)
			}
		}
	}
}

// slice is the functions that can be reached in a graph, those included that
// a reached one refers to.
func slice(from []*ssa.Function, graph *callgraph.Graph) map[*ssa.Function]bool {
	seen := map[*ssa.Function]bool{}
	work := slices.Clone(from)
	for len(work) > 0 {
		f := work[len(work)-1]
		work = work[:len(work)-1]
		if f == nil || seen[f] {
			continue
		}
		seen[f] = true
		if n := graph.Nodes[f]; n != nil {
			for _, e := range n.Out {
				work = append(work, e.Callee.Func)
			}
		}
		var operands []*ssa.Value
		for _, b := range f.Blocks {
			for _, instr := range b.Instrs {
				for _, v := range instr.Operands(operands[:0]) {
					if g, ok := (*v).(*ssa.Function); ok {
						work = append(work, g)
					}
				}
			}
		}
		work = append(work, f.AnonFuncs...)
	}
	return seen
}

// symbol is a function in the database's spelling: PACKAGE.F or
// PACKAGE.T.Method; "" for closures and wrappers.
func symbol(f *ssa.Function) string {
	if o := f.Origin(); o != nil {
		f = o
	}
	obj, ok := f.Object().(*types.Func)
	if !ok || obj.Pkg() == nil {
		if f.Pkg != nil && f.Name() == "init" {
			return f.Pkg.Pkg.Path() + ".init"
		}
		return ""
	}
	name := obj.Name()
	if recv := obj.Signature().Recv(); recv != nil {
		t := recv.Type()
		if ptr, ok := t.(*types.Pointer); ok {
			t = ptr.Elem()
		}
		if n, ok := types.Unalias(t).(*types.Named); ok {
			name = n.Obj().Name() + "." + name
		}
	}
	return obj.Pkg().Path() + "." + name
}
