package gitsnap

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file")

var ample = Limits{Bytes: 1 << 30, Files: 1000, Depth: 64}

// store is a repository in memory.
type store struct {
	t      testing.TB
	format format
	kind   map[string]string
	data   map[string][]byte
}

func newStore(t testing.TB, name string) *store {
	f, err := formatOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return &store{t, f, map[string]string{}, map[string][]byte{}}
}

func (s *store) add(kind, content string) string {
	s.t.Helper()
	id, err := s.format.id(kind, []byte(content))
	if err != nil {
		s.t.Fatal(err)
	}
	s.kind[id], s.data[id] = kind, []byte(content)
	return id
}

func (s *store) Object(_ context.Context, id string) (string, int64, io.Reader, error) {
	b, ok := s.data[id]
	if !ok {
		return "", 0, nil, fmt.Errorf("no object %s", id)
	}
	return s.kind[id], int64(len(b)), bytes.NewReader(b), nil
}

// tree adds a tree of "mode name id" lines, in the order given.
func (s *store) tree(lines ...string) string {
	var b []byte
	for _, l := range lines {
		f := strings.SplitN(l, " ", 3)
		id, err := hex.DecodeString(f[2])
		if err != nil {
			s.t.Fatal(err)
		}
		b = append(append(append(b, f[0]+" "+f[1]...), 0), id...)
	}
	return s.add("tree", string(b))
}

const who = "A U Thor <author@example.org> 1700000000 +0100\n"

func (s *store) commit(tree, extra string) string {
	return s.add("commit", "tree "+tree+"\nauthor "+who+"committer "+who+extra+"\na message\n")
}

func (s *store) tag(name, commit, rest string) string {
	return s.add("tag", "object "+commit+"\ntype commit\ntag "+name+"\ntagger "+who+"\n"+rest)
}

// sample is a repository with every mode, names that sort in git's own way,
// an empty directory and a submodule inside a submodule.
func sample(t testing.TB, format string) (*store, *Snapshot) {
	s := newStore(t, format)
	file := s.add("blob", "content\n")
	empty := s.tree()
	inner := s.commit(s.tree("100644 deep "+file), "")
	outer := s.commit(s.tree("160000 in=ner "+inner, "100644 x "+file), "")
	long := strings.Repeat("n", 120)
	dir := s.tree("120000 link "+s.add("blob", long+long), "100644 "+long+" "+file)
	root := s.tree("100644 a.b "+file, "40000 a "+dir, "100755 a0 "+s.add("blob", "#!\n"), "40000 empty "+empty,
		"100664 group "+file, "120000 l "+s.add("blob", "a.b"), "160000 mod "+outer, "100644 mod.txt "+s.add("blob", ""), "100644 ü "+file)
	commit := s.commit(root, "")
	tag := s.tag("v1.0", commit, "notes\n")
	return s, &Snapshot{Format: format, Commit: s.data[commit], Tag: s.data[tag],
		Modules: []Module{{Path: "mod", Commit: s.data[outer]}, {Path: "mod/in=ner", Commit: s.data[inner]}}}
}

func write(t testing.TB, s *Snapshot, o Objects) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, s, o, ample); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(b []byte) (*Snapshot, error) {
	return Read(context.Background(), bytes.NewReader(b), ample)
}

func TestRoundTrip(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		o, s := sample(t, format)
		b := write(t, s, o)
		if again := write(t, s, o); !bytes.Equal(b, again) {
			t.Errorf("%s: two snapshots of one commit differ", format)
		}
		got, err := read(b)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if d := cmp.Diff(s, got); d != "" {
			t.Errorf("%s: what was read is not what was written (-written +read):\n%s", format, d)
		}
		if got.TagName != "v1.0" || o.kind[got.TagID] != "tag" || o.kind[got.CommitID] != "commit" || o.kind[got.TreeID] != "tree" {
			t.Errorf("%s: %+v", format, got)
		}
		s.Tag = nil
		if got, err := read(write(t, s, o)); err != nil || got.Tag != nil || got.TagName != "" {
			t.Errorf("%s: without a tag: %v", format, err)
		}
	}
}

func TestGolden(t *testing.T) {
	o, s := sample(t, "sha1")
	got := write(t, s, o)
	const name = "testdata/snapshot.tar"
	if *update {
		if err := os.WriteFile(name, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("a snapshot's bytes are %x, the golden ones %x: digests that people pinned no longer hold", sha256.Sum256(got), sha256.Sum256(want))
	}
}

// TestEveryBit flips a bit of every byte: none is without meaning.
func TestEveryBit(t *testing.T) {
	for format, step := range map[string]int{"sha1": 1, "sha256": 11} {
		o, s := sample(t, format)
		good := write(t, s, o)
		want, err := read(good)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(good); i += step {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			// What is in the topmost object only is for the signature over it.
			if got, err := read(bad); err == nil && got.TagID == want.TagID {
				t.Fatalf("%s: bit %d of byte %d (%q) flipped: accepted", format, i%8, i, good[i])
			} else if err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: byte %d: %v is of no known kind", format, i, err)
			}
		}
		for n := range good {
			if n%64 == 0 || n%512 == 1 {
				if _, err := read(good[:n]); !errors.Is(err, ErrFormat) {
					t.Fatalf("%s: cut at %d of %d: %v", format, n, len(good), err)
				}
			}
		}
		for _, tail := range []string{"\x00", "x", string(make([]byte, 512)), string(good)} {
			if _, err := read([]byte(string(good) + tail)); !errors.Is(err, ErrFormat) {
				t.Errorf("%s: %d bytes at the end: %v", format, len(tail), err)
			}
		}
	}
}

