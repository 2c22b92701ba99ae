package feed

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func record(id, fixed string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(fmt.Sprintf(`{"id":%q,"modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"","name":"zlib"},
		"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, id, fixed))}
}

func withdrawn(id string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(fmt.Sprintf(`{"id":%q,"modified":"2026-02-02T03:04:05Z","withdrawn":"2026-02-02T03:04:05Z"}`, id))}
}

func kinds(b Batch) []string {
	var got []string
	for _, c := range b.Changes {
		got = append(got, string(c.Kind)+" "+c.ID)
	}
	return got
}

// TestDirTellsChanges goes through one life of a directory.
func TestDirTellsChanges(t *testing.T) {
	files := fstest.MapFS{}
	var cursor []byte
	for i, step := range []struct {
		change   func()
		want     []string
		problems int
	}{
		{func() {}, nil, 0},
		{func() { files["a.json"], files["sub/b.json"] = record("CVE-1", "1.0"), record("CVE-2", "1.0") }, []string{"new CVE-1", "new CVE-2"}, 0},
		{func() {}, nil, 0},
		{func() { files["a.json"] = record("CVE-1", "1.1") }, []string{"changed CVE-1"}, 0},
		{func() { files[".tmp.json"] = record("CVE-3", "1.0"); files["README.md"] = withdrawn("x") }, nil, 0},
		{func() { files["c.json"] = files["a.json"]; delete(files, "a.json") }, nil, 0}, // renamed
		{func() { files["c.json"] = withdrawn("CVE-1") }, []string{"withdrawn CVE-1"}, 0},
		{func() { files["d.json"] = withdrawn("CVE-4") }, []string{"withdrawn CVE-4"}, 0},
		{func() { files["c.json"] = record("CVE-1", "1.2") }, []string{"changed CVE-1"}, 0}, // taken back
		{func() { files["sub/b.json"] = &fstest.MapFile{Data: []byte(`{"id":`)} }, nil, 1},  // neither changed nor deleted
		{func() {}, nil, 1}, // and it stays pending
		{func() { files["sub/b.json"] = record("CVE-2", "1.0") }, nil, 0},
		{func() { files["sub/b.json"] = &fstest.MapFile{Data: []byte(`[]`)} }, nil, 1},
		{func() { files["sub/b.json"] = record("CVE-2", "2.0") }, []string{"changed CVE-2"}, 0},
		{func() { files["sub/z.json"] = record("CVE-2", "3.0") }, nil, 1}, // twice
		{func() { delete(files, "sub/z.json"); delete(files, "sub/b.json") }, []string{"deleted CVE-2"}, 0},
		{func() {
			files["e.json"] = &fstest.MapFile{Data: []byte(`{"id":"CVE-9","modified":"2026-01-01T00:00:00Z","affected":[]}`)}
		}, nil, 1},
	} {
		step.change()
		b, err := Dir{FS: files}.Since(t.Context(), cursor)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if diff := cmp.Diff(step.want, kinds(b)); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
		if len(b.Problems) != step.problems || b.Complete() != (step.problems == 0) {
			t.Errorf("step %d: problems %v, want %d", i, b.Problems, step.problems)
		}
		for _, c := range b.Changes {
			if (c.Kind == Deleted) != (c.Record == nil) || c.Digest == "" {
				t.Errorf("step %d: %s %s: record %q, digest %q", i, c.Kind, c.ID, c.Record, c.Digest)
			}
		}
		cursor = b.Next
	}
	b, err := Dir{FS: files}.Since(t.Context(), nil)
	if err != nil || !slices.Equal(kinds(b), []string{"new CVE-1", "withdrawn CVE-4"}) {
		t.Errorf("from the beginning: %v, %v", kinds(b), err)
	}
}

func TestDirRefusesForeignCursor(t *testing.T) {
	for _, c := range []string{"", "x", cursorTag + "\nhalf a line\n", cursorTag + "\nd\t-\t2026-01-01T00:00:00Z\tid\tno-quotes\n", cursorTag + "\nd\t?\t2026-01-01T00:00:00Z\tid\t\"a\"\n", cursorTag + "\nd\t-\tnow\tid\t\"a\"\n"} {
		if _, err := (Dir{FS: fstest.MapFS{}}).Since(t.Context(), []byte(c)); err == nil {
			t.Errorf("cursor %q was accepted", c)
		}
	}
}

func TestDirKeepsOddNames(t *testing.T) {
	name := "a\tb\n\"c\".json"
	files := fstest.MapFS{name: record("CVE-1", "1.0")}
	b, err := Dir{FS: files}.Since(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Dir{FS: files}.Since(t.Context(), b.Next)
	if err != nil || len(again.Changes) != 0 {
		t.Errorf("an odd name came back as %v, %v", kinds(again), err)
	}
}

func TestDirBoundsRecords(t *testing.T) {
	files := fstest.MapFS{"big.json": {Data: []byte(strings.Repeat(" ", maxRecord+1))}}
	b, err := Dir{FS: files}.Since(t.Context(), nil)
	if err != nil || len(b.Problems) != 1 {
		t.Errorf("a huge record: %v, %v", b.Problems, err)
	}
}

func FuzzCursor(f *testing.F) {
	b, err := Dir{FS: fstest.MapFS{"a.json": record("CVE-1", "1.0")}}.Since(f.Context(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Next)
	f.Fuzz(func(t *testing.T, cursor []byte) {
		files, err := decode(cursor)
		if err != nil || cursor == nil {
			return
		}
		again, err := decode(encode(files))
		if err != nil || !slices.EqualFunc(files, again, func(a, b state) bool {
			same := a.modified.Equal(b.modified)
			b.modified = a.modified
			return same && a == b
		}) {
			t.Errorf("cursor of %v reads back as %v, %v", files, again, err)
		}
	})
}
