package attest

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/google/licensecheck"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/bounded"
)

const (
	noAssertion = "NOASSERTION"
	// maxLicence bounds one licence text that is read.
	maxLicence = 4 << 20
	// sure is the share of a text's words, in percent, that matched licences
	// must cover before the text alone decides what is concluded.
	sure = 75
)

// licence is what is known about the licence of one component. Declared is the
// specification's expression; concluded is what the shipped texts say, or
// NOASSERTION with the reason.
type licence struct {
	Declared  string        `json:"declared"`
	Concluded string        `json:"concluded"`
	Verdict   string        `json:"verdict"` // agrees, differs, unknown
	Reason    string        `json:"reason,omitempty"`
	Texts     []licenceText `json:"texts"`
}

// licenceText is one licence file of a component, whole.
type licenceText struct {
	Path    string         `json:"path"`
	Digest  string         `json:"digest"`
	Percent float64        `json:"percent"` // of the words, covered by the matches
	Matches []licenceMatch `json:"matches"`
	Text    string         `json:"text"`
}

// licenceMatch is one known licence found in a text.
type licenceMatch struct {
	ID    string `json:"id"`
	Start int    `json:"start"` // byte offsets
	End   int    `json:"end"`
}

// concludeLicence reads the licences part of a component.
func concludeLicence(img *compile.Image, rec *compile.ComponentRecord) (licence, error) {
	l := licence{Declared: rec.Component.License, Concluded: noAssertion, Verdict: "unknown"}
	if l.Declared == "" {
		l.Declared = noAssertion
	} else if ok, bad := spdxexp.ValidateLicenses([]string{l.Declared}); !ok {
		return licence{}, fmt.Errorf("declared licence %q is not an SPDX expression", bad)
	}
	part, err := img.Part(rec.Component.Name, compile.PartLicenses)
	if err != nil {
		return licence{}, err
	}
	err = fs.WalkDir(part, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := bounded.ReadFile(part, name, maxLicence)
		if err != nil {
			return err
		}
		l.Texts = append(l.Texts, scanLicence(name, b))
		return nil
	})
	if err != nil {
		return licence{}, err
	}
	l.conclude()
	return l, nil
}

// scanLicence matches one text against the known licences.
func scanLicence(name string, b []byte) licenceText {
	cov := licensecheck.Scan(b)
	t := licenceText{Path: name, Digest: digestOf(b), Percent: float64(int(cov.Percent*10)) / 10, Matches: []licenceMatch{}, Text: strings.ToValidUTF8(string(b), "\uFFFD")}
	for _, m := range cov.Match {
		if !m.IsURL {
			t.Matches = append(t.Matches, licenceMatch{ID: spdxID(m.ID), Start: m.Start, End: m.End})
		}
	}
	return t
}

// spdxID is an SPDX licence id, or a reference where the list has none.
func spdxID(id string) string {
	if ok, active := spdxexp.ActiveLicense(id); ok {
		return active
	}
	if ok, _ := spdxexp.ValidateLicenses([]string{id}); ok {
		return id
	}
	return "LicenseRef-" + strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, id)
}

// conclude fills Concluded, Verdict and Reason from the texts.
func (l *licence) conclude() {
	if len(l.Texts) == 0 {
		l.Texts, l.Reason = []licenceText{}, "the component ships no licence text"
		return
	}
	var ids []string
	thin := ""
	for _, t := range l.Texts {
		for _, m := range t.Matches {
			ids = append(ids, m.ID)
		}
		if t.Percent < sure && thin == "" {
			thin = fmt.Sprintf("%g %% of %s matches a known licence", t.Percent, t.Path)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 0 {
		l.Reason = "no known licence in the texts"
		return
	}
	declared, err := spdxexp.ExtractLicenses(l.Declared)
	if err != nil {
		declared = nil
	}
	slices.Sort(declared)
	within := len(declared) > 0 && !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(declared, id) })
	if thin != "" && !within {
		l.Reason = thin
		return
	}
	l.Concluded = strings.Join(ids, " AND ")
	if within && len(ids) == len(slices.Compact(declared)) {
		l.Verdict = "agrees"
		l.Concluded = l.Declared // the same licences: the declared expression also says how they combine
	} else {
		l.Verdict = "differs"
		l.Reason = fmt.Sprintf("the texts hold %s", strings.Join(ids, ", "))
	}
}
