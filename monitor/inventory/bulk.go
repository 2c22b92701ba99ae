package inventory

import (
	"context"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"
)

// Import adds many images in few transactions, as a portfolio is taken over
// for the first time. Each must be new. Where it ends with an error, the
// images before some point are there and no others; import again those that
// Live does not know.
func (b *Bolt) Import(ctx context.Context, images iter.Seq[*Image]) error {
	const batch = 2000
	next, stop := iter.Pull(images)
	defer stop()
	for more := true; more; {
		err := b.db.Update(func(tx *bbolt.Tx) error {
			for range batch {
				var img *Image
				if img, more = next(); !more {
					return nil
				}
				if err := img.Check(); err != nil {
					return err
				}
				if err := swap(tx, img.Name, "", img); err != nil {
					return fmt.Errorf("%s: %w", img.Name, err)
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("inventory: import: %w", err)
		}
	}
	return nil
}
