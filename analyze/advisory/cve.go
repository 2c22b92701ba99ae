package advisory

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// cveRecord is a record of the CVE list (CVE JSON 5.x), as far as it is used.
type cveRecord struct {
	DataType    string `json:"dataType"`
	DataVersion string `json:"dataVersion"`
	Metadata    struct {
		ID        string `json:"cveId"`
		State     string `json:"state"`
		Published string `json:"datePublished"`
		Updated   string `json:"dateUpdated"`
		Rejected  string `json:"dateRejected"`
	} `json:"cveMetadata"`
	Containers struct {
		CNA cnaContainer `json:"cna"`
	} `json:"containers"`
}

type cnaContainer struct {
	Title        string `json:"title"`
	DatePublic   string `json:"datePublic"`
	Descriptions []struct {
		Lang  string `json:"lang"`
		Value string `json:"value"`
	} `json:"descriptions"`
	Affected         []cveProduct `json:"affected"`
	RejectedReasons  []any        `json:"rejectedReasons"`
	ProviderMetadata struct {
		Updated string `json:"dateUpdated"`
		Short   string `json:"shortName"`
	} `json:"providerMetadata"`
}

type cveProduct struct {
	Vendor        string       `json:"vendor"`
	Product       string       `json:"product"`
	Collection    string       `json:"collectionURL"`
	PackageName   string       `json:"packageName"`
	PackageURL    string       `json:"packageURL"`
	Repo          string       `json:"repo"`
	CPEs          []string     `json:"cpes"`
	DefaultStatus string       `json:"defaultStatus"`
	Versions      []cveVersion `json:"versions"`
}

type cveVersion struct {
	Version         string `json:"version"`
	Status          string `json:"status"`
	Type            string `json:"versionType"`
	LessThan        string `json:"lessThan"`
	LessThanOrEqual string `json:"lessThanOrEqual"`
	Changes         []struct {
		At     string `json:"at"`
		Status string `json:"status"`
	} `json:"changes"`
}

// decodeCVE maps a record of the CVE list to OSV. What its CNA says is kept;
// what others added is not read. A version whose status is neither "affected"
// nor "unaffected" counts as affected, and so does everything that a record
// leaves open by its default.
func decodeCVE(b []byte) (*record, error) {
	var c cveRecord
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("not a CVE record: %w", err)
	}
	if !strings.HasPrefix(c.DataVersion, "5.") {
		return nil, fmt.Errorf("CVE record of version %.20q: want 5.x", c.DataVersion)
	}
	if !isCVE(c.Metadata.ID) {
		return nil, fmt.Errorf("not a CVE record: id %.40q", c.Metadata.ID)
	}
	cna := &c.Containers.CNA
	r := &record{SchemaVersion: "1.7.3", ID: c.Metadata.ID, Summary: cna.Title}
	for _, d := range cna.Descriptions {
		if d.Lang == "en" || strings.HasPrefix(d.Lang, "en-") {
			r.Details = d.Value
			break
		}
	}
	r.DatabaseSpecific.Source = cna.ProviderMetadata.Short
	if err := setTimes(r, &c); err != nil {
		return nil, err
	}
	if c.Metadata.State == "REJECTED" {
		r.Withdrawn = r.Modified
		return r, nil
	}
	if c.Metadata.State != "PUBLISHED" && c.Metadata.State != "" {
		return nil, fmt.Errorf("CVE record %s: state %.20q", r.ID, c.Metadata.State)
	}
	for i := range cna.Affected {
		a, err := cna.Affected[i].osv()
		if err != nil {
			return nil, fmt.Errorf("CVE record %s: affected[%d]: %w", r.ID, i, err)
		}
		r.Affected = append(r.Affected, a)
	}
	return r, nil
}

// setTimes takes the times that the record has; some lists leave them out.
func setTimes(r *record, c *cveRecord) error {
	cna := &c.Containers.CNA
	parse := func(list ...string) (timestamp, error) {
		for _, s := range list {
			if s == "" {
				continue
			}
			if !strings.ContainsAny(s[min(len(s), 10):], "Zz+") && len(s) > 10 {
				s += "Z" // the schema lets the zone out
			}
			var t timestamp
			b, err := json.Marshal(s)
			if err == nil {
				err = t.UnmarshalJSON(b)
			}
			return t, err
		}
		return timestamp{}, nil
	}
	var err error
	if r.Published, err = parse(c.Metadata.Published, cna.DatePublic); err != nil {
		return err
	}
	if r.Modified, err = parse(c.Metadata.Updated, c.Metadata.Rejected, cna.ProviderMetadata.Updated, c.Metadata.Published, cna.DatePublic); err != nil {
		return err
	}
	r.Modified.set = true // a list of upstream's own may have no times at all
	return nil
}

