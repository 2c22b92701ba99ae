package feed

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Exploitation is what is known of attacks with a flaw. It gives priority and
// never takes a finding away.
type Exploitation struct {
	Known      time.Time // since when it is in CISA's catalogue; zero: it is not
	Due        time.Time // until when federal agencies must act
	Ransomware bool      // used in ransomware campaigns
	EPSS       float64   // probability of exploitation within 30 days, 0 to 1
	Percentile float64   // of all flaws, how many have a lower one, 0 to 1
}

var cveID = regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,19}$`)

const maxEnrichment = 1 << 30 // bytes of a file

// ReadKEV adds CISA's Known Exploited Vulnerabilities catalogue (JSON) to what
// is known by CVE. Entries that cannot be read are problems and stop no other.
func ReadKEV(r io.Reader, known map[string]Exploitation) ([]Problem, error) {
	var doc struct {
		Count   *int              `json:"count"`
		Entries []json.RawMessage `json:"vulnerabilities"`
	}
	if err := json.NewDecoder(io.LimitReader(r, maxEnrichment)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("feed: KEV: %w", err)
	}
	if doc.Entries == nil || doc.Count != nil && *doc.Count != len(doc.Entries) {
		return nil, fmt.Errorf("feed: KEV: the catalogue is not whole: %d entries", len(doc.Entries))
	}
	var problems []Problem
	for i, raw := range doc.Entries {
		var e struct {
			ID         string `json:"cveID"`
			Added      string `json:"dateAdded"`
			Due        string `json:"dueDate"`
			Ransomware string `json:"knownRansomwareCampaignUse"`
		}
		err := json.Unmarshal(raw, &e)
		added, timeErr := time.Parse(time.DateOnly, e.Added)
		if err = errors.Join(err, timeErr); err != nil || !cveID.MatchString(e.ID) {
			problems = append(problems, Problem{Name: fmt.Sprintf("entry %d", i+1), Reason: fmt.Sprintf("%.40q: %v", e.ID, err)})
			continue
		}
		x := known[e.ID]
		x.Known, x.Ransomware = added, e.Ransomware == "Known"
		x.Due, _ = time.Parse(time.DateOnly, e.Due) // may be missing
		known[e.ID] = x
	}
	return problems, nil
}

// ReadEPSS adds the scores of the Exploit Prediction Scoring System (CSV of cve,
// epss and percentile, unpacked) to what is known by CVE.
func ReadEPSS(r io.Reader, known map[string]Exploitation) ([]Problem, error) {
	sc := bufio.NewScanner(io.LimitReader(r, maxEnrichment))
	head := false
	var problems []Problem
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		switch {
		case line == "", strings.HasPrefix(line, "#"):
			continue
		case !head:
			if line != "cve,epss,percentile" {
				return nil, fmt.Errorf("feed: EPSS: columns %.100q", line)
			}
			head = true
			continue
		}
		id, rest, _ := strings.Cut(line, ",")
		score, percentile, _ := strings.Cut(rest, ",")
		e, err := probability(score)
		p, err2 := probability(percentile)
		if err = errors.Join(err, err2); err != nil || !cveID.MatchString(id) {
			problems = append(problems, Problem{Name: fmt.Sprintf("line %d", n), Reason: fmt.Sprintf("%.40q: %v", line, err)})
			continue
		}
		x := known[id]
		x.EPSS, x.Percentile = e, p
		known[id] = x
	}
	if err := sc.Err(); err != nil {
		return problems, fmt.Errorf("feed: EPSS: %w", err)
	}
	if !head {
		return nil, errors.New("feed: EPSS: the file is empty")
	}
	return problems, nil
}

func probability(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err == nil && !(v >= 0 && v <= 1) {
		err = fmt.Errorf("%v is not a probability", v)
	}
	return v, err
}
