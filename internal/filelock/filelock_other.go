//go:build !unix

package filelock

import "errors"

func try(string, bool) (func(), bool, error) { return nil, false, errors.ErrUnsupported }
