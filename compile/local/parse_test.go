package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/compile"
)

const someMap = `Archive member included to satisfy reference by file (symbol)

libz.a(gzclose.o)             minigzip.o (gzclose)
/build/needs/musl/usr/lib/libc.a(__libc_start_main.lo)
                              /build/needs/musl/usr/lib/rcrt1.o (__libc_start_main)
/build/needs/musl/usr/lib/libc.a(exit.lo)
                              libz.a(gzclose.o) (exit)
dir with blank/lib(odd).a(m.o) x.o (f)
libz.a(gzclose.o)             other.o (gzclose)

Discarded input sections

 .text          0x0000000000000000        0x0 a.o
LOAD not this one

Memory Configuration

Name             Origin             Length             Attributes
*default*        0x0000000000000000 0xffffffffffffffff

Linker script and memory map

LOAD /build/needs/musl/usr/lib/rcrt1.o
LOAD minigzip.o
START GROUP
LOAD libz.a
LOAD dir with blank/lib(odd).a
LOAD /usr/lib/gcc/x86_64-linux-gnu/12/libgcc.a
LOAD /build/needs/musl/usr/lib/libc.a
END GROUP
LOAD libz.a
                0x0000000000000000                __executable_start = 0x0
OUTPUT(minigzip elf64-x86-64)
`

func TestParseMap(t *testing.T) {
	got, err := parseMap(strings.NewReader(someMap))
	if err != nil {
		t.Fatal(err)
	}
	libc := "/build/needs/musl/usr/lib/libc.a"
	want := []loaded{
		{"/build/needs/musl/usr/lib/rcrt1.o", ""}, {"minigzip.o", ""}, {"libz.a", "gzclose.o"}, {"dir with blank/lib(odd).a", "m.o"},
		{"/usr/lib/gcc/x86_64-linux-gnu/12/libgcc.a", ""}, {libc, "__libc_start_main.lo"}, {libc, "exit.lo"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("parseMap (-want +got):\n%s", d)
	}
}

func TestParseMapRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          "",
		"no memory map":  "Archive member included to satisfy reference by file (symbol)\n\nlibz.a(a.o)  b.o (f)\n",
		"truncated":      someMap[:strings.Index(someMap, "Linker script")],
		"never loaded":   strings.Replace(someMap, "LOAD /build/needs/musl/usr/lib/libc.a\n", "", 1),
		"a heading lost": strings.Replace(someMap, "Linker script and", "Linker script", 1),
	} {
		if got, err := parseMap(strings.NewReader(text)); err == nil {
			t.Errorf("%s: parseMap = %v", name, got)
		}
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(someMap))
	f.Add([]byte("Archive member included to satisfy reference by file (symbol)\n\n)(\n()\nLinker script and memory map\nLOAD \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseMap(bytes.NewReader(b))
		seen := map[loaded]bool{}
		for _, l := range got {
			if seen[l] {
				t.Errorf("%v is listed twice", l)
			}
			seen[l] = true
		}
		if err != nil && got != nil {
			t.Error("a result beside an error")
		}
	})
}

