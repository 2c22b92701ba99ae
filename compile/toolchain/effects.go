package toolchain

import (
	"fmt"
	"strings"
)

// Default are the packages of a root that configures and compiles C and C++.
func Default() []string {
	return []string{
		"gcc", "g++", "cpp", "binutils", "libc6-dev", "linux-libc-dev", "make", "perl", "pkgconf",
		"coreutils", "dash", "sed", "grep", "gawk", "tar", "gzip", "bzip2", "xz-utils",
		"patch", "diffutils", "findutils", "file", "debianutils",
	}
}

// alternatives are the links that maintainer scripts would make, the first
// existing target of each name. None replaces a packaged file.
var alternatives = []struct {
	name    string
	targets []string
}{
	{"usr/bin/sh", []string{"usr/bin/dash", "usr/bin/bash"}},
	{"usr/bin/awk", []string{"usr/bin/gawk", "usr/bin/mawk", "usr/bin/original-awk"}},
	{"usr/bin/nawk", []string{"usr/bin/gawk", "usr/bin/mawk", "usr/bin/original-awk"}},
	{"usr/bin/cc", []string{"usr/bin/gcc", "usr/bin/clang"}},
	{"usr/bin/c++", []string{"usr/bin/g++", "usr/bin/clang++"}},
	{"usr/bin/c89", []string{"usr/bin/c89-gcc"}},
	{"usr/bin/c99", []string{"usr/bin/c99-gcc"}},
	{"usr/bin/which", []string{"usr/bin/which.debianutils"}},
	{"usr/bin/pkg-config", []string{"usr/bin/pkgconf"}},
	{"usr/bin/yacc", []string{"usr/bin/bison.yacc", "usr/bin/byacc"}},
	{"usr/bin/lex", []string{"usr/bin/flex"}},
	{"usr/bin/lzma", []string{"usr/bin/xz"}},
	{"usr/sbin/rmt", []string{"usr/sbin/rmt-tar"}},
	{"usr/bin/python3", []string{"usr/bin/python3.13", "usr/bin/python3.12", "usr/bin/python3.11"}},
}

// topDirs exist in every root: mount points, and where programs expect a
// directory.
var topDirs = []string{"build", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var", "var/tmp"}

// The two identities of a root. Owners are not part of a tree; these names
// are for programs that ask.
const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1000:builder:/build:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
	group  = "root:x:0:\nbuilder:x:1000:\nnogroup:x:65534:\n"
	hosts  = "127.0.0.1 localhost\n::1 localhost\n"
	nss    = "passwd: files\ngroup: files\nhosts: files\n"
)

// ours is the owner of what no package ships.
const ours = "toolchain"

// begin lays out the root before any package.
func (u *unpacker) begin() error {
	for _, d := range topDirs {
		if err := u.dir(ours, d); err != nil {
			return err
		}
	}
	for _, d := range mergedDirs {
		if err := u.dir(ours, "usr/"+d); err != nil {
			return err
		}
		if err := u.link(d, entry{kind: 'l', target: "usr/" + d, owner: ours}); err != nil {
			return err
		}
	}
	return nil
}

// finish adds what maintainer scripts would have.
func (u *unpacker) finish() error {
	for _, a := range alternatives {
		if _, ok := u.tree[a.name]; ok {
			continue
		}
		for _, t := range a.targets {
			if _, ok := u.tree[t]; !ok {
				continue
			}
			target := t[strings.LastIndex(t, "/")+1:]
			if err := u.link(a.name, entry{kind: 'l', target: target, owner: ours}); err != nil {
				return err
			}
			break
		}
	}
	for _, f := range []struct{ name, text string }{
		{"etc/passwd", passwd}, {"etc/group", group}, {"etc/hosts", hosts}, {"etc/nsswitch.conf", nss},
	} {
		if _, ok := u.tree[f.name]; ok {
			continue
		}
		e := entry{kind: 'f', mode: modeFile, size: int64(len(f.text)), owner: ours}
		if err := u.file(f.name, e, strings.NewReader(f.text)); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}
