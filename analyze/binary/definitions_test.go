package binary

import (
	"slices"
	"testing"
)

func TestDefinitions(t *testing.T) {
	src := `
#define WRAP(x) do { x; } while(0)
struct s { int a; };
int declared(int x);
static int one(int x)
{
#ifdef A
	if (x) {
#else
	if (!x) {
#endif
		return 1;
	}
	return 0; /* } */
}
int (two)(void) { return '}'; }
int old(a, b)
	int a;
	char *b;
{ return a; }
int table[] = { 1, 2 };
FOO(int, x)
int last(void) { for (;;) { } }
`
	got := Definitions([]byte(src))
	var names []string
	for _, d := range got {
		names = append(names, d.Name)
	}
	if want := []string{"one", "two", "old", "last"}; !slices.Equal(names, want) {
		t.Fatalf("%q, want %q", names, want)
	}
	if got[0].First != 5 || got[0].Last != 15 {
		t.Errorf("one is in lines %d to %d", got[0].First, got[0].Last)
	}
	body := func(s string) string { return Definitions([]byte(s))[0].Body }
	a := body("int f(int x) { return x + 1; }")
	for s, same := range map[string]bool{
		"/* c */\nstatic  int f ( int x )\n{\n\treturn x + 1; // d\n}\nint g;": true,
		"int f(int x) { return x + 2; }":                                       false,
		"int f(int y) { return y + 1; }":                                       false,
		"int f(int x)\n{\n#ifdef A\nreturn x + 1;\n#endif\n}":                  false,
		"int f(int x) { return \"x\" + 1; }":                                   false,
	} {
		if (body(s) == a) != same {
			t.Errorf("%q has the same body: %v, want %v", s, !same, same)
		}
	}
}

func FuzzDefinitions(f *testing.F) {
	f.Add([]byte("int f(x) int x; {\n#if 1\n{\n#else\n{\n#endif\n}}"))
	f.Add([]byte("int f(\"\\\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		last := 0
		for _, d := range Definitions(src) {
			if d.First < last || d.Last < d.First || d.Body == "" || d.Name == "" {
				t.Errorf("%+v behind line %d", d, last)
			}
			last = d.First
		}
	})
}
