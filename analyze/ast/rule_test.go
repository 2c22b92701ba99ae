package ast

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var wants = regexp.MustCompile(`// want ("[^"]*"(?: "[^"]*")*)`)

// TestRules: each rule flags the lines that ask for it, and no other.
func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/rules/*.c")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	flagged := map[string]bool{}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found, err := Check(src, Rules())
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i, line := range strings.Split(string(src), "\n") {
			var want []string
			if m := wants.FindStringSubmatch(line); m != nil {
				for _, s := range strings.Split(m[1], `" "`) {
					want = append(want, strings.Trim(s, `"`))
				}
			}
			for _, f := range found {
				if f.Line != i+1 {
					continue
				}
				flagged[f.Rule] = true
				text := f.Rule + ": " + f.Message
				n := slices.IndexFunc(want, func(s string) bool { return regexp.MustCompile("^" + s).MatchString(text) })
				if n < 0 {
					t.Errorf("%s:%d: unexpected %s", file, f.Line, text)
					continue
				}
				want = slices.Delete(want, n, n+1)
			}
			for _, s := range want {
				t.Errorf("%s:%d: no finding for %q", file, i+1, s)
			}
		}
	}
	for _, r := range Rules() {
		if !flagged[r.Name] {
			t.Errorf("no test has rule %s find anything", r.Name)
		}
	}
}

func TestRulesAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules() {
		if seen[r.Name] || !regexp.MustCompile(`^[a-z][a-z0-9-]+$`).MatchString(r.Name) {
			t.Errorf("rule %q", r.Name)
		}
		seen[r.Name] = true
		if r.Doc == "" || r.CWE <= 0 || r.Run == nil || !slices.Contains([]Severity{Low, Medium, High}, r.Severity) {
			t.Errorf("rule %s lacks something: %+v", r.Name, r)
		}
	}
	if len(seen) < 40 {
		t.Errorf("%d rules", len(seen))
	}
}

// TestPositions: findings are where the original source has them, whatever
// was included before, and functions of system headers are not looked at.
func TestPositions(t *testing.T) {
	src := `# 1 "src/a.c"
# 1 "/usr/include/stdio.h" 1 3 4
char *gets(char *);
static inline void header(char *p) { gets(p); }
# 7 "src/a.c" 2
# 20 "src/gen.y"
void f(char *p)
{
#define X 1
  gets(p);
}
# 12 "src/a.c"
void g(char *p) { gets(p); }
`
	got, err := Check([]byte(src), Rules())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range got {
		lines = append(lines, f.String())
	}
	want := []string{
		"src/a.c:12:19: gets: has no bound; use fgets (gets, CWE-242)",
		"src/gen.y:23:3: gets: has no bound; use fgets (gets, CWE-242)",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("Check = %q, want %q", lines, want)
	}
}

func TestCheckRefuses(t *testing.T) {
	if _, err := Check([]byte("int f( {"), Rules()); err == nil {
		t.Error("what is no C was checked")
	}
}

func FuzzCheck(f *testing.F) {
	files, err := filepath.Glob("testdata/rules/*.c")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte("# 3 \"x\"\nvoid f(void) { free(0); memset(0); strcpy(); sprintf(\"\"); }"))
	f.Fuzz(func(t *testing.T, src []byte) {
		a, err := Check(src, Rules())
		if err != nil {
			return
		}
		for _, x := range a {
			if x.Rule == "" || bytes.Contains([]byte(x.Message), []byte("%!")) {
				t.Errorf("%+v", x)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	src, err := os.ReadFile("testdata/rules/unsafe.c")
	if err != nil {
		b.Fatal(err)
	}
	rules := Rules()
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if _, err := Check(src, rules); err != nil {
			b.Fatal(err)
		}
	}
}
