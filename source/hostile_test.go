package source_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/cleanstart/cleanstart/source"
)

// attack is an archive that must be refused.
type attack struct {
	name    string
	archive []byte
	want    error
	limits  source.Limits
}

func link(name, to string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}

func hard(name, to string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
}

func dir(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }

// TestHostile: whatever is wrong with an archive, it gives no tree, the error
// says of what kind it is, and the cache is as if it had never been tried.
func TestHostile(t *testing.T) {
	for _, a := range slices.Concat(hostileEntries(t), hostileTars(t), hostileStreams(t), hostileZips(t)) {
		t.Run(a.name, func(t *testing.T) {
			tree, o, err := verified(t, a.archive, a.limits)
			if tree != nil || !errors.Is(err, a.want) {
				t.Errorf("Verify = %v, %v, want %v", tree, err, a.want)
			}
			nothingLeft(t, o.Cache)
		})
	}
}

// nothingLeft checks that the cache holds no tree and no work in progress. The
// archive itself is there: it is what the policy pins.
func nothingLeft(t *testing.T, cache string) {
	t.Helper()
	filepath.WalkDir(cache, func(name string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(cache, name)
		top, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
		if !d.IsDir() && top != "archives" && top != "places" && rel != filepath.Join("tmp", "gate") {
			t.Errorf("left %s", rel)
		}
		return err
	})
	for _, pattern := range []string{"trees/sha256/*", "tmp/work-*"} {
		if left, _ := filepath.Glob(filepath.Join(cache, pattern)); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	}
}

