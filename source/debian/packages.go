package debian

import (
	"bytes"
	"context"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sync/errgroup"
	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"
)

// Package is one binary package of the archive.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	SHA256       string `json:"sha256"` // hexadecimal
	Size         int64  `json:"size"`
	Filename     string `json:"filename"` // below the archive's location
	Suite        string `json:"suite"`

	urls     []string
	version  version.Version
	depends  string
	provides string
}

// universe is every binary package of every suite, by name.
type universe struct {
	lines     map[string][]line   // name → its lines
	providers map[string][]string // virtual name → providers' names, sorted
	parsed    map[string][]*Package
}

type line struct {
	suite *suite
	text  []byte
}

func newUniverse(suites []*suite) *universe {
	u := &universe{lines: map[string][]line{}, providers: map[string][]string{}, parsed: map[string][]*Package{}}
	for _, s := range suites {
		for _, body := range s.packages {
			for len(body) > 0 {
				var text []byte
				text, body, _ = bytes.Cut(body, []byte("\n"))
				if len(text) == 0 {
					continue
				}
				name := string(text[:bytes.IndexByte(text, '\t')])
				u.lines[name] = append(u.lines[name], line{s, text})
				provides := text[bytes.LastIndexByte(text, '\t')+1:]
				for len(provides) > 0 {
					var p []byte
					p, provides, _ = bytes.Cut(provides, []byte(","))
					p = bytes.TrimSpace(p)
					if i := bytes.IndexAny(p, " (:"); i >= 0 {
						p = p[:i]
					}
					if l := u.providers[string(p)]; len(l) == 0 || l[len(l)-1] != name {
						u.providers[string(p)] = append(l, name)
					}
				}
			}
		}
	}
	return u
}

// versions are the packages of one name, newest first; among equals the
// first suite of the configuration wins.
func (u *universe) versions(name string) ([]*Package, error) {
	if p, ok := u.parsed[name]; ok {
		return p, nil
	}
	var out []*Package
	for _, l := range u.lines[name] {
		f := strings.Split(string(l.text), "\t")
		if len(f) != 8 {
			return nil, fmt.Errorf("suite %s: package %s: malformed line", l.suite.entry.Suite, name)
		}
		size, err := parseSize(f[3])
		if err != nil {
			return nil, err
		}
		v, err := version.Parse(f[1])
		if err != nil {
			return nil, fmt.Errorf("suite %s: version of %s: %w", l.suite.entry.Suite, name, err)
		}
		out = append(out, &Package{
			Name: f[0], Version: f[1], Architecture: f[2], Size: size, SHA256: f[4], Filename: f[5],
			Suite: l.suite.entry.Suite, urls: l.suite.entry.urls(f[5]), version: v, depends: f[6], provides: f[7],
		})
	}
	sort.SliceStable(out, func(i, j int) bool { return version.Compare(out[i].version, out[j].version) > 0 })
	u.parsed[name] = out
	return out, nil
}

