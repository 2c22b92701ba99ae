package golang

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cleanstart/cleanstart/analyze"
)

// TestPrograms finds the programs of an image and lays out what each mode says
// of them as a report's findings.
func TestPrograms(t *testing.T) {
	w := open(t)
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			dir := w.module(t, p.mod, p.main)
			root := t.TempDir()
			bin := filepath.Join(root, "usr/bin/prog")
			cmd := exec.Command("go", "build", "-o", bin, ".")
			cmd.Dir, cmd.Env = dir, w.env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			if err := os.WriteFile(filepath.Join(root, "script"), []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			list, err := Programs(t.Context(), &analyze.Subject{Rootfs: root}, w.db)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != 1 || list[0].Path != "/usr/bin/prog" || !strings.HasPrefix(list[0].Digest, "sha256:") {
				t.Fatalf("%+v", list)
			}
			src, err := Source(t.Context(), w.db, Config{Dir: dir, Env: w.env})
			if err != nil {
				t.Fatal(err)
			}
			list[0].Source, list[0].Sourced = src, true
			levels := byID(src)
			fs := w.db.Findings(list)
			if len(fs) == 0 {
				t.Fatal("no finding")
			}
			for _, f := range fs {
				cands := []analyze.Candidate{f.Candidate}
				for _, e := range f.Evidence {
					if err := analyze.CheckEvidence(e.Layer, cands, []analyze.Evidence{e}); err != nil {
						t.Errorf("%s: %v", f.Advisory.ID, err)
					}
				}
				use := f.Layer(analyze.LayerUsage)
				if called := levels[f.Advisory.ID] == "called"; called && use.Verdict == analyze.Absent || !called && use.Verdict == analyze.Present {
					t.Errorf("%s is %s, and the evidence says %s: %s", f.Advisory.ID, levels[f.Advisory.ID], use.Verdict, use.Reason)
				}
			}
			if !slices.ContainsFunc(fs, func(f analyze.Finding) bool { return strings.HasPrefix(f.PURL, "pkg:golang/") }) {
				t.Error("no package URL of Go's")
			}
		})
	}
}

// TestProgramsOfUnknownModules: a Go program that does not say what is in it is
// an error; a file that is no Go program is none.
func TestProgramsOfUnknownModules(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	const mark = "\xff Go buildinf:"
	if !bytes.Contains(b, []byte(mark)) {
		t.Fatal("this program has no build information to take away")
	}
	mute := bytes.ReplaceAll(b, []byte(mark), bytes.Repeat([]byte{0}, len(mark)))
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"no mark":  {mute, "whose modules are not known"},
		"cut":      {b[:len(b)/2], ""},
		"short":    {[]byte("\x7fE"), ""},
		"no ELF":   {[]byte("#!/bin/sh\n"), ""},
		"only ELF": {[]byte("\x7fELF"), ""},
		"empty":    {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.WriteFile(filepath.Join(root, "prog"), c.content, 0o755); err != nil {
				t.Fatal(err)
			}
			list, err := Programs(t.Context(), &analyze.Subject{Rootfs: root}, new(DB))
			switch {
			case c.want == "" && (err != nil || len(list) != 0):
				t.Errorf("%d programs, %v", len(list), err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "/prog")):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestLoadNeedsGoRecords: records that say nothing of Go are no database.
func TestLoadNeedsGoRecords(t *testing.T) {
	const other = `{"id":"CVE-1-1","modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"PyPI","name":"x"}}]}`
	for name, files := range map[string]fstest.MapFS{
		"none":      {},
		"of others": {"a.json": {Data: []byte(other)}},
		"CVE list":  {"a.json": {Data: []byte(`{"dataType":"CVE_RECORD"}`)}},
	} {
		if _, err := Load(files); err == nil || !strings.Contains(err.Error(), "about a Go module") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
