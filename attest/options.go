package attest

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cleanstart/cleanstart/attest/timestamp"
)

// Options say what to trust and what to expect. The zero value takes key and
// authorities from the directory, which shows integrity only.
type Options struct {
	Key  crypto.PublicKey // a trusted key without a window; nil, and no Keys: cosign.pub of the directory
	Keys []TrustedKey     // more of them: those of a rotation, or of co-signers
	// Threshold is how many different trusted keys must have signed the
	// evidence manifest; one when zero. See [CoSign].
	Threshold int

	Authority   []*x509.Certificate   // chain of a time-stamping authority, leaf first; nil, and no Authorities: trusted_root.json
	Authorities [][]*x509.Certificate // more of them
	// TimeThreshold is how many different authorities must vouch for the time
	// of every signature; one when zero.
	TimeThreshold int

	Image       string    // expected manifest digest; empty: any
	NotBefore   time.Time // evidence made earlier is stale; zero: any
	ManifestSum string    // expected digest of the evidence manifest's statement; empty: any
	// Last is the digest of the last evidence manifest that was accepted
	// ([Verification.ManifestDigest]). Only that one, and one that supersedes
	// it, are taken: anything else is a step back. Empty: any.
	Last string
}

// TrustedKey is a key and the time in which its signatures count: from From on
// and before Until, by every authority that vouches for the time. A zero bound
// is none.
type TrustedKey struct {
	Key         crypto.PublicKey
	From, Until time.Time
}

// trusted is one key as the checker uses it.
type trusted struct {
	*identity
	from, until time.Time
}

// errExpired is a signature outside its key's window.
var errExpired = errors.New("outside the key's window")

// during says whether the key counts at a time.
func (k *trusted) during(at time.Time) error {
	if !k.from.IsZero() && at.Before(k.from) || !k.until.IsZero() && !at.Before(k.until) {
		return fmt.Errorf("signature: by key %s at %s: %w", k.hint, at.Format(time.RFC3339), errExpired)
	}
	return nil
}

// errUntrusted is a signature by a key that nobody asked for.
var errUntrusted = errors.New("which is not trusted")

// keyOf finds a trusted key by its hint.
func (c *checker) keyOf(hint string) (*trusted, error) {
	for i := range c.keys {
		if c.keys[i].hint == hint {
			return &c.keys[i], nil
		}
	}
	if len(c.keys) == 0 {
		return nil, errors.New("signature: no key to verify with")
	}
	return nil, fmt.Errorf("signature: by key %s, %w", orNone(hint), errUntrusted)
}

// trust sets keys and authorities. The directory's own files are only used
// where the caller gives none.
func (c *checker) trust() {
	c.trustKeys()
	c.trustTime()
}

func (c *checker) trustKeys() {
	given := slices.Clone(c.opts.Keys)
	if c.opts.Key != nil {
		given = append(given, TrustedKey{Key: c.opts.Key})
	}
	c.v.KeySource = keyFromCaller
	var found crypto.PublicKey
	b, err := c.read("cosign.pub", 1<<16)
	if err != nil {
		c.problem(roleKey, Missing, "cosign.pub", "%v", err)
	} else if found, err = ParsePublicKey(b); err != nil {
		c.problem(roleKey, Forged, "cosign.pub", "%v", err)
	}
	if len(given) == 0 {
		c.v.KeySource = keyFromDirectory
		if found != nil {
			given = []TrustedKey{{Key: found}}
		}
	} else if found != nil && !slices.ContainsFunc(given, func(k TrustedKey) bool { return sameKey(k.Key, found) }) {
		c.problem(roleKey, Forged, "cosign.pub", "is not a key that was asked for")
	}
	for _, k := range given {
		id, err := identify(k.Key)
		if err != nil {
			c.problem(roleKey, Forged, "", "%v", err)
			continue
		}
		c.keys = append(c.keys, trusted{id, k.From, k.Until})
	}
	if len(c.keys) == 1 {
		c.v.Key = c.keys[0].hint
	}
	hints := map[string]bool{}
	for _, k := range c.keys {
		hints[k.hint] = true
	}
	c.threshold = max(1, c.opts.Threshold)
	if c.opts.Threshold < 0 || c.threshold > len(hints) {
		c.problem(roleKey, Missing, "", "%d signatures are wanted of %d trusted keys", c.opts.Threshold, len(hints))
	}
}

