package suite

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// identity reads a configuration's user as an engine does: USER[:GROUP], each
// a number or a name of the image's own /etc, root where there is none.
func (s *Subject) identity(user string) (uid, gid int, err error) {
	u, g, both := strings.Cut(user, ":")
	if u == "" {
		u = "0"
	}
	uid, uerr := strconv.Atoi(u)
	gid = uid
	for _, f := range s.accounts("etc/passwd") {
		if len(f) < 4 || f[0] != u && f[2] != u {
			continue
		}
		n, err1 := strconv.Atoi(f[2])
		m, err2 := strconv.Atoi(f[3])
		if err1 == nil && err2 == nil {
			uid, gid, uerr = n, m, nil
			break
		}
	}
	if uerr != nil {
		return 0, 0, fmt.Errorf("user %q is neither a number nor in the image's etc/passwd", u)
	}
	if !both {
		return uid, gid, nil
	}
	if gid, err = strconv.Atoi(g); err == nil {
		return uid, gid, nil
	}
	for _, f := range s.accounts("etc/group") {
		if len(f) >= 3 && f[0] == g {
			if gid, err = strconv.Atoi(f[2]); err == nil {
				return uid, gid, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("group %q is neither a number nor in the image's etc/group", g)
}

// accounts are the lines of a file of the unpacked image, by field. A file
// that cannot be read has none.
func (s *Subject) accounts(name string) [][]string {
	root, err := os.OpenRoot(s.Rootfs)
	if err != nil {
		return nil
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list [][]string
	for lines := bufio.NewScanner(io.LimitReader(f, 1<<20)); lines.Scan(); {
		list = append(list, strings.Split(lines.Text(), ":"))
	}
	return list
}
