package gitsnap

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// commit is what the header lines of a commit object say.
type commit struct {
	tree string
	time int64 // the committer's, in seconds
}

// tag is what the header lines of a tag object say.
type tag struct {
	object, name string
}

// lines takes an object's header apart, line by line.
type lines struct {
	rest []byte
	bad  bool // a line was not what it had to be
}

// take is the value of the next line, which must begin with key and a space.
func (l *lines) take(key string) string {
	line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
	value, has := bytes.CutPrefix(line, []byte(key+" "))
	if !ok || !has || bytes.IndexByte(line, 0) >= 0 {
		l.bad = true
		return ""
	}
	l.rest = rest
	return string(value)
}

func (l *lines) at(key string) bool { return bytes.HasPrefix(l.rest, []byte(key+" ")) }

// extra skips the header lines up to the message. A header goes on in lines
// that begin with a space.
func (l *lines) extra(allowed func(key string) bool) {
	var seen []string
	for len(l.rest) > 0 && l.rest[0] != '\n' && !l.bad {
		if l.rest[0] == ' ' && len(seen) > 0 {
			l.take("")
			continue
		}
		key, _, _ := bytes.Cut(l.rest, []byte(" "))
		name := string(key)
		// Two signatures of a kind would be for each reader to choose from.
		again := strings.HasPrefix(name, "gpgsig") && slices.Contains(seen, name)
		if name == "" || bytes.IndexByte(key, '\n') >= 0 || again || !allowed(name) {
			l.bad = true
			return
		}
		seen = append(seen, name)
		l.take(name)
	}
}

func isSignature(key string) bool { return key == "gpgsig" || key == "gpgsig-sha256" }

// parseCommit reads the header of a commit object as strictly as git's fsck.
func parseCommit(f format, b []byte) (*commit, error) {
	l := &lines{rest: b}
	c := &commit{tree: l.take("tree")}
	ok := f.isID(c.tree)
	for l.at("parent") && !l.bad {
		parent := l.take("parent")
		ok = ok && f.isID(parent)
	}
	_, author := identity(l.take("author"))
	var committer bool
	c.time, committer = identity(l.take("committer"))
	l.extra(func(key string) bool {
		switch key {
		case "tree", "parent", "author", "committer":
			return false
		}
		return !strings.HasPrefix(key, "gpgsig") || isSignature(key)
	})
	if l.bad || !ok || !author || !committer {
		return nil, malformed("commit object is malformed")
	}
	return c, nil
}

// parseTag reads the header of a tag object. It must be for a commit.
func parseTag(f format, b []byte) (*tag, error) {
	l := &lines{rest: b}
	t := &tag{object: l.take("object")}
	kind := l.take("type")
	t.name = l.take("tag")
	_, tagger := identity(l.take("tagger"))
	l.extra(isSignature)
	named := t.name != "" && !strings.ContainsFunc(t.name, func(r rune) bool { return r <= ' ' || r == 0x7f })
	if l.bad || !f.isID(t.object) || !named || !tagger {
		return nil, malformed("tag object is malformed")
	}
	if kind != "commit" {
		return nil, malformed("tag %s is for a %s, not for a commit", t.name, kind)
	}
	return t, nil
}

// lastTime is the last second of the year 9999, beyond which no date is.
const lastTime = 253402300799

// identity checks "NAME <ADDRESS> SECONDS ZONE" and gives the seconds.
func identity(s string) (int64, bool) {
	who, when, ok := strings.Cut(s, "> ")
	name, address, has := strings.Cut(who, "<")
	seconds, zone, two := strings.Cut(when, " ")
	if !ok || !has || !two || strings.ContainsAny(name+address, "<>") {
		return 0, false
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 || n > lastTime || strconv.FormatInt(n, 10) != seconds {
		return 0, false
	}
	if len(zone) != 5 || zone[0] != '+' && zone[0] != '-' || strings.Trim(zone[1:], "0123456789") != "" {
		return 0, false
	}
	return n, true
}
