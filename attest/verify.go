package attest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	keyFromCaller    = "caller"
	keyFromDirectory = "directory"
)

// Verify checks an output directory of [Write], offline. It fails closed: what
// cannot be read, parsed, matched or verified is a problem, and any problem
// makes the verification not OK. The error is for what kept it from running
// (no such directory, a cancelled context); a directory that does not verify
// is no error, see [Verification.Err].
//
// The order is: the image by digest, and the policy label in its
// configuration; the one evidence manifest about this image that a
// trusted key signed; every file by size and digest; every referrer by signature,
// timestamp, subject and predicate type; nothing beside them; and at last what
// the artifacts say, against each other and against the image.
func Verify(ctx context.Context, dir string, opts Options) (*Verification, error) {
	c, err := check(ctx, dir, opts)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return c.v, nil
}

func check(ctx context.Context, dir string, opts Options) (*checker, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	c := &checker{ctx: ctx, opts: opts, root: root, v: &Verification{}, problems: map[Problem]bool{}, forgiven: map[string]bool{}}
	for _, k := range Kinds() {
		c.v.Artifacts = append(c.v.Artifacts, Artifact{Number: k.Number, Kind: k.Name, Title: k.Title})
	}
	c.run()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.conclude()
	return c, nil
}

// checker is one verification under way.
type checker struct {
	ctx  context.Context
	opts Options
	root *os.Root
	v    *Verification

	keys          []trusted
	threshold     int
	authorities   []authority
	timeThreshold int

	sizes    map[string]int64 // regular files of the directory
	index    *layoutIndex
	attached []*attached          // every referrer of the index
	manifest *attached            // the evidence manifest
	cosigned []*attached          // co-signatures that count
	roles    map[string]string    // role of each listed path
	payloads map[string][]payload // verified and listed, by role
	problems map[Problem]bool
	forgiven map[string]bool // paths with a problem already told in more detail
}

// payload is one verified statement of the set.
type payload struct {
	entry Entry
	raw   []byte
	st    *statement
	at    time.Time
}

func (c *checker) problem(artifact string, s State, path, format string, args ...any) {
	p := Problem{artifact, s, path, fmt.Sprintf(format, args...)}
	if !c.problems[p] {
		c.problems[p] = true
		c.v.Problems = append(c.v.Problems, p)
	}
}

func (c *checker) run() {
	if !c.scan() {
		return
	}
	c.trust()
	if !c.readIndex() {
		return
	}
	c.policy()
	c.readReferrers()
	m := c.pickManifest()
	if m == nil {
		c.withoutManifest()
		return
	}
	c.files(m)
	c.entries(m)
	c.cosignatures(m)
	c.extras(m)
	c.unlisted()
	c.exactIndex(m)
	c.documents()
	c.links(m)
}

// conclude derives the verdict of each artifact from the problems.
func (c *checker) conclude() {
	slices.SortStableFunc(c.v.Problems, func(a, b Problem) int {
		return cmp.Compare(rank(a.Artifact), rank(b.Artifact))
	})
	for i := range c.v.Artifacts {
		a := &c.v.Artifacts[i]
		for _, p := range c.payloads[a.Kind] {
			a.Statements++
			if a.SignedAt == nil || p.at.After(*a.SignedAt) {
				a.SignedAt = &p.at
			}
		}
		switch {
		case c.v.Manifest == nil:
			a.State = Missing // nothing says that the set is whole
		case a.Statements > 0 || a.Kind == Bundle:
			a.State = Present
		}
		worst := a.State
		for _, p := range c.v.Problems {
			if p.Artifact != a.Kind {
				continue
			}
			a.Problems = append(a.Problems, p.Detail)
			if worst == Present || severity(p.State) > severity(worst) {
				worst = p.State
			}
		}
		a.State = worst
		if a.State != Present && len(a.Problems) == 0 {
			c.problem(a.Kind, a.State, "", "no evidence manifest vouches for it")
			a.Problems = []string{"no evidence manifest vouches for it"}
		}
	}
	c.v.OK = len(c.v.Problems) == 0
	for _, a := range c.v.Artifacts {
		c.v.OK = c.v.OK && a.State == Present
	}
}

// severity orders states for the verdict on an artifact with several problems:
// what is there in its place says more than that it is not there.
func severity(s State) int {
	switch s {
	case Forged:
		return 4
	case Stale:
		return 3
	case Foreign:
		return 2
	case Missing:
		return 1
	}
	return 0
}
