package compile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

const goodSpec = `name: demo
components:
  - name: app
    version: 1.10
    purl: pkg:generic/app@1.10
    license: MIT OR Apache-2.0
    places:
      - archive: https://example.org/app.tar.gz
        signature: https://example.org/app.tar.gz.asc
    policy:
      grade: signed
      keys:
        - fingerprint: 27EDEAF22F3ABCEB50DB9A125CC908FDB71E12C2
          file: keys/app.asc
      exceptions:
        - {allow: sha1, reason: old release, until: 2030-01-31}
    needs: [lib]
    recipe:
      system: configure
      configure: ["--with-lib={needs:lib}/usr"]
      env: {MODE: fast}
    runtime: [usr/bin/app]
    licenses: [COPYING]
  - name: lib
    version: "2.0"
    purl: pkg:generic/lib@2.0
    license: Zlib
    places:
      - archive: debian:lib@2.0/orig.tar
    policy:
      grade: pinned
      digest: sha256:71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1
    recipe:
      system: make
  - name: libc
    version: "1"
    purl: pkg:generic/libc@1
    license: MIT
    places: [{archive: "file:///libc.tar"}]
    policy: {grade: pinned, digest: sha256:71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1}
    provides: libc
    recipe: {system: shell, steps: [make install]}
image:
  entrypoint: [/usr/bin/app]
  user: "1000:1000"
  workdir: /
  labels: {a: b}
  workload:
    - {name: run, args: [/usr/bin/app, "{server}"], exit: 3, stdout: x}
  waivers:
    - {test: T01, reason: known, until: 2030-01-31}
`

// mutate replaces a part of goodSpec that is there once.
func mutate(t testing.TB, old, new string) string {
	t.Helper()
	if n := strings.Count(goodSpec, old); n != 1 {
		t.Fatalf("%q is in the good specification %d times", old, n)
	}
	return strings.Replace(goodSpec, old, new, 1)
}

func lineOf(text, part string) int {
	return strings.Count(text[:strings.Index(text, part)], "\n") + 1
}

