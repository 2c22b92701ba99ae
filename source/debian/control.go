package debian

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds one line of a control file. The longest in Debian's own
// indexes is about 300 kB.
const maxLine = 4 << 20

// eachParagraph reads deb822 paragraphs (deb-control(5)) and calls fn for
// each with the values of the named fields, by position; a missing field is
// "". Continuation lines are joined by newlines, their leading blank kept
// off. The slice is reused between calls.
func eachParagraph(r io.Reader, fields []string, fn func(values []string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	values := make([]string, len(fields))
	cur, any := -1, false
	flush := func() error {
		if !any {
			return nil
		}
		err := fn(values)
		clear(values)
		cur, any = -1, false
		return err
	}
	for n := 1; s.Scan(); n++ {
		line := s.Bytes()
		switch {
		case len(line) == 0 || line[0] <= ' ' && len(bytes.TrimSpace(line)) == 0:
			if err := flush(); err != nil {
				return err
			}
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if !any {
				return fmt.Errorf("line %d continues no field", n)
			}
			if cur >= 0 {
				values[cur] += "\n" + strings.TrimSpace(string(line))
			}
		default:
			i := 0
			for i < len(line) && line[i] != ':' {
				i++
			}
			if i == len(line) || i == 0 {
				return fmt.Errorf("line %d is no field: %.40q", n, line)
			}
			any, cur = true, -1
			for f, name := range fields {
				if len(name) == i && strings.EqualFold(name, string(line[:i])) {
					values[f] = strings.TrimSpace(string(line[i+1:]))
					cur = f
				}
			}
		}
	}
	if err := s.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return fmt.Errorf("a line is longer than %d bytes", maxLine)
		}
		return err
	}
	return flush()
}

// fileEntry is a line of Checksums-Sha256, or of SHA256 in a Release.
type fileEntry struct {
	Name   string
	Size   int64
	SHA256 string
}

// parseChecksums reads the lines "HEX SIZE NAME".
func parseChecksums(s string) ([]fileEntry, error) {
	var out []fileEntry
	for line := range strings.SplitSeq(s, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || !isSHA256(f[0]) {
			return nil, fmt.Errorf("malformed checksum line %.100q", line)
		}
		size, err := parseSize(f[1])
		if err != nil {
			return nil, err
		}
		if !safePath(f[2]) {
			return nil, fmt.Errorf("unsafe file name %.100q", f[2])
		}
		out = append(out, fileEntry{f[2], size, f[0]})
	}
	return out, nil
}
