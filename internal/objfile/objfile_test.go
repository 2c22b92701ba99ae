package objfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/internal/need"
)

const mapText = `Archive member included to satisfy reference by file (symbol)

lib.a(x.o)                    main.o (f)

Discarded input sections

 .text          0x0000000000000000        0x0 main.o
 .text.a_function_with_a_long_name
                0x0000000000000000       0x10 a dir/lib.a(x.o)

Memory Configuration

Name             Origin             Length             Attributes
*default*        0x0000000000000000 0xffffffffffffffff

Linker script and memory map

LOAD main.o
LOAD lib.a
                [!provide]                        PROVIDE (__executable_start = SEGMENT_START ("text-segment", 0x0))

.interp
 *(.interp)

.text           0x0000000000001000       0x30
 *(.text .stub .text.*)
 .text.f        0x0000000000001000       0x0b main.o
 *fill*         0x000000000000100b        0x5 
 .text.another_function_with_a_long_name
                0x0000000000001010       0x20 a dir/lib.a(x.o)
                0x0000000000001010                another_function_with_a_long_name
 .rodata.str1.1
                0x0000000000002000        0x4 main.o
                                          0x8 (size before relaxing)

.debug_info     0x0000000000000000     0x2000
 .debug_info    0x0000000000000000     0x1005 main.o
 .debug_info    0x0000000000001005      0xffb lib.a(x.o)
`

func TestParseMap(t *testing.T) {
	m, err := ParseMap(strings.NewReader(mapText))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Placed{".text.a_function_with_a_long_name", 0, 0x10, "a dir/lib.a(x.o)"}); len(m.Discarded) != 2 || m.Discarded[1] != want {
		t.Errorf("Discarded = %+v", m.Discarded)
	}
	for addr, want := range map[uint64]string{
		0x1000: ".text.f", 0x100a: ".text.f", 0x100b: "", 0x1010: ".text.another_function_with_a_long_name",
		0x102f: ".text.another_function_with_a_long_name", 0x1030: "", 0x2003: ".rodata.str1.1", 0xfff: "", 0: "",
	} {
		if p, ok := m.At(addr); p.Section != want || ok != (want != "") {
			t.Errorf("At(%#x) = %+v, %v, want %q", addr, p, ok, want)
		}
	}
	if m, err := ParseMap(strings.NewReader("Discarded input sections\n")); err == nil {
		t.Errorf("a map without a memory map = %+v", m)
	}
}

// host compiles and archives with the machine's tools.
func host(t testing.TB, flags ...string) (object, archive []byte) {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		need.Skip(t, "gcc", err.Error())
	}
	dir := t.TempDir()
	src := filepath.Join(dir, "main.c")
	if err := os.WriteFile(src, []byte("int a; int f(int x) { return x + a; }\nint g(int x) { return f(x) * 2; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"short.o", "a_member_with_a_name_that_is_long.o"} {
		if out, err := exec.Command(gcc, append([]string{"-O1", "-ffunction-sections", "-c", src, "-o", filepath.Join(dir, name)}, flags...)...).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
	}
	cmd := exec.Command("ar", "rcs", "lib.a", "short.o", "a_member_with_a_name_that_is_long.o")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ar: %v\n%s", err, out)
	}
	if object, err = os.ReadFile(filepath.Join(dir, "short.o")); err != nil {
		t.Fatal(err)
	}
	if archive, err = os.ReadFile(filepath.Join(dir, "lib.a")); err != nil {
		t.Fatal(err)
	}
	return object, archive
}

func TestMembers(t *testing.T) {
	object, archive := host(t)
	members, err := Members(archive)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
		if !slices.Equal(m.Data, object) {
			t.Errorf("%s has other bytes than the object", m.Name)
		}
	}
	if want := []string{"short.o", "a_member_with_a_name_that_is_long.o"}; !slices.Equal(names, want) {
		t.Errorf("Members = %q, want %q", names, want)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "thin": []byte("!<thin>\n"), "truncated": archive[:len(archive)-5], "object": object,
	} {
		if m, err := Members(b); err == nil {
			t.Errorf("%s: Members = %d members", name, len(m))
		}
	}
}

func TestReadObject(t *testing.T) {
	object, _ := host(t)
	o, err := ReadObject(object)
	if err != nil {
		t.Fatal(err)
	}
	for i := range o.Sections {
		if s := &o.Sections[i]; s.Name == ".text.g" && len(s.Relas) == 0 {
			t.Error("the call in .text.g has no relocation")
		}
	}
	if bare := o.WithoutLines(); !slices.Equal(bare, []string{".text.f", ".text.g"}) {
		t.Errorf("WithoutLines = %q without debug information", bare)
	}
	object, _ = host(t, "-g1")
	if o, err = ReadObject(object); err != nil {
		t.Fatal(err)
	}
	if bare := o.WithoutLines(); bare != nil {
		t.Errorf("WithoutLines = %q with debug information", bare)
	}
	for _, n := range []int{0, 16, 64, len(object) / 2} {
		if _, err := ReadObject(object[:n]); err == nil {
			t.Errorf("an object cut to %d bytes is accepted", n)
		}
	}
}

func FuzzReadObject(f *testing.F) {
	object, _ := host(f, "-g1")
	f.Add(object)
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := ReadObject(b); err == nil {
			o.WithoutLines()
		}
	})
}

func FuzzMembers(f *testing.F) {
	_, archive := host(f)
	f.Add(archive)
	f.Fuzz(func(t *testing.T, b []byte) { Members(b) })
}

func FuzzParseMap(f *testing.F) {
	f.Add(mapText, uint64(0x1010))
	f.Fuzz(func(t *testing.T, s string, addr uint64) {
		if m, err := ParseMap(strings.NewReader(s)); err == nil {
			m.At(addr)
		}
	})
}
