package advisory

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// record is an OSV record as far as it is used (OSV schema 1.7). Fields that
// the schema adds later are ignored; what is inside ecosystem_specific under
// our names is strict.
type record struct {
	SchemaVersion    string           `json:"schema_version"`
	ID               string           `json:"id"`
	Modified         timestamp        `json:"modified"`
	Published        timestamp        `json:"published"`
	Withdrawn        timestamp        `json:"withdrawn"`
	Aliases          []string         `json:"aliases"`
	Upstream         []string         `json:"upstream"`
	Related          []string         `json:"related"`
	Summary          string           `json:"summary"`
	Details          string           `json:"details"`
	Severity         []severity       `json:"severity"`
	Affected         []affected       `json:"affected"`
	DatabaseSpecific databaseSpecific `json:"database_specific"`
	digest           string
}

type severity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

type databaseSpecific struct {
	Severity any `json:"severity"`
	Source   any `json:"source"`
	Package  any `json:"package"`
}

type affected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
		PURL      string `json:"purl"`
	} `json:"package"`
	Ranges            []Range         `json:"ranges"`
	Versions          []string        `json:"versions"`
	EcosystemSpecific json.RawMessage `json:"ecosystem_specific"`

	component string
	purl      string
	codeMap   Map

	// from a CVE record
	upstream string // the name
	repo     string
	cpes     []string
	open     bool // what it does not list may be affected
	none     bool // nothing is affected
}

// specific is our part of ecosystem_specific: the shape of the Go
// vulnerability database, and what it says of a build.
type specific struct {
	Component  string          `json:"component"`
	CPE        string          `json:"cpe"`
	Repo       string          `json:"repo"`
	Map        Completeness    `json:"map"`
	Imports    []imported      `json:"imports"`
	Conditions json.RawMessage `json:"conditions"`
	Fixes      json.RawMessage `json:"fixes"`
}

type imported struct {
	Path    string   `json:"path"`
	Symbols []string `json:"symbols"`
}

// timestamp is an RFC 3339 time; absent or null is zero, anything else that
// does not parse is an error.
type timestamp struct {
	time.Time
	set bool
}

