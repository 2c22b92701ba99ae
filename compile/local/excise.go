package local

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/compile"
)

const maxExcised = 1 << 20

// excisions reads what the wrapper cut out of each unit. A function that no
// unit defines was not cut out, and one whose name still stands in what was
// linked was defined where the wrapper does not read: both are errors.
func (w *work) excisions(records []record, links []compile.Link) ([]compile.Excision, error) {
	names := w.job.Action.Excise
	if len(names) == 0 {
		return nil, nil
	}
	var out []compile.Excision
	for i := range records {
		r := &records[i]
		name := r.host + ".excised"
		if _, err := os.Lstat(name); r.kind != "unit" || errors.Is(err, os.ErrNotExist) {
			continue
		}
		b, err := readBounded(name, maxExcised)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(f) != 3 || !slices.Contains(names, f[0]) {
				return nil, fmt.Errorf("excision: the compiler wrapper wrote %q", line)
			}
			at, err := strconv.Atoi(f[1])
			if err != nil {
				return nil, fmt.Errorf("excision: the compiler wrapper wrote %q", line)
			}
			out = append(out, compile.Excision{Function: f[0], Source: relative(absolute(r.dir, f[2])), Line: at, Object: relative(r.file)})
		}
	}
	slices.SortFunc(out, func(a, b compile.Excision) int {
		return strings.Compare(fmt.Sprintf("%s\x00%s\x00%09d\x00%s", a.Function, a.Source, a.Line, a.Object),
			fmt.Sprintf("%s\x00%s\x00%09d\x00%s", b.Function, b.Source, b.Line, b.Object))
	})
	out = slices.Compact(out)
	for _, n := range names {
		if !slices.ContainsFunc(out, func(e compile.Excision) bool { return e.Function == n }) {
			return nil, fmt.Errorf("excision: no C unit of %s defines %s, so nothing was cut out; is it a macro, or written in assembly?", w.job.Action.Component, n)
		}
	}
	for _, l := range links {
		if err := w.gone(l, names); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// gone says whether none of the names is a symbol of what was linked, as it is
// or as a clone that the compiler made.
func (w *work) gone(l compile.Link, names []string) error {
	f, err := elf.Open(filepath.Join(w.parts, compile.PartDebug, l.Unstripped))
	if err != nil {
		return fmt.Errorf("excision: %s: %w", l.Output, err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("excision: %s: %w", l.Output, err)
	}
	for _, s := range symbols {
		base, _, _ := strings.Cut(s.Name, ".")
		if slices.Contains(names, base) && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			return fmt.Errorf("excision: %s still holds %s", l.Output, s.Name)
		}
	}
	return nil
}
