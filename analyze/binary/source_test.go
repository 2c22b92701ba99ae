package binary

import (
	"slices"
	"testing"
)

func TestDefine(t *testing.T) {
	for _, c := range []struct {
		name, src string
		want      [][2]int
		local     bool
	}{
		{"plain", "int f(int x)\n{\n\treturn x;\n}\n", [][2]int{{1, 4}}, false},
		{"static", "static int\nf(void) { return 1; }\n", [][2]int{{2, 2}}, true},
		{"prototype", "int f(int x);\nint g(void) { return f(1); }\n", nil, true},
		{"call before a brace", "void g(void) { if (f(1)) { } while (f(2)) { } }\n", nil, true},
		{"old style", "int f(x, y)\nint x;\nchar *y[];\n{\nreturn x;\n}\n", [][2]int{{1, 6}}, false},
		{"attribute", "int f(int x) __attribute__((cold)) {\n}\n", [][2]int{{1, 2}}, false},
		{"parenthesised", "int (f)(int x) {\n}\n", [][2]int{{1, 2}}, false},
		{"comment and string", "/* int f(int x) { } */\nchar *s = \"int f(int x) { }\";\n// int f(int x) { }\n", nil, true},
		{"brace in literals", "int f(void) {\nchar c = '}', *s = \"}\";\n/* } */\n}\n", [][2]int{{1, 4}}, false},
		{"branches", "int f(int x) {\n#if A\nif (x) {\n#else\nif (!x) {\n#endif\n}\n}\nint g;\n", [][2]int{{1, 8}}, false},
		{"two definitions", "#if A\nint f(void) {\n}\n#else\nint f(void) {\n}\n#endif\n", [][2]int{{2, 3}, {5, 6}}, false},
		{"unclosed", "int f(void) {\nint g;\n", [][2]int{{1, 3}}, false},
		{"macro with the name", "#define f(x) (x)\nint g(void) { return f(1); }\n", nil, true},
		{"another name", "int ff(void) {\n}\nint f_(void) {\n}\n", nil, true},
		{"array", "int (*f[])(int) = {\n0 };\n", nil, true},
	} {
		d := define([]byte(c.src), "f")
		if !slices.Equal(d.ranges, c.want) || d.local != c.local {
			t.Errorf("%s: define = %v, local %v, want %v, %v", c.name, d.ranges, d.local, c.want, c.local)
		}
	}
	if d := define([]byte("# define \\\n f(x) x\n"), "f"); !d.macro {
		t.Error("a macro over two lines is not seen")
	}
	for _, src := range []string{"#define f(x) (x)\n", "#define f(x) dbg_f(x, __LINE__)\n", "#define f(x) (0 ? f(x) : g(x))\n", "#define f g\n"} {
		if !define([]byte(src), "f").macro {
			t.Errorf("%q is not seen as a macro", src)
		}
	}
	if define([]byte("#define f(a,b) f(a,b)\n"), "f").macro {
		t.Error("a macro that only calls its function hides it")
	}
	for _, src := range []string{"#line 3 \"x.c\"\n", "# 1 \"x.c\"\n"} {
		if d := define([]byte(src), "f"); !d.redirected {
			t.Errorf("%q is not seen", src)
		}
	}
}

func TestUsesOf(t *testing.T) {
	uses := usesOf([]byte(`
# 1 "x.c"
#define M(x) target(x)
int prototype(int target);
__attribute__((noinline)) int before(void);
typedef struct { int target; } in_a_type;
static int first(int x) { return target(x); }
int (parenthesised)(int x) { { target(1); } }
__attribute__((cold)) void (*pointer(int a))(int) { target; }
int old_style(x, y) int x; char *y; { target(x); }
int table[] = { target };
int none(void) { return other(); }
struct s { int a; };
int last(void) { return target(2); }
`))
	for _, want := range []string{"first", "parenthesised", "pointer", "old_style", "last"} {
		if !slices.Contains(uses["target"], want) {
			t.Errorf("%s is missing in %q", want, uses["target"])
		}
	}
	for _, not := range []string{"prototype", "before", "none"} {
		if slices.Contains(uses["target"], not) {
			t.Errorf("%s does not use it: %q", not, uses["target"])
		}
	}
}

func FuzzUsesOf(f *testing.F) {
	f.Add("int f(x) int x; { ((g }")
	f.Add("}})); {{")
	f.Fuzz(func(t *testing.T, s string) { usesOf([]byte(s)) })
}

func FuzzDefine(f *testing.F) {
	f.Add("int f(int x)\n#if A\n{ '", "f")
	f.Add("/*", "x")
	f.Fuzz(func(t *testing.T, src, name string) {
		for _, r := range define([]byte(src), name).ranges {
			if r[0] < 1 || r[1] < r[0] {
				t.Errorf("range %v", r)
			}
		}
	})
}
