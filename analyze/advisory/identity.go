package advisory

import (
	"net/url"
	"path"
	"strings"
)

// Identity is what is known of a component. Every spelling that is given is
// looked up; a candidate of one is a candidate.
type Identity struct {
	Name    string // upstream's
	Version string
	PURL    string
	CPE     string // 2.3 or 2.2; its version does not count
	Repo    string // upstream's repository, any of its addresses
	Commit  string // full hash, of the tree that was built
}

// History answers what a repository's graph of commits says. Ok is false
// where it does not know both commits.
type History interface {
	// Contains reports whether ancestor is commit or one of its ancestors.
	Contains(repo, commit, ancestor string) (contains, ok bool)
}

// baseCPE is part, vendor and product of a CPE 2.3 or 2.2 name, in lower case;
// "" where it is none or names no product.
func baseCPE(s string) string {
	var parts []string
	switch {
	case strings.HasPrefix(s, "cpe:2.3:"):
		parts = splitCPE(s[len("cpe:2.3:"):])
	case strings.HasPrefix(s, "cpe:/"):
		parts = strings.Split(s[len("cpe:/"):], ":")
	}
	if len(parts) < 3 || parts[2] == "*" || parts[2] == "-" || parts[2] == "" {
		return ""
	}
	return strings.ToLower(strings.Join(parts[:3], ":"))
}

// splitCPE splits at colons that are not quoted.
func splitCPE(s string) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ':':
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// baseRepo is host and path of a repository's address, without the user, the
// scheme, ".git" and the branch; "" where it is none.
func baseRepo(s string) string {
	s = strings.TrimPrefix(s, "git+")
	if !strings.Contains(s, "://") {
		user, rest, ok := strings.Cut(s, "@") // git@host:path
		if !ok || strings.ContainsAny(user, "/:") {
			return ""
		}
		s = "ssh://" + strings.Replace(rest, ":", "/", 1)
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	p := strings.TrimSuffix(strings.Trim(path.Clean("/"+u.Path), "/"), ".git")
	if p == "" {
		return ""
	}
	return strings.ToLower(u.Hostname() + "/" + p)
}

// evalGIT places a commit in the commit ranges of an entry: the OSV schema's
// evaluation, by ancestry. Everything that the history does not know leaves it
// undecided.
func (g group) evalGIT(commit string, h History) (verdict, string) {
	if h == nil || commit == "" {
		return undecided, ""
	}
	seen, out := 0, 0
	for _, r := range g.ranges {
		if r.Type != "GIT" {
			continue
		}
		seen++
		switch r.evalGIT(commit, h) {
		case inside:
			return inside, "the commit is inside " + r.String()
		case outside:
			out++
		}
	}
	if seen > 0 && out == seen {
		return outside, "the commit is outside every commit range of " + g.id
	}
	return undecided, ""
}

// evalGIT: a commit is inside when an introduced commit is among its ancestors
// and no fixed one is, nor a last affected one properly, nor, where limits are
// given, all of them. One that lies before every introduction is outside; one
// on a branch beside it may have got the flaw by a back-port.
func (r Range) evalGIT(commit string, h History) verdict {
	introduced, before := false, true
	limits, limited := 0, 0
	for _, e := range r.Events {
		switch {
		case e.Introduced == "0":
			introduced = true
		case e.Introduced != "":
			in, ok := h.Contains(r.Repo, commit, e.Introduced)
			introduced = introduced || in && ok
			earlier, known := h.Contains(r.Repo, e.Introduced, commit)
			before = before && ok && known && earlier
		case e.Fixed != "":
			in, ok := h.Contains(r.Repo, commit, e.Fixed)
			if !ok {
				return undecided
			}
			if in && !r.reintroduced(commit, e.Fixed, h) {
				return outside
			}
		case e.LastAffected != "":
			in, ok := h.Contains(r.Repo, commit, e.LastAffected)
			if !ok {
				return undecided
			}
			if in && !strings.EqualFold(commit, e.LastAffected) && !r.reintroduced(commit, e.LastAffected, h) {
				return outside
			}
		case e.Limit != "" && e.Limit != "*":
			limits++
			if in, ok := h.Contains(r.Repo, commit, e.Limit); !ok {
				return undecided
			} else if in {
				limited++
			}
		}
	}
	switch {
	case limits > 0 && limited == limits:
		return outside
	case introduced:
		return inside
	case before:
		return outside
	}
	return undecided
}

// reintroduced reports whether the commit holds an introduction that came
// behind the fix. What is not known counts as one.
func (r Range) reintroduced(commit, fix string, h History) bool {
	for _, e := range r.Events {
		if e.Introduced == "" || e.Introduced == "0" {
			continue
		}
		behind, ok := h.Contains(r.Repo, e.Introduced, fix)
		if ok && !behind {
			continue
		}
		in, ok := h.Contains(r.Repo, commit, e.Introduced)
		if !ok || in {
			return true
		}
	}
	return false
}