// Resolve gives the named packages and everything that they depend on,
// sorted by name. It takes the newest version that satisfies each relation,
// the first alternative that can be satisfied, and for a virtual package the
// first provider by name unless one is chosen already. Conflicts, suggestions
// and essential packages that nobody depends on do not enter.
//
// The answer is a function of the archive's indexes alone. Resolve needs the
// releases of every suite, so also the network unless Options.Offline.
func (a *Archive) Resolve(ctx context.Context, names []string) ([]Package, error) {
	suites, err := a.withPackages(ctx)
	if err != nil {
		return nil, err
	}
	r := &resolver{u: newUniverse(suites), chosen: map[string]*Package{}}
	roots := append([]string(nil), names...)
	sort.Strings(roots)
	for _, n := range roots {
		list, err := r.u.versions(n)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("package %s for %s: %w", n, a.config.Arch, ErrNotFound)
		}
		if err := r.choose(list[0]); err != nil {
			return nil, err
		}
	}
	for len(r.queue) > 0 {
		p := r.queue[0]
		r.queue = r.queue[1:]
		if err := r.expand(p); err != nil {
			return nil, fmt.Errorf("dependencies of %s %s: %w", p.Name, p.Version, err)
		}
	}
	out := make([]Package, 0, len(r.chosen))
	for _, p := range r.chosen {
		out = append(out, *p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// Exact finds packages by name, version and SHA-256, in the order given, and
// nothing else: the content of a lock.
func (a *Archive) Exact(ctx context.Context, want []Package) ([]Package, error) {
	suites, err := a.withPackages(ctx)
	if err != nil {
		return nil, err
	}
	u := newUniverse(suites)
	out := make([]Package, 0, len(want))
next:
	for _, w := range want {
		list, err := u.versions(w.Name)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			if p.Version == w.Version && p.SHA256 == w.SHA256 {
				out = append(out, *p)
				continue next
			}
		}
		return nil, fmt.Errorf("package %s %s with SHA-256 %s: %w", w.Name, w.Version, w.SHA256, ErrNotFound)
	}
	return out, nil
}

type resolver struct {
	u      *universe
	chosen map[string]*Package
	queue  []*Package
}

func (r *resolver) choose(p *Package) error {
	if old := r.chosen[p.Name]; old != nil {
		if old.Version != p.Version {
			return fmt.Errorf("both %s and %s of %s are needed", old.Version, p.Version, p.Name)
		}
		return nil
	}
	r.chosen[p.Name] = p
	r.queue = append(r.queue, p)
	return nil
}

func (r *resolver) expand(p *Package) error {
	if p.depends == "" {
		return nil
	}
	dep, err := dependency.Parse(p.depends)
	if err != nil {
		return err
	}
	for _, rel := range dep.Relations {
		if err := r.satisfy(rel); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolver) satisfy(rel dependency.Relation) error {
	for _, alt := range rel.Possibilities {
		if ok, err := r.satisfied(alt); ok || err != nil {
			return err
		}
	}
	for _, alt := range rel.Possibilities {
		list, err := r.u.versions(alt.Name)
		if err != nil {
			return err
		}
		for _, p := range list {
			if matches(alt, p.version) && (r.chosen[p.Name] == nil || r.chosen[p.Name].Version == p.Version) {
				return r.choose(p)
			}
		}
		providers := append([]string(nil), r.u.providers[alt.Name]...)
		sort.Strings(providers)
		for _, name := range providers {
			list, err := r.u.versions(name)
			if err != nil {
				return err
			}
			for _, p := range list {
				ok, err := provides(p, alt)
				if err != nil {
					return err
				}
				if ok && r.chosen[p.Name] == nil {
					return r.choose(p)
				}
			}
		}
	}
	return fmt.Errorf("%s: %w", rel, ErrNotFound)
}

// satisfied reports whether what is chosen satisfies one alternative.
func (r *resolver) satisfied(alt dependency.Possibility) (bool, error) {
	if p := r.chosen[alt.Name]; p != nil && matches(alt, p.version) {
		return true, nil
	}
	for _, name := range r.u.providers[alt.Name] {
		if p := r.chosen[name]; p != nil {
			if ok, err := provides(p, alt); ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

func matches(alt dependency.Possibility, v version.Version) bool {
	return alt.Version == nil || alt.Version.SatisfiedBy(v)
}

// provides reports whether p's Provides satisfies the alternative: a
// versioned relation needs a versioned Provides (Debian policy 7.5).
func provides(p *Package, alt dependency.Possibility) (bool, error) {
	if p.provides == "" {
		return false, nil
	}
	list, err := dependency.Parse(p.provides)
	if err != nil {
		return false, fmt.Errorf("provides of %s: %w", p.Name, err)
	}
	for _, o := range list.GetAllPossibilities() {
		if o.Name != alt.Name {
			continue
		}
		if alt.Version == nil {
			return true, nil
		}
		if o.Version == nil || o.Version.Operator != "=" {
			continue
		}
		v, err := version.Parse(o.Version.Number)
		if err != nil {
			return false, fmt.Errorf("provides of %s: %w", p.Name, err)
		}
		if alt.Version.SatisfiedBy(v) {
			return true, nil
		}
	}
	return false, nil
}

// Fetch puts the packages' files into the cache, several at a time, and gives
// their paths in the same order. The packages must come from this Archive's
// Resolve.
func (a *Archive) Fetch(ctx context.Context, packages []Package) ([]string, error) {
	paths := make([]string, len(packages))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(a.opts.Parallel)
	for i := range packages {
		paths[i] = a.blob("debs", packages[i].SHA256)
		g.Go(func() error { return a.FetchOne(ctx, &packages[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return paths, nil
}

// FetchOne puts one package's file into the cache, at Path.
func (a *Archive) FetchOne(ctx context.Context, p *Package) error {
	if !isSHA256(p.SHA256) {
		return fmt.Errorf("package %s: malformed SHA-256 %.70q", p.Name, p.SHA256)
	}
	err := a.fetchBlob(ctx, "debs", p.urls, fileEntry{p.Name + " " + p.Version, p.Size, p.SHA256})
	if err != nil {
		return fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return nil
}

// Path is where the cache keeps the package's file.
func (a *Archive) Path(p *Package) string { return a.blob("debs", p.SHA256) }
