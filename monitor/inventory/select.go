package inventory

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
)

// Compare orders postings as [Index] lists them.
func (p Posting) Compare(q Posting) int {
	return cmp.Or(cmp.Compare(p.Component, q.Component), cmp.Compare(p.Version, q.Version),
		cmp.Compare(p.PURL, q.PURL), cmp.Compare(p.Ecosystem, q.Ecosystem))
}

// Set is a set of images.
type Set interface {
	Len() int
	Contains(ID) bool
	All() iter.Seq[ID] // in order
}

// Package is what an advisory speaks of: a name within an ecosystem, a package
// URL without version, or both, of which either is enough.
type Package struct {
	Ecosystem string // as OSV spells it; the release counts: Debian:12 is not Debian
	Name      string
	PURL      string
}

// Selector is an [Index] that answers by sets, without listing their members.
// Large inventories have it; [Select] works with any.
type Selector interface {
	// Select is the set of live images that hold the package at a version that
	// affected accepts. Affected is asked once for each distinct version, in no
	// order: the version orders of some ecosystems are not transitive, so that
	// nothing may be concluded from one version about another.
	Select(ctx context.Context, p Package, affected func(version string) bool) (Set, error)
}

// Select asks the index, by sets where it can.
func Select(ctx context.Context, index Index, p Package, affected func(version string) bool) (Set, error) {
	if s, ok := index.(Selector); ok {
		return s.Select(ctx, p, affected)
	}
	list, err := index.Versions(ctx, p.Name, p.PURL)
	if err != nil {
		return nil, err
	}
	base := ""
	if p.PURL != "" {
		if base, err = basePURL(p.PURL); err != nil {
			return nil, err
		}
	}
	var ids []ID
	for _, v := range list {
		if p.is(v, base) && affected(v.Version) {
			ids = append(ids, v.Images...)
		}
	}
	slices.Sort(ids)
	return List(slices.Compact(ids)), nil
}

// is reports whether a posting is one of the package.
func (p Package) is(v Posting, base string) bool {
	if p.Name != "" && v.Ecosystem == p.Ecosystem && Fold(v.Ecosystem, v.Component) == Fold(p.Ecosystem, p.Name) {
		return true
	}
	if base == "" || v.PURL == "" {
		return false
	}
	b, err := basePURL(v.PURL)
	return err == nil && b == base
}

// Fold is the form of a name in which two names of an ecosystem are compared:
// without case, and in PyPI with one dash for every run of dashes, dots and
// underscores (PEP 503).
func Fold(ecosystem, name string) string {
	name = strings.ToLower(name)
	if base, _, _ := strings.Cut(ecosystem, ":"); base != "PyPI" || !strings.ContainsAny(name, "-_.") {
		return name
	}
	out := make([]byte, 0, len(name))
	for i := range len(name) {
		c := name[i]
		if c == '_' || c == '.' {
			c = '-'
		}
		if c != '-' || len(out) == 0 || out[len(out)-1] != '-' {
			out = append(out, c)
		}
	}
	return string(out)
}

// Folds are all the forms under which a name may be kept whose ecosystem is not
// known.
func Folds(name string) []string {
	out := []string{Fold("", name)}
	if f := Fold("PyPI", name); f != out[0] {
		out = append(out, f)
	}
	return out
}

// List is a [Set] of sorted numbers.
type List []ID

// Len implements [Set].
func (l List) Len() int { return len(l) }

// Contains implements [Set].
func (l List) Contains(id ID) bool {
	_, ok := slices.BinarySearch(l, id)
	return ok
}

// All implements [Set].
func (l List) All() iter.Seq[ID] { return slices.Values(l) }

// BasePURL is a package URL's type, namespace and name, normalised.
func BasePURL(s string) (string, error) { return basePURL(s) }
