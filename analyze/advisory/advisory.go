package advisory

import "time"

// Advisory is one vulnerability as far as one component is concerned.
type Advisory struct {
	ID        string    `json:"id"`
	Aliases   []string  `json:"aliases,omitempty"` // other ids of the same vulnerability
	Related   []string  `json:"related,omitempty"` // other vulnerabilities, as the source sees it
	Summary   string    `json:"summary,omitempty"`
	Details   string    `json:"details,omitempty"`
	Severity  string    `json:"severity,omitempty"` // as the source grades it: low, medium, high, critical, or a CVSS vector
	Component string    `json:"component"`          // upstream name
	PURL      string    `json:"purl,omitempty"`     // package URL without version, where the record gives one
	CPEs      []string  `json:"cpes,omitempty"`     // part:vendor:product
	Repos     []string  `json:"repos,omitempty"`    // host/path of upstream's repositories
	Source    string    `json:"source,omitempty"`
	Published time.Time `json:"published"`
	Modified  time.Time `json:"modified"`
	Withdrawn time.Time `json:"withdrawn,omitzero"`
	Ranges    []Range   `json:"ranges"`
	Versions  []string  `json:"versions,omitempty"`
	Map       Map       `json:"map"`
	Digest    string    `json:"digest"` // "sha256:HEX" of the record's bytes
}

// Range is one range of affected versions.
type Range struct {
	Type   string  `json:"type"` // SEMVER, ECOSYSTEM, GIT
	Repo   string  `json:"repo,omitempty"`
	Events []Event `json:"events"`
}

// Event is one event of a range; exactly one field is set.
type Event struct {
	Introduced   string `json:"introduced,omitempty"`
	Fixed        string `json:"fixed,omitempty"`
	LastAffected string `json:"last_affected,omitempty"`
	Limit        string `json:"limit,omitempty"`
}

// Completeness says how far a map may be trusted.
type Completeness string

const (
	None     Completeness = "none"     // no map
	Derived  Completeness = "derived"  // from fix commits; never proof
	Reviewed Completeness = "reviewed" // signed off by a person, or named by upstream
)

// Map ties an advisory to code.
type Map struct {
	Completeness Completeness `json:"completeness"` // empty means none
	Functions    []Function   `json:"functions,omitempty"`
	Fixes        []Fix        `json:"fixes,omitempty"`      // every fix patch, where the set is complete
	Conditions   []Condition  `json:"conditions,omitempty"` // each alone must hold for the flaw to exist
}

// Function is one function at the version named by the record.
type Function struct {
	File string `json:"file"` // slash-separated path in the upstream tree
	Name string `json:"name"`
}

// Fix identifies the fixed form of one function: the hash of its normalised
// body (see package ast).
type Fix struct {
	Function
	Body string `json:"body"` // "sha256:HEX"
}

// Condition is a machine-checkable precondition of a flaw: a statement about
// a build that must be true for the flaw to exist in it. Exactly one of the
// predicate fields is set. The package documentation has the whole language.
type Condition struct {
	Quote string `json:"quote"` // the upstream sentence it encodes; required
	URL   string `json:"url,omitempty"`

	File     string      `json:"file,omitempty"`     // some unit of this source file is compiled into a shipped ELF file
	Macro    *Macro      `json:"macro,omitempty"`    // a macro is defined in a unit
	Function *Function   `json:"function,omitempty"` // the function is live
	API      []string    `json:"api,omitempty"`      // one of these names is imported, nameable, called or observed (D5)
	Caller   *Caller     `json:"caller,omitempty"`   // one of these names is used by code outside some folders (D5)
	Option   string      `json:"option,omitempty"`   // an argument of the recipe's configuration: --disable-ldap
	Platform string      `json:"platform,omitempty"` // GOOS/GOARCH
	All      []Condition `json:"all,omitempty"`
	Any      []Condition `json:"any,omitempty"`
	Not      *Condition  `json:"not,omitempty"`
}

// Predicates is how many of the predicate fields are set; one, in a condition
// that says something.
func (c *Condition) Predicates() int {
	n := 0
	for _, set := range []bool{
		c.File != "", c.Macro != nil, c.Function != nil, len(c.API) > 0, c.Caller != nil,
		c.Option != "", c.Platform != "", len(c.All) > 0, len(c.Any) > 0, c.Not != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

// Caller says who uses an interface: live code refers to one of the names, or
// can look it up, and that code does not come from the component's own files
// below one of the folders.
type Caller struct {
	API     []string `json:"api"`
	Besides []string `json:"besides"` // folders of the upstream tree
}

// Macro is a preprocessor macro in the unit of a source file, as compiled.
type Macro struct {
	File  string `json:"file"`
	Name  string `json:"name"`
	Value string `json:"value,omitempty"` // the replacement list it must have; empty: any
}
