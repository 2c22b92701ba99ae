package source

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// VerifyAll is [Verify] of many components, as many at once as workers says
// (default: 4), and gives their trees in order. All are tried; when some are
// not acceptable the error joins theirs, in order, and the trees of the others
// are given with it.
func VerifyAll(ctx context.Context, components []Component, o Options, workers int) ([]*Tree, error) {
	trees, errs := make([]*Tree, len(components)), make([]error, len(components))
	if workers <= 0 {
		workers = 4
	}
	var g errgroup.Group
	g.SetLimit(workers)
	for i, c := range components {
		g.Go(func() error {
			trees[i], errs[i] = Verify(ctx, c, o)
			return nil
		})
	}
	g.Wait()
	return trees, errors.Join(errs...)
}