// mistakes are single edits of goodSpec. Want is a part of the error's
// message or fix, on the line that holds at. Schema says whether the JSON
// Schema sees it too.
var mistakes = []struct {
	name, old, new, at, want string
	schema, notYAML          bool
}{
	{name: "unknown field", old: "license: Zlib", new: "licence: Zlib", at: "licence", want: `did you mean "license"?`, schema: true},
	{name: "unknown top field", old: "name: demo\n", new: "name: demo\nimages: 1\n", at: "images", want: `did you mean "image"?`, schema: true},
	{name: "bad version", old: `version: "2.0"`, new: `version: "2 0"`, at: `"2 0"`, want: "upstream's version"},
	{name: "missing version", old: "    version: \"2.0\"\n", new: "", at: "name: lib\n", want: "version is required", schema: true},
	{name: "bad purl", old: "pkg:generic/lib@2.0", new: "generic/lib@2.0", at: "generic/lib", want: "no package URL", schema: true},
	{name: "purl of another version", old: "pkg:generic/lib@2.0", new: "pkg:generic/lib@2.1", at: "lib@2.1", want: "end it in @2.0"},
	{name: "bad licence", old: "license: Zlib", new: "license: Zlibb", at: "Zlibb", want: "SPDX"},
	{name: "duplicate component", old: "name: lib\n", new: "name: app # again\n", at: "# again", want: "appears twice"},
	{name: "no source", old: "    places:\n      - archive: debian:lib@2.0/orig.tar\n", new: "", at: "name: lib\n", want: "has no source", schema: true},
	{name: "unknown scheme", old: "debian:lib@2.0/orig.tar", new: "ftp://x/lib.tar", at: "ftp:", want: "no location", schema: true},
	{name: "no signature", old: "        signature: https://example.org/app.tar.gz.asc\n", new: "", at: "- archive: https", want: "has no signature"},
	{name: "unknown need", old: "needs: [lib]", new: "needs: [lab]", at: "[lab]", want: `did you mean "lib"?`},
	{name: "cycle", old: "recipe:\n      system: make", new: "needs: [app]\n    recipe:\n      system: make", at: "needs: [lib]", want: "app → lib → app"},
	{name: "need of itself", old: "needs: [lib]", new: "needs: [app]", at: "needs: [app]", want: "app → app"},
	{name: "libc with needs", old: "provides: libc", new: "provides: libc\n    needs: [lib]", at: "needs: [lib]\n    recipe: {", want: "remove needs"},
	{name: "provides", old: "provides: libc", new: "provides: libm", at: "libm", want: "only value is libc", schema: true},
	{name: "no grade", old: "      grade: pinned\n", new: "", at: "digest: sha256", want: "names no grade", schema: true},
	{name: "unknown grade", old: "grade: signed", new: "grade: trusted", at: "trusted", want: "unknown grade", schema: true},
	{name: "pinned to nothing", old: "      digest: sha256:71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1\n", new: "", at: "grade: pinned", want: "pins nothing", schema: true},
	{name: "bad digest", old: "      digest: sha256:71fe", new: "      digest: sha256:", at: "digest: sha256:b7", want: "64 hexadecimal", schema: true},
	{name: "bad fingerprint", old: "27EDEAF22F3ABCEB50DB9A125CC908FDB71E12C2", new: "B71E12C2", at: "B71E12C2", want: "40", schema: true},
	{name: "key outside", old: "keys/app.asc", new: "../app.asc", at: "../app.asc", want: "relative path"},
	{name: "unknown exception", old: "allow: sha1", new: "allow: md5", at: "md5", want: "exceptions are", schema: true},
	{name: "exception without reason", old: "reason: old release", new: `reason: ""`, at: `reason: ""`, want: "reason is required", schema: true},
	{name: "exception date", old: "until: 2030-01-31}\n    needs", new: "until: 2030-13-31}\n    needs", at: "2030-13", want: "want a date"},
	{name: "waiver date", old: "known, until: 2030-01-31", new: "known, until: soon", at: "soon", want: "want a date", schema: true},
	{name: "root user", old: `user: "1000:1000"`, new: `user: "0:1000"`, at: "0:1000", want: "other than root"},
	{name: "named user", old: `user: "1000:1000"`, new: "user: root", at: "root\n", want: "numeric", schema: true},
	{name: "relative entrypoint", old: "entrypoint: [/usr/bin/app]", new: "entrypoint: [app]", at: "[app]", want: "absolute", schema: true},
	{name: "no entrypoint", old: "  entrypoint: [/usr/bin/app]\n", new: "", at: "  user:", want: "no entrypoint", schema: true},
	{name: "relative run", old: "args: [/usr/bin/app,", new: "args: [app,", at: "args: [app", want: "absolute", schema: true},
	{name: "evidence label", old: "labels: {a: b}", new: "labels: {org.cleanstart.evidence.policy: none}", at: "labels", want: "set by the build"},
	{name: "excise", old: "      env: {MODE: fast}\n", new: "      excise: [9f]\n", at: "excise", want: "cannot be excised", schema: true},
	{name: "unknown system", old: "system: make", new: "system: meson", at: "meson", want: "unknown build system", schema: true},
	{name: "foreign list", old: "system: make\n", new: "system: make\n      steps: [x]\n", at: "steps: [x]", want: "does not read steps"},
	{name: "shell without steps", old: ", steps: [make install]", new: "", at: "system: shell", want: "without steps"},
	{name: "need not named", old: "needs: [lib]", new: "needs: []", at: "--with-lib", want: "add \"lib\" to needs"},
	{name: "fixed environment", old: "MODE: fast", new: "TZ: Mars", at: "Mars", want: "same in every build"},
	{name: "absolute runtime", old: "[usr/bin/app]\n    lic", new: "[/usr/bin/app]\n    lic", at: "runtime: [/", want: "without a leading slash", schema: true},
	{name: "bad pattern", old: "[usr/bin/app]\n    lic", new: "['usr/[']\n    lic", at: "usr/[", want: "no file pattern"},
	{name: "platform", old: "name: demo\n", new: "name: demo\nplatform: linux/arm64\n", at: "arm64", want: "not supported", schema: true},
	{name: "profile", old: "name: demo\n", new: "name: demo\nprofile: opensff\n", at: "opensff", want: `did you mean "openssf"?`, schema: true},
	{name: "empty value", old: "system: make", new: "system:", at: "system:\n", want: "is empty", schema: true},
	{name: "list for text", old: "license: Zlib", new: "license: [Zlib]", at: "[Zlib]", want: "want text", schema: true},
	{name: "text for list", old: "licenses: [COPYING]", new: "licenses: COPYING", at: "licenses: COPYING", want: "want a list", schema: true},
	{name: "no number", old: "exit: 3", new: "exit: three", at: "exit: three", want: "want a number", schema: true},
	{name: "key twice", old: "license: Zlib", new: "license: Zlib\n    license: MIT", at: "license: MIT\n    places:\n      - archive: debian", want: "appears twice", notYAML: true},
	{name: "merge key", old: "license: Zlib", new: "license: Zlib\n    <<: {needs: []}", at: "<<", want: "merge keys", notYAML: true},
	{name: "not YAML", old: "name: demo\n", new: "name: demo\n\t- x\n", at: "name: demo", want: "valid YAML", notYAML: true},
	{name: "two documents", old: "  workdir: /\n", new: "  workdir: /\n---\na: b\n", at: "---", want: "more than one document", notYAML: true},
}

