package first

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Packages that are initialised late, by their place in the order of paths, or
// that need one: a package that imports them takes over late as well.
var late = []string{"net", "net/http", "os/exec", "path/filepath", "regexp", "log/slog", "math/big"}

func TestImportsNothingLate(t *testing.T) {
	for _, dir := range []string{".", "../../trace"} {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, e.Name()), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				if name, _ := strconv.Unquote(i.Path.Value); slices.Contains(late, name) {
					t.Errorf("%s imports %s", path.Join(dir, e.Name()), name)
				}
			}
		}
	}
}
