package monitor

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/cleanstart/cleanstart/attest/registry"
)

func TestPullGate(t *testing.T) {
	artifact := "sha256-" + strings.Repeat("a", 64)
	tags := map[string]string{
		"web latest": "sha256:now", "web 1.0": "sha256:old", "web stray": "sha256:artifact", "web " + artifact: "sha256:artifact",
		"late latest": "sha256:late", "unsaid latest": "sha256:x", "mute latest": "",
	}
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m := pulled.FindStringSubmatch(r.URL.Path); m != nil && !strings.Contains(m[2], ":") {
			if r.Method != http.MethodHead {
				t.Errorf("%s was served, not what it named when it was asked about", r.URL.Path)
			}
			digest, ok := tags[m[1]+" "+m[2]]
			if !ok {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			w.Header().Set("Docker-Content-Digest", digest)
		}
		w.WriteHeader(http.StatusOK)
	})
	admit := func(_ context.Context, name, digest string) (*Admission, error) {
		a := &Admission{Image: name, Digest: digest}
		switch {
		case name == "unsaid":
			return nil, errors.New("the store is away")
		case digest == "sha256:late":
			a.Live, a.Overdue = true, []Finding{{Advisory: "CVE-1"}}
		case digest == "sha256:old":
			a.ReplacedBy = "sha256:now"
		case digest == "sha256:now":
			a.Live = true
		}
		return a, nil
	}
	gate := PullGate(served, admit)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/", 200},
		{"GET", "/v2/web/manifests/latest", 200},
		{"HEAD", "/v2/web/manifests/latest", 200},
		{"GET", "/v2/web/manifests/sha256:now", 200},
		{"GET", "/v2/web/manifests/sha256:artifact", 200},
		{"GET", "/v2/web/manifests/" + artifact, 200},
		{"GET", "/v2/web/blobs/sha256:x", 200},
		{"GET", "/v2/web/manifests/sha256:old", 403},
		{"GET", "/v2/web/manifests/1.0", 403}, // an old tag, though the live image is well
		{"GET", "/v2/web/manifests/stray", 403},
		{"GET", "/v2/web/manifests/none", 404},
		{"GET", "/v2/late/manifests/latest", 403},
		{"HEAD", "/v2/late/manifests/sha256:late", 403},
		{"GET", "/v2/unsaid/manifests/latest", 503},
		{"GET", "/v2/mute/manifests/latest", 503},
		{"PUT", "/v2/web/manifests/latest", 405},
		{"DELETE", "/v2/web/manifests/latest", 405},
	} {
		w := httptest.NewRecorder()
		gate.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.want {
			t.Errorf("%s %s = %d, want %d", c.method, c.path, w.Code, c.want)
		}
	}
}

// TestPullGateOfRegistry: the gate before the registry of this module, asked by
// a client of registries.
func TestPullGateOfRegistry(t *testing.T) {
	store := registry.NewHandler()
	direct := httptest.NewServer(store)
	defer direct.Close()
	push := func(tag string) string {
		img, err := random.Image(64, 1)
		check(t, err)
		ref, err := name.ParseReference(strings.TrimPrefix(direct.URL, "http://") + "/web:" + tag)
		check(t, err)
		check(t, remote.Write(ref, img))
		digest, err := img.Digest()
		check(t, err)
		return digest.String()
	}
	old, now := push("1.0"), push("latest")
	gated := httptest.NewServer(PullGate(store, func(_ context.Context, name, digest string) (*Admission, error) {
		a := &Admission{Image: name, Digest: digest, Live: digest == now}
		if digest == old {
			a.ReplacedBy = now
		}
		return a, nil
	}))
	defer gated.Close()
	pull := func(reference string) (string, error) {
		ref, err := name.ParseReference(strings.TrimPrefix(gated.URL, "http://") + "/web" + reference)
		check(t, err)
		img, err := remote.Image(ref)
		if err != nil {
			return "", err
		}
		digest, err := img.Digest()
		return digest.String(), err
	}
	for reference, want := range map[string]string{":latest": now, "@" + now: now, ":1.0": "", "@" + old: "", ":2.0": ""} {
		got, err := pull(reference)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s gave %q, %v, want %q", reference, got, err, want)
		}
	}
}
