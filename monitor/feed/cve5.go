package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// FromCVE5 makes an OSV record of a CVE record in JSON format 5, as the list at
// github.com/CVEProject/cvelistV5 holds them: the product is the component, a
// version with lessThan is a range up to it, with lessThanOrEqual one that
// includes it, and one alone is itself. It is for [Dir.Convert].
//
// What its author leaves to be understood counts as affected: a version that is
// "unspecified" or "n/a", and a default status of affected. A rejected record
// is a withdrawn one. A record that names no product says nothing, and neither
// do the indexes of changes that the list has beside its records, which are
// known by their fetchTime; whatever else is no CVE record is an error.
func FromCVE5(b []byte) ([]byte, error) {
	var r cve5
	if err := json.Unmarshal(b, &r); err != nil {
		var log []struct {
			FetchTime string `json:"fetchTime"`
		}
		if json.Unmarshal(b, &log) == nil && len(log) > 0 && log[0].FetchTime != "" {
			return nil, nil
		}
		return nil, fmt.Errorf("not a CVE record: %w", err)
	}
	if r.FetchTime != "" && r.DataType == "" && r.Metadata.ID == "" {
		return nil, nil
	}
	if r.DataType != "CVE_RECORD" || !strings.HasPrefix(r.DataVersion, "5.") {
		return nil, fmt.Errorf("not a CVE record of format 5: %.40q %.40q", r.DataType, r.DataVersion)
	}
	out := map[string]any{"schema_version": "1.7.0", "id": r.Metadata.ID}
	modified := first(r.Metadata.Updated, r.Metadata.Rejected, r.Metadata.Published, r.Metadata.Reserved)
	if modified.IsZero() {
		return nil, errors.New("a CVE record has no time")
	}
	out["modified"] = modified
	if !r.Metadata.Published.IsZero() {
		out["published"] = r.Metadata.Published.Time
	}
	switch r.Metadata.State {
	case "REJECTED":
		out["withdrawn"] = first(r.Metadata.Rejected, stamp{modified})
		return json.Marshal(out)
	case "PUBLISHED":
	default:
		return nil, fmt.Errorf("a CVE record is in state %.40q", r.Metadata.State)
	}
	if d := r.Containers.CNA.Descriptions; len(d) > 0 {
		out["details"] = d[0].Value
	}
	var affected []any
	for _, c := range append([]cve5Container{r.Containers.CNA}, r.Containers.ADP...) {
		for _, a := range c.Affected {
			if x := a.osv(); x != nil {
				affected = append(affected, x)
			}
		}
	}
	if affected == nil {
		return nil, nil
	}
	out["affected"] = affected
	return json.Marshal(out)
}

type cve5 struct {
	FetchTime   string `json:"fetchTime"` // of an index of changes
	DataType    string `json:"dataType"`
	DataVersion string `json:"dataVersion"`
	Metadata    struct {
		ID        string `json:"cveId"`
		State     string `json:"state"`
		Reserved  stamp  `json:"dateReserved"`
		Published stamp  `json:"datePublished"`
		Updated   stamp  `json:"dateUpdated"`
		Rejected  stamp  `json:"dateRejected"`
	} `json:"cveMetadata"`
	Containers struct {
		CNA cve5Container   `json:"cna"`
		ADP []cve5Container `json:"adp"`
	} `json:"containers"`
}

type cve5Container struct {
	Descriptions []struct {
		Value string `json:"value"`
	} `json:"descriptions"`
	Affected []cve5Affected `json:"affected"`
}

type cve5Affected struct {
	Product string `json:"product"`
	Name    string `json:"packageName"`
	PURL    string `json:"packageURL"`
	Default string `json:"defaultStatus"`

	Versions []struct {
		Version         string `json:"version"`
		Status          string `json:"status"`
		Type            string `json:"versionType"`
		LessThan        string `json:"lessThan"`
		LessThanOrEqual string `json:"lessThanOrEqual"`
	} `json:"versions"`
}

// osv is the entry as OSV has it; nil where it names nothing.
func (a *cve5Affected) osv() any {
	name := a.Name
	if name == "" {
		name = a.Product
	}
	if name == "" || strings.EqualFold(name, "n/a") {
		return nil
	}
	pkg := map[string]string{"ecosystem": "", "name": name}
	if a.PURL != "" {
		pkg["purl"], _, _ = strings.Cut(a.PURL, "@")
	}
	var ranges []any
	add := func(events ...map[string]string) {
		ranges = append(ranges, map[string]any{"type": "ECOSYSTEM", "events": events})
	}
	for _, v := range a.Versions {
		if v.Status == "unaffected" {
			continue // what is affected is said by the others; this cannot narrow it
		}
		from := map[string]string{"introduced": v.Version}
		if v.Version == "*" || v.Version == "" || v.Version == "unspecified" || strings.EqualFold(v.Version, "n/a") {
			from["introduced"] = "0"
		}
		open := func(bound string) bool { return bound == "*" || strings.HasSuffix(bound, ".*") }
		switch {
		case v.Type == "git": // commits order no version
			add(map[string]string{"introduced": "0"})
		case open(v.LessThan) || open(v.LessThanOrEqual):
			add(from)
		case v.LessThan != "":
			add(from, map[string]string{"fixed": v.LessThan})
		case v.LessThanOrEqual != "":
			add(from, map[string]string{"last_affected": v.LessThanOrEqual})
		case from["introduced"] == "0":
			add(from)
		default:
			add(from, map[string]string{"last_affected": v.Version})
		}
	}
	if a.Default != "unaffected" && (len(ranges) == 0 || a.Default == "affected") {
		ranges = []any{}
		add(map[string]string{"introduced": "0"})
	}
	if len(ranges) == 0 {
		return nil // only unaffected versions
	}
	return map[string]any{"package": pkg, "ranges": ranges}
}

// stamp is a time as CVE records have it: RFC 3339, or without a zone, which
// then is UTC.
type stamp struct{ time.Time }

func (s *stamp) UnmarshalJSON(b []byte) error {
	var v string
	if err := json.Unmarshal(b, &v); err != nil || v == "" {
		return err
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, v); err == nil {
			s.Time = t.UTC()
			return nil
		}
	}
	return fmt.Errorf("time %.40q", v)
}

func first(times ...stamp) time.Time {
	i := slices.IndexFunc(times, func(s stamp) bool { return !s.IsZero() })
	if i < 0 {
		return time.Time{}
	}
	return times[i].Time
}