// authority is a time-stamping authority that a timestamp may come from. Those
// that the caller did not name are known, so that their timestamps are told
// from forged ones, and do not count.
type authority struct {
	chain  []*x509.Certificate
	counts bool
}

func (c *checker) trustTime() {
	given := slices.Clone(c.opts.Authorities)
	if c.opts.Authority != nil {
		given = append(given, c.opts.Authority)
	}
	var found [][]*x509.Certificate
	if b, err := c.read("trusted_root.json", 1<<20); err != nil {
		c.problem(roleTrust, Missing, "trusted_root.json", "%v", err)
	} else if found, err = parseTrustedRoot(b); err != nil {
		c.problem(roleTrust, Forged, "trusted_root.json", "%v", err)
	}
	if b, err := c.read("tsa.pem", 1<<20); err != nil {
		c.problem(roleTrust, Missing, "tsa.pem", "%v", err)
	} else if all, err := timestamp.ParsePEM(b); err != nil {
		c.problem(roleTrust, Forged, "tsa.pem", "%v", err)
	} else if found != nil && !sameChain(all, slices.Concat(found...)) {
		c.problem(roleTrust, Forged, "tsa.pem", "holds other authorities than trusted_root.json")
	}
	known := func(list [][]*x509.Certificate, chain []*x509.Certificate) bool {
		return slices.ContainsFunc(list, func(o []*x509.Certificate) bool { return sameChain(o, chain) })
	}
	for i, chain := range given {
		if known(given[:i], chain) {
			continue
		}
		c.authorities = append(c.authorities, authority{chain, true})
	}
	if len(given) > 0 && !slices.ContainsFunc(found, func(o []*x509.Certificate) bool { return known(given, o) }) {
		c.problem(roleTrust, Forged, "trusted_root.json", "names no authority that was asked for")
	}
	for i, chain := range found {
		if !known(given, chain) && !known(found[:i], chain) {
			c.authorities = append(c.authorities, authority{chain, len(given) == 0})
		}
	}
	counting := 0
	for _, a := range c.authorities {
		if a.counts {
			counting++
		}
	}
	c.timeThreshold = max(1, c.opts.TimeThreshold)
	if c.opts.TimeThreshold < 0 || c.timeThreshold > counting {
		c.problem(roleTrust, Missing, "", "%d timestamps are wanted of %d trusted authorities", c.opts.TimeThreshold, counting)
	}
}

func sameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func sameChain(a, b []*x509.Certificate) bool {
	return slices.EqualFunc(a, b, (*x509.Certificate).Equal)
}

// verifyTimes checks timestamps over a message. Each must be of a known
// authority; as many different ones as the threshold says must be of trusted
// authorities. It gives the times those attest.
func (c *checker) verifyTimes(responses [][]byte, message []byte) ([]time.Time, error) {
	if len(responses) == 0 || len(responses) > maxTimestamps {
		return nil, fmt.Errorf("signature: %d timestamps, want 1 to %d", len(responses), maxTimestamps)
	}
	var times []time.Time
	by := map[int]bool{}
	for _, r := range responses {
		errs := []error{errors.New("signature: no authority vouches for the time")}
		for i, a := range c.authorities {
			at, err := timestamp.Verify(r, message, a.chain)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if a.counts {
				by[i] = true
				times = append(times, at)
			}
			errs = nil
			break
		}
		if errs != nil {
			return nil, errors.Join(errs...)
		}
	}
	if len(by) < c.timeThreshold {
		return nil, fmt.Errorf("signature: %d authorities vouch for the time, want %d", len(by), c.timeThreshold)
	}
	return times, nil
}
