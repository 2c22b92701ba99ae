package local

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// loaded is one file that the linker read, or one member of an archive.
type loaded struct {
	Path   string // as the linker saw it
	Member string
}

// parseMap reads a GNU ld map: the objects in the order in which they were
// loaded, each archive replaced by the members that were taken from it, in
// the order in which they were taken. An archive that gave nothing has an
// entry without a member: the map does not say that it is one. It accepts what GNU ld 2.40 writes and refuses a text without the
// memory map's heading.
func parseMap(r io.Reader) ([]loaded, error) {
	const (
		head     = "Archive member included to satisfy reference by file (symbol)"
		asNeeded = "As-needed library included to satisfy reference by file (symbol)"
		body     = "Linker script and memory map"
	)
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 16<<20)
	members := map[string][]string{} // archive → members
	known := map[loaded]bool{}
	var out []loaded
	section, inBody := "", false
	for s.Scan() {
		line := s.Text()
		switch {
		case line == head || line == asNeeded:
			section = line
		case line == body:
			section, inBody = "", true
		case section == head:
			// "path/lib.a(member)" in column 0, the reference after blanks or
			// on the next line; other headings end the list
			if line == "" || line[0] == ' ' {
				continue
			}
			l, ok := archiveMember(line)
			if !ok {
				section = ""
				continue
			}
			if !known[l] {
				known[l] = true
				members[l.Path] = append(members[l.Path], l.Member)
			}
		case inBody:
			p, ok := strings.CutPrefix(line, "LOAD ")
			if !ok || known[loaded{Path: p}] {
				continue
			}
			known[loaded{Path: p}] = true
			if m, ok := members[p]; ok {
				for _, name := range m {
					out = append(out, loaded{p, name})
				}
				delete(members, p)
				continue
			}
			out = append(out, loaded{Path: p})
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("linker map: %w", err)
	}
	if !inBody {
		return nil, errors.New("linker map: the heading of the memory map is missing")
	}
	for a := range members {
		return nil, fmt.Errorf("linker map: members were taken from %s, which was not loaded", a)
	}
	return out, nil
}

// archiveMember splits "path/lib.a(member)" at the last pair of parentheses
// of its first word; a path may hold blanks, so the pair decides.
func archiveMember(line string) (loaded, bool) {
	// the reference follows after at least one blank, in the form "file (symbol)"
	for end := 0; end < len(line); end++ {
		if line[end] != ')' || end+1 < len(line) && line[end+1] != ' ' {
			continue
		}
		open := strings.LastIndexByte(line[:end], '(')
		if open <= 0 || line[open-1] == ' ' {
			return loaded{}, false
		}
		return loaded{line[:open], line[open+1 : end]}, true
	}
	return loaded{}, false
}