func TestLoadSpecRefuses(t *testing.T) {
	for _, c := range mistakes {
		text := mutate(t, c.old, c.new)
		_, err := LoadSpec(fstest.MapFS{"dir/x.yaml": {Data: []byte(text)}}, "dir/x.yaml")
		if err == nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		all := specErrors(err)
		found := false
		for _, e := range all {
			at := e.Line == lineOf(text, c.at) || c.name == "not YAML" || c.name == "two documents"
			found = found || at && strings.Contains(e.Error(), c.want)
		}
		if !found || len(all) > 3 {
			t.Errorf("%s: want %q on line %d, got %d errors:\n%v", c.name, c.want, lineOf(text, c.at), len(all), err)
		}
		if !strings.HasPrefix(err.Error(), "dir/x.yaml:") {
			t.Errorf("%s: %v does not start with the file", c.name, err)
		}
	}
}

func specErrors(err error) []*SpecError {
	var one *SpecError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*SpecError
		for _, e := range joined.Unwrap() {
			all = append(all, specErrors(e)...)
		}
		return all
	}
	if errors.As(err, &one) {
		return []*SpecError{one}
	}
	return nil
}

func TestLoadSpec(t *testing.T) {
	s, err := parseSpec(fstest.MapFS{}, "x.yaml", []byte(goodSpec))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, c := range s.Components {
		order = append(order, c.Name)
	}
	if got := fmt.Sprint(order); got != "[libc lib app]" {
		t.Errorf("order = %s, want libc before everything and lib before app", got)
	}
	if v := s.Components[2].Version; v != "1.10" {
		t.Errorf("version 1.10 without quotes was read as %q", v)
	}
	if s.Platform != "linux/amd64" || s.Profile != "openssf" || s.Image.Workload[0].Exit != 3 {
		t.Errorf("defaults or values: %+v", s)
	}
	again, err := parseSpec(fstest.MapFS{}, "y.yaml", []byte(goodSpec))
	if err != nil || again.Digest() != s.Digest() {
		t.Errorf("the same text has digests %s and %s (%v)", s.Digest(), again.Digest(), err)
	}
}

func TestLoadSpecBounds(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", i-1), 10), ", "))
	}
	recipe := "recipe: {system: make, make: &m [" + strings.TrimSuffix(strings.Repeat("x, ", 9000), ", ") + "]"
	many := mutate(t, "recipe:\n      system: make", recipe+", install: *m}")
	for i := range 5 {
		many = strings.Replace(many, "  - name: libc\n", fmt.Sprintf("  - name: more%d\n    recipe: {system: make, make: *m}\n  - name: libc\n", i), 1)
	}
	for name, text := range map[string]string{
		"bomb":    bomb,
		"cycle":   mutate(t, "license: Zlib", "license: &l [*l]"),
		"aliases": many,
		"size":    goodSpec + "#" + strings.Repeat("x", maxSpecBytes),
		"empty":   "",
		"scalar":  "hello",
		"list":    "[]",
	} {
		if _, err := parseSpec(fstest.MapFS{}, "x.yaml", []byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		} else if len(specErrors(err)) == 0 {
			t.Errorf("%s: %v is no *SpecError", name, err)
		}
	}
}

func FuzzLoadSpec(f *testing.F) {
	f.Add(goodSpec)
	for _, c := range mistakes {
		f.Add(mutate(f, c.old, c.new))
	}
	f.Add("a: &a [*a]")
	f.Add("? [x]\n: y")
	spec, lib := split(f)
	f.Add(spec)
	files := fstest.MapFS{"parts/lib.yaml": {Data: []byte(lib)}}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSpec(files, "x.yaml", []byte(text))
		if err != nil {
			if len(specErrors(err)) == 0 {
				t.Fatalf("%v is no *SpecError", err)
			}
			return
		}
		seen := map[string]bool{}
		for i := range s.Components {
			for _, n := range s.needs(&s.Components[i]) {
				if !seen[n] {
					t.Fatalf("%s stands before its need %s", s.Components[i].Name, n)
				}
			}
			seen[s.Components[i].Name] = true
		}
	})
}
