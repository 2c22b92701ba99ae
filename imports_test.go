package cleanstart

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/cleanstart/cleanstart"

// line is the pipeline: a package imports only stages before its own.
var line = []string{"internal", "source", "compile", "analyze", "vex", "attest", "monitor", "examples"}

// rank is the position of a package's top-level folder in the line, or -1.
func rank(dir string) int {
	top, _, _ := strings.Cut(dir, "/")
	for i, s := range line {
		if s == top {
			return i
		}
	}
	return -1
}

// backward reports why a file in dir may not import the module path imp, or "".
func backward(dir, imp string) string {
	rel, ok := strings.CutPrefix(imp, module+"/")
	if !ok {
		return ""
	}
	from, to := rank(dir), rank(rel)
	switch {
	case from < 0:
		return dir + " is outside the fixed top level"
	case to < 0:
		return rel + " is outside the fixed top level"
	case to > from:
		return dir + " imports " + rel + ", which stands to its right"
	}
	return ""
}

func TestImportOrder(t *testing.T) {
	files := 0
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base != "." && (strings.HasPrefix(base, ".") || base == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		dir := path.Dir(name)
		if path.Ext(name) != ".go" || dir == "." {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files++
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if imp == "C" {
				t.Errorf("%s: imports C; the SDK is cgo-free", name)
			}
			if why := backward(dir, imp); why != "" {
				t.Errorf("%s: %s", name, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Error("no Go file was read, so nothing was checked")
	}
}

func TestImportOrderRefuses(t *testing.T) {
	for _, c := range []struct{ dir, imp string }{
		{"source/openpgp", module + "/compile"},
		{"analyze/reach", module + "/attest/registry"},
		{"internal/sandbox", module + "/source"},
		{"util", module + "/source"},
		{"source", module + "/pkg/x"},
	} {
		if backward(c.dir, c.imp) == "" {
			t.Errorf("backward(%q, %q) allows it", c.dir, c.imp)
		}
	}
	if why := backward("attest", module+"/source/openpgp"); why != "" {
		t.Errorf("a leftward import is refused: %s", why)
	}
}
