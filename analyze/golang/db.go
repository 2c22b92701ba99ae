package golang

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// Level is how near a program comes to a vulnerability.
type Level int

const (
	Unknown  Level = iota // counts as Called
	Required              // the module is built in no vulnerable package
	Imported              // a vulnerable package is built, no vulnerable symbol reached
	Called                // a vulnerable symbol is reached
)

var levels = [...]string{"unknown", "required", "imported", "called"}

func (l Level) String() string {
	if l < 0 || int(l) >= len(levels) {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return levels[l]
}

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is one vulnerability of one module of a program.
type Finding struct {
	ID      string   `json:"id"`
	Aliases []string `json:"aliases,omitempty"`
	Module  string   `json:"module"`
	Version string   `json:"version"` // "" where it is not known; then the version counts as vulnerable
	Level   Level    `json:"level"`
	Symbol  string   `json:"symbol,omitempty"` // the first that is reached: PACKAGE.Symbol
	Trace   []string `json:"trace,omitempty"`  // from an entry to it, shortest first; of source only
}

// DB is the Go vulnerability database, by module.
type DB struct{ modules map[string][]entry }

type entry struct {
	id      string
	aliases []string
	ranges  []span
	imports []imported
}

// span is a half-open range of versions; no end is open.
type span struct{ introduced, fixed string }

type imported struct {
	Path    string   `json:"path"`
	GOOS    []string `json:"goos"`
	GOARCH  []string `json:"goarch"`
	Symbols []string `json:"symbols"`
}

type osv struct {
	DataType  string   `json:"dataType"`
	ID        string   `json:"id"`
	Aliases   []string `json:"aliases"`
	Withdrawn string   `json:"withdrawn"`
	Affected  []struct {
		Package struct {
			Name      string `json:"name"`
			Ecosystem string `json:"ecosystem"`
		} `json:"package"`
		Ranges []struct {
			Type   string `json:"type"`
			Events []struct {
				Introduced string `json:"introduced"`
				Fixed      string `json:"fixed"`
			} `json:"events"`
		} `json:"ranges"`
		Specific struct {
			Imports []imported `json:"imports"`
		} `json:"ecosystem_specific"`
	} `json:"affected"`
}

const maxRecord = 16 << 20

// Load reads the records (*.json) of a folder of the database; others may lie
// among them. A record that does not parse is an error, and so is a folder that
// says nothing of any Go module: against it every program would be well.
func Load(fsys fs.FS) (*DB, error) {
	db := &DB{modules: map[string][]entry{}}
	n := 0
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".json" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxRecord {
			return fmt.Errorf("%s: larger than %d bytes", p, maxRecord)
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		if err := db.add(b); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		n++
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("go vulnerabilities: %w", err)
	}
	if len(db.modules) == 0 {
		return nil, fmt.Errorf("go vulnerabilities: none of %d records (*.json) is about a Go module; the records are the Go vulnerability database's, in OSV's form", n)
	}
	return db, nil
}

func (db *DB) add(b []byte) error {
	var r osv
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&r); err != nil {
		return err
	}
	if r.DataType == "CVE_RECORD" {
		return nil // of the CVE list, which names no symbol
	}
	if r.ID == "" {
		return errors.New("a record without id")
	}
	if r.Withdrawn != "" {
		return nil
	}
	for i, a := range r.Affected {
		if a.Package.Ecosystem != "Go" {
			continue
		}
		if a.Package.Name == "" {
			return fmt.Errorf("affected[%d]: no module", i)
		}
		e := entry{id: r.ID, aliases: r.Aliases, imports: a.Specific.Imports}
		for _, rg := range a.Ranges {
			if rg.Type != "SEMVER" {
				return fmt.Errorf("affected[%d]: a range of type %q", i, rg.Type)
			}
			for _, ev := range rg.Events {
				switch {
				case ev.Introduced != "":
					e.ranges = append(e.ranges, span{introduced: canonical(ev.Introduced)})
				case ev.Fixed != "" && len(e.ranges) > 0:
					e.ranges[len(e.ranges)-1].fixed = canonical(ev.Fixed)
				}
			}
		}
		db.modules[a.Package.Name] = append(db.modules[a.Package.Name], e)
	}
	return nil
}

// canonical is a version with the v that the semver package wants.
func canonical(v string) string {
	v = strings.TrimPrefix(v, "v")
	if v == "0" || v == "" {
		return ""
	}
	if goVersion, ok := strings.CutPrefix(v, "go"); ok {
		v = goSemver(goVersion)
	}
	return "v" + v
}

