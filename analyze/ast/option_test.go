package ast

import (
	"testing"
	"testing/fstest"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// TestOption: an option decides only where the recipe gives it and the tree's
// configuration knows it.
func TestOption(t *testing.T) {
	for _, c := range []struct {
		name, system, option string
		args                 []string
		configure            string
		want                 analyze.Verdict
	}{
		{"given", "configure", "--disable-ldap", []string{"--disable-ldap"}, "enable_ldap=no", analyze.Present},
		{"its opposite", "configure", "--enable-ldap", []string{"--disable-ldap"}, "enable_ldap=no", analyze.Absent},
		{"not given", "configure", "--enable-ldap", nil, "enable_ldap=no", analyze.Unknown},
		{"overridden", "configure", "--disable-ldap", []string{"--disable-ldap", "--enable-ldap=yes"}, "enable_ldap=no", analyze.Absent},
		{"unknown to configure", "configure", "--disable-ldap", []string{"--disable-ldap"}, "enable_ldaps=no", analyze.Unknown},
		{"a recipe of steps", "shell", "--disable-ldap", []string{"--disable-ldap"}, "enable_ldap=no", analyze.Unknown},
		{"OpenSSL's", "configure", "no-cms", []string{"no-cms"}, `"cms",`, analyze.Present},
	} {
		f := newFixture()
		f.record.Components[0].Component.Recipe.System = c.system
		f.record.Components[0].Component.Recipe.Configure = c.args
		f.tree["Configure"] = &fstest.MapFile{Data: []byte(c.configure)}
		e := f.examine(t, advisory.Map{Completeness: advisory.Reviewed, Conditions: []advisory.Condition{{Quote: "q", Option: c.option}}})
		if len(e.Conditions) != 1 || e.Conditions[0].Verdict != c.want {
			t.Errorf("%s: %+v, want %s", c.name, e.Conditions, c.want)
		}
	}
}
