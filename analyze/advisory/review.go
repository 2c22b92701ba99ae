package advisory

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

// Review is what a person signed off about one vulnerability in the source of
// exact versions of one component.
type Review struct {
	ID         string      `json:"id"` // the advisory's: a CVE id where it has one
	Component  string      `json:"component"`
	Versions   []string    `json:"versions"`             // whose source was read
	Functions  []Function  `json:"functions,omitempty"`  // all that are needed, if the record's are not
	Conditions []Condition `json:"conditions,omitempty"` // each necessary
	Note       string      `json:"note,omitempty"`       // what was found, and what was not encoded and why
}

// reviewFile is the form in which reviews of one component are kept.
type reviewFile struct {
	Component string   `json:"component"`
	Versions  []string `json:"versions"`
	Reviews   []Review `json:"reviews"` // component and versions default to the file's
}

const maxReviewSize = 8 << 20

// ParseReviews reads a file of reviews of one component. Unknown fields are
// refused, and so is a condition without quotation.
func ParseReviews(b []byte) ([]Review, error) {
	if len(b) > maxReviewSize {
		return nil, fmt.Errorf("reviews: larger than %d bytes", maxReviewSize)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var f reviewFile
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("reviews: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("reviews: bytes after the value")
	}
	for i := range f.Reviews {
		r := &f.Reviews[i]
		if r.Component == "" {
			r.Component = f.Component
		}
		if len(r.Versions) == 0 {
			r.Versions = f.Versions
		}
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("reviews: %s: %w", r.ID, err)
		}
		if slices.ContainsFunc(f.Reviews[:i], func(o Review) bool { return o.key() == r.key() && overlap(o.Versions, r.Versions) }) {
			return nil, fmt.Errorf("reviews: %s is reviewed twice for one version", r.ID)
		}
	}
	return f.Reviews, nil
}

func (r *Review) check() error {
	switch {
	case !idPattern.MatchString(r.ID):
		return fmt.Errorf("id %.40q", r.ID)
	case r.Component == "":
		return errors.New("no component")
	case len(r.Versions) == 0 || slices.Contains(r.Versions, ""):
		return errors.New("no versions: a review is of source that was read")
	}
	for _, fn := range r.Functions {
		if fn.Name == "" {
			return errors.New("a function without name")
		}
		if err := cleanPath(fn.File); err != nil {
			return err
		}
	}
	return checkConditions(r.Conditions)
}

type reviewKey struct{ id, component string }

func (r *Review) key() reviewKey { return reviewKey{r.ID, strings.ToLower(r.Component)} }

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

//go:embed reviews/*.json
var builtin embed.FS

var embedded = sync.OnceValue(func() []Review {
	names, err := fs.Glob(builtin, "reviews/*.json")
	if err != nil {
		panic(err) // the pattern is constant
	}
	var out []Review
	for _, name := range names {
		b, err := builtin.ReadFile(name)
		if err != nil {
			panic(err) // the files are part of the program
		}
		rs, err := ParseReviews(b)
		if err != nil {
			panic(path.Base(name) + ": " + err.Error()) // a test reads them all
		}
		out = append(out, rs...)
	}
	return out
})

// Reviews are the package's own: curl, OpenSSL and zlib. Callers must not
// change what they hold.
func Reviews() []Review { return slices.Clone(embedded()) }

// reviewed is the advisory with what was found about it in the source of that
// version.
func (db *DB) reviewed(adv *Advisory, version string) *Advisory {
	for _, r := range db.reviews[reviewKey{adv.ID, strings.ToLower(adv.Component)}] {
		if slices.Contains(r.Versions, version) {
			return r.apply(adv)
		}
	}
	return adv
}

// apply adds the review to a copy of the advisory. A map that was only derived
// becomes reviewed when the review says itself which functions are needed; the
// derived ones stay in it, which can only keep the candidate.
func (r *Review) apply(adv *Advisory) *Advisory {
	out := *adv
	m := &out.Map
	m.Functions = union(m.Functions, r.Functions)
	m.Conditions = slices.Clone(m.Conditions)
	for _, c := range r.Conditions {
		if !slices.ContainsFunc(m.Conditions, func(d Condition) bool { return c.predicate() == d.predicate() }) {
			m.Conditions = append(m.Conditions, c)
		}
	}
	if len(r.Functions) > 0 || len(m.Functions) == 0 && len(r.Conditions) > 0 {
		m.Completeness = Reviewed
	}
	return &out
}

// predicate identifies what a condition says, without whom it quotes.
func (c Condition) predicate() string {
	c.Quote, c.URL = "", ""
	b, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return string(b)
}
