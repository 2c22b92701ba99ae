package attest

import (
	"regexp"
	"strings"
)

// secret is one shape of credential. Keep is the number of the group that
// stays in front of what is removed.
type secret struct {
	hint string // lower-case substring that every match contains; saves the expression on most lines
	expr *regexp.Regexp
}

const removed = "[removed]"

// secrets are the credentials that logs are known to leak. The first group of
// each expression is kept.
var secrets = []secret{
	{"-----begin", regexp.MustCompile(`()-----BEGIN [A-Z ]*PRIVATE KEY-----.*`)},
	{"akia", regexp.MustCompile(`()\bAKIA[0-9A-Z]{16}\b`)},
	{"asia", regexp.MustCompile(`()\bASIA[0-9A-Z]{16}\b`)},
	{"gh", regexp.MustCompile(`()\bgh[pousr]_[A-Za-z0-9]{30,}\b`)},
	{"github_pat_", regexp.MustCompile(`()\bgithub_pat_[A-Za-z0-9_]{30,}\b`)},
	{"glpat-", regexp.MustCompile(`()\bglpat-[A-Za-z0-9_-]{20,}`)},
	{"xox", regexp.MustCompile(`()\bxox[abprs]-[A-Za-z0-9-]{10,}`)},
	{"eyj", regexp.MustCompile(`()\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+`)},
	{"authorization", regexp.MustCompile(`(?i)(\bauthorization:?\s*(?:bearer|basic|token)\s+)[^\s"']+`)},
	{"://", regexp.MustCompile(`(\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@`)},
	{"=", regexp.MustCompile(`(?i)(\b[a-z0-9_]*(?:password|passwd|secret|token|api_?key|access_?key|private_?key)[a-z0-9_]*=)(?:"[^"]{4,}"|'[^']{4,}'|[^\s"'&;$()]{4,})`)},
}

// redact removes credentials from one line and says how many.
func redact(line string) (string, int) {
	lower := strings.ToLower(line)
	n := 0
	for _, s := range secrets {
		if !strings.Contains(lower, s.hint) {
			continue
		}
		hits := len(s.expr.FindAllStringIndex(line, -1))
		if hits == 0 {
			continue
		}
		n += hits
		repl := "${1}" + removed
		if s.hint == "://" {
			repl += "@"
		}
		line = s.expr.ReplaceAllString(line, repl)
	}
	return line, n
}