// goSemver is a Go release in semantic versioning: 1.21rc2 is 1.21.0-rc.2.
func goSemver(v string) string {
	v, _, _ = strings.Cut(v, " ")
	v, _, _ = strings.Cut(v, "-")
	for _, pre := range []string{"rc", "beta"} {
		if i := strings.Index(v, pre); i > 0 {
			core := v[:i]
			for strings.Count(core, ".") < 2 {
				core += ".0"
			}
			return core + "-" + pre + "." + v[i+len(pre):]
		}
	}
	for strings.Count(v, ".") < 2 {
		v += ".0"
	}
	return v
}

// affects reports whether a version is in the entry's ranges. One that cannot
// be placed is.
func (e *entry) affects(version string) bool {
	v := canonical(version)
	if !semver.IsValid(v) || len(e.ranges) == 0 {
		return true
	}
	return slices.ContainsFunc(e.ranges, func(r span) bool {
		return (r.introduced == "" || semver.Compare(v, r.introduced) >= 0) && (r.fixed == "" || semver.Compare(v, r.fixed) < 0)
	})
}

// module is one module of a program, replaced ones under their replacement.
type module struct{ path, version string }

// program is what a mode found out about a program.
type program struct {
	modules      []module
	goos, goarch string
	packages     map[string]bool     // that are built
	reached      map[string][]string // PACKAGE.Symbol → trace
	all          bool                // symbols are hidden: every one counts as reached
	noPackages   bool                // and every package as built
}

func (p *program) findings(db *DB) []Finding {
	var out []Finding
	for _, m := range p.modules {
		for i := range db.modules[m.path] {
			e := &db.modules[m.path][i]
			if !e.affects(m.version) {
				continue
			}
			f := Finding{ID: e.id, Aliases: e.aliases, Module: m.path, Version: m.version}
			f.Level, f.Symbol, f.Trace = p.level(m.path, e)
			if f.Level == Unknown {
				continue // not on this platform
			}
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return strings.Compare(a.ID+" "+a.Module, b.ID+" "+b.Module)
	})
	return slices.CompactFunc(out, func(a, b Finding) bool { return a.ID == b.ID && a.Module == b.Module && a.Level == b.Level })
}

// level is that of one entry; Unknown where none of its packages exists on the
// program's platform.
func (p *program) level(mod string, e *entry) (Level, string, []string) {
	if len(e.imports) == 0 { // every package of the module is vulnerable
		if p.noPackages {
			return Called, "", nil
		}
		level := Required
		for pkg := range p.packages {
			if pkg == mod || strings.HasPrefix(pkg, mod+"/") || mod == "stdlib" && !strings.Contains(strings.SplitN(pkg, "/", 2)[0], ".") {
				level = Imported
				if s, trace := p.first(pkg, nil); s != "" {
					return Called, s, trace
				}
			}
		}
		return level, "", nil
	}
	level, symbol, any := Unknown, "", false
	var trace []string
	for _, imp := range e.imports {
		if !allows(imp.GOOS, p.goos) || !allows(imp.GOARCH, p.goarch) {
			continue
		}
		any = true
		if !p.packages[imp.Path] && !p.noPackages {
			continue
		}
		level = max(level, Imported)
		if s, t := p.first(imp.Path, imp.Symbols); s != "" && (level < Called || s < symbol) {
			level, symbol, trace = Called, s, t
		}
	}
	if any {
		level = max(level, Required)
	}
	return level, symbol, trace
}

func allows(list []string, have string) bool {
	return len(list) == 0 || have == "" || slices.Contains(list, have)
}

// first is the first of a package's symbols that is reached; no symbols stand
// for all.
func (p *program) first(pkg string, symbols []string) (string, []string) {
	if p.all {
		if len(symbols) == 0 {
			return pkg, nil
		}
		return pkg + "." + symbols[0], nil
	}
	best := ""
	if len(symbols) == 0 {
		for s := range p.reached {
			if strings.HasPrefix(s, pkg+".") && !strings.Contains(s[len(pkg)+1:], "/") && (best == "" || s < best) {
				best = s
			}
		}
		return best, p.reached[best]
	}
	for _, s := range symbols {
		if name := pkg + "." + s; (best == "" || name < best) && has(p.reached, name) {
			best = name
		}
	}
	return best, p.reached[best]
}

func has(m map[string][]string, k string) bool {
	_, ok := m[k]
	return ok
}
