package ast

import "io/fs"

// noFiles is where a preprocessed unit may look for files: nowhere.
type noFiles struct{}

func (noFiles) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
