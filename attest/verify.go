package attest

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cleanstart/cleanstart/attest/timestamp"
)

// Options say what to trust and what to expect. The zero value takes key and
// authority from the directory, which shows integrity only.
type Options struct {
	Key         crypto.PublicKey    // nil: cosign.pub of the directory
	Authority   []*x509.Certificate // chain of the time-stamping authority, leaf first; nil: trusted_root.json
	Image       string              // expected manifest digest; empty: any
	NotBefore   time.Time           // evidence made earlier is stale; zero: any
	ManifestSum string              // expected digest of the evidence manifest's statement; empty: any
}

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
// configuration; the one evidence manifest about this image that the key
// signed; every file by size and digest; every referrer by signature,
// timestamp, subject and predicate type; nothing beside them; and at last what
// the artifacts say, against each other and against the image.
func Verify(ctx context.Context, dir string, opts Options) (*Verification, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer root.Close()
	c := &checker{ctx: ctx, opts: opts, root: root, v: &Verification{}, problems: map[Problem]bool{}, forgiven: map[string]bool{}}
	for _, k := range Kinds() {
		c.v.Artifacts = append(c.v.Artifacts, Artifact{Number: k.Number, Kind: k.Name, Title: k.Title})
	}
	c.run()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	c.conclude()
	return c.v, nil
}

// checker is one verification under way.
type checker struct {
	ctx      context.Context
	opts     Options
	root     *os.Root
	v        *Verification
	id       *identity
	chains   [][]*x509.Certificate
	sizes    map[string]int64 // regular files of the directory
	index    *layoutIndex
	attached []*attached          // every referrer of the index
	manifest *attached            // the evidence manifest
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
	c.extras(m)
	c.unlisted()
	c.exactIndex(m)
	c.documents()
	c.links(m)
}

// trust sets key and authorities. The directory's own files are only used
// where the caller gives none.
func (c *checker) trust() {
	key := c.opts.Key
	c.v.KeySource = keyFromCaller
	if key == nil {
		c.v.KeySource = keyFromDirectory
	}
	b, err := c.read("cosign.pub", 1<<16)
	if err != nil {
		c.problem(roleKey, Missing, "cosign.pub", "%v", err)
	} else if found, err := ParsePublicKey(b); err != nil {
		c.problem(roleKey, Forged, "cosign.pub", "%v", err)
	} else if key == nil {
		key = found
	} else if !sameKey(key, found) {
		c.problem(roleKey, Forged, "cosign.pub", "is not the key that was asked for")
	}
	if key != nil {
		if c.id, err = identify(key); err != nil {
			c.problem(roleKey, Forged, "", "%v", err)
		} else {
			c.v.Key = c.id.hint
		}
	}

	var chains [][]*x509.Certificate
	if b, err := c.read("trusted_root.json", 1<<20); err != nil {
		c.problem(roleTrust, Missing, "trusted_root.json", "%v", err)
	} else if chains, err = parseTrustedRoot(b); err != nil {
		c.problem(roleTrust, Forged, "trusted_root.json", "%v", err)
	}
	if b, err := c.read("tsa.pem", 1<<20); err != nil {
		c.problem(roleTrust, Missing, "tsa.pem", "%v", err)
	} else if chain, err := timestamp.ParsePEM(b); err != nil {
		c.problem(roleTrust, Forged, "tsa.pem", "%v", err)
	} else if !slices.ContainsFunc(chains, func(o []*x509.Certificate) bool { return sameChain(o, chain) }) {
		c.problem(roleTrust, Forged, "tsa.pem", "is not an authority of trusted_root.json")
	}
	if c.opts.Authority != nil {
		if !slices.ContainsFunc(chains, func(o []*x509.Certificate) bool { return sameChain(o, c.opts.Authority) }) {
			c.problem(roleTrust, Forged, "trusted_root.json", "does not name the authority that was asked for")
		}
		chains = [][]*x509.Certificate{c.opts.Authority}
	}
	c.chains = chains
}

func sameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func sameChain(a, b []*x509.Certificate) bool {
	return slices.EqualFunc(a, b, (*x509.Certificate).Equal)
}

// verifyTime checks a timestamp against any of the authorities.
func (c *checker) verifyTime(response, message []byte) (time.Time, error) {
	errs := []error{errors.New("no authority vouches for the time")}
	for _, chain := range c.chains {
		at, err := timestamp.Verify(response, message, chain)
		if err == nil {
			return at, nil
		}
		errs = append(errs, err)
	}
	return time.Time{}, errors.Join(errs...)
}

// conclude derives the verdict of each artifact from the problems.
func (c *checker) conclude() {
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

// severity orders states for the verdict on an artifact with several problems.
func severity(s State) int {
	switch s {
	case Forged:
		return 4
	case Missing:
		return 3
	case Stale:
		return 2
	case Foreign:
		return 1
	}
	return 0
}
