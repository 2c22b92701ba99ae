package gitsnap

import "bytes"

// armors begin the signatures that git makes at the end of a tag.
var armors = [][]byte{
	[]byte("-----BEGIN PGP SIGNATURE-----"),
	[]byte("-----BEGIN PGP MESSAGE-----"),
	[]byte("-----BEGIN SSH SIGNATURE-----"),
	[]byte("-----BEGIN SIGNED MESSAGE-----"),
}

// SignedTag splits the tag object into what was signed and the signature;
// both are nil where there is no tag object or it bears none. As in git, the
// signature begins at the last line that could begin one, and signatures for
// the repository's other object format are no part of what was signed.
func (s *Snapshot) SignedTag() (payload, signature []byte, err error) {
	at := len(s.Tag)
	for i := 0; i < len(s.Tag); {
		line, _, _ := bytes.Cut(s.Tag[i:], []byte("\n"))
		for _, a := range armors {
			if bytes.HasPrefix(line, a) {
				at = i
			}
		}
		i += len(line) + 1
	}
	if at == len(s.Tag) {
		return nil, nil, nil
	}
	f, err := formatOf(s.Format)
	if err != nil {
		return nil, nil, err
	}
	payload, _ = unsign(s.Tag[:at], "")
	// What names the commit and the version must be in the signed part.
	t, err := parseTag(f, payload)
	if err != nil {
		return nil, nil, err
	}
	if t.name != s.TagName || t.object != s.CommitID {
		return nil, nil, malformed("the signed part of the tag is for %s, commit %s", t.name, t.object)
	}
	return payload, bytes.Clone(s.Tag[at:]), nil
}

// SignedCommit does the same for the commit, whose signature is a header of
// its own for each object format.
func (s *Snapshot) SignedCommit() (payload, signature []byte, err error) {
	if s.Commit == nil {
		return nil, nil, nil
	}
	f, err := formatOf(s.Format)
	if err != nil {
		return nil, nil, err
	}
	payload, signature = unsign(s.Commit, f.sig)
	if signature == nil {
		return nil, nil, nil
	}
	if _, err := parseCommit(f, payload); err != nil {
		return nil, nil, err
	}
	return payload, signature, nil
}

// unsign takes the headers that hold signatures out of an object, and gives
// the one of that name.
func unsign(object []byte, name string) (payload, signature []byte) {
	in := "" // the signature's header that the line before was part of
	for rest := object; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			n = len(rest)
		}
		if rest[0] == '\n' {
			return append(payload, rest...), signature
		}
		line := rest[:n]
		rest = rest[n:]
		value := line[1:]
		if line[0] != ' ' || in == "" {
			in = ""
			if key, v, ok := bytes.Cut(line, []byte(" ")); ok && isSignature(string(key)) {
				in, value = string(key), v
			}
		}
		switch {
		case in == "":
			payload = append(payload, line...)
		case in == name:
			signature = append(signature, value...)
		}
	}
	return payload, signature
}
