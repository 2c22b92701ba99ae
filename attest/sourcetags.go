package attest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
)

// sourceLicences is what the files of a source tree say of themselves, file by
// file: by the SPDX-License-Identifier near their beginning, as the REUSE and
// SPDX specifications (annex E) have it. It is a hint beside the licence
// texts, and decides nothing: most projects tag only some of their files.
type sourceLicences struct {
	Files    int               `json:"files"`    // regular files of the tree
	Untagged int               `json:"untagged"` // of them, without a tag
	Tags     []sourceTag       `json:"tags"`
	Invalid  map[string]string `json:"invalid,omitempty"` // by path: a tag that is no SPDX expression
}

// sourceTag is one expression and the files that carry it.
type sourceTag struct {
	Expression string   `json:"expression"`
	Files      []string `json:"files"`
}

const (
	spdxTag = "SPDX-License-Identifier:"
	tagSpan = 4 << 10 // bytes of a file that are searched
	maxTags = 200_000 // files of a tree
)

// scanTree reads the beginning of every file of a tree.
func scanTree(tree fs.FS) (*sourceLicences, error) {
	s := &sourceLicences{Tags: []sourceTag{}, Invalid: map[string]string{}}
	by := map[string][]string{}
	buf := make([]byte, tagSpan)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if s.Files++; s.Files > maxTags {
			return errors.New("the tree has too many files")
		}
		f, err := tree.Open(name)
		if err != nil {
			return err
		}
		n, err := io.ReadFull(f, buf)
		if err = errors.Join(ignoreEnd(err), f.Close()); err != nil {
			return err
		}
		tag := tagOf(buf[:n])
		switch {
		case tag == "":
			s.Untagged++
		default:
			if ok, _ := spdxexp.ValidateLicenses([]string{tag}); ok {
				by[tag] = append(by[tag], name)
			} else {
				s.Untagged++
				s.Invalid[name] = tag
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Sorted(maps.Keys(by)) {
		s.Tags = append(s.Tags, sourceTag{e, by[e]})
	}
	return s, nil
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// tagOf is the expression of the first tag in a file's beginning, or "".
func tagOf(b []byte) string {
	_, rest, ok := bytes.Cut(b, []byte(spdxTag))
	if !ok {
		return ""
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	tag := strings.ToValidUTF8(strings.TrimSpace(string(line)), "")
	for _, end := range []string{"*/", "-->", "*)", "#}", "\""} { // of the comment around it
		tag, _, _ = strings.Cut(tag, end)
	}
	if tag = strings.TrimSpace(tag); len(tag) > 200 {
		return ""
	}
	return tag
}
