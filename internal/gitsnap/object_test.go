package gitsnap

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

var (
	zero  = strings.Repeat("0", 40)
	plain = "tree " + zero + "\nparent " + zero + "\nauthor " + who + "committer " + who
	armor = "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n"
)

func TestParseCommit(t *testing.T) {
	f, _ := formatOf("sha1")
	for _, good := range []string{
		plain,
		plain + "\n",
		plain + "\nmessage",
		plain + "encoding ISO-8859-1\nmergetag object x\n type commit\n \n gpgsig y\ngpgsig a\n b\ngpgsig-sha256 c\n\nm\n",
		strings.Replace(plain, "parent "+zero+"\n", "", 1) + "\n",
		strings.Replace(plain, "A U Thor", "", 1) + "\n",
	} {
		c, err := parseCommit(f, []byte(good))
		if err != nil || c.tree != zero || c.time != 1700000000 {
			t.Errorf("%q: %+v, %v", good, c, err)
		}
	}
	for name, bad := range map[string]string{
		"empty":                 "",
		"no line end":           strings.TrimSuffix(plain, "\n"),
		"short id":              strings.Replace(plain, "tree 00", "tree 0", 1),
		"upper case id":         strings.Replace(plain, "tree 00", "tree AA", 1),
		"sha256 id":             strings.Replace(plain, "tree ", "tree 000000000000000000000000", 1),
		"two trees":             "tree " + zero + "\n" + plain,
		"tree again":            plain + "tree " + zero + "\n\n",
		"parent late":           plain + "parent " + zero + "\n\n",
		"author late":           plain + "author " + who + "\n",
		"no author":             strings.Replace(plain, "author", "auth", 1),
		"no address":            strings.ReplaceAll(plain, "<author@example.org>", ""),
		"address in an address": strings.ReplaceAll(plain, "<author", "<<author"),
		"time with zeros":       strings.ReplaceAll(plain, "1700000000", "0170000000"),
		"negative time":         strings.ReplaceAll(plain, "1700000000", "-170000000"),
		"time beyond dates":     strings.ReplaceAll(plain, "1700000000", "999999999999999"),
		"zone":                  strings.ReplaceAll(plain, "+0100", "0100"),
		"NUL":                   strings.Replace(plain, "A U", "A\x00U", 1),
		"continued committer":   plain + " more\n\n",
		"header without a word": plain + "word\n\n",
		"NUL in a header":       plain + "x \x00\n\n",
		"two signatures":        plain + "gpgsig a\ngpgsig b\n\n",
		"two, apart":            plain + "gpgsig a\nx y\ngpgsig b\n\n",
		"unknown signature":     plain + "gpgsig-sha3 a\n\n",
	} {
		if _, err := parseCommit(f, []byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseTag(t *testing.T) {
	f, _ := formatOf("sha1")
	tag := "object " + zero + "\ntype commit\ntag v1\ntagger " + who
	for _, good := range []string{tag, tag + "\nx\n", tag + "gpgsig-sha256 a\n b\n\nx\n"} {
		if got, err := parseTag(f, []byte(good)); err != nil || got.name != "v1" || got.object != zero {
			t.Errorf("%q: %+v, %v", good, got, err)
		}
	}
	for name, bad := range map[string]string{
		"of a tag":    strings.Replace(tag, "type commit", "type tag", 1),
		"of a tree":   strings.Replace(tag, "type commit", "type tree", 1),
		"of a blob":   strings.Replace(tag, "type commit", "type blob", 1),
		"no name":     strings.Replace(tag, "tag v1", "tag ", 1),
		"two words":   strings.Replace(tag, "tag v1", "tag v1 v2", 1),
		"two names":   strings.Replace(tag, "tag v1", "tag v1\ntag v2", 1),
		"no tagger":   strings.Replace(tag, "tagger", "", 1),
		"more header": tag + "encoding x\n\n",
		"wrong order": "type commit\nobject " + zero + "\ntag v1\ntagger " + who,
	} {
		if _, err := parseTag(f, []byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignedTag(t *testing.T) {
	head := "object " + zero + "\ntype commit\ntag v1\ntagger " + who
	ssh := strings.ReplaceAll(armor, "PGP", "SSH")
	for _, c := range []struct{ tag, payload, signature string }{
		{head + "\nnotes\n", "", ""},
		{head + "\nnotes\n" + armor, head + "\nnotes\n", armor},
		{head + "\n" + ssh, head + "\n", ssh},
		{head + "\nnotes\n" + armor + ssh, head + "\nnotes\n" + armor, ssh},
		{head + "\nnotes\n" + armor + "trailing\n", head + "\nnotes\n", armor + "trailing\n"},
		{head + "\nnot -----BEGIN PGP SIGNATURE-----\n", "", ""},
		{head + "\n -----BEGIN PGP SIGNATURE-----\n", "", ""},
		{head + "gpgsig-sha256 " + strings.ReplaceAll(armor, "\n", "\n ") + "\n\nnotes\n" + armor, head + "\nnotes\n", armor},
	} {
		c.tag = strings.Replace(c.tag, "\n \n\nnotes", "\n\nnotes", 1)
		s := &Snapshot{Format: "sha1", Tag: []byte(c.tag), TagName: "v1", CommitID: zero}
		payload, signature, err := s.SignedTag()
		if err != nil || string(payload) != c.payload || string(signature) != c.signature {
			t.Errorf("%q:\n%q\n%q\n%v", c.tag, payload, signature, err)
		}
	}
	s := &Snapshot{Format: "sha1", Tag: []byte(head + "\n" + armor), TagName: "v2", CommitID: zero}
	if _, _, err := s.SignedTag(); !errors.Is(err, ErrFormat) {
		t.Errorf("a name that is not the signed one: %v", err)
	}
	if p, sig, err := new(Snapshot).SignedTag(); p != nil || sig != nil || err != nil {
		t.Errorf("no tag: %q %q %v", p, sig, err)
	}
}

func TestSignedCommit(t *testing.T) {
	folded := strings.TrimSuffix(strings.ReplaceAll(armor, "\n", "\n "), " ")
	message := "\ngpgsig is a word\n" + armor
	for _, c := range []struct{ format, commit, payload, signature string }{
		{"sha1", plain + message, "", ""},
		{"sha1", plain + "gpgsig " + folded + "encoding x\n" + message, plain + "encoding x\n" + message, armor},
		{"sha1", plain + "gpgsig-sha256 other\n more\ngpgsig " + folded + message, plain + message, armor},
		{"sha1", plain + "gpgsig-sha256 " + folded + message, "", ""},
		{"sha1", plain + "mergetag object x\n gpgsig y\n" + "gpgsig " + folded + message, plain + "mergetag object x\n gpgsig y\n" + message, armor},
	} {
		s := &Snapshot{Format: c.format, Commit: []byte(c.commit)}
		payload, signature, err := s.SignedCommit()
		if err != nil || string(payload) != c.payload || string(signature) != c.signature {
			t.Errorf("%q:\n%q\n%q\n%v", c.commit, payload, signature, err)
		}
	}
	long := strings.ReplaceAll(plain, zero, strings.Repeat("0", 64))
	s := &Snapshot{Format: "sha256", Commit: []byte(long + "gpgsig x\ngpgsig-sha256 " + folded + message)}
	if payload, signature, err := s.SignedCommit(); err != nil || string(payload) != long+message || string(signature) != armor {
		t.Errorf("sha256:\n%q\n%q\n%v", payload, signature, err)
	}
}

func TestEntries(t *testing.T) {
	id := string(make([]byte, 20))
	for name, bad := range map[string]string{
		"cut":          "100644 a\x00" + id[1:],
		"no NUL":       "100644 a",
		"no mode":      "a\x00" + id,
		"mode":         "100600 a\x00" + id,
		"padded mode":  "040000 a\x00" + id,
		"parent":       "100644 ..\x00" + id,
		"dot":          "40000 .\x00" + id,
		"git":          "40000 .gIt\x00" + id,
		"empty":        "100644 \x00" + id,
		"slash":        "100644 a/b\x00" + id,
		"long":         "100644 " + strings.Repeat("n", 256) + "\x00" + id,
		"order":        "100644 b\x00" + id + "100644 a\x00" + id,
		"twice":        "100644 a\x00" + id + "100644 a\x00" + id,
		"file and dir": "100644 a\x00" + id + "100644 a.b\x00" + id + "40000 a\x00" + id,
		"dir order":    "40000 a\x00" + id + "100644 a.b\x00" + id,
		"module order": "100644 a.b\x00" + id + "160000 a\x00" + id,
	} {
		if got, err := Entries("sha1", []byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzObjects(f *testing.F) {
	f.Add([]byte(plain + "gpgsig a\n b\n\nx\n"))
	f.Add([]byte("object " + zero + "\ntype commit\ntag v1\ntagger " + who + "\nx\n" + armor))
	f.Add([]byte("100644 a\x00" + string(make([]byte, 20))))
	format, _ := formatOf("sha1")
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseCommit(format, b); err == nil {
			s := &Snapshot{Format: "sha1", Commit: b}
			payload, signature, err := s.SignedCommit()
			if err != nil {
				t.Errorf("a commit that was parsed: %v", err)
			}
			if signature != nil && len(payload)+len(signature) >= len(b) {
				t.Errorf("%d bytes of payload and %d of signature from %d", len(payload), len(signature), len(b))
			}
		}
		if g, err := parseTag(format, b); err == nil {
			s := &Snapshot{Format: "sha1", Tag: b, TagName: g.name, CommitID: g.object}
			payload, signature, err := s.SignedTag()
			if err != nil {
				t.Errorf("a tag that was parsed: %v", err)
			}
			if signature != nil && !bytes.HasSuffix(b, signature) || len(payload) > len(b) {
				t.Errorf("%q is split into %q and %q", b, payload, signature)
			}
		}
		entries, err := Entries("sha1", b)
		if err != nil {
			return
		}
		d := &directory{}
		for _, e := range entries {
			if err := d.append(e.Mode, e.Name, e.ID); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(d.object, b) {
			t.Errorf("%q was read as %q", b, d.object)
		}
	})
}
