package derive

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/internal/run"
)

// Repository is a clone of upstream's, bare or not. The git command reads it;
// nothing is written and nothing of its configuration is run.
type Repository struct {
	Dir  string   // absolute
	Path string   // directories of the git command; default: the system's
	Env  []string // more environment for git
}

// Bounds of what is read of a repository.
const (
	maxFile   = 32 << 20
	maxOutput = 256 << 20
)

// bounded keeps what git writes, up to a limit.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, fmt.Errorf("more than %d bytes", b.limit)
	}
	return b.Buffer.Write(p)
}

func (r *Repository) git(ctx context.Context, limit int, args ...string) ([]byte, error) {
	if !filepath.IsAbs(r.Dir) {
		return nil, fmt.Errorf("repository %q: want an absolute path", r.Dir)
	}
	out := &bounded{limit: limit}
	c := run.Command{
		Tool: "git", Path: r.Path, Dir: r.Dir, Stdout: out,
		Args: append([]string{"-c", "core.quotePath=false", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-pager", "--no-replace-objects"}, args...),
		Env:  append([]string{"LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0"}, r.Env...),
	}
	if err := c.Run(ctx); err != nil {
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return out.Bytes(), nil
}

var hash = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// commit is the full id of what a revision names.
func (r *Repository) commit(ctx context.Context, rev string) (string, error) {
	if rev == "" || strings.HasPrefix(rev, "-") || strings.ContainsAny(rev, " \t\n:^~@{") {
		return "", fmt.Errorf("revision %.80q: want a commit, a tag or a branch", rev)
	}
	b, err := r.git(ctx, 1<<10, "rev-parse", "--verify", "--end-of-options", rev+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("revision %s: %w", rev, err)
	}
	id := strings.TrimSpace(string(b))
	if !hash.MatchString(id) {
		return "", fmt.Errorf("revision %s: git names %.80q", rev, id)
	}
	return id, nil
}

// lines is what a command lists.
func (r *Repository) lines(ctx context.Context, args ...string) ([]string, error) {
	b, err := r.git(ctx, maxOutput, args...)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(b)), nil
}

// file is a file of a commit; nil where the commit does not have it.
func (r *Repository) file(ctx context.Context, commit, name string) ([]byte, error) {
	b, err := r.git(ctx, maxFile, "cat-file", "blob", commit+":"+name)
	var exit *run.ExitError
	if errors.As(err, &exit) && exit.Code == 128 {
		return nil, nil
	}
	return b, err
}

// hunk is one change of one file: lines of the old and of the new text, the
// end excluded. An empty range stands behind the line before its begin.
type hunk struct {
	oldName, newName string // "" for no file
	old, new         [2]int
}

var hunkHead = regexp.MustCompile(`^@@ -([0-9]+)(?:,([0-9]+))? \+([0-9]+)(?:,([0-9]+))? @@`)

// diff is what a commit changes of its only parent.
func (r *Repository) diff(ctx context.Context, commit string) ([]hunk, error) {
	b, err := r.git(ctx, maxOutput, "diff-tree", "--root", "--no-commit-id", "-r", "-p", "-U0", "--no-renames", "--no-ext-diff", "--no-textconv",
		"--no-color", "--src-prefix=a/", "--dst-prefix=b/", commit)
	if err != nil {
		return nil, err
	}
	return parseDiff(b)
}

func parseDiff(b []byte) ([]hunk, error) {
	var out []hunk
	var from, to string
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, maxFile)
	left, right := 0, 0 // lines of the hunk that are still to come
	for sc.Scan() {
		s := sc.Text()
		switch {
		case left > 0 && strings.HasPrefix(s, "-"):
			left--
		case right > 0 && strings.HasPrefix(s, "+"):
			right--
		case strings.HasPrefix(s, "diff --git "):
			from, to = "", ""
		case strings.HasPrefix(s, "--- "):
			from = named(s[4:], "a/")
		case strings.HasPrefix(s, "+++ "):
			to = named(s[4:], "b/")
		case strings.HasPrefix(s, "@@ "):
			m := hunkHead.FindStringSubmatch(s)
			if m == nil || from == "" && to == "" {
				return nil, fmt.Errorf("diff: %.80q", s)
			}
			h := hunk{oldName: from, newName: to}
			var err error
			if h.old, left, err = span(m[1], m[2]); err == nil {
				h.new, right, err = span(m[3], m[4])
			}
			if err != nil {
				return nil, fmt.Errorf("diff: %.80q: %w", s, err)
			}
			out = append(out, h)
		}
	}
	return out, sc.Err()
}

func named(s, prefix string) string {
	s, _, _ = strings.Cut(s, "\t")
	name, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return ""
	}
	return name
}

// span is a hunk's range: its lines, or the place between two.
func span(first, count string) (lines [2]int, n int, err error) {
	at, err := strconv.Atoi(first)
	if err != nil {
		return lines, 0, err
	}
	n = 1
	if count != "" {
		if n, err = strconv.Atoi(count); err != nil {
			return lines, 0, err
		}
	}
	if n == 0 {
		return [2]int{at + 1, at + 1}, 0, nil
	}
	return [2]int{at, at + n}, n, nil
}

// merge applies what leads from base to changed to ours; nil where they
// conflict.
func (r *Repository) merge(ctx context.Context, ours, base, changed []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "derive-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	names := make([]string, 3)
	for i, b := range [][]byte{ours, base, changed} {
		names[i] = filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(names[i], b, 0o600); err != nil {
			return nil, err
		}
	}
	b, err := r.git(ctx, maxFile, "merge-file", "-p", "-q", names[0], names[1], names[2])
	var exit *run.ExitError
	if errors.As(err, &exit) && exit.Code > 0 && exit.Code < 128 {
		return nil, nil
	}
	return b, err
}
