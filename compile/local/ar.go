package local

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	arMagic    = "!<arch>\n"
	arThin     = "!<thin>\n"
	arHeader   = 60
	arTrailer  = "`\n"
	arNameSize = 16
)

var errThin = errors.New("a thin archive refers to files outside itself")

// arMember is one member of a Unix archive.
type arMember struct {
	Name   string
	Data   []byte // aliases the archive
	header int    // offset of the member's header
}

// parseArchive lists the members of an archive in the GNU variant, without
// its symbol tables and its table of names.
func parseArchive(b []byte) ([]arMember, error) {
	if bytes.HasPrefix(b, []byte(arThin)) {
		return nil, errThin
	}
	if !bytes.HasPrefix(b, []byte(arMagic)) {
		return nil, errors.New("not an archive")
	}
	var members []arMember
	var names []byte
	for off := len(arMagic); off < len(b); {
		if len(b)-off < arHeader || string(b[off+58:off+60]) != arTrailer {
			return nil, fmt.Errorf("archive: damaged header at offset %d", off)
		}
		size, err := strconv.Atoi(strings.TrimRight(string(b[off+48:off+58]), " "))
		if err != nil || size < 0 || size > len(b)-off-arHeader {
			return nil, fmt.Errorf("archive: bad size at offset %d", off)
		}
		data := b[off+arHeader : off+arHeader+size]
		name := strings.TrimRight(string(b[off:off+arNameSize]), " ")
		switch {
		case name == "/" || name == "/SYM64/":
		case name == "//":
			names = data
		default:
			if name, err = memberName(name, names); err != nil {
				return nil, fmt.Errorf("archive: offset %d: %w", off, err)
			}
			members = append(members, arMember{name, data, off})
		}
		off += arHeader + size + size&1
	}
	return members, nil
}

func memberName(field string, names []byte) (string, error) {
	rest, long := strings.CutPrefix(field, "/")
	if !long {
		return strings.TrimSuffix(field, "/"), nil
	}
	at, err := strconv.Atoi(rest)
	if err != nil || at < 0 || at >= len(names) {
		return "", fmt.Errorf("bad long name %q", field)
	}
	name, _, ok := bytes.Cut(names[at:], []byte("\n"))
	if !ok {
		return "", fmt.Errorf("unterminated long name %q", field)
	}
	return strings.TrimSuffix(string(name), "/"), nil
}

// normalizeArchive sets time, owner and mode of every header in b to fixed
// values, as ar -D would have; members keep their bytes.
func normalizeArchive(b []byte) error {
	members, err := parseArchive(b)
	if err != nil {
		return err
	}
	fix := func(off int, mode string) {
		copy(b[off+arNameSize:off+48], fmt.Sprintf("%-12s%-6s%-6s%-8s", "0", "0", "0", mode))
	}
	for _, m := range members {
		fix(m.header, "644")
	}
	if len(b) > len(arMagic)+arHeader && b[len(arMagic)] == '/' { // the symbol table stands first
		fix(len(arMagic), "0")
	}
	return nil
}