// archive makes a GNU archive, with real times and owners in its headers.
func archive(members ...[2]string) []byte {
	var b, names bytes.Buffer
	b.WriteString(arMagic)
	add := func(name, mode string, data []byte) {
		fmt.Fprintf(&b, "%-16s%-12s%-6s%-6s%-8s%-10d`\n", name, "1700000001", "1000", "100", mode, len(data))
		b.Write(data)
		if len(data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	add("/", "0", []byte{0, 0, 0, 0})
	heads := make([]string, len(members))
	for i, m := range members {
		if heads[i] = m[0] + "/"; len(heads[i]) > arNameSize {
			heads[i] = fmt.Sprintf("/%d", names.Len())
			names.WriteString(m[0] + "/\n")
		}
	}
	if names.Len() > 0 {
		add("//", "", names.Bytes())
	}
	for i, m := range members {
		add(heads[i], "100600", []byte(m[1]))
	}
	return b.Bytes()
}

func TestParseArchive(t *testing.T) {
	long := "a-name-of-more-than-fifteen-letters.o"
	b := archive([2]string{"x.o", "odd"}, [2]string{long, "data"}, [2]string{"x.o", "again"})
	members, err := parseArchive(b)
	if err != nil {
		t.Fatal(err)
	}
	var got [][2]string
	for _, m := range members {
		got = append(got, [2]string{m.Name, string(m.Data)})
	}
	if d := cmp.Diff([][2]string{{"x.o", "odd"}, {long, "data"}, {"x.o", "again"}}, got); d != "" {
		t.Errorf("parseArchive (-want +got):\n%s", d)
	}

	other := bytes.ReplaceAll(b, []byte("1700000001"), []byte("1600000009"))
	if err := normalizeArchive(b); err != nil {
		t.Fatal(err)
	}
	if err := normalizeArchive(other); err != nil || !bytes.Equal(b, other) {
		t.Errorf("archives that differ in times only differ after normalizeArchive (%v)", err)
	}
	if bytes.Contains(b, []byte("1000")) || bytes.Contains(b, []byte("100600")) {
		t.Errorf("owner or mode is left: %q", b)
	}
}

func TestParseArchiveRefuses(t *testing.T) {
	good := archive([2]string{"x.o", "data"}, [2]string{"a-name-of-more-than-fifteen-letters.o", "data"})
	for name, b := range map[string][]byte{
		"empty":         {},
		"not one":       []byte("\x7fELF"),
		"thin":          []byte(arThin),
		"cut header":    good[:len(arMagic)+30],
		"cut member":    good[:len(good)-3],
		"no trailer":    bytes.Replace(good, []byte("`\n"), []byte("x\n"), 1),
		"negative size": bytes.Replace(good, []byte(fmt.Sprintf("%-10d", 4)), []byte(fmt.Sprintf("%-10d", -4)), 1),
		"name outside":  bytes.Replace(good, []byte("/0  "), []byte("/99 "), 1),
	} {
		if got, err := parseArchive(b); err == nil {
			t.Errorf("%s: parseArchive = %v", name, got)
		}
	}
}

func FuzzParseArchive(f *testing.F) {
	f.Add(archive([2]string{"x.o", "data"}, [2]string{"a-name-of-more-than-fifteen-letters.o", "odd"}))
	f.Add([]byte(arMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		before, err := parseArchive(b)
		if err != nil {
			return
		}
		var data []string
		for _, m := range before {
			data = append(data, m.Name+"\x00"+string(m.Data))
		}
		if err := normalizeArchive(b); err != nil {
			t.Fatalf("normalizeArchive: %v", err)
		}
		after, err := parseArchive(b)
		if err != nil || len(after) != len(data) {
			t.Fatalf("after normalizing: %d members, %v", len(after), err)
		}
		for i, m := range after {
			if m.Name+"\x00"+string(m.Data) != data[i] {
				t.Errorf("normalizing changed member %d", i)
			}
		}
	})
}

func TestParseRecord(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	text := strings.Join([]string{"unit", "/build/src/lib", "x.o", digest, "/usr/cleanstart/gcc", "-c", "a\nb c.c", "end", ""}, "\x00")
	r, err := parseRecord([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := r.unit()
	want := compile.Unit{Source: "lib/a\nb c.c", Object: "lib/x.o", Language: "c", Dir: "lib", Digest: "sha256:" + digest,
		Args: []string{"/usr/cleanstart/gcc", "-c", "a\nb c.c"}}
	if d := cmp.Diff(want, u); d != "" {
		t.Errorf("unit (-want +got):\n%s", d)
	}
	for name, bad := range map[string]string{
		"empty":      "",
		"cut":        text[:len(text)-1],
		"kind":       strings.Replace(text, "unit", "what", 1),
		"directory":  strings.Replace(text, "/build/src/lib", "src", 1),
		"no end":     strings.Replace(text, "\x00end", "", 1),
		"no digest":  strings.Replace(text, digest, "", 1),
		"bad digest": strings.Replace(text, "abab", "zzzz", 1),
	} {
		if _, err := parseRecord([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("link\x00/build/src\x00x\x00" + strings.Repeat("ab", 32) + "\x00gcc\x00-o\x00x\x00end\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseRecord(b); err == nil {
			r.unit()
		}
	})
}

func TestUnitLanguage(t *testing.T) {
	for _, c := range []struct {
		args           string
		language, file string
	}{
		{"gcc -c -o x.o -I inc.c x.c", "c", "x.c"},
		{"gcc -c x.S", "asm", "x.S"},
		{"gcc -x assembler-with-cpp -c x.h", "asm", "x.h"},
		{"gcc -xc -c /tmp/gen", "c", "/tmp/gen"},
		{"g++ -c /build/src/a/x.cc -o /build/src/x.o", "c++", "a/x.cc"},
		{"gcc -c -include config.c x.c", "c", "x.c"},
	} {
		r := record{dir: compile.SourceDir, file: compile.SourceDir + "/x.o", args: strings.Fields(c.args)}
		if u := r.unit(); u.Language != c.language || u.Source != c.file {
			t.Errorf("%s = %s %s, want %s %s", c.args, u.Language, u.Source, c.language, c.file)
		}
	}
}

// note makes one ELF note.
func note(name string, kind uint32, desc string) []byte {
	var b bytes.Buffer
	for _, v := range []uint32{uint32(len(name)), uint32(len(desc)), kind} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	for _, s := range []string{name, desc} {
		b.WriteString(s)
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	return b.Bytes()
}

func TestGNUBuildID(t *testing.T) {
	id := note("GNU\x00", 3, "0123456789abcdef0123")
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"alone":        {id, "0123456789abcdef0123"},
		"second":       {append(note("GNU\x00", 5, "props"), id...), "0123456789abcdef0123"},
		"other vendor": {note("XYZ\x00", 3, "0123456789abcdef0123"), ""},
		"cut":          {id[:20], ""},
		"huge":         {[]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00GNU\x00"), ""},
		"empty":        {nil, ""},
	} {
		if got := gnuBuildID(c.b, binary.LittleEndian, 4); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func FuzzELF(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Add(note("GNU\x00", 3, "id"))
	f.Fuzz(func(t *testing.T, b []byte) {
		readELF(bytes.NewReader(b))
		gnuBuildID(b, binary.LittleEndian, 4)
		gnuBuildID(b, binary.BigEndian, 8)
	})
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/usr/bin", "usr/bin/curl", true},
		{"usr/bin/", "usr/bin/a/b", true},
		{"usr/bin/*", "usr/bin/curl", true},
		{"usr/lib/lib*.so*", "usr/lib/libz.so.1", true},
		{"usr/bin", "usr/binary", false},
		{"usr/bin/curl", "usr/bin/curl-config", false},
		{"etc", "usr/etc/x", false},
		{"/", "etc/x", true},
	} {
		if got := matches([]string{c.pattern}, c.path); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.pattern, c.path, got)
		}
	}
}

func TestQuote(t *testing.T) {
	if got, want := quote("-DX=\"a b\"", "it's", "$(x)"), `'-DX="a b"' 'it'\''s' '$(x)'`; got != want {
		t.Errorf("quote = %s, want %s", got, want)
	}
}
