package monitor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/osv-scalibr/semantic"

	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/source"
)

// Upgrades knows what else could be built. Candidates are the versions of a
// component, given by its name and current version, that the embedder has a
// verified source and a recipe for, in any order.
type Upgrades interface {
	Candidates(ctx context.Context, component, version string) ([]source.Component, error)
}

// Upgrade exchanges one component.
type Upgrade struct {
	Component  string           `json:"component"`
	From       string           `json:"from"` // version
	To         source.Component `json:"to"`
	Advisories []string         `json:"advisories"` // what it fixes, sorted
}

// Plan is one rebuild of one image.
type Plan struct {
	Key      string    `json:"key"`   // "sha256:HEX" of image, base and exchanged versions: the same rebuild has the same key
	Image    string    `json:"image"` // name
	Base     string    `json:"base"`  // digest that is live
	Upgrades []Upgrade `json:"upgrades"`
	Rebuild  []string  `json:"rebuild"` // the exchanged components and everything that needs them, in dependency order
	Keep     []string  `json:"keep"`    // everything else: same action, same output, same layer
	Deadline time.Time `json:"deadline"`
}

// NoFix says why the advisories about a component lead to no plan.
type NoFix struct {
	Image      string   `json:"image"`
	Digest     string   `json:"digest"`
	Component  string   `json:"component"`
	Version    string   `json:"version"`
	Advisories []string `json:"advisories"`
	Reason     string   `json:"reason"`
}

// Planner chooses what to exchange: for each component with findings the lowest
// newer version that every one of its advisories excludes and that brings no
// advisory which the present version does not have. Versions of the present
// series come first.
type Planner struct {
	Upgrades Upgrades
	// Series names the series of a version; nil means [Series].
	Series func(component, version string) string
	// AnySeries allows another series where the present one has no fix.
	AnySeries bool
}

// Plan plans one image. All findings must be about it. The plan has no upgrades
// where none of them can be fixed.
func (p *Planner) Plan(ctx context.Context, img *inventory.Image, findings []Finding, db *advisory.DB) (*Plan, []NoFix, error) {
	byComponent := map[string][]Finding{}
	for _, f := range findings {
		if f.Image != img.Name || f.Digest != img.Digest {
			return nil, nil, fmt.Errorf("plan %s: a finding is about %s %s", img.Name, f.Image, f.Digest)
		}
		byComponent[f.Component] = append(byComponent[f.Component], f)
	}
	plan := &Plan{Image: img.Name, Base: img.Digest}
	var without []NoFix
	for _, c := range img.Components {
		list := byComponent[c.Name]
		if len(list) == 0 {
			continue
		}
		to, reason, err := p.choose(ctx, c, list, db)
		if err != nil {
			return nil, nil, fmt.Errorf("plan %s: %w", img.Name, err)
		}
		ids := advisoryIDs(list)
		if reason != "" {
			without = append(without, NoFix{img.Name, img.Digest, c.Name, c.Version, ids, reason})
			continue
		}
		plan.Upgrades = append(plan.Upgrades, Upgrade{Component: c.Name, From: c.Version, To: to, Advisories: ids})
		for _, f := range list {
			if plan.Deadline.IsZero() || f.Deadline.Before(plan.Deadline) {
				plan.Deadline = f.Deadline
			}
		}
	}
	plan.Rebuild, plan.Keep = affectedBy(img, plan.Upgrades)
	plan.Key = plan.key()
	return plan, without, nil
}

// choose returns the component to exchange c for, or why there is none.
func (p *Planner) choose(ctx context.Context, c inventory.Component, findings []Finding, db *advisory.DB) (source.Component, string, error) {
	list, err := p.Upgrades.Candidates(ctx, c.Name, c.Version)
	if err != nil {
		return source.Component{}, "", fmt.Errorf("candidates for %s %s: %w", c.Name, c.Version, err)
	}
	before, err := matches(db, c.Name, c.Version, c.PURL)
	if err != nil {
		return source.Component{}, "", err
	}
	series := p.Series
	if series == nil {
		series = func(_, version string) string { return Series(version) }
	}
	type candidate struct {
		source.Component
		same bool
	}
	var fit []candidate
	var why []string
	for _, x := range list {
		reason, err := unfit(c, x, findings, before, db)
		if err != nil {
			return source.Component{}, "", err
		}
		same := series(c.Name, x.Version) == series(c.Name, c.Version)
		if reason == "" && !same && !p.AnySeries {
			reason = "is of another series"
		}
		if reason != "" {
			why = append(why, x.Version+" "+reason)
			continue
		}
		fit = append(fit, candidate{x, same})
	}
	if len(fit) == 0 {
		if len(why) == 0 {
			return source.Component{}, "no other version can be built", nil
		}
		slices.Sort(why)
		return source.Component{}, strings.Join(why, "; "), nil
	}
	best := slices.MinFunc(fit, func(a, b candidate) int {
		if a.same != b.same {
			if a.same {
				return -1
			}
			return 1
		}
		n, _ := compareVersions(a.Version, b.Version) // both were compared before
		return cmp.Or(n, cmp.Compare(a.Version, b.Version))
	})
	return best.Component, "", nil
}

