package golang

import (
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	packageurl "github.com/package-url/packageurl-go"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// Program is one Go program of an image with what was decided about it.
type Program struct {
	Path   string    // in the image, absolute
	Digest string    // "sha256:HEX" of its bytes
	Binary []Finding // of [Binary]
	Source []Finding // of [Source] for the same build
	// Sourced says that Source was run. Without it the program alone speaks.
	Sourced bool
}

// Programs finds the Go programs of an image by their build information and
// decides about each from itself. A program that says that it is Go and cannot
// be read is an error: it may hold anything.
func Programs(ctx context.Context, s *analyze.Subject, db *DB) ([]Program, error) {
	root, err := os.OpenRoot(s.Rootfs)
	if err != nil {
		return nil, fmt.Errorf("go programs: %w", err)
	}
	defer root.Close()
	var out []Program
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		p := Program{Path: "/" + filepath.ToSlash(name)}
		if is, err := isGo(f); err != nil {
			return fmt.Errorf("%s: %w", p.Path, err)
		} else if !is {
			return nil
		}
		if p.Binary, err = Binary(db, f); err != nil {
			return fmt.Errorf("%s: %w", p.Path, err)
		}
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<62)); err != nil {
			return err
		}
		p.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
		out = append(out, p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("go programs: %w", err)
	}
	return out, nil
}

// isGo reports whether a file is a Go program. One that the toolchain has
// marked and whose build information cannot be read is an error: nobody can say
// which modules are in it.
func isGo(f *os.File) (bool, error) {
	var magic [4]byte
	_, err := io.ReadFull(f, magic[:])
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF, err == nil && string(magic[:]) != elf.ELFMAG:
		return false, nil
	case err != nil:
		return false, err
	}
	_, cause := buildinfo.Read(f)
	if cause == nil {
		return true, nil
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return false, nil // no loader starts it
	}
	defer e.Close()
	for _, mark := range []string{".go.buildinfo", ".gopclntab", ".data.rel.ro.gopclntab", ".note.go.buildid"} {
		if e.Section(mark) != nil {
			return false, fmt.Errorf("a Go program (it has %s) whose modules are not known: %w", mark, cause)
		}
	}
	return false, nil
}

// Findings lays what was decided about programs out as findings of a report,
// one for each vulnerability of each version of a module, with the evidence of
// layer 2 (the program) and, where every program's source was examined, of
// layer 4 (its call graph). So the same decision table decides them:
//
//   - a symbol in no program is absent (D6), and a module of which no package
//     is built is not present at all (D2);
//   - a symbol that no call graph reaches cannot run (D7);
//   - anything else, a stripped program among them, is affected.
//
// They are sorted as a report's are.
func (db *DB) Findings(programs []Program) []analyze.Finding {
	type key struct{ id, module, version string }
	type seen struct {
		binary, source []Finding
		sourced        bool
		premises       map[string]string
		where          []string
	}
	all := map[key]*seen{}
	for _, p := range programs {
		of := func(f Finding) *seen {
			k := key{f.ID, f.Module, f.Version}
			if all[k] == nil {
				all[k] = &seen{sourced: true, premises: map[string]string{}}
			}
			return all[k]
		}
		for _, f := range p.Binary {
			s := of(f)
			s.binary, s.sourced = append(s.binary, f), s.sourced && p.Sourced
			s.premises["elf:"+p.Path] = p.Digest
			s.where = append(s.where, p.Path)
		}
		for _, f := range p.Source {
			s := of(f)
			s.source = append(s.source, f)
			if !slices.ContainsFunc(p.Binary, func(b Finding) bool { return b.ID == f.ID && b.Module == f.Module && b.Version == f.Version }) {
				// The program does not say so itself: then it is not what the source was of.
				s.binary, s.sourced = append(s.binary, Finding{Level: Unknown}), false
			}
		}
	}
	versions := map[string]map[string]bool{}
	for k := range all {
		if versions[k.module] == nil {
			versions[k.module] = map[string]bool{}
		}
		versions[k.module][k.version] = true
	}
	var out []analyze.Finding
	for k, s := range all {
		adv := db.advisory(k.id, k.module)
		component := k.module
		if len(versions[k.module]) > 1 { // a statement is about one of them
			component += "@" + k.version
		}
		f := analyze.Finding{Candidate: analyze.Candidate{Advisory: adv, Component: component, Version: k.version, PURL: modulePURL(k.module, k.version)}}
		bin := evidence(analyze.LayerBinary, adv, s.binary, "in the program", s.where)
		if worst(s.binary) == Required && db.whole(k.id, k.module) {
			bin.Linked = analyze.Absent
		}
		bin.Premises = s.premises
		f.Evidence = append(f.Evidence, bin)
		if s.sourced && len(s.source) > 0 {
			use := evidence(analyze.LayerUsage, adv, s.source, "reached", nil)
			use.Closed, use.Premises = analyze.Present, s.premises
			f.Evidence = append(f.Evidence, use)
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b analyze.Finding) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Advisory.ID, b.Advisory.ID))
	})
	return out
}

