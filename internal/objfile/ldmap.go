package objfile

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Map is what GNU ld's map file says about input sections.
type Map struct {
	Discarded []Placed // in the map's order; addresses are 0
	Placed    []Placed // of the process image, sorted by address; those without bytes left out
}

// Placed is one input section. File is the object as the linker names it,
// "PATH" or "ARCHIVE(MEMBER)".
type Placed struct {
	Section       string
	Address, Size uint64
	File          string
}

// Resolve makes the file names absolute, as seen from the directory in which
// the linker ran.
func (m *Map) Resolve(dir string) {
	if dir == "" {
		return
	}
	for _, list := range [][]Placed{m.Discarded, m.Placed} {
		for i, p := range list {
			if p.File != "" && !path.IsAbs(p.File) {
				list[i].File = path.Join(dir, p.File)
			}
		}
	}
}

// ParseMap reads a map file as written by GNU ld 2.40 in the C locale.
func ParseMap(r io.Reader) (*Map, error) {
	const discarded, memory, body = "Discarded input sections", "Memory Configuration", "Linker script and memory map"
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 1<<20)
	m := &Map{}
	part, long, output, seen := "", "", "", false
	image := true // the output section is part of the process image: its address is not 0
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		switch line {
		case discarded, memory, body:
			part, long = line, ""
			seen = seen || line == body
			continue
		}
		if part != discarded && part != body {
			continue
		}
		if part == body && line != "" && (line[0] != ' ' || output != "") {
			if line[0] != ' ' {
				output, line, _ = strings.Cut(line, " ")
			}
			if f := strings.Fields(line); len(f) >= 2 && strings.HasPrefix(f[0], "0x") {
				image = strings.Trim(f[0], "0x") != ""
				output = ""
			} else if len(f) > 0 {
				output = ""
			}
			continue
		}
		name := long
		long = ""
		rest := line
		if name == "" {
			// an input section stands one column in; patterns start with *
			if len(line) < 2 || line[0] != ' ' || line[1] == ' ' || line[1] == '*' {
				continue
			}
			name, rest, _ = strings.Cut(line[1:], " ")
			if strings.TrimSpace(rest) == "" {
				long = name
				continue
			}
		}
		p, ok := parsePlaced(rest)
		if !ok {
			continue // an assignment, or a pattern of the linker script
		}
		p.Section = name
		if part == discarded {
			m.Discarded = append(m.Discarded, p)
		} else if p.Size != 0 && image {
			m.Placed = append(m.Placed, p)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("linker map: %w", err)
	}
	if !seen {
		return nil, errors.New("linker map: no memory map in it")
	}
	slices.SortStableFunc(m.Placed, func(a, b Placed) int { return cmp.Compare(a.Address, b.Address) })
	return m, nil
}

// parsePlaced reads "   0xADDRESS   0xSIZE FILE".
func parsePlaced(s string) (p Placed, ok bool) {
	for _, v := range []*uint64{&p.Address, &p.Size} {
		var word string
		word, s, _ = strings.Cut(strings.TrimLeft(s, " "), " ")
		hex, is := strings.CutPrefix(word, "0x")
		n, err := strconv.ParseUint(hex, 16, 64)
		if !is || err != nil {
			return p, false
		}
		*v = n
	}
	p.File = s
	return p, p.File != ""
}

// At is the input section that was placed over an address.
func (m *Map) At(addr uint64) (Placed, bool) {
	i, _ := slices.BinarySearchFunc(m.Placed, addr, func(p Placed, a uint64) int {
		if p.Address <= a {
			return -1
		}
		return 1
	})
	if i == 0 || addr-m.Placed[i-1].Address >= m.Placed[i-1].Size {
		return Placed{}, false
	}
	return m.Placed[i-1], true
}