// hostileEntries are well-formed archives of entries that are not.
func hostileEntries(t *testing.T) []attack {
	var out []attack
	for name, headers := range map[string][]*tar.Header{
		"absolute name":               {file("/etc/passwd", "x")},
		"name with dots":              {file("d/../../x", "x")},
		"inner dots":                  {file("d/../x", "x")},
		"name not UTF-8":              {file("d/\xff", "x")},
		"line feed in a name":         {file("d/a\nb", "x")},
		"escape in a name":            {file("d/\x1b[2J", "x")},
		"C1 control in a name":        {file("d/\u009b", "x")},
		"long element":                {file("d/"+strings.Repeat("a", 256), "x")},
		"file named as a directory":   {{Name: "d/a/", Typeflag: tar.TypeSymlink, Linkname: "b"}},
		"same name but for spelling":  {file("d/\u00e9", "x"), file("d/e\u0301", "y")},
		"same name but for a sign":    {file("d/\u212a", "x"), file("d/K", "y")},
		"the sign after the letter":   {file("d/K", "x"), file("d/\u212a", "y")},
		"same directory, spelt apart": {file("d/\u00e9/a", "x"), file("d/e\u0301/b", "y")},
		"absolute link":               {file("d/a", "x"), link("d/l", "/etc/passwd")},
		"control in a link target":    {file("d/a", "x"), link("d/l", "a\x07")},
		"link out of the tree":        {file("d/a", "x"), link("d/l", "../../x")},
		"link out once stripped":      {file("d/a", "x"), link("d/l", "../e")},
		"link out through a link":     {file("d/a/b/f", "x"), link("d/a/b/up", "../.."), link("d/a/b/out", "up/..")},
		"link out through a dangling": {file("d/a", "x"), link("d/l", "gone/../../x")},
		"loop":                        {file("d/a", "x"), link("d/l", "m"), link("d/m", "l")},
		"link to itself":              {file("d/a", "x"), link("d/l", "l")},
		"top directory is a link":     {link("d", "."), file("d/f", "x")},
		"file through a link":         {dir("d"), link("d/l", "."), file("d/l/f", "x")},
		"directory through a link":    {dir("d"), link("d/l", "."), dir("d/l/f")},
		"directory over a link":       {file("d/a/b", "x"), link("d/l", "a"), dir("d/l")},
		"file over a link":            {file("d/a", "x"), link("d/l", "a"), file("d/l", "y")},
		"hard link over a link":       {file("d/a", "x"), link("d/l", "a"), hard("d/l", "d/a")},
		"link over a file":            {file("d/a", "x"), link("d/a", "b")},
		"link over a directory":       {file("d/a/b", "x"), link("d/a", ".")},
		"directory over a file":       {file("d/a", "x"), dir("d/a")},
		"file over a directory":       {file("d/a/b", "x"), file("d/a", "x")},
		"file below a file":           {file("d/a", "x"), file("d/a/b", "x")},
		"listed twice":                {file("d/a", "x"), file("d/a", "x")},
		"listed twice, spelt apart":   {file("d/a", "x"), file("./d//a", "x")},
		"hard link forward":           {hard("d/l", "d/a"), file("d/a", "x")},
		"hard link to itself":         {file("d/a", "x"), hard("d/l", "d/l")},
		"hard link outside":           {file("d/a", "x"), hard("d/l", "../a")},
		"hard link to absolute":       {file("d/a", "x"), hard("d/l", "/etc/passwd")},
		"hard link to a directory":    {dir("d"), hard("d/l", "d")},
		"hard link to a link":         {file("d/a", "x"), link("d/l", "a"), hard("d/m", "d/l")},
		"hard link through a link":    {file("d/s/a", "x"), link("d/l", "s"), hard("d/m", "d/l/a")},
		"character device":            {{Name: "d/c", Typeflag: tar.TypeChar}},
		"block device":                {{Name: "d/b", Typeflag: tar.TypeBlock}},
		"pipe":                        {{Name: "d/p", Typeflag: tar.TypeFifo}},
		"contiguous file":             {{Name: "d/c", Typeflag: tar.TypeCont}},
		"set-user-ID":                 {{Name: "d/s", Typeflag: tar.TypeReg, Mode: 0o4755}},
		"set-group-ID":                {{Name: "d/s", Typeflag: tar.TypeReg, Mode: 0o2755}},
		"before 1970":                 {{Name: "d/a", Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(-1, 0)}},
		"root is a file":              {file(".", "x")},
		"global path": {{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "d/b"}},
			file("d/a", "x")},
	} {
		out = append(out, attack{name, tarball(t, headers...), source.ErrUnsafe, source.Limits{}})
	}
	zeros := strings.Repeat("\x00", 24<<20)
	long := "a/" + strings.Repeat("b/", 2000) + "c"
	chain := []*tar.Header{file("d/a", "x")} // each link costs thousands of steps to follow
	for i := range 3000 {
		chain = append(chain, link(fmt.Sprintf("d/l%d", i), strings.Repeat("./", 2000)+"a"))
		chain[i+1].Linkname = strings.Repeat("./", 2000) + fmt.Sprintf("l%d", max(i-30, 0))
	}
	chain[1].Linkname = "a"
	return append(out,
		attack{"bomb", tarball(t, file("d/zeros", zeros)), source.ErrTooLarge, source.Limits{}},
		attack{"too many bytes", tarball(t, file("d/a", "0123456789")), source.ErrTooLarge, source.Limits{Tree: 9}},
		attack{"too many entries", tarball(t, file("d/a", "x"), file("d/b", "x")), source.ErrTooLarge, source.Limits{Files: 1}},
		attack{"too deep", tarball(t, file(long, "x")), source.ErrTooLarge, source.Limits{}},
		attack{"links without end", tarball(t, chain...), source.ErrTooLarge, source.Limits{}},
		attack{"no entries", tarball(t), source.ErrFormat, source.Limits{}},
		attack{"directories alone", tarball(t, dir("d"), dir("d/e")), source.ErrFormat, source.Limits{}},
	)
}

// edit changes the nth block of a tar as a header, and corrects its sum.
func edit(archive []byte, n int, change func(h []byte)) []byte {
	out := bytes.Clone(archive)
	h := out[n*512:][:512]
	change(h)
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return out
}

func set(at int, s string) func(h []byte) { return func(h []byte) { copy(h[at:], s) } }