// whole reports whether every package of the module is vulnerable, so that none
// that is built means that nothing of it is.
func (db *DB) whole(id, mod string) bool {
	n := 0
	for i := range db.modules[mod] {
		if e := &db.modules[mod][i]; e.id == id {
			if n++; len(e.imports) > 0 {
				return false
			}
		}
	}
	return n > 0
}

// worst is the greatest level; one Unknown counts as Called.
func worst(list []Finding) Level {
	level := Required
	for _, f := range list {
		if f.Level == Unknown {
			return Called
		}
		level = max(level, f.Level)
	}
	if len(list) == 0 {
		return Called
	}
	return level
}

func evidence(layer string, adv *advisory.Advisory, list []Finding, word string, where []string) analyze.Evidence {
	level := worst(list)
	e := analyze.Evidence{Layer: layer, Facts: map[string]string{"level": level.String()}}
	verdict, how := analyze.Absent, level.String()
	if level == Called {
		verdict, how = analyze.Unknown, ""
	}
	for _, fn := range adv.Map.Functions {
		fact := analyze.FunctionFact{File: fn.File, Name: fn.Name, Verdict: verdict, How: how}
		for _, f := range list {
			if f.Level == Called && f.Symbol == fn.File+"."+fn.Name {
				fact.Verdict, fact.How, fact.Where = analyze.Present, "called", where
			}
		}
		e.Functions = append(e.Functions, fact)
	}
	switch {
	case level == Called:
		e.Reason = "a vulnerable symbol may be " + word
		for _, f := range list {
			if f.Level == Called && f.Symbol != "" {
				e.Verdict, e.Reason = analyze.Present, f.Symbol+" is "+word
				if len(f.Trace) > 0 {
					e.Reason += ": " + strings.Join(f.Trace, " → ")
				}
				break
			}
		}
	case len(e.Functions) > 0:
		e.Verdict, e.Reason = analyze.Absent, "no vulnerable symbol is "+word
	default:
		e.Reason = "the record names no symbol, so that every package of the module counts"
	}
	if level == Required {
		e.Reason = "no vulnerable package of the module is built; " + e.Reason
	}
	return e
}

// advisory is a record as the report has it: its symbols are reviewed, as all
// of that database are.
func (db *DB) advisory(id, mod string) *advisory.Advisory {
	a := &advisory.Advisory{ID: id, Component: mod, PURL: modulePURL(mod, ""), Source: "Go vulnerability database"}
	a.Map.Completeness = advisory.Reviewed
	for i := range db.modules[mod] {
		e := &db.modules[mod][i]
		if e.id != id {
			continue
		}
		a.Aliases = e.aliases
		for _, r := range e.ranges {
			events := []advisory.Event{{Introduced: cmp.Or(strings.TrimPrefix(r.introduced, "v"), "0")}}
			if r.fixed != "" {
				events = append(events, advisory.Event{Fixed: strings.TrimPrefix(r.fixed, "v")})
			}
			a.Ranges = append(a.Ranges, advisory.Range{Type: "SEMVER", Events: events})
		}
		if len(e.imports) == 0 {
			a.Map.Completeness = advisory.None
		}
		for _, imp := range e.imports {
			if len(imp.Symbols) == 0 {
				a.Map.Completeness = advisory.None // the whole package
			}
			for _, s := range imp.Symbols {
				fn := advisory.Function{File: imp.Path, Name: s}
				if !slices.Contains(a.Map.Functions, fn) {
					a.Map.Functions = append(a.Map.Functions, fn)
				}
			}
		}
	}
	if a.Map.Completeness == advisory.None {
		a.Map.Functions = nil
	}
	b, err := json.Marshal([]any{a.ID, a.Component, a.Ranges, a.Map})
	if err == nil {
		sum := sha256.Sum256(b)
		a.Digest = "sha256:" + hex.EncodeToString(sum[:])
	}
	return a
}

func modulePURL(mod, version string) string {
	namespace, name := "", mod
	if i := strings.LastIndexByte(mod, '/'); i >= 0 {
		namespace, name = mod[:i], mod[i+1:]
	}
	return packageurl.NewPackageURL("golang", namespace, name, version, nil, "").ToString()
}
