package elfnote

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"testing"
)

// note is one note, padded.
func note(name string, kind uint32, align int, desc []byte) []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, []uint32{uint32(len(name) + 1), uint32(len(desc)), kind})
	b.WriteString(name + "\x00")
	for b.Len()%align != 0 {
		b.WriteByte(0)
	}
	b.Write(desc)
	for b.Len()%align != 0 {
		b.WriteByte(0)
	}
	return b.Bytes()
}

// property is one property of a property note.
func property(kind uint32, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = append(b, data...)
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// file is an ELF file with one note segment.
func file(notes []byte, align uint64) []byte {
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	binary.Write(&b, binary.LittleEndian, h)
	binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_NOTE), Off: 120, Filesz: uint64(len(notes)), Memsz: uint64(len(notes)), Align: align})
	b.Write(notes)
	return b.Bytes()
}

func read(t testing.TB, b []byte) *elf.File {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestX86Features(t *testing.T) {
	and := property(0xc0000002, []byte{3, 0, 0, 0})
	needed := property(0xc0008002, []byte{1, 0, 0, 0})
	for _, c := range []struct {
		name  string
		notes []byte
		align uint64
		want  uint32
	}{
		{"alone", note("GNU", 5, 8, and), 8, 3},
		{"second property", note("GNU", 5, 8, append(bytes.Clone(needed), and...)), 8, 3},
		{"odd property first", note("GNU", 5, 8, append(property(1, []byte{1, 2, 3}), and...)), 8, 3},
		{"after a build-id", append(note("GNU", 3, 4, []byte("12345678")), note("GNU", 5, 4, and)...), 4, 3},
		{"none", note("GNU", 5, 8, needed), 8, 0},
		{"another owner", note("ABC", 5, 8, and), 8, 0},
		{"no note", nil, 8, 0},
	} {
		if got, err := X86Features(read(t, file(c.notes, c.align))); got != c.want || err != nil {
			t.Errorf("%s: X86Features = %#x, %v, want %#x", c.name, got, err, c.want)
		}
	}
	for name, notes := range map[string][]byte{
		"truncated property": note("GNU", 5, 8, and[:10]),
		"wide feature word":  note("GNU", 5, 8, property(0xc0000002, make([]byte, 8))),
		"header only":        note("GNU", 5, 8, and[:4]),
		"cut note":           note("GNU", 5, 8, and)[:20],
	} {
		if got, err := X86Features(read(t, file(notes, 8))); err == nil {
			t.Errorf("%s: X86Features = %#x, want an error", name, got)
		}
	}
}

func TestBuildID(t *testing.T) {
	id, err := BuildID(read(t, file(note("GNU", 3, 4, []byte("abcd")), 4)))
	if string(id) != "abcd" || err != nil {
		t.Errorf("BuildID = %q, %v", id, err)
	}
	if id, err := BuildID(read(t, file(nil, 4))); id != nil || err != nil {
		t.Errorf("BuildID without a note = %q, %v", id, err)
	}
}

func TestReadRefusesLongNotes(t *testing.T) {
	b := file(nil, 4)
	binary.LittleEndian.PutUint64(b[64+32:], 1<<40)
	if _, err := Read(read(t, b)); err == nil {
		t.Error("a note segment of 1 TiB is read")
	}
}

func FuzzX86Features(f *testing.F) {
	f.Add(file(note("GNU", 5, 8, property(0xc0000002, []byte{3, 0, 0, 0})), 8))
	if b, err := os.ReadFile("/proc/self/exe"); err == nil && len(b) < 1<<16 {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		defer func() { recover() }() // debug/elf itself is not under test
		e, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			return
		}
		X86Features(e)
	})
}

func FuzzParse(f *testing.F) {
	f.Add(note("GNU", 3, 4, []byte("abcd")), uint64(4))
	f.Fuzz(func(t *testing.T, b []byte, align uint64) {
		notes, err := Parse(b, binary.LittleEndian, align)
		if err != nil && notes != nil {
			t.Error("notes beside an error")
		}
	})
}