// unfit says why x cannot take the place of c, or "".
func unfit(c inventory.Component, x source.Component, findings []Finding, before matched, db *advisory.DB) (string, error) {
	if x.Name != c.Name {
		return "", fmt.Errorf("%s is offered as a version of %s", x.Name, c.Name)
	}
	if x.Policy.Least <= source.Ungraded {
		return "has a policy that names no grade of proof", nil
	}
	n, err := compareVersions(x.Version, c.Version)
	if err != nil {
		return err.Error(), nil
	}
	if n <= 0 {
		return "is not newer", nil
	}
	after, err := matches(db, x.Name, x.Version, x.PURL)
	if err != nil {
		return "", err
	}
	for _, f := range findings {
		if !after.fixed(f) {
			return "is not known to fix " + f.Advisory, nil
		}
	}
	for id := range after.in {
		if _, had := before.in[id]; !had {
			return "has " + id + " instead", nil
		}
	}
	return "", nil
}

// matched is what all advisories say of one version: in by id, out by every
// name that an advisory has.
type matched struct {
	in  map[string]advisory.Match
	out map[string]bool
}

func matches(db *advisory.DB, name, version, purl string) (matched, error) {
	m := matched{in: map[string]advisory.Match{}, out: map[string]bool{}}
	if db == nil {
		return m, nil
	}
	in, out, err := db.Match(name, version, purl)
	if err != nil {
		return m, err
	}
	for _, x := range in {
		m.in[x.Advisory.ID] = x
	}
	for _, x := range out {
		m.out[x.Advisory.ID] = true
		for _, a := range x.Advisory.Aliases {
			m.out[a] = true
		}
	}
	return m, nil
}

// fixed is true only where an advisory of one of the finding's names is there
// and excludes the version, and none includes it.
func (m matched) fixed(f Finding) bool {
	own := names(f.Advisory, f.Aliases)
	for _, x := range m.in {
		for _, n := range names(x.Advisory.ID, x.Advisory.Aliases) {
			if slices.Contains(own, n) {
				return false
			}
		}
	}
	return slices.ContainsFunc(own, func(n string) bool { return m.out[n] })
}

func advisoryIDs(list []Finding) []string {
	var ids []string
	for _, f := range list {
		ids = append(ids, f.Advisory)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// affectedBy splits the components of an image into those that must be built
// again and those that must not, both in the image's order.
func affectedBy(img *inventory.Image, upgrades []Upgrade) (rebuild, keep []string) {
	again := map[string]bool{}
	for _, u := range upgrades {
		again[u.Component] = true
	}
	for _, c := range img.Components { // needs stand before those that need them
		if again[c.Name] || slices.ContainsFunc(c.Needs, func(n string) bool { return again[n] }) {
			again[c.Name] = true
			rebuild = append(rebuild, c.Name)
			continue
		}
		keep = append(keep, c.Name)
	}
	return rebuild, keep
}

func (p *Plan) key() string {
	type exchange struct{ Component, From, To, PURL string }
	id := struct {
		Image, Base string
		Exchange    []exchange
	}{Image: p.Image, Base: p.Base}
	for _, u := range p.Upgrades {
		id.Exchange = append(id.Exchange, exchange{u.Component, u.From, u.To.Version, u.To.PURL})
	}
	b, err := json.Marshal(id)
	if err != nil {
		panic("monitor: " + err.Error()) // strings always marshal
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Series is the part of a version that a security release keeps: its first two
// fields where it has three or more, else the first.
func Series(version string) string {
	f := strings.FieldsFunc(version, func(r rune) bool { return r == '.' || r == '-' || r == '_' })
	switch {
	case len(f) >= 3:
		return f[0] + "." + f[1]
	case len(f) > 0:
		return f[0]
	}
	return version
}

var plainVersion = regexp.MustCompile(`^v?[0-9]{1,18}(\.[0-9]{1,18}){0,2}(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?(\+[0-9A-Za-z.-]+)?$`)

// compareVersions orders upstream versions: by Semantic Versioning where both
// are up to three numbers with an optional pre-release, else as Debian does,
// which orders letters (1.0.2k, 9.2p1) and further numbers behind.
func compareVersions(a, b string) (int, error) {
	for _, s := range []string{a, b} {
		if s == "" || strings.ContainsAny(s, " \t\n()") {
			return 0, fmt.Errorf("version %q cannot be ordered", s)
		}
	}
	if plainVersion.MatchString(a) && plainVersion.MatchString(b) {
		return semantic.ParseSemverVersion(a).Compare(semantic.ParseSemverVersion(b))
	}
	va, errA := semantic.Parse(a, "Debian")
	vb, errB := semantic.Parse(b, "Debian")
	if err := errors.Join(errA, errB); err != nil {
		return 0, fmt.Errorf("versions %q and %q cannot be ordered: %w", a, b, err)
	}
	return va.Compare(vb)
}
