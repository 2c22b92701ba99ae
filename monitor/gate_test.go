package monitor

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestPullGate(t *testing.T) {
	served := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	admit := func(_ context.Context, name, digest string) (*Admission, error) {
		switch {
		case name == "late":
			return &Admission{Image: name, Live: true, Overdue: []Finding{{Advisory: "CVE-1"}}}, nil
		case digest == "sha256:old":
			return &Admission{Image: name, Digest: digest, ReplacedBy: "sha256:new"}, nil
		case name == "unsaid":
			return nil, errors.New("the store is away")
		case digest == "sha256:artifact":
			return &Admission{Image: name, Digest: digest}, nil
		}
		return &Admission{Image: name, Live: true}, nil
	}
	gate := PullGate(served, admit)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/", 200},
		{"GET", "/v2/web/manifests/latest", 200},
		{"HEAD", "/v2/web/manifests/latest", 200},
		{"GET", "/v2/web/manifests/sha256:artifact", 200},
		{"GET", "/v2/web/blobs/sha256:x", 200},
		{"GET", "/v2/web/manifests/sha256:old", 403},
		{"GET", "/v2/late/manifests/latest", 403},
		{"HEAD", "/v2/late/manifests/sha256:x", 403},
		{"GET", "/v2/unsaid/manifests/latest", 503},
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
