package golang

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
