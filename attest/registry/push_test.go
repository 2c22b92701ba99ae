package registry

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/attesttest"
	"github.com/cleanstart/cleanstart/internal/need"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

func push(t *testing.T, h http.Handler, dir string) (base string, d name.Digest) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(u.Host + "/team/tiny:latest")
	if err != nil {
		t.Fatal(err)
	}
	if d, err = Push(context.Background(), dir, ref); err != nil {
		t.Fatal(err)
	}
	if again, err := Push(context.Background(), dir, ref); err != nil || again != d {
		t.Errorf("pushing again = %v, %v, want %v", again, err, d)
	}
	return srv.URL, d
}

func list(t *testing.T, base string, d name.Digest, query string) (*ocispec.Index, http.Header) {
	t.Helper()
	resp, err := http.Get(base + "/v2/team/tiny/referrers/" + d.DigestStr() + query)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	idx := new(ocispec.Index)
	if err := json.NewDecoder(resp.Body).Decode(idx); err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return idx, resp.Header
}

func TestPushKeepsEveryReferrer(t *testing.T) {
	dir, _ := attesttest.Write(t)
	want, err := readIndex(filepath.Join(dir, "oci/index.json"))
	if err != nil {
		t.Fatal(err)
	}
	base, d := push(t, NewHandler(), dir)
	all, _ := list(t, base, d, "")
	if len(all.Manifests) != len(want.Manifests)-1 {
		t.Errorf("%d referrers, want %d", len(all.Manifests), len(want.Manifests)-1)
	}
	types := map[string]string{}
	for _, m := range want.Manifests {
		types[string(m.Digest)] = m.ArtifactType
	}
	bundles := 0
	for _, m := range all.Manifests {
		if types[string(m.Digest)] != m.ArtifactType || len(m.Annotations) == 0 {
			t.Errorf("referrer %s has type %q, want %q", m.Digest, m.ArtifactType, types[string(m.Digest)])
		}
		if m.ArtifactType == bundleType {
			bundles++
		}
	}
	some, h := list(t, base, d, "?artifactType="+url.QueryEscape(bundleType))
	if len(some.Manifests) != bundles || h.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("filtered: %d of %d, %q", len(some.Manifests), bundles, h.Get("OCI-Filters-Applied"))
	}
	if none, _ := list(t, base, d.Repository.Digest(string(all.Manifests[0].Digest)), ""); len(none.Manifests) != 0 {
		t.Errorf("a referrer has %d referrers", len(none.Manifests))
	}
}

func TestReferrersInPages(t *testing.T) {
	dir, _ := attesttest.Write(t)
	base, d := push(t, NewHandler(), dir)
	all, _ := list(t, base, d, "")
	var got []ocispec.Descriptor
	next := "?n=4&artifactType=" + url.QueryEscape(bundleType)
	for pages := 0; next != ""; pages++ {
		page, h := list(t, base, d, next)
		if len(page.Manifests) > 4 || pages > len(all.Manifests) {
			t.Fatalf("page %d of %d", pages, len(page.Manifests))
		}
		got = append(got, page.Manifests...)
		_, query, _ := strings.Cut(h.Get("Link"), "?")
		if next, _, _ = strings.Cut(query, ">"); next != "" {
			next = "?" + next
		}
	}
	whole, _ := list(t, base, d, "?artifactType="+url.QueryEscape(bundleType))
	if diff := cmp.Diff(whole.Manifests, got); diff != "" {
		t.Errorf("pages differ from the whole (-whole +pages):\n%s", diff)
	}
	for _, bad := range []string{"?n=0", "?n=-1", "?n=x"} {
		resp, err := http.Get(base + "/v2/team/tiny/referrers/" + d.DigestStr() + bad)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", bad, resp.Status)
		}
	}
	gone := d.Repository.Digest(string(all.Manifests[0].Digest))
	if err := remote.Delete(gone); err != nil {
		t.Fatal(err)
	}
	if left, _ := list(t, base, d, ""); len(left.Manifests) != len(all.Manifests)-1 {
		t.Errorf("%d referrers after one was deleted, want %d", len(left.Manifests), len(all.Manifests)-1)
	}
}

func TestPushUsesTheFallbackTag(t *testing.T) {
	dir, _ := attesttest.Write(t)
	want, err := readIndex(filepath.Join(dir, "oci/index.json"))
	if err != nil {
		t.Fatal(err)
	}
	_, d := push(t, ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))), dir)
	idx, err := remote.Referrers(d)
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != len(want.Manifests)-1 {
		t.Errorf("%d referrers by the fallback tag, want %d", len(m.Manifests), len(want.Manifests)-1)
	}
}

func TestPushRefusesWithoutImage(t *testing.T) {
	dir := t.TempDir()
	ref := name.MustParseReference("localhost:1/x")
	if _, err := Push(context.Background(), dir, ref); err == nil {
		t.Error("Push of an empty directory succeeds")
	}
	if err := os.MkdirAll(filepath.Join(dir, "oci"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "oci/index.json"), []byte(`{"schemaVersion":2,"manifests":[]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Push(context.Background(), dir, ref); err == nil {
		t.Error("Push of a layout without an image succeeds")
	}
}

func TestCosignReadsTheRegistry(t *testing.T) {
	bin := os.Getenv("CLEANSTART_COSIGN")
	if bin == "" {
		var err error
		if bin, err = exec.LookPath("cosign"); err != nil {
			need.Skip(t, "cosign", "no cosign in PATH or CLEANSTART_COSIGN")
		}
	}
	dir, _ := attesttest.Write(t)
	_, d := push(t, NewHandler(), dir)
	for _, k := range attest.Kinds() {
		if k.PredicateType == "" {
			continue
		}
		cmd := exec.Command(bin, "verify-attestation", "--type", k.PredicateType, "--key", "cosign.pub", "--trusted-root", "trusted_root.json",
			"--use-signed-timestamps", "--insecure-ignore-tlog", "--allow-http-registry", d.String())
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + t.TempDir()}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("cosign does not verify %s in the registry: %v\n%s", k.Name, err, out)
		}
	}
}
