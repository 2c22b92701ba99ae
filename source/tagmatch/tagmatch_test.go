package tagmatch_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/source/tagmatch"
)

func f(name, sum string) tagmatch.File { return tagmatch.File{Name: name, Kind: 'f', Sum: sum} }

func because(path string) tagmatch.Explained {
	return tagmatch.Explained{Path: path, Reason: "made by autoreconf"}
}

func TestCompare(t *testing.T) {
	repository := []tagmatch.File{f("src/main.c", "1"), f("configure.ac", "2"), f(".github/ci.yml", "3"), f(".github/x/y.yml", "4"),
		{Name: "autogen.sh", Kind: 'x', Sum: "5"}, {Name: "link", Kind: 'l', Sum: "src/main.c"}}
	release := []tagmatch.File{f("src/main.c", "1"), f("configure.ac", "2"), {Name: "configure", Kind: 'x', Sum: "6"},
		{Name: "autogen.sh", Kind: 'x', Sum: "5"}, {Name: "link", Kind: 'l', Sum: "src/main.c"}}
	rules := tagmatch.Rules{Generated: []tagmatch.Explained{because("configure")}, Omitted: []tagmatch.Explained{because(".github/**")}}
	without := func(files []tagmatch.File, name string) []tagmatch.File {
		var out []tagmatch.File
		for _, x := range files {
			if x.Name != name {
				out = append(out, x)
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		release []tagmatch.File
		rules   tagmatch.Rules
		want    []string
	}{
		"explained":                     {release, rules, nil},
		"added":                         {append([]tagmatch.File{f("m4/build-to-host.m4", "7")}, release...), rules, []string{"added m4/build-to-host.m4"}},
		"changed":                       {append(without(release, "src/main.c"), f("src/main.c", "8")), rules, []string{"changed src/main.c"}},
		"made executable":               {append(without(release, "src/main.c"), tagmatch.File{Name: "src/main.c", Kind: 'x', Sum: "1"}), rules, []string{"mode of src/main.c"}},
		"link elsewhere":                {append(without(release, "link"), tagmatch.File{Name: "link", Kind: 'l', Sum: "other"}), rules, []string{"changed link"}},
		"file for a link":               {append(without(release, "link"), f("link", "src/main.c")), rules, []string{"changed link"}},
		"left out":                      {without(release, "src/main.c"), rules, []string{"omitted src/main.c"}},
		"nothing explained":             {release, tagmatch.Rules{}, []string{"added configure", "omitted .github/ci.yml", "omitted .github/x/y.yml"}},
		"a change explained as made":    {append(without(release, "src/main.c"), f("src/main.c", "8")), tagmatch.Rules{Generated: []tagmatch.Explained{because("configure"), because("src/main.c")}, Omitted: rules.Omitted}, []string{"changed src/main.c"}},
		"pinned content":                {release, tagmatch.Rules{Generated: []tagmatch.Explained{{Path: "configure", Reason: "r", Digest: "sha256:6"}}, Omitted: rules.Omitted}, nil},
		"pinned content, other content": {release, tagmatch.Rules{Generated: []tagmatch.Explained{{Path: "configure", Reason: "r", Digest: "sha256:9"}}, Omitted: rules.Omitted}, []string{"added configure"}},
	} {
		r := tagmatch.Compare(c.release, repository, c.rules)
		if d := cmp.Diff(c.want, r.Unexplained); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if err := r.Err(); errors.Is(err, tagmatch.ErrDiffers) != (len(c.want) > 0) {
			t.Errorf("%s: Err() = %v", name, err)
		}
		for _, w := range c.want {
			if err := r.Err(); !strings.Contains(err.Error(), w) {
				t.Errorf("%s: Err() = %v, does not name %q", name, err, w)
			}
		}
	}
	r := tagmatch.Compare(release, repository, tagmatch.Rules{Generated: []tagmatch.Explained{because("configure"), because("gone")}, Omitted: rules.Omitted})
	want := &tagmatch.Report{Same: 4, Generated: []string{"configure"}, Omitted: []string{".github/ci.yml", ".github/x/y.yml"}, Unused: []string{"generated gone"}}
	if d := cmp.Diff(want, r); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
	// Explaining everything proves nothing.
	all := tagmatch.Compare([]tagmatch.File{f("a", "1")}, []tagmatch.File{f("b", "1")},
		tagmatch.Rules{Generated: []tagmatch.Explained{because("a")}, Omitted: []tagmatch.Explained{because("*")}})
	if !errors.Is(all.Err(), tagmatch.ErrDiffers) {
		t.Errorf("nothing in common: %v, want ErrDiffers", all.Err())
	}
}

func TestValidate(t *testing.T) {
	for name, r := range map[string]tagmatch.Rules{
		"pattern for generated":  {Generated: []tagmatch.Explained{because("m4/*.m4")}},
		"pattern for changed":    {Changed: []tagmatch.Explained{because("src/?.c")}},
		"directory of generated": {Generated: []tagmatch.Explained{because("m4/**")}},
		"no reason":              {Generated: []tagmatch.Explained{{Path: "configure", Reason: " "}}},
		"outside":                {Generated: []tagmatch.Explained{because("../configure")}},
		"no path":                {Omitted: []tagmatch.Explained{because("")}},
		"bad pattern":            {Omitted: []tagmatch.Explained{because("[")}},
		"bad digest":             {Changed: []tagmatch.Explained{{Path: "a", Reason: "r", Digest: "sha256:1"}}},
	} {
		if r.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	good := tagmatch.Rules{Generated: []tagmatch.Explained{because("configure")}, Omitted: []tagmatch.Explained{because(".github/**"), because("*.yml")}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
