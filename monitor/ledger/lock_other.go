//go:build !unix

package ledger

import (
	"errors"
	"io"
)

// lockFile refuses where no lock that ends with the process is known.
func lockFile(string) (io.Closer, error) { return nil, errors.ErrUnsupported }
