package git

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/cleanstart/cleanstart/internal/gitsnap"
	"github.com/cleanstart/cleanstart/source"
)

const (
	maxNested  = 8   // submodules in submodules
	maxModules = 256 // in all
	maxTree    = 64 << 20
)

// modules fetches the submodules of a snapshot.
type modules struct {
	fetch *fetch
	snap  *gitsnap.Snapshot
	trees int
}

// collect fetches the submodules of the commit, which is of the repository at
// loc and has its files at the path prefix.
func (m *modules) collect(ctx context.Context, loc location, commit, prefix string, nested int) error {
	var links []gitsnap.Entry // with the path from the commit's root as name
	var config string
	err := m.walk(ctx, commit+"^{tree}", "", func(e gitsnap.Entry) {
		switch {
		case e.Mode == gitsnap.ModeGitlink:
			links = append(links, e)
		case e.Name == ".gitmodules" && (e.Mode == gitsnap.ModeFile || e.Mode == gitsnap.ModeExec || e.Mode == gitsnap.ModeGroup):
			config = e.ID
		}
	})
	if err != nil || len(links) == 0 {
		return err
	}
	fail := func(path, format string, a ...any) error {
		return fmt.Errorf("%w: %q: %w", ErrSubmodule, prefix+path, fmt.Errorf(format, a...))
	}
	switch {
	case !m.fetch.submodules:
		return fail(links[0].Name, "submodules are not wanted, and the repository has some")
	case nested == maxNested:
		return fail(links[0].Name, "more than %d deep", maxNested)
	case len(m.snap.Modules)+len(links) > maxModules:
		return fail(links[0].Name, "more than %d", maxModules)
	case config == "":
		return fail(links[0].Name, "there is no .gitmodules that says where it is")
	}
	urls, err := m.urls(ctx, config)
	if err != nil {
		return err
	}
	for _, l := range links {
		at, err := loc.submodule(urls[l.Name])
		if err != nil {
			return fail(l.Name, "%w", err)
		}
		if err := m.fetch.getCommit(ctx, at, l.ID); err != nil {
			return fail(l.Name, "%w", err)
		}
		b, err := gitsnap.ReadObject(ctx, m.fetch.objects, l.ID, "commit", maxHead)
		if err != nil {
			return fail(l.Name, "%w", err)
		}
		m.snap.Modules = append(m.snap.Modules, gitsnap.Module{Path: prefix + l.Name, Commit: b})
		if err := m.collect(ctx, at, l.ID, prefix+l.Name+"/", nested+1); err != nil {
			return err
		}
	}
	return nil
}

// walk shows what is in a tree and in those below it.
func (m *modules) walk(ctx context.Context, id, prefix string, show func(gitsnap.Entry)) error {
	if m.trees++; m.trees > m.fetch.limits.Files || strings.Count(prefix, "/") > m.fetch.limits.Depth {
		return fmt.Errorf("%w: directories", source.ErrTooLarge)
	}
	b, err := gitsnap.ReadObject(ctx, m.fetch.objects, id, "tree", maxTree)
	if err != nil {
		return err
	}
	entries, err := gitsnap.Entries(m.fetch.format, b)
	if err != nil {
		return err
	}
	for _, e := range entries {
		e.Name = prefix + e.Name
		if e.Mode != gitsnap.ModeDir {
			show(e)
		} else if err := m.walk(ctx, e.ID, e.Name+"/", show); err != nil {
			return err
		}
	}
	return nil
}

// urls has git read a .gitmodules file and gives the URLs by path.
func (m *modules) urls(ctx context.Context, blob string) (map[string]string, error) {
	list, err := m.fetch.output(ctx, "", "config", "--blob="+blob, "--no-includes", "--null", "--list")
	if err != nil {
		return nil, fmt.Errorf("%w: .gitmodules: %w", ErrSubmodule, err)
	}
	paths, found := map[string]string{}, map[string]string{}
	for item := range strings.SplitSeq(string(list), "\x00") {
		key, value, _ := strings.Cut(item, "\n")
		name, ok := strings.CutPrefix(key, "submodule.")
		if !ok {
			continue
		}
		if of, ok := strings.CutSuffix(name, ".path"); ok {
			paths[of] = value
		} else if of, ok := strings.CutSuffix(name, ".url"); ok {
			found[of] = value
		}
	}
	urls := map[string]string{}
	for name, path := range paths {
		if strings.HasPrefix(path, "-") {
			return nil, fmt.Errorf("%w: path %q begins with a dash", ErrSubmodule, path)
		}
		if _, twice := urls[path]; twice {
			return nil, fmt.Errorf("%w: .gitmodules names %q twice", ErrSubmodule, path)
		}
		urls[path] = found[name]
	}
	return urls, nil
}

// submodule is the location that a URL in a .gitmodules file of the repository
// at l means. Only a repository of this machine may name another one here.
func (l location) submodule(s string) (location, error) {
	if s == "" || strings.HasPrefix(s, "-") {
		return location{}, refuse("URL %q", s)
	}
	var u *url.URL
	if strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
		c := *l.url
		c.Path, c.RawPath = path.Join(c.Path, s), ""
		u = &c
	} else {
		var err error
		if u, err = url.Parse(s); err != nil {
			return location{}, refuse("URL %q: %v", s, err)
		}
		if u.Fragment != "" || strings.Contains(u.Path+"/", "/../") {
			return location{}, refuse("URL %q", s)
		}
	}
	if u.Scheme == "file" && l.protocol != "file" {
		return location{}, refuse("URL %q names a file, and what names it does not", s)
	}
	return locate(u)
}
