// Package inventory knows which images are live and what they were made of,
// and answers the question that every advisory asks: which versions of this
// component are out there, and in which images.
//
// Distinct (component, version) pairs are far fewer than dependencies, so they
// are what is indexed, each with the set of images that hold it.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	packageurl "github.com/package-url/packageurl-go"

	"github.com/cleanstart/cleanstart/compile"
)

// ID is an image revision's number in one inventory. Numbers are never reused.
type ID uint32

// Image is one revision of an image, as far as the monitor needs to know it.
type Image struct {
	ID         ID          `json:"-"`    // given by the inventory
	Name       string      `json:"name"` // the specification's name
	Digest     string      `json:"digest"`
	Added      time.Time   `json:"added"`
	Components []Component `json:"components"` // in dependency order
}

// Component is one component of an image, by the digests that show whether it
// was built anew.
//
// A component of an image that was not built here, known from somebody's bill
// of materials, has no Key, Output, Layer and Needs. Either every component of
// an image has Key and Output, or none has.
type Component struct {
	Ecosystem string   `json:"ecosystem,omitempty"` // as OSV spells it, "" for upstream's own numbering
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	PURL      string   `json:"purl,omitempty"`
	Needs     []string `json:"needs,omitempty"`
	Key       string   `json:"key,omitempty"`    // of its action
	Output    string   `json:"output,omitempty"` // digest of what the action gave
	Layer     string   `json:"layer,omitempty"`  // digest of its layer, "" where it ships no file
}

// Component finds a component by name.
func (i *Image) Component(name string) (Component, bool) {
	for _, c := range i.Components {
		if c.Name == name {
			return c, true
		}
	}
	return Component{}, false
}

// FromRecord reduces a record to what the inventory keeps.
func FromRecord(rec *compile.Record, added time.Time) (*Image, error) {
	img := &Image{Name: rec.Spec.Name, Digest: rec.Image.Manifest, Added: added.UTC().Round(0)}
	layers := map[string]string{}
	for _, l := range rec.Image.Layers {
		layers[l.Component] = l.Digest
	}
	for _, c := range rec.Components {
		needs := slices.Clone(c.Component.Needs)
		for _, n := range c.Action.Needs { // the C library is needed without being named
			if !slices.Contains(needs, n.Name) {
				needs = append(needs, n.Name)
			}
		}
		img.Components = append(img.Components, Component{
			Name: c.Component.Name, Version: c.Component.Version, PURL: c.Component.PURL, Needs: needs,
			Key: c.Key, Output: c.Result.Output.Digest, Layer: layers[c.Component.Name],
		})
	}
	if err := img.Check(); err != nil {
		return nil, err
	}
	if !img.Built() {
		return nil, fmt.Errorf("image %q: the record shows no action", img.Name)
	}
	return img, nil
}

// Check refuses an image that could not be found again or compared.
func (i *Image) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("image %q: "+format, append([]any{i.Name}, args...)...)
	}
	switch {
	case i.Name == "" || control(i.Name):
		return bad("is not a name")
	case i.Digest == "" || control(i.Digest):
		return bad("has no digest")
	case len(i.Components) == 0:
		return bad("has no component, so no advisory could ever match it")
	}
	built := i.Built()
	seen := map[string]bool{}
	for _, c := range i.Components {
		if err := c.check(built); err != nil {
			return bad("component %q %w", c.Name, err)
		}
		if id := c.identity(built); seen[id] {
			return bad("component %s is there twice", c.Name)
		} else {
			seen[id] = true
		}
		for _, n := range c.Needs {
			if !seen[n] || n == c.Name {
				return bad("component %s needs %s, which does not stand before it", c.Name, n)
			}
		}
	}
	return nil
}

// Built reports whether the image comes with the evidence of its build.
func (i *Image) Built() bool {
	return slices.ContainsFunc(i.Components, func(c Component) bool { return c.Key != "" || c.Output != "" || len(c.Needs) > 0 })
}

func (c *Component) check(built bool) error {
	switch {
	case c.Name == "" || c.Version == "":
		return errors.New("has no name or no version")
	case control(c.Name) || control(c.Version) || control(c.PURL) || control(c.Ecosystem):
		return errors.New("holds control characters")
	case built && (c.Key == "" || c.Output == ""):
		return errors.New("has no key or no output")
	}
	if c.PURL == "" {
		return nil
	}
	_, err := basePURL(c.PURL)
	return err
}

// identity is what may be in an image once: a name where it was built here; a
// bill of materials may list several versions of one.
func (c *Component) identity(built bool) string {
	if built {
		return c.Name
	}
	return strings.Join([]string{c.Ecosystem, c.Name, c.Version, c.PURL}, "\x00")
}

func control(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// Posting is one distinct (component, version) and the live images that hold
// it, in order of their numbers.
type Posting struct {
	Ecosystem string
	Component string
	Version   string
	PURL      string
	Images    []ID
}

// ErrNotFound is returned for an image that is not live.
var ErrNotFound = errors.New("no such image")

// ErrConflict is returned by Swap when another image is live than the caller
// believes.
var ErrConflict = errors.New("another image is live")

// ErrRetired is returned by Swap for an image that was live before: going back
// to it would bring back what it was replaced for.
var ErrRetired = errors.New("the image was retired")

// Index answers by component.
type Index interface {
	// Versions are the distinct versions in live images of the components of
	// this name, compared as [Fold] has it, or whose package URL has this type,
	// namespace and name. Either may be empty. Sorted by component, version,
	// package URL and ecosystem.
	Versions(ctx context.Context, name, purl string) ([]Posting, error)
	// Image is the live image of that number, or ErrNotFound.
	Image(ctx context.Context, id ID) (*Image, error)
}

// Inventory is a durable portfolio of live images, at most one of each name.
type Inventory interface {
	Index
	// Swap makes next the live image of the name where the digest prev is live
	// ("" for none), in one durable transaction; a nil next retires prev. A swap
	// that was done already is done again without effect.
	Swap(ctx context.Context, name, prev string, next *Image) error
	// Live is the live image of a name, or ErrNotFound.
	Live(ctx context.Context, name string) (*Image, error)
	// All yields every live image, by number.
	All(ctx context.Context) iter.Seq2[*Image, error]
}

// Cursors keeps a feed's cursor beside the images.
type Cursors interface {
	Cursor(ctx context.Context, feed string) ([]byte, error) // nil where there is none
	SetCursor(ctx context.Context, feed string, cursor []byte) error
}

// basePURL is a package URL's type, namespace and name.
func basePURL(s string) (string, error) {
	p, err := packageurl.FromString(s)
	if err != nil {
		return "", fmt.Errorf("package URL %.200q: %w", s, err)
	}
	p.Version, p.Qualifiers, p.Subpath = "", nil, ""
	if err := p.Normalize(); err != nil {
		return "", fmt.Errorf("package URL %.200q: %w", s, err)
	}
	return p.ToString(), nil
}
