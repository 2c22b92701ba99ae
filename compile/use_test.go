package compile

import (
	"strings"
	"testing"
	"testing/fstest"
)

// split puts the component lib of goodSpec into a file of its own.
func split(t testing.TB) (spec, lib string) {
	t.Helper()
	from, to := strings.Index(goodSpec, "  - name: lib\n"), strings.Index(goodSpec, "  - name: libc\n")
	if from < 0 || to < from {
		t.Fatal("goodSpec has no lib before libc")
	}
	lib = strings.ReplaceAll(strings.Replace(goodSpec[from:to], "  - ", "    ", 1), "\n    ", "\n")
	return goodSpec[:from] + "  - use: parts/lib.yaml\n" + goodSpec[to:], strings.TrimPrefix(lib, "    ")
}

func TestUse(t *testing.T) {
	spec, lib := split(t)
	files := fstest.MapFS{"x.yaml": {Data: []byte(spec)}, "parts/lib.yaml": {Data: []byte(lib)}}
	s, err := LoadSpec(files, "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := parseSpec(files, "y.yaml", []byte(goodSpec))
	if err != nil {
		t.Fatal(err)
	}
	if s.Digest() != whole.Digest() {
		t.Error("a component from a file is not the component written out")
	}
}

// TestUseRefused: a mistake is told with the file that it stands in.
func TestUseRefused(t *testing.T) {
	spec, lib := split(t)
	const line = "  - use: parts/lib.yaml\n"
	for name, c := range map[string]struct {
		line, lib string
		want      []string
	}{
		"no file":      {"  - use: parts/gone.yaml\n", lib, []string{"x.yaml:", "gone.yaml"}},
		"outside":      {"  - use: ../lib.yaml\n", lib, []string{"x.yaml:", "no name of a file"}},
		"absolute":     {"  - use: /lib.yaml\n", lib, []string{"x.yaml:", "no name of a file"}},
		"directory":    {"  - use: parts\n", lib, []string{"x.yaml:", "parts"}},
		"a list":       {"  - use: [parts/lib.yaml]\n", lib, []string{"x.yaml:", "no name of a file"}},
		"more fields":  {line + "    version: 3\n", lib, []string{"x.yaml:", "other fields beside it"}},
		"twice":        {line + line, lib, []string{"parts/lib.yaml:1", `component "lib" appears twice, first in parts/lib.yaml:1`}},
		"again a use":  {line, "use: parts/other.yaml\n", []string{"parts/lib.yaml:1: ", `unknown field "use"`}},
		"misspelt":     {line, strings.Replace(lib, "license:", "licence:", 1), []string{"parts/lib.yaml:4: ", `did you mean "license"`}},
		"unknown need": {line, lib + "needs: [none]\n", []string{"parts/lib.yaml:", "none"}},
		"no YAML":      {line, "a: [", []string{"parts/lib.yaml:1: "}},
		"empty":        {line, "", []string{"parts/lib.yaml:1: ", "empty"}},
		"not one":      {line, "- " + lib, []string{"parts/lib.yaml:"}},
		"large":        {line, lib + "#" + strings.Repeat("x", maxSpecBytes), []string{"parts/lib.yaml:1: larger"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{"x.yaml": {Data: []byte(strings.Replace(spec, line, c.line, 1))}, "parts/lib.yaml": {Data: []byte(c.lib)}}
			_, err := LoadSpec(files, "x.yaml")
			if err == nil || len(specErrors(err)) == 0 {
				t.Fatalf("got %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("got %v, want %q", err, w)
				}
			}
		})
	}
}