// TestForged builds snapshots that Write would not, each wrong in a point.
func TestForged(t *testing.T) {
	o, good := sample(t, "sha1")
	raw := write(t, good, o)
	edit := func(headers func(i int, h *tar.Header) *tar.Header, head func(map[string]string)) []byte {
		var b bytes.Buffer
		in, out := tar.NewReader(bytes.NewReader(raw)), tar.NewWriter(&b)
		for i := 0; ; i++ {
			h, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				h.PAXRecords = maps.Clone(h.PAXRecords)
				head(h.PAXRecords)
			} else if h = headers(i, h); h == nil {
				continue
			}
			h.Format = tar.FormatPAX
			if err := out.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(out, in, h.Size); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	same := func(_ int, h *tar.Header) *tar.Header { return h }
	none := func(map[string]string) {}
	if _, err := read(edit(same, none)); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	rename := func(from, to string) []byte {
		return edit(func(_ int, h *tar.Header) *tar.Header {
			if h.Name == from {
				h.Name = to
			}
			return h
		}, none)
	}
	other := newStore(t, "sha1")
	otherCommit := string(other.data[other.commit(other.tree(), "")])
	for name, bad := range map[string][]byte{
		"no header":       raw[3*512:],
		"file renamed":    rename("tree/a.b", "tree/a.c"),
		"file moved":      rename("tree/a0", "tree/a/z"),
		"parent step":     rename("tree/a0", "tree/a/../a0"),
		"dot":             rename("tree/a0", "tree/./a0"),
		"absolute":        rename("tree/a0", "/tree/a0"),
		"double slash":    rename("tree/a0", "tree//a0"),
		"git directory":   rename("tree/empty/", "tree/.Git/"),
		"outside":         rename("tree/a0", "trees/a0"),
		"twice":           rename("tree/a0", "tree/a.b"),
		"file as its dir": rename("tree/empty/", "tree/a.b/"),
		"root renamed":    rename("tree/", "tree/x/"),
		"mode":            edit(func(i int, h *tar.Header) *tar.Header { h.Mode |= 0o111; return h }, none),
		"set-user-ID":     edit(func(i int, h *tar.Header) *tar.Header { h.Mode |= 0o4000; return h }, none),
		"time":            edit(func(i int, h *tar.Header) *tar.Header { h.ModTime = h.ModTime.Add(1e9); return h }, none),
		"owner":           edit(func(i int, h *tar.Header) *tar.Header { h.Uname = "root"; return h }, none),
		"link target":     edit(func(i int, h *tar.Header) *tar.Header { h.Linkname = strings.ToUpper(h.Linkname); return h }, none),
		"file left out":   edit(func(i int, h *tar.Header) *tar.Header { return dropped(h, "tree/l") }, none),
		"dir left out":    edit(func(i int, h *tar.Header) *tar.Header { return dropped(h, "tree/empty/") }, none),
		"root left out":   edit(func(i int, h *tar.Header) *tar.Header { return dropped(h, "tree/") }, none),
		"everything":      edit(func(i int, h *tar.Header) *tar.Header { return nil }, none),
		"unknown record":  edit(same, func(r map[string]string) { r["comment"] = "x" }),
		"no commit":       edit(same, func(r map[string]string) { delete(r, prefix+"commit") }),
		"no format":       edit(same, func(r map[string]string) { delete(r, prefix+"format") }),
		"other format":    edit(same, func(r map[string]string) { r[prefix+"format"] = "sha256" }),
		"another commit":  edit(same, func(r map[string]string) { r[prefix+"commit"] = otherCommit }),
		"bare commit":     edit(same, func(r map[string]string) { r[prefix+"commit"] = otherCommit; delete(r, prefix+"tag") }),
		"tag of no commit": edit(same, func(r map[string]string) {
			r[prefix+"tag"] = strings.Replace(r[prefix+"tag"], "type commit", "type tree", 1)
		}),
		"unfetched module": edit(same, func(r map[string]string) { delete(r, module+"mod") }),
		"forged module":    edit(same, func(r map[string]string) { r[module+"empty"] = otherCommit }),
		"module elsewhere": edit(same, func(r map[string]string) { r[module+"nowhere"] = otherCommit }),
		"module swapped":   edit(same, func(r map[string]string) { r[module+"mod"] = otherCommit }),
		"module of a file": edit(same, func(r map[string]string) { r[module+"a0"] = otherCommit }),
		"module at root":   edit(same, func(r map[string]string) { r[module] = otherCommit }),
		"module above":     edit(same, func(r map[string]string) { r[module+"../x"] = otherCommit }),
		"escape not needed": edit(same, func(r map[string]string) {
			r[module+"mod/in%3Dner%25"], r[module+"mod/in%3Dner"] = r[module+"mod/in%3Dner"], ""
		}),
	} {
		if _, err := read(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func dropped(h *tar.Header, name string) *tar.Header {
	if h.Name == name {
		return nil
	}
	return h
}

// TestModuleContent changes a file inside a submodule, and the tree of the
// repository with it, but not the commit that it pins.
func TestModuleContent(t *testing.T) {
	o, s := sample(t, "sha1")
	good := write(t, s, o)
	bad := bytes.Clone(good)
	i := bytes.Index(bad, []byte("tree/mod/in=ner/deep"))
	i += bytes.Index(bad[i:], []byte("content\n"))
	bad[i] = 'C'
	if _, err := read(bad); !errors.Is(err, ErrFormat) {
		t.Errorf("a submodule's file changed: %v", err)
	}
}

func TestWriteRefuses(t *testing.T) {
	o, s := sample(t, "sha1")
	for name, change := range map[string]func(*Snapshot){
		"unfetched submodule": func(s *Snapshot) { s.Modules = s.Modules[:1] },
		"no such submodule":   func(s *Snapshot) { s.Modules = append(s.Modules, Module{Path: "x", Commit: s.Commit}) },
		"submodule twice":     func(s *Snapshot) { s.Modules = append(s.Modules, s.Modules[0]) },
		"another submodule":   func(s *Snapshot) { s.Modules = []Module{{Path: "mod", Commit: s.Commit}} },
		"tag of another":      func(s *Snapshot) { s.Tag = o.data[o.tag("v1", strings.Repeat("0", 40), "")] },
	} {
		c := *s
		change(&c)
		if err := Write(t.Context(), io.Discard, &c, o, ample); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	o, s := sample(t, "sha1")
	b := write(t, s, o)
	for _, l := range []Limits{{}, {Bytes: 100, Files: 1000, Depth: 64}, {Bytes: 1 << 20, Files: 5, Depth: 64}, {Bytes: 1 << 20, Files: 1000, Depth: 3}} {
		if _, err := Read(t.Context(), bytes.NewReader(b), l); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Read with %+v: %v", l, err)
		}
		if err := Write(t.Context(), io.Discard, s, o, l); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Write with %+v: %v", l, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(gone, bytes.NewReader(b), ample); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCollision feeds the first blocks of the SHAttered files (Stevens et al.,
// 2017) to the hash that objects get. They collide only at the very beginning
// of what is hashed, where an object has its header, so no git object made of
// them would.
func TestCollision(t *testing.T) {
	f, err := formatOf("sha1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"testdata/shattered-1", "testdata/shattered-2"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		h := f.new()
		h.Write(b)
		if _, err := sum(h); !errors.Is(err, ErrCollision) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := f.id("blob", b); err != nil {
			t.Errorf("%s as a blob: %v", name, err)
		}
	}
}

// attacked is a hash that finds a collision in everything that holds a word.
type attacked struct {
	hash.Hash
	seen []byte
}

func (a *attacked) Write(p []byte) (int, error) {
	a.seen = append(a.seen, p...)
	return a.Hash.Write(p)
}

func (a *attacked) CollisionResistantSum(b []byte) ([]byte, bool) {
	return a.Sum(b), bytes.Contains(a.seen, []byte("collide"))
}

func TestCollisionStopsTheReader(t *testing.T) {
	for _, kind := range []string{"blob", "tree"} {
		f, _ := formatOf("sha1")
		of := f.new
		f.new = func() hash.Hash { return &attacked{Hash: of()} }
		x := &reader{format: f, open: []*directory{{}}}
		d := &directory{path: "d", mode: ModeDir}
		x.open = append(x.open, d)
		var err error
		if kind == "blob" {
			h := f.begin("blob", 7)
			io.WriteString(h, "collide")
			err = d.add(ModeFile, "f", h)
		} else {
			d.object = []byte("collide")
			err = x.leave()
		}
		if !errors.Is(err, ErrCollision) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, format := range []string{"sha1", "sha256"} {
		o, s := sample(f, format)
		var b bytes.Buffer
		if err := Write(context.Background(), &b, s, o, ample); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Read(context.Background(), bytes.NewReader(b), ample)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrCollision) {
				t.Errorf("error of no known kind: %v", err)
			}
			return
		}
		if _, _, err := s.SignedTag(); err != nil {
			t.Errorf("tag that was read: %v", err)
		}
		if _, _, err := s.SignedCommit(); err != nil {
			t.Errorf("commit that was read: %v", err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	for _, format := range []string{"sha1", "sha256"} {
		b.Run(format, func(b *testing.B) {
			s := newStore(b, format)
			var lines []string
			for i := range 64 {
				lines = append(lines, fmt.Sprintf("100644 f%02d %s", i, s.add("blob", strings.Repeat(string(rune('a'+i)), 256<<10))))
			}
			raw := write(b, &Snapshot{Format: format, Commit: s.data[s.commit(s.tree(lines...), "")]}, s)
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := read(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