// osv is one product as an affected entry.
func (p *cveProduct) osv() (affected, error) {
	var a affected
	a.cpes, a.repo = p.CPEs, p.Repo
	switch {
	case p.PackageURL != "":
		a.Package.PURL = p.PackageURL
	case p.Collection != "" && p.PackageName != "":
		a.Package.PURL = collectionPURL(p.Collection, p.PackageName)
	}
	name := p.Product
	if unnamed(name) {
		name = p.PackageName
	}
	if !unnamed(name) {
		a.upstream = name
	}
	if a.upstream == "" && a.Package.PURL == "" && p.Repo == "" && len(p.CPEs) == 0 {
		return a, errors.New("it names no product")
	}
	for _, v := range p.Versions {
		if err := a.addVersion(v, p); err != nil {
			return a, err
		}
	}
	switch p.DefaultStatus {
	case "unaffected":
		if len(a.Ranges) == 0 && len(a.Versions) == 0 {
			a.none = true // nothing is affected
		}
	case "affected":
		// versions that are not affected may be excepted one by one; that is
		// not followed
		a.Ranges = append(a.Ranges, Range{Type: "SEMVER", Events: []Event{{Introduced: "0"}}})
	default:
		a.open = true
	}
	return a, nil
}

func unnamed(s string) bool {
	return s == "" || slices.Contains([]string{"n/a", "unknown", "unspecified", "*", "-"}, strings.ToLower(s))
}

func (a *affected) addVersion(v cveVersion, p *cveProduct) error {
	if v.Status == "unaffected" && len(v.Changes) == 0 {
		return nil
	}
	typ := "SEMVER"
	if v.Type == "git" {
		typ = "GIT"
		if p.Repo == "" {
			a.open = true
			return nil
		}
	}
	begin := v.Version
	if unnamed(begin) {
		begin = "0"
	}
	var events []Event
	affectedNow := v.Status != "unaffected"
	if affectedNow {
		events = append(events, Event{Introduced: begin})
	}
	for _, c := range v.Changes {
		switch to := c.Status != "unaffected"; {
		case to && !affectedNow:
			events = append(events, Event{Introduced: c.At})
			affectedNow = true
		case !to && affectedNow:
			events = append(events, Event{Fixed: c.At})
			affectedNow = false
		}
	}
	switch {
	case v.LessThan != "" && v.LessThanOrEqual != "":
		return errors.New("a version with two ends")
	case v.LessThan == "*" || v.LessThanOrEqual == "*", unnamed(v.Version) && v.LessThan == "" && v.LessThanOrEqual == "":
	case v.LessThan != "":
		if affectedNow {
			events = append(events, Event{Fixed: v.LessThan})
		}
	case v.LessThanOrEqual != "":
		if affectedNow {
			events = append(events, Event{LastAffected: v.LessThanOrEqual})
		}
	case len(v.Changes) == 0 && typ == "GIT":
	case len(v.Changes) == 0:
		a.Versions = append(a.Versions, v.Version)
		return nil
	}
	if len(events) == 0 {
		return nil
	}
	rg := Range{Type: typ, Events: events}
	if typ == "GIT" {
		rg.Repo = p.Repo
	}
	a.Ranges = append(a.Ranges, rg)
	return nil
}

// collections are ecosystems by the domain of a collection's address.
var collections = map[string]string{
	"pypi.org": "PyPI", "python.org": "PyPI", "npmjs.org": "npm", "npmjs.com": "npm", "crates.io": "crates.io", "rubygems.org": "RubyGems",
	"go.dev": "Go", "golang.org": "Go", "packagist.org": "Packagist", "nuget.org": "NuGet", "hex.pm": "Hex",
}

// collectionPURL is the package URL of a package in a registry that a CVE
// record names by address.
func collectionPURL(collection, name string) string {
	u, err := url.Parse(collection)
	if err != nil {
		return ""
	}
	labels := strings.Split(u.Hostname(), ".")
	domain := strings.Join(labels[max(0, len(labels)-2):], ".")
	return ecosystemPURL(collections[domain], name)
}