func (t *timestamp) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("time %q is not RFC 3339", s)
	}
	t.Time, t.set = v.UTC(), true
	return nil
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{1,127}$`)

// Parse checks one OSV record and returns its advisories, one per component,
// without merging aliases. A withdrawn record yields them with Withdrawn set.
func Parse(b []byte) ([]*Advisory, error) {
	rec, err := decode(b)
	if err != nil {
		return nil, err
	}
	var out []*Advisory
	for _, e := range merge([]*record{rec}) {
		e.adv.Withdrawn = rec.Withdrawn.Time
		out = append(out, e.adv)
	}
	return out, nil
}

// decodeAll reads one record or an array of them.
func decodeAll(b []byte) ([]*record, error) {
	if t := bytes.TrimLeft(b, " \t\r\n"); len(t) == 0 || t[0] != '[' {
		rec, err := decode(b)
		if err != nil {
			return nil, err
		}
		return []*record{rec}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("not a list of records: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("a list without records")
	}
	out := make([]*record, 0, len(list))
	for i, one := range list {
		rec, err := decode(one)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, rec)
	}
	return out, nil
}

func decode(b []byte) (*record, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8")
	}
	rec := new(record)
	if bytes.Contains(b, []byte(`"CVE_RECORD"`)) && cveForm(b) {
		var err error
		if rec, err = decodeCVE(b); err != nil {
			return nil, err
		}
	} else {
		dec := json.NewDecoder(bytes.NewReader(b))
		if err := dec.Decode(rec); err != nil {
			return nil, fmt.Errorf("not an OSV record: %w", err)
		}
		if _, err := dec.Token(); err != io.EOF {
			return nil, errors.New("not an OSV record: bytes after the record")
		}
	}
	sum := sha256.Sum256(b)
	rec.digest = "sha256:" + hex.EncodeToString(sum[:])
	return rec, rec.check()
}

// cveForm reports whether a record says that it is of the CVE list.
func cveForm(b []byte) bool {
	var form struct {
		DataType string `json:"dataType"`
	}
	return json.Unmarshal(b, &form) == nil && form.DataType == "CVE_RECORD"
}

func (r *record) check() error {
	if !idPattern.MatchString(r.ID) {
		return fmt.Errorf("not an OSV record: id %.40q", r.ID)
	}
	if !r.Modified.set {
		return fmt.Errorf("record %s: no modified time", r.ID)
	}
	for _, a := range slices.Concat(r.Aliases, r.Upstream, r.Related) {
		if !idPattern.MatchString(a) {
			return fmt.Errorf("record %s: alias %.40q", r.ID, a)
		}
	}
	if !r.Withdrawn.IsZero() {
		return nil // matches nothing, so nothing more is asked of it
	}
	if len(r.Affected) == 0 {
		return fmt.Errorf("record %s: it names nothing that is affected", r.ID)
	}
	for i := range r.Affected {
		if err := r.Affected[i].check(r); err != nil {
			return fmt.Errorf("record %s: affected[%d]: %w", r.ID, i, err)
		}
	}
	return nil
}

func (a *affected) check(r *record) error {
	for i, rg := range a.Ranges {
		if err := rg.check(); err != nil {
			return fmt.Errorf("ranges[%d]: %w", i, err)
		}
	}
	for _, v := range a.Versions {
		if strings.TrimSpace(v) == "" {
			return errors.New("an empty version")
		}
	}
	var sp specific
	if len(a.EcosystemSpecific) > 0 {
		if err := json.Unmarshal(a.EcosystemSpecific, &sp); err != nil {
			return fmt.Errorf("ecosystem_specific: %w", err)
		}
	}
	if a.Package.PURL != "" {
		base, err := basePURL(a.Package.PURL)
		if err != nil {
			return err
		}
		a.purl = base
	}
	a.component = a.identity(r, sp)
	a.cpes = slices.DeleteFunc(append(a.cpes, sp.CPE), func(s string) bool { return baseCPE(s) == "" })
	if a.repo == "" {
		a.repo = sp.Repo
	}
	if a.component == "" && a.purl == "" && len(a.cpes) == 0 {
		return errors.New("it names no component: want ecosystem_specific.component, package.name or the repository of a GIT range")
	}
	m, err := sp.codeMap()
	if err != nil {
		return err
	}
	a.codeMap = m
	return nil
}

// identity is the upstream name. A record of a distribution's package is
// about that package, not about upstream's source, and is reached by its
// package URL only.
func (a *affected) identity(r *record, sp specific) string {
	switch {
	case sp.Component != "":
		return sp.Component
	case a.upstream != "":
		return a.upstream
	case a.Package.Name != "":
		if upstreamEcosystem(a.Package.Ecosystem) {
			return a.Package.Name
		}
		if a.purl == "" {
			a.purl = ecosystemPURL(a.Package.Ecosystem, a.Package.Name)
		}
		if a.purl == "" {
			return a.Package.Ecosystem + "/" + a.Package.Name // no upstream is named so
		}
		return ""
	}
	for _, rg := range a.Ranges {
		if rg.Repo != "" {
			if name := strings.TrimSuffix(path.Base(strings.TrimRight(rg.Repo, "/")), ".git"); name != "." && name != "/" {
				return name
			}
		}
	}
	s, _ := r.DatabaseSpecific.Package.(string)
	return s
}

func (rg Range) check() error {
	switch rg.Type {
	case "SEMVER", "ECOSYSTEM":
	case "GIT":
		if rg.Repo == "" {
			return errors.New("a GIT range without repo")
		}
	default:
		return fmt.Errorf("type %.40q: want SEMVER, ECOSYSTEM or GIT", rg.Type)
	}
	if len(rg.Events) == 0 {
		return errors.New("no events")
	}
	for i, e := range rg.Events {
		n := 0
		for _, s := range []string{e.Introduced, e.Fixed, e.LastAffected, e.Limit} {
			if s != "" {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("events[%d]: want exactly one of introduced, fixed, last_affected, limit", i)
		}
	}
	return nil
}
