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
	Name string
	Data []byte // aliases the archive
}

// eachHeader visits the entries of an archive in the GNU variant, its tables
// included.
func eachHeader(b []byte, visit func(header []byte, name string, data []byte) error) error {
	if bytes.HasPrefix(b, []byte(arThin)) {
		return errThin
	}
	if !bytes.HasPrefix(b, []byte(arMagic)) {
		return errors.New("not an archive")
	}
	for off := len(arMagic); off < len(b); {
		if len(b)-off < arHeader || string(b[off+58:off+60]) != arTrailer {
			return fmt.Errorf("archive: damaged header at offset %d", off)
		}
		size, err := strconv.Atoi(strings.TrimRight(string(b[off+48:off+58]), " "))
		if err != nil || size < 0 || size > len(b)-off-arHeader {
			return fmt.Errorf("archive: bad size at offset %d", off)
		}
		header := b[off : off+arHeader]
		if err := visit(header, strings.TrimRight(string(header[:arNameSize]), " "), b[off+arHeader:off+arHeader+size]); err != nil {
			return fmt.Errorf("archive: offset %d: %w", off, err)
		}
		off += arHeader + size + size&1
	}
	return nil
}

// parseArchive lists the members of an archive, without its symbol tables and
// its table of names.
func parseArchive(b []byte) ([]arMember, error) {
	var members []arMember
	var names []byte
	err := eachHeader(b, func(_ []byte, name string, data []byte) error {
		switch name {
		case "/", "/SYM64/":
		case "//":
			names = data
		default:
			name, err := memberName(name, names)
			if err != nil {
				return err
			}
			members = append(members, arMember{name, data})
		}
		return nil
	})
	if err != nil {
		return nil, err
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
	return eachHeader(b, func(header []byte, name string, _ []byte) error {
		mode := "644"
		if strings.HasPrefix(name, "/") && strings.Trim(name, "/0123456789") != "" || name == "/" || name == "//" {
			mode = "0" // a table
		}
		copy(header[arNameSize:48], fmt.Sprintf("%-12s%-6s%-6s%-8s", "0", "0", "0", mode))
		return nil
	})
}
