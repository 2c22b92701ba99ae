package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/local"
	"github.com/cleanstart/cleanstart/examples/internal/pipeline"
	"github.com/cleanstart/cleanstart/examples/internal/progress"
	"github.com/cleanstart/cleanstart/internal/need"
)

func TestMain(m *testing.M) {
	local.Init()
	os.Exit(m.Run())
}

// endToEnd skips the slow tests, which fetch, compile and run real software,
// unless they are asked for.
func endToEnd(t *testing.T) {
	if os.Getenv("CLEANSTART_E2E") != "1" {
		t.Skip("end-to-end: set CLEANSTART_E2E=1 to fetch and build real source (minutes)")
	}
}

// world is one workshop and the built-in inputs.
type world struct {
	*pipeline.Workshop
}

func open(t *testing.T) *world {
	t.Helper()
	cache, err := pipeline.DefaultCache()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	w, err := pipeline.Open(t.Context(), pipeline.Settings{Cache: cache, Now: now, Board: progress.New(os.Stderr)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return &world{w}
}

func (w *world) build(t *testing.T, name string) *pipeline.Built {
	t.Helper()
	spec, err := compile.LoadSpec(builtin, name)
	if err != nil {
		t.Fatal(err)
	}
	built, err := w.Build(t.Context(), spec, builtin)
	if err != nil {
		t.Fatal(pipeline.Explain(err))
	}
	return built
}

func (w *world) judge(t *testing.T, img *compile.Image, advisories fs.FS) *pipeline.Judged {
	t.Helper()
	j, err := w.Judge(t.Context(), img, advisories)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestE2EQuickstart makes the default image and its evidence, has both judged,
// and damages the evidence in every way.
func TestE2EQuickstart(t *testing.T) {
	endToEnd(t)
	w := open(t)
	built := w.build(t, "quickstart.yaml")
	if err := compile.VerifyOrigins(built.Image.Record); err != nil {
		t.Errorf("zero inheritance: %v", err)
	}
	osv, err := fs.Sub(builtin, "advisories")
	if err != nil {
		t.Fatal(err)
	}
	j := w.judge(t, built.Image, osv)
	if err := j.Err(); err != nil {
		t.Errorf("the suite: %v", err)
	}
	if len(j.Decisions) == 0 {
		t.Error("the default run shows no finding")
	}
	id, err := pipeline.NewIdentity("", "")
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	dir, earlier := filepath.Join(top, "qs"), filepath.Join(top, "earlier")
	if _, err := w.Attest(t.Context(), j, id, earlier); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // evidence is dated by the second
	if _, err := w.Attest(t.Context(), j, id, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"oci/index.json", "evidence/manifest.json", "cosign.pub", "trusted_root.json", "tsa.pem", "report.html"} {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Error(err)
		}
	}
	for _, k := range attest.Kinds() {
		if _, err := os.Stat(filepath.Join(dir, "evidence", k.File)); err != nil {
			t.Error(err)
		}
	}
	t.Run("cosign", func(t *testing.T) { cosign(t, dir) })
	t.Run("damage", func(t *testing.T) {
		attesttest.TestVerifier(t, dir, func(t testing.TB, dir string) *attest.Verification {
			v, err := attest.Verify(context.Background(), dir, attest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}, attesttest.Donor{Name: "an earlier run", Dir: earlier, State: attest.Stale})
	})
}

// cosign has the real client accept the signature and every statement, with
// no network.
func cosign(t *testing.T, dir string) {
	bin := os.Getenv("CLEANSTART_COSIGN")
	if bin == "" {
		var err error
		if bin, err = exec.LookPath("cosign"); err != nil {
			need.Skip(t, "cosign", "not in PATH; CLEANSTART_COSIGN may name it")
			return
		}
	}
	common := []string{"--key", filepath.Join(dir, "cosign.pub"), "--trusted-root", filepath.Join(dir, "trusted_root.json"),
		"--use-signed-timestamps", "--insecure-ignore-tlog", "--local-image", filepath.Join(dir, "oci")}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("unshare", append([]string{"-rn", bin}, append(args, common...)...)...)
		cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("cosign %v: %v\n%s", args, err, out)
		}
	}
	run("verify")
	for _, k := range attest.Kinds() {
		if k.PredicateType != "" {
			run("verify-attestation", "--type", k.PredicateType)
		}
	}
}

// TestE2ETruth compares the decisions about curl with labels that were made by
// reading its source: nothing that affects a build may be silenced.
func TestE2ETruth(t *testing.T) {
	endToEnd(t)
	dir := os.Getenv("CLEANSTART_ADVISORIES")
	if dir == "" {
		need.Skip(t, "advisories", "CLEANSTART_ADVISORIES names no folder")
		return
	}
	b, err := os.ReadFile(filepath.Join(dir, "truth-curl.json"))
	if err != nil {
		t.Fatal(err)
	}
	type label struct{ Verdict string }
	var labels struct {
		Truth []struct {
			ID   string
			A, B label
		}
	}
	if err := json.Unmarshal(b, &labels); err != nil {
		t.Fatal(err)
	}
	if len(labels.Truth) < 40 {
		t.Fatalf("%d labels, want the whole set", len(labels.Truth))
	}
	w := open(t)
	for _, config := range []struct {
		name, spec string
		of         func(i int) string
	}{
		{"A", "quickstart.yaml", func(i int) string { return labels.Truth[i].A.Verdict }},
		{"B", "tls.yaml", func(i int) string { return labels.Truth[i].B.Verdict }},
	} {
		t.Run(config.name, func(t *testing.T) {
			if config.name == "B" && os.Getenv("CLEANSTART_E2E_TLS") != "1" {
				t.Skip("tls: set CLEANSTART_E2E_TLS=1 to build OpenSSL too (ten minutes more)")
			}
			j := w.judge(t, w.build(t, config.spec).Image, os.DirFS(filepath.Join(dir, "curl")))
			status := map[string]string{}
			for _, d := range j.Decisions {
				status[d.ID] = string(d.Status)
			}
			wrong, silenced, others := 0, 0, 0
			for i, l := range labels.Truth {
				quiet := status[l.ID] == "not_affected" || status[l.ID] == "fixed"
				switch v := config.of(i); v {
				case "affected", "uncertain":
					if status[l.ID] == "" || quiet {
						wrong++
						t.Errorf("%s is labelled %s and the decision is %q", l.ID, v, status[l.ID])
					}
				default:
					others++
					if quiet || status[l.ID] == "" {
						silenced++
					}
				}
			}
			t.Logf("configuration %s: %d wrongly silenced, %d of %d others silenced", config.name, wrong, silenced, others)
		})
	}
}
