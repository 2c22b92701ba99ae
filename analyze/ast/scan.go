package ast

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
)

// Scan is what the rules say of one component's units.
type Scan struct {
	Component string   `json:"component"`
	Units     int      `json:"units"`   // that were checked
	Skipped   []string `json:"skipped"` // that were not, each with the reason; sorted
	Found     []Found  `json:"found"`   // by file and line, each once over all units
}

// ScanComponent runs rules over every recorded unit of a component, several at
// once. A unit that cannot be read or parsed is skipped and named: it may hold
// anything.
func ScanComponent(ctx context.Context, s *analyze.Subject, component string, rules []*Rule) (*Scan, error) {
	if s == nil || s.Image == nil || s.Image.Record == nil {
		return nil, errors.New("ast: the image has no record")
	}
	i := slices.IndexFunc(s.Image.Record.Components, func(c compile.ComponentRecord) bool { return c.Component.Name == component })
	if i < 0 {
		return nil, fmt.Errorf("ast: the record has no component %q", component)
	}
	units := s.Image.Record.Components[i].Result.Units
	out := &Scan{Component: component, Skipped: []string{}, Found: []Found{}}
	if len(units) == 0 {
		return out, nil
	}
	debug, err := s.Part(component, compile.PartDebug)
	if err != nil {
		return nil, fmt.Errorf("ast: %w", err)
	}
	found := make([][]Found, len(units))
	skipped := make([]string, len(units))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, u := range units {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if u.Language != "c" {
				skipped[i] = fmt.Sprintf("%s: language %s", u.Source, u.Language)
				return nil
			}
			src, err := preprocessed(debug, u)
			if err == nil {
				found[i], err = Check(src, rules)
			}
			if err != nil {
				skipped[i] = fmt.Sprintf("%s: %v", u.Source, err)
			}
			for k := range found[i] {
				found[i][k].File = inTree(u, found[i][k].File)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i := range units {
		if skipped[i] != "" {
			out.Skipped = append(out.Skipped, skipped[i])
			continue
		}
		out.Units++
		for _, f := range found[i] {
			if !path.IsAbs(f.File) && !strings.HasPrefix(f.File, "<") { // another component's header
				out.Found = append(out.Found, f)
			}
		}
	}
	slices.Sort(out.Skipped)
	slices.SortFunc(out.Found, compareFound)
	out.Found = slices.Compact(out.Found)
	return out, nil
}

func compareFound(a, b Found) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
		cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
}
