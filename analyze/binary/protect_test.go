package binary_test

import (
	"slices"
	"testing"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/analyze/binary/binarytest"
)

func TestProtect(t *testing.T) {
	const (
		yes, no = analyze.Present, analyze.Absent
		guard   = `
void __stack_chk_fail(void) { for (;;) ; }
int run(int x) { volatile char b[64]; b[x] = 1; return b[0]; }
`
	)
	strong := []string{"-fstack-protector-strong", "-fstack-clash-protection", "-fcf-protection=full", "-D_FORTIFY_SOURCE=2"}
	weak := []string{"-fno-stack-protector", "-fno-stack-clash-protection", "-fcf-protection=none", "-U_FORTIFY_SOURCE"}
	for _, c := range []struct {
		name        string
		flags, link []string
		libc        string
		want        map[string]analyze.Verdict
	}{
		{"hardened", strong, []string{"-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"}, "", map[string]analyze.Verdict{
			"pie": yes, "relro": yes, "bind-now": yes, "nx": yes, "canary": yes, "fortify": yes,
			"cet-ibt": yes, "cet-shstk": yes, "stack-clash": yes, "rpath": no, "textrel": no,
		}},
		{"weak", weak, []string{"-Wl,-z,norelro", "-Wl,-z,execstack", "-Wl,-rpath,/x"}, "", map[string]analyze.Verdict{
			"pie": yes, "relro": no, "nx": no, "canary": no, "fortify": no,
			"cet-ibt": no, "cet-shstk": no, "stack-clash": no, "rpath": yes, "textrel": no,
		}},
		{"norelro with now", strong, []string{"-Wl,-z,norelro", "-Wl,-z,now"}, "", map[string]analyze.Verdict{"relro": no, "bind-now": yes}},
		{"no-pie", strong, []string{"-no-pie", "-static"}, "", map[string]analyze.Verdict{"pie": no}},
		{"musl", strong, nil, "musl", map[string]analyze.Verdict{"fortify": no, "canary": yes}},
	} {
		t.Run(c.name, func(t *testing.T) {
			link := append([]string{"-nostdlib", "-static-pie", "-Wl,--gc-sections"}, c.link...)
			p := binarytest.Project{Name: "prog", Files: map[string]string{"main.c": start + guard}, Flags: append(slices.Clone(c.flags), "-Wno-all")}
			if slices.Contains(c.link, "-no-pie") {
				p.Flags = append(p.Flags, "-fno-pie")
			}
			projects := []binarytest.Project{p}
			if c.libc != "" {
				projects = []binarytest.Project{{Name: c.libc, Provides: "libc", Flags: weak, Files: map[string]string{"c.c": "void musl(void) {}\n"}}, p}
			}
			s := binarytest.Build(t, link, projects...)
			got, err := binary.Protect(t.Context(), new(binary.Index), s)
			if err != nil || len(got) != 1 || got[0].Path != "/usr/bin/prog" {
				t.Fatalf("Protect = %+v, %v", got, err)
			}
			names := []string{}
			for _, f := range got[0].Facts {
				names = append(names, f.Name)
				if want, ok := c.want[f.Name]; ok && f.Verdict != want {
					t.Errorf("%s = %v (%s), want %v", f.Name, f.Verdict, f.Detail, want)
				}
			}
			if len(names) != 11 || !slices.IsSorted(names) {
				t.Errorf("features %v", names)
			}
		})
	}
}
