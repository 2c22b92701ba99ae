package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
)

var (
	pulled = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)
	// aside is a tag of what is about an image, where a registry has no referrers.
	aside = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.[a-z]+)?$`)
)

// PullGate stands before a registry of OCI and asks, whenever somebody pulls an
// image, whether the promise still allows it: one whose time is over, or that
// was replaced for its flaws, is refused with 403, and nothing is served where
// nobody can say. Repositories are named as images. A tag is what the registry
// says that it names now, and that is asked about and served: the registry must
// answer HEAD with Docker-Content-Digest. A tag must name an image of the
// portfolio; by digest, what the portfolio does not know passes, as artifacts
// about an image do. Only reading is let through.
func PullGate(next http.Handler, admit func(ctx context.Context, name, digest string) (*Admission, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only")
			return
		}
		m := pulled.FindStringSubmatch(r.URL.Path)
		if m == nil {
			next.ServeHTTP(w, r)
			return
		}
		name, digest := m[1], m[2]
		tagged := !strings.Contains(digest, ":")
		if tagged {
			answer := &answered{header: http.Header{}}
			ask := at(r, http.MethodHead, name, m[2])
			ask.Header.Del("If-None-Match")
			next.ServeHTTP(answer, ask)
			if answer.status == http.StatusNotFound {
				refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "there is no tag "+m[2])
				return
			}
			digest = answer.header.Get("Docker-Content-Digest")
			if answer.status != http.StatusOK || !strings.Contains(digest, ":") {
				refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "what the tag names cannot be said now")
				return
			}
		}
		a, err := admit(r.Context(), name, digest)
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "whether the image may be used cannot be said now")
			return
		}
		known := a.Live || a.ReplacedBy != ""
		var refused *RefusedError
		if errors.As(a.Err(), &refused) && (known || tagged && !aside.MatchString(m[2])) {
			refuse(w, http.StatusForbidden, "DENIED", refused.Error())
			return
		}
		next.ServeHTTP(w, at(r, r.Method, name, digest))
	})
}

// at is the request for a manifest.
func at(r *http.Request, method, name, reference string) *http.Request {
	out := r.Clone(r.Context())
	out.Method, out.URL.Path, out.URL.RawPath, out.RequestURI = method, "/v2/"+name+"/manifests/"+reference, "", ""
	return out
}

// answered keeps what an answer says of itself.
type answered struct {
	header http.Header
	status int
}

func (a *answered) Header() http.Header { return a.header }

func (a *answered) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answered) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return len(b), nil
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string][]one{"errors": {{code, message}}})
}
