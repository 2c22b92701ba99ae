package ast

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// option answers whether the recipe configures the component so. Where the
// recipe says nothing of the subject, or the tree's configuration does not
// know it, the answer is Unknown: a configure script ignores what it does not
// know.
func (s *sources) option(option string) (analyze.Verdict, string) {
	recipe := s.record.Component.Recipe
	switch recipe.System {
	case "configure", "cmake":
	default:
		return analyze.Unknown, fmt.Sprintf("a recipe of system %q has no configuration that could be read", recipe.System)
	}
	same, settled := advisory.Configured(recipe.Configure, option)
	if !settled {
		return analyze.Unknown, "the recipe does not settle " + option
	}
	if why := s.unknownOption(option); why != "" {
		return analyze.Unknown, why
	}
	if same {
		return analyze.Present, "the recipe configures " + option
	}
	return analyze.Absent, "the recipe configures otherwise than " + option
}

// maxConfig bounds one file of a component's configuration.
const maxConfig = 16 << 20

var configFiles = regexp.MustCompile(`^(configure|Configure|config|configure\.(ac|in)|CMakeLists\.txt|meson_options\.txt|meson\.options)$`)

// unknownOption says why the option may mean nothing to the component.
func (s *sources) unknownOption(option string) string {
	tree := s.build.tree(s.component)
	if tree == nil {
		return "the source tree of " + s.component + " is not at hand"
	}
	set, ok := advisory.ParseOption(option)
	if !ok {
		return fmt.Sprintf("%q is no option", option)
	}
	_, name, _ := strings.Cut(set.Subject, ":")
	word := regexp.MustCompile(`(^|[^A-Za-z0-9])(` + regexp.QuoteMeta(name) + `|` + regexp.QuoteMeta(strings.ReplaceAll(name, "-", "_")) + `)([^A-Za-z0-9]|$)`)
	found := false
	err := fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if found || d.IsDir() || !configFiles.MatchString(path.Base(p)) {
			return nil
		}
		f, err := tree.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		found = word.MatchReader(bufio.NewReader(io.LimitReader(f, maxConfig)))
		return nil
	})
	switch {
	case err != nil:
		return err.Error()
	case !found:
		return fmt.Sprintf("no configuration in the tree of %s knows %s", s.component, name)
	}
	return ""
}
