package attest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
	"github.com/cleanstart/cleanstart/internal/need"
)

// TestForeignLibrariesAgree has libraries of other projects and languages
// judge every document and every signature, without network, and judge what is
// broken: see testdata/interop/judge.mjs.
func TestForeignLibrariesAgree(t *testing.T) {
	installed := os.Getenv("CLEANSTART_INTEROP")
	if installed == "" {
		need.Skip(t, "the libraries of testdata/interop", "CLEANSTART_INTEROP does not name where install.sh put them")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		need.Skip(t, "node", "no node in PATH")
	}
	dir, _ := attesttest.Write(t)
	cmd := exec.Command(node, filepath.Join("testdata", "interop", "judge.mjs"), dir, installed)
	cmd.Env = []string{"HOME=" + t.TempDir(), "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1"}
	out, err := cmd.CombinedOutput()
	passed := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		verdict, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		kind, _, _ := strings.Cut(name, " ")
		switch verdict {
		case "ok":
			passed[kind] = true
		case "FAIL":
			t.Error(name)
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, kind := range []string{"cyclonedx", "spdx", "openvex", "statement", "signature", "timestamp", "licence"} {
		if !passed[kind] {
			t.Errorf("no judgement of kind %s", kind)
		}
	}
}

// oras finds the client, or skips.
func oras(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("CLEANSTART_ORAS"); p != "" {
		return p
	}
	p, err := exec.LookPath("oras")
	if err != nil {
		need.Skip(t, "oras", "no oras in PATH or CLEANSTART_ORAS")
	}
	return p
}

// TestORASAgrees: oras sees every referrer in the layout, copies the image with
// all of them into another, and what it copied verifies.
func TestORASAgrees(t *testing.T) {
	bin := oras(t)
	dir, _ := attesttest.Write(t)
	v := verify(t, dir, attest.Options{})
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(bin, args...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + t.TempDir(), "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("oras %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	found := run("discover", "--oci-layout", "--format", "json", "oci@"+v.Image)
	for _, e := range v.Manifest.Entries {
		if !strings.Contains(found, e.Referrer) {
			t.Errorf("oras does not discover %s %s", e.Role, e.Name)
		}
	}
	copied := filepath.Join(t.TempDir(), "copy")
	run("cp", "-r", "--from-oci-layout", "--to-oci-layout", "oci@"+v.Image, copied+":copied")
	// oras keeps every blob; the index is a function of the referrers
	for _, f := range v.Manifest.Files {
		rel, ok := strings.CutPrefix(f.Path, "oci/blobs/")
		if !ok {
			continue
		}
		if _, err := os.Stat(filepath.Join(copied, "blobs", filepath.FromSlash(rel))); err != nil {
			t.Errorf("oras did not copy %s: %v", f.Role, err)
		}
	}
	// the log, as anybody would fetch it
	for _, e := range v.Manifest.Entries {
		if e.Role != attest.BuildLog || e.PredicateType != "" {
			continue
		}
		to := t.TempDir()
		run("pull", "--oci-layout", "oci@"+e.Referrer, "-o", to)
		if _, err := os.Stat(filepath.Join(to, "build-log.jsonl")); err != nil {
			t.Error(err)
		}
	}
}
