package objfile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Member is one member of an archive. Data aliases the archive.
type Member struct {
	Name string
	Data []byte
}

// IsArchive reports whether b starts as an archive, thin or not.
func IsArchive(b []byte) bool {
	return bytes.HasPrefix(b, []byte("!<arch>\n")) || bytes.HasPrefix(b, []byte("!<thin>\n"))
}

// Members lists an archive's members in order, without its symbol table and
// its table of long names. Two members may have the same name. A thin archive
// is an error: its members are elsewhere.
func Members(b []byte) ([]Member, error) {
	const magic, header = "!<arch>\n", 60
	if !bytes.HasPrefix(b, []byte(magic)) {
		return nil, errors.New("archive: not an archive that holds its members")
	}
	var out []Member
	var names []byte
	for at := len(magic); at < len(b); {
		if len(b)-at < header || string(b[at+58:at+60]) != "`\n" {
			return nil, fmt.Errorf("archive: damaged header at offset %d", at)
		}
		name := strings.TrimRight(string(b[at:at+16]), " ")
		size, err := strconv.ParseUint(strings.TrimRight(string(b[at+48:at+58]), " "), 10, 40)
		at += header
		if err != nil || size > uint64(len(b)-at) {
			return nil, fmt.Errorf("archive: member %q at offset %d has a bad size", name, at-header)
		}
		data := b[at : at+int(size) : at+int(size)]
		at += int(size + size&1)
		switch {
		case name == "/" || name == "/SYM64/":
			continue
		case name == "//":
			names = data
			continue
		case strings.HasPrefix(name, "/"):
			off, err := strconv.ParseUint(name[1:], 10, 40)
			if err != nil || off >= uint64(len(names)) {
				return nil, fmt.Errorf("archive: member %q names no entry of the name table", name)
			}
			long, _, ok := bytes.Cut(names[off:], []byte("/\n"))
			if !ok {
				return nil, fmt.Errorf("archive: member %q: unterminated name", name)
			}
			name = string(long)
		default:
			name = strings.TrimSuffix(name, "/")
		}
		out = append(out, Member{name, data})
	}
	return out, nil
}