// hostileTars are tars that contradict themselves.
func hostileTars(t *testing.T) []attack {
	good := plain(t, tarball(t, file("d/a", "0123456789"), file("d/b", "x")))
	links := plain(t, tarball(t, file("d/a", "x"), link("d/l", "a")))
	pax := func(records map[string]string) []byte {
		h := file("d/a", "0123456789")
		h.PAXRecords, h.Format = records, tar.FormatPAX
		return plain(t, tarball(t, h))
	}
	// A pax record that archive/tar does not write itself takes the place of
	// one of the same length that it does.
	replace := func(b []byte, old, new string) []byte {
		if len(old) != len(new) || !bytes.Contains(b, []byte(old)) {
			t.Fatalf("cannot replace %q by %q", old, new)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
	size11 := replace(pax(map[string]string{"XXXX.y": "11"}), "13 XXXX.y=11\n", "13 size=0011\n")
	sparse := replace(pax(map[string]string{"XXX.sparse.realsize": "10"}), "XXX.sparse", "GNU.sparse")
	gnu := plain(t, tarball(t, &tar.Header{Name: "d/a", Typeflag: tar.TypeReg, Format: tar.FormatGNU}))
	long := plain(t, tarball(t, &tar.Header{Name: "d/" + strings.Repeat("n", 150), Typeflag: tar.TypeReg, Format: tar.FormatGNU}))
	out := []attack{
		{"pax size that disagrees", size11, source.ErrUnsafe, source.Limits{}},
		{"pax sparse file", sparse, source.ErrUnsafe, source.Limits{}},
		{"GNU sparse file", edit(gnu, 0, set(156, "S")), source.ErrUnsafe, source.Limits{}},
		{"volume label", edit(good, 0, set(156, "V")), source.ErrUnsafe, source.Limits{}},
		{"link with content", edit(links, 2, set(124, "00000000001\x00")), source.ErrUnsafe, source.Limits{}},
		{"directory with content", edit(good, 0, set(156, "5")), source.ErrUnsafe, source.Limits{}},
		{"regular file named as a directory", edit(good, 0, set(0, "d/a/")), source.ErrUnsafe, source.Limits{}},
		{"GNU long name with dots", replace(long, "d/nnn", "../nn"), source.ErrUnsafe, source.Limits{}},
		{"GNU long name of gigabytes", edit(long, 0, set(124, "77777777777\x00")), source.ErrFormat, source.Limits{}},
		{"negative size", edit(good, 0, set(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf6")), source.ErrFormat, source.Limits{}},
		{"size of exabytes", edit(good, 0, set(124, "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")), source.ErrTooLarge, source.Limits{}},
		{"size of gigabytes", edit(good, 0, set(124, "77777777777\x00")), source.ErrFormat, source.Limits{}},
		{"size that is no number", edit(good, 0, set(124, "0000000zz12\x00")), source.ErrFormat, source.Limits{}},
		{"wrong header sum", slices.Concat([]byte("e"), good[1:]), source.ErrFormat, source.Limits{}},
		{"something after the end", slices.Concat(good, bytes.Repeat([]byte("x"), 512)), source.ErrFormat, source.Limits{}},
		{"another tar after the end", slices.Concat(good, good), source.ErrFormat, source.Limits{}},
		{"no end mark", good[:len(good)-1024], source.ErrFormat, source.Limits{}},
		{"one block of zeros, then more", slices.Concat(good[:len(good)-512], good), source.ErrFormat, source.Limits{}},
	}
	for _, cut := range []int{1, 511, 513, 1023, 1025, 1537} {
		out = append(out, attack{fmt.Sprintf("tar cut to %d bytes", cut), good[:cut], source.ErrFormat, source.Limits{}})
	}
	return out
}

// hostileStreams are damaged or lying compressed streams.
func hostileStreams(t *testing.T) []attack {
	raw := plain(t, simple(t))
	var gz, xzs, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(raw)
	g.Close()
	x, err := xz.NewWriter(&xzs)
	if err != nil {
		t.Fatal(err)
	}
	x.Write(raw)
	x.Close()
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(raw)
	z.Close()
	bz, err := base64.StdEncoding.DecodeString(bzip2Tar)
	if err != nil {
		t.Fatal(err)
	}
	var out []attack
	for name, b := range map[string][]byte{"gz": gz.Bytes(), "xz": xzs.Bytes(), "zst": zst.Bytes(), "bz2": bz} {
		for what, broken := range map[string][]byte{
			"followed by text":         slices.Concat(b, []byte("and so on\n")),
			"followed by half of it":   slices.Concat(b, b[:len(b)/2]),
			"followed by the whole":    slices.Concat(b, b), // two tars
			"without its last byte":    b[:len(b)-1],
			"without its last 8 bytes": b[:len(b)-8],
			"cut in the middle":        b[:len(b)/2],
			"magic alone":              b[:6],
			"with a flipped bit":       flip(b, len(b)/2),
			"with a flipped sum":       flip(b, len(b)-map[string]int{"gz": 8, "xz": 40, "zst": 4, "bz2": 4}[name]),
		} {
			out = append(out, attack{name + " " + what, broken, source.ErrFormat, source.Limits{}})
		}
	}
	// The block header of an xz asks for a dictionary of 4 GiB less one.
	huge := bytes.Clone(xzs.Bytes())
	h := huge[12:][:(int(huge[12])+1)*4]
	at := bytes.IndexByte(h, 0x21) + 2
	h[at] = 40
	binary.LittleEndian.PutUint32(h[len(h)-4:], crc32.ChecksumIEEE(h[:len(h)-4]))
	return append(out,
		attack{"xz with a huge dictionary", huge, source.ErrFormat, source.Limits{}},
		attack{"zst with a huge window", []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 1, 0, 0}, source.ErrFormat, source.Limits{}},
		attack{"zst with a huge segment", []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0xf0, 1, 0, 0}, source.ErrFormat, source.Limits{}},
	)
}

func flip(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 1
	return out
}

// zipped writes a zip; content is deflated unless the header says otherwise.
func zipped(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := e.FileHeader
		var f interface{ Write([]byte) (int, error) }
		var err error
		if h.UncompressedSize64 != 0 || e.raw {
			f, err = w.CreateRaw(&h)
		} else {
			f, err = w.CreateHeader(&h)
		}
		if err == nil && e.body != "" {
			_, err = f.Write([]byte(e.body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zipEntry struct {
	zip.FileHeader
	body string
	raw  bool
}

func zfile(name, body string) zipEntry {
	return zipEntry{FileHeader: zip.FileHeader{Name: name, Method: zip.Deflate, Modified: day}, body: body}
}

func zmode(name, body string, mode fs.FileMode) zipEntry {
	e := zfile(name, body)
	e.SetMode(mode)
	return e
}

// stored has its sum and sizes in front, and nothing behind.
func stored(name, body string) zipEntry {
	e := zipEntry{FileHeader: zip.FileHeader{Name: name, Modified: day}, body: body, raw: true}
	e.CRC32 = crc32.ChecksumIEEE([]byte(body))
	e.CompressedSize64, e.UncompressedSize64 = uint64(len(body)), uint64(len(body))
	return e
}

// at finds the nth occurrence of a signature.
func at(t testing.TB, b []byte, signature string, n int) int {
	t.Helper()
	from := 0
	for ; ; n-- {
		i := bytes.Index(b[from:], []byte(signature))
		if i < 0 {
			t.Fatalf("no %q", signature)
		}
		if n == 0 {
			return from + i
		}
		from += i + 1
	}
}

const (
	local     = "PK\x03\x04"
	directory = "PK\x01\x02"
	ending    = "PK\x05\x06"
)

// put changes bytes that lie behind a signature.
func put(t testing.TB, b []byte, signature string, n, offset int, s string) []byte {
	t.Helper()
	out := bytes.Clone(b)
	copy(out[at(t, b, signature, n)+offset:], s)
	return out
}

func hostileZips(t *testing.T) []attack {
	link := func(name, to string) zipEntry { return zmode(name, to, fs.ModeSymlink|0o777) }
	var out []attack
	for name, entries := range map[string][]zipEntry{
		"absolute name":               {zfile("/etc/passwd", "x")},
		"name with dots":              {zfile("d/../../x", "x")},
		"backslash":                   {zfile(`d\a`, "x")},
		"dots with backslash":         {zfile(`..\..\x`, "x")},
		"drive":                       {zfile(`C:\x`, "x")},
		"control in a name":           {zfile("d/a\x00b", "x")},
		"name not UTF-8":              {zfile("d/\xff", "x")},
		"empty name":                  {zfile("", "x")},
		"listed twice":                {zfile("d/a", "x"), zfile("d/a", "y")},
		"same name but for spelling":  {zfile("d/\u00e9", "x"), zfile("d/e\u0301", "y")},
		"absolute link":               {zfile("d/a", "x"), link("d/l", "/etc/passwd")},
		"link out of the tree":        {zfile("d/a", "x"), link("d/l", "../../x")},
		"link with a backslash":       {zfile("d/a", "x"), link("d/l", `..\..\x`)},
		"empty link":                  {zfile("d/a", "x"), link("d/l", "")},
		"link of megabytes":           {zfile("d/a", "x"), link("d/l", strings.Repeat("a/", 1<<20))},
		"loop":                        {zfile("d/a", "x"), link("d/l", "m"), link("d/m", "l")},
		"file through a link":         {zfile("d/a", "x"), link("d/l", "."), zfile("d/l/f", "x")},
		"link named as a directory":   {zfile("d/a", "x"), {FileHeader: zip.FileHeader{Name: "d/l/", CreatorVersion: 3 << 8, ExternalAttrs: 0o120777 << 16}}},
		"device":                      {zmode("d/c", "", fs.ModeDevice|fs.ModeCharDevice|0o644)},
		"pipe":                        {zmode("d/p", "", fs.ModeNamedPipe|0o644)},
		"set-user-ID":                 {zmode("d/s", "x", fs.ModeSetuid|0o755)},
		"file below a file":           {zfile("d/a", "x"), zfile("d/a/b", "x")},
		"another name in extra field": {{FileHeader: zip.FileHeader{Name: "d/a", Extra: []byte("up\x08\x00\x01\x00\x00\x00\x00d/b")}, body: "x"}},
	} {
		out = append(out, attack{"zip " + name, zipped(t, entries...), source.ErrUnsafe, source.Limits{}})
	}
	good := zipped(t, stored("d/a", "0123456789"), stored("d/b", "x"))
	streamed := zipped(t, zfile("d/a", "0123456789"), zfile("d/b", "x"))
	ends := at(t, good, ending, 0)
	second := at(t, good, directory, 1)
	start := at(t, good, directory, 0)
	// The directory without its second entry, whose content stays.
	hidden := bytes.Clone(good[:second])
	hidden = append(hidden, good[ends:]...)
	e := hidden[second:]
	binary.LittleEndian.PutUint16(e[8:], 1)
	binary.LittleEndian.PutUint16(e[10:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(second-start))
	first := put(t, put(t, good, directory, 1, 42, "\x00\x00\x00\x00"), directory, 1, 46, "d/a")
	var deflated bytes.Buffer
	f, _ := flate.NewWriter(&deflated, 9)
	f.Write([]byte("0123456789"))
	f.Close()
	longer := stored("d/a", deflated.String()+"hidden")
	longer.Method, longer.UncompressedSize64, longer.CRC32 = zip.Deflate, 10, crc32.ChecksumIEEE([]byte("0123456789"))
	liar := stored("d/a", deflated.String())
	liar.Method, liar.CRC32 = zip.Deflate, crc32.ChecksumIEEE([]byte("0123456789"))
	less, more, zero := liar, liar, liar
	less.UncompressedSize64, more.UncompressedSize64 = 9, 11
	zero.UncompressedSize64, zero.CRC32 = 10, 0
	inDir := zipped(t, stored("d/a", "x"), stored("d/e_", "x"))
	for name, b := range map[string][]byte{
		"text in front":                  slices.Concat([]byte("#!/bin/sh\n"), good),
		"entry in front":                 slices.Concat(good[:at(t, good, local, 1)], good),
		"entry that nothing lists":       hidden,
		"two entries in one place":       first,
		"overlap":                        put(t, good, directory, 0, 20, "\x0b"),
		"another name in front":          put(t, good, local, 0, 30, "d/c"),
		"another size in front":          put(t, good, local, 0, 22, "\x09"),
		"another packed size in front":   put(t, good, local, 0, 18, "\x09"),
		"another sum in front":           put(t, good, local, 0, 14, "zzzz"),
		"another method in front":        put(t, good, local, 0, 8, "\x08"),
		"other flags in front":           put(t, good, local, 0, 6, "\x08"),
		"another sum behind":             put(t, streamed, "PK\x07\x08", 0, 4, "zzzz"),
		"another size behind":            put(t, streamed, "PK\x07\x08", 0, 12, "\x09"),
		"wrong sum":                      put(t, put(t, good, local, 0, 14, "zzzz"), directory, 0, 16, "zzzz"),
		"no sum":                         zipped(t, zero),
		"fewer bytes than stated":        zipped(t, more),
		"more bytes than stated":         zipped(t, less),
		"packed bytes behind the last":   zipped(t, longer),
		"encrypted":                      put(t, put(t, good, local, 0, 6, "\x01"), directory, 0, 8, "\x01"),
		"encrypted by a strong cipher":   put(t, put(t, good, local, 0, 6, "\x41"), directory, 0, 8, "\x41"),
		"bzip2 inside":                   put(t, put(t, good, local, 0, 8, "\x0c"), directory, 0, 10, "\x0c"),
		"something after the end":        slices.Concat(good, []byte("x")),
		"another zip after the end":      slices.Concat(good, good),
		"end record in the comment":      slices.Concat(put(t, good, ending, 0, 20, "\x16\x00"), good[ends:]),
		"comment cut short":              put(t, good, ending, 0, 20, "\x01\x00"),
		"fewer entries than stated":      put(t, good, ending, 0, 8, "\x03\x00\x03\x00"),
		"more entries than stated":       put(t, good, ending, 0, 8, "\x01\x00\x01\x00"),
		"one of two disks":               put(t, good, ending, 0, 4, "\x01\x00"),
		"directory elsewhere":            put(t, good, ending, 0, 16, "\x00"),
		"gap before the end":             slices.Concat(good[:ends], []byte("gap"), good[ends:]),
		"zip64 without its record":       put(t, good, ending, 0, 16, "\xff\xff\xff\xff"),
		"no entries":                     zipped(t),
		"directories alone":              zipped(t, zfile("d/", "")),
		"without its end":                good[:ends],
		"cut in the middle":              good[:len(good)/2],
		"cut by a byte":                  good[:len(good)-1],
		"flipped bit":                    flip(streamed, at(t, streamed, "PK\x07\x08", 0)-8),
		"magic alone":                    []byte(local),
		"directory record out of bounds": put(t, good, directory, 1, 28, "\xff\xff"),
	} {
		out = append(out, attack{"zip " + name, b, source.ErrFormat, source.Limits{}})
	}
	zeros := strings.Repeat("\x00", 24<<20)
	return append(out,
		attack{"zip directory with content", bytes.ReplaceAll(inDir, []byte("d/e_"), []byte("d/e/")), source.ErrUnsafe, source.Limits{}},
		attack{"zip bomb", zipped(t, zfile("d/zeros", zeros)), source.ErrTooLarge, source.Limits{}},
		attack{"zip too many bytes", good, source.ErrTooLarge, source.Limits{Tree: 10}},
		attack{"zip too many entries", good, source.ErrTooLarge, source.Limits{Files: 1}},
		attack{"zip too deep", zipped(t, zfile("a/b/c/d", "x")), source.ErrTooLarge, source.Limits{Depth: 3}},
		attack{"zip of exabytes", put(t, put(t, zipped(t, zfile("d/a", "x")), directory, 0, 24, "\xff\xff\xff\x7f"), local, 0, 22, "\xff\xff\xff\x7f"), source.ErrFormat, source.Limits{}},
	)
}

// Odd but honest archives are accepted.
func TestOdd(t *testing.T) {
	long := strings.Repeat("n", 150)
	gnu := &tar.Header{Name: "d/" + long, Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatGNU}
	pax := &tar.Header{Name: "d/" + long + "/" + long, Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatPAX}
	big := strings.Repeat("0123456789abcdef", 40<<10) // larger than what is held in memory
	good := plain(t, tarball(t, file("d/a", "x")))
	z := zipped(t, zmode("d/", "", fs.ModeDir|0o755), zmode("d/x", "x", 0o755), zfile("d/a", big), zmode("d/l", "a", fs.ModeSymlink|0o777))
	gzips := slices.Concat(gzipped(t, good[:700]), gzipped(t, good[700:]))
	for name, c := range map[string]struct {
		archive []byte
		want    string // names, with the kind in front
	}{
		"no top directory":       {tarball(t, file("a", "x"), file("b", "x")), "fa fb"},
		"two top directories":    {tarball(t, file("a/x", "x"), file("b/x", "x")), "da fa/x db fb/x"},
		"dot top":                {tarball(t, dir("./"), file("./d/a", "x")), "fa"},
		"no directory entries":   {tarball(t, file("d/e/f/a", "x")), "de de/f fe/f/a"},
		"directory after files":  {tarball(t, file("d/e/a", "x"), dir("d/e"), dir("d")), "de fe/a"},
		"directory listed twice": {tarball(t, dir("d/e"), dir("d/e/"), file("d/e/a", "x")), "de fe/a"},
		"empty files":            {tarball(t, file("d/a", ""), file("d/b", "")), "fa fb"},
		"large file":             {tarball(t, file("d/a", big)), "fa"},
		"names that fold":        {tarball(t, file("d/A", "x"), file("d/a", "x")), "fA fa"},
		"names in both cases":    {tarball(t, file("d/\u00c9", "x"), file("d/e\u0301", "x")), "fe\u0301 f\u00c9"},
		"backslash":              {tarball(t, file(`d/a\x2db`, "x")), `fa\x2db`},
		"dangling inside":        {tarball(t, file("d/a", "x"), link("d/l", "gone/x")), "fa ll"},
		"link to the root":       {tarball(t, file("d/s/a", "x"), link("d/s/l", "..")), "ds fs/a ls/l"},
		"link before its target": {tarball(t, link("d/l", "a"), file("d/a", "x")), "fa ll"},
		"hard links":             {tarball(t, file("d/a", big), hard("d/b", "d/a"), hard("d/c", "./d/b")), "fa fb fc"},
		"git's global header": {tarball(t, &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0123"}},
			file("d/a", "x")), "fa"},
		"snapshot of a repository": {tarball(t, &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"CLEANSTART.git.format": "sha1"}},
			file("tree/d/a", "x")), "dd fd/a"},
		"GNU long name":        {tarball(t, gnu), "f" + long},
		"pax long name":        {tarball(t, pax), "d" + long + " f" + long + "/" + long},
		"pax times":            {tarball(t, &tar.Header{Name: "d/a", Typeflag: tar.TypeReg, ModTime: day.Add(time.Millisecond), Format: tar.FormatPAX}), "fa"},
		"zeros after the end":  {slices.Concat(good, make([]byte, 10240)), "fa"},
		"one block at the end": {good[:len(good)-512], "fa"},
		"gzip in two members":  {gzips, "fa"},
		"zip":                  {z, "fa ll xx"},
		"zip of two tops":      {zipped(t, zfile("a", "x"), zfile("b/c", "x")), "fa db fb/c"},
		"zip with a comment":   {slices.Concat(put(t, z, ending, 0, 20, "\x04\x00"), []byte("text")), "fa ll xx"},
		"zip as git makes it":  {zipped(t, stored("d/a", "x"), stored("d/e/", ""), stored("d/e/f", big)), "fa de fe/f"},
		"zip without times":    {zipped(t, zipEntry{FileHeader: zip.FileHeader{Name: "m@v1/a"}, body: "x"}), "fa"},
		"zip sorted otherwise": {reordered(t, zipped(t, stored("d/a", "x"), stored("d/b", "y"))), "fa fb"},
	} {
		t.Run(name, func(t *testing.T) {
			tree, _, err := verified(t, c.archive, source.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := listing(t, tree); got != c.want {
				t.Errorf("the tree holds %s, want %s", got, c.want)
			}
			if err := tree.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// reordered swaps the two entries of the directory.
func reordered(t testing.TB, b []byte) []byte {
	one, two, end := at(t, b, directory, 0), at(t, b, directory, 1), at(t, b, ending, 0)
	return slices.Concat(b[:one], b[two:end], b[one:two], b[end:])
}

// listing is the names of a tree in order, each after a letter for its kind.
func listing(t testing.TB, tree *source.Tree) string {
	var names []string
	err := filepath.WalkDir(tree.Dir(), func(name string, d os.DirEntry, err error) error {
		if err != nil || name == tree.Dir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		kind := "f"
		switch {
		case d.IsDir():
			kind = "d"
		case d.Type() == fs.ModeSymlink:
			kind = "l"
		case info.Mode()&0o100 != 0:
			kind = "x"
		}
		rel, err := filepath.Rel(tree.Dir(), name)
		names = append(names, kind+filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(a[1:], b[1:]) })
	return strings.Join(names, " ")
}
