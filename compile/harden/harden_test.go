package harden

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func profile(t testing.TB, name string) Profile {
	t.Helper()
	p, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// line is a command line as the wrapper makes it.
func line(p Profile, gcc int, provides string, caller ...string) []string {
	r := p.Resolve(gcc, provides)
	return slices.Concat([]string{"gcc"}, r.Before, caller, r.Compile)
}

func TestProfiles(t *testing.T) {
	for _, p := range Profiles() {
		seen := map[string]bool{}
		for _, f := range p.Flags {
			if len(f.Args) == 0 || f.Purpose == "" || f.Musl == "" || f.Place == "" {
				t.Errorf("%s: flag %v has no arguments, purpose, place or word on musl", p.Name, f)
			}
			if seen[f.String()] {
				t.Errorf("%s: %s is there twice", p.Name, f)
			}
			seen[f.String()] = true
			if ok, by := effective(f, f.Args); !ok {
				t.Errorf("%s: %s cancels itself by %s", p.Name, f, by)
			}
		}
		for _, f := range slices.Concat(analysis(), analysisLinks()) {
			if !seen[f.String()] {
				t.Errorf("%s lacks %s, which analysis needs", p.Name, f)
			}
		}
	}
	for _, o := range OptOuts() {
		found := slices.ContainsFunc(profile(t, DefaultProfile).Flags, func(f Flag) bool { return f.String() == o.Args })
		if !found || o.Reason == "" {
			t.Errorf("opt-out %v excuses no flag, or has no reason", o)
		}
	}
	if _, err := Lookup("opensff"); err == nil {
		t.Error("an unknown profile is found")
	}
}

// What a profile adds satisfies its own closure, on every compiler.
func TestResolveIsClosed(t *testing.T) {
	for _, p := range Profiles() {
		for _, gcc := range []int{8, 12, 13, 15} {
			for _, provides := range []string{"", "libc"} {
				r := p.Resolve(gcc, provides)
				units := []Unit{{Source: "a.c", Language: "c", Args: line(p, gcc, provides, "-fPIC", "-c", "a.c")}}
				links := []Link{{Output: "bin/a", Args: append([]string{"gcc", "a.o"}, r.Link...)}}
				if res := Closure(p, gcc, provides, units, links); res.Err() != nil || res.Units != 1 || res.Links != 1 {
					t.Errorf("%s, gcc %d, provides %q: %v", p.Name, gcc, provides, res.Err())
				}
			}
		}
	}
	omitted := profile(t, "openssf-max").Resolve(12, "").Omitted
	if len(omitted) != 2 {
		t.Errorf("gcc 12 omits %v, want the flags of gcc 13 and 15", omitted)
	}
}

func TestClosure(t *testing.T) {
	p := profile(t, DefaultProfile)
	for _, c := range []struct {
		name, provides, language string
		args                     []string
		missing, by              string // flag and what cancelled it
		excused                  bool
	}{
		{name: "as resolved", args: line(p, 12, "")},
		{name: "upstream weakens before", args: line(p, 12, "", "-O0", "-fno-stack-protector", "-U_FORTIFY_SOURCE", "-fcf-protection=none")},
		{name: "upstream weakens after", args: append(line(p, 12, ""), "-fno-stack-protector"), missing: "-fstack-protector-strong", by: "-fno-stack-protector"},
		{name: "weaker of a kind", args: append(line(p, 12, ""), "-fstack-protector"), missing: "-fstack-protector-strong", by: "-fstack-protector"},
		{name: "stronger of a kind", args: append(line(p, 12, ""), "-fstack-protector-all")},
		{name: "FORTIFY lowered", args: append(line(p, 12, ""), "-D_FORTIFY_SOURCE=1"), missing: "-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3", by: "-D_FORTIFY_SOURCE=1"},
		{name: "not position independent", args: line(p, 12, "", "-fno-pie"), missing: "-fPIE", by: "-fno-pie"},
		{name: "position independent for a library", args: line(p, 12, "", "-fPIC")},
		{name: "link-time optimisation", args: append(line(p, 12, ""), "-flto=auto"), missing: "-fno-lto", by: "-flto=auto"},
		{name: "the C library's start-up", provides: "libc", args: line(p, 12, "libc", "-fno-stack-protector"), missing: "-fstack-protector-strong", by: "-fno-stack-protector", excused: true},
		{name: "start-up of anybody else", args: line(p, 12, "libc", "-fno-stack-protector"), missing: "-fstack-protector-strong", by: "-fno-stack-protector"},
		{name: "assembly", language: "asm", args: []string{"gcc", "-c", "a.s"}},
	} {
		language := c.language
		if language == "" {
			language = "c"
		}
		r := Closure(p, 12, c.provides, []Unit{{Source: "a.c", Language: language, Args: c.args}}, nil)
		var got Missing
		if len(r.Missing) > 0 {
			got = r.Missing[0]
		}
		if len(r.Missing) > 1 || got.Flag.String() != c.missing || got.By != c.by || (got.Excused != "") != c.excused {
			t.Errorf("%s: missing %v, want %q by %q", c.name, r.Missing, c.missing, c.by)
		}
		if wantErr := c.missing != "" && !c.excused; (r.Err() != nil) != wantErr {
			t.Errorf("%s: error %v", c.name, r.Err())
		}
	}
}

func TestClosureFailsClosed(t *testing.T) {
	p := profile(t, DefaultProfile)
	var units []Unit
	for i := range 9 {
		units = append(units, Unit{Source: fmt.Sprintf("%d.c", i), Language: "c"})
	}
	r := Closure(p, 12, "libc", units, []Link{{Output: "bin/a"}})
	if len(r.Unexcused()) != len(r.Missing) || len(r.Missing) == 0 {
		t.Errorf("units without arguments: %d missing, %d of them not excused", len(r.Missing), len(r.Unexcused()))
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "more") || strings.Count(err.Error(), ";") > 5 {
		t.Errorf("error %v, want a few places and how many more", err)
	}
}

func BenchmarkClosure(b *testing.B) {
	p := profile(b, DefaultProfile)
	units := make([]Unit, 1000)
	for i := range units {
		units[i] = Unit{Source: "a.c", Language: "c", Args: line(p, 12, "", slices.Repeat([]string{"-DX"}, 30)...)}
	}
	for b.Loop() {
		if err := Closure(p, 12, "", units, nil).Err(); err != nil {
			b.Fatal(err)
		}
	}
}
