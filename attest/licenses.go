package attest

// licensePredicate is the predicate of the licence report. Its type is
// versioned: the body may grow within v0.1 and never loses a field.
type licensePredicate struct {
	Tool       licenseTool        `json:"tool"`
	Components []licenseComponent `json:"components"`
}

type licenseTool struct {
	Name    string `json:"name"`
	Matcher string `json:"matcher"`
	Sure    int    `json:"surePercent"`
}

type licenseComponent struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
	licence
	Sources *sourceLicences `json:"sources,omitempty"` // of the source tree, where it is at hand
	Files   []licenseFile   `json:"files"`
}

// licenseFile is one shipped file, under the licence of its component.
type licenseFile struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
}

// buildLicenses is artifact 11: declared and concluded licences of every
// component, the evidence for them, the texts, what every file of the source
// tree says of itself, and the shipped files that they cover.
func buildLicenses(_ *Input, f *facts, _ *Evidence) (*product, error) {
	p := licensePredicate{
		Tool:       licenseTool{Name: toolURI, Matcher: "github.com/google/licensecheck", Sure: sure},
		Components: []licenseComponent{},
	}
	for _, c := range f.components {
		lc := licenseComponent{Name: c.name, Version: c.version, PURL: c.purl, licence: c.license, Sources: c.sources, Files: []licenseFile{}}
		if lc.Texts == nil {
			lc.Texts = []licenceText{}
		}
		for _, s := range c.files {
			lc.Files = append(lc.Files, licenseFile{Path: s.path, Digest: "sha256:" + s.sha256})
		}
		p.Components = append(p.Components, lc)
	}
	b, err := marshal(p)
	if err != nil {
		return nil, err
	}
	return &product{predicate: b}, nil
}
