package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
)

var pulled = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)

// PullGate stands before a registry of OCI and asks, whenever somebody pulls an
// image, whether the promise still allows it: one whose time is over, or that
// was replaced for its flaws, is refused with 403, and nothing is served where
// nobody can say. Repositories are named as images; artifacts about an image,
// which the portfolio does not know, pass. Only reading is let through.
func PullGate(next http.Handler, admit func(ctx context.Context, name, digest string) (*Admission, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only")
			return
		}
		if m := pulled.FindStringSubmatch(r.URL.Path); m != nil {
			digest := ""
			if strings.Contains(m[2], ":") {
				digest = m[2]
			}
			a, err := admit(r.Context(), m[1], digest)
			if err != nil {
				refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "whether the image may be used cannot be said now")
				return
			}
			var refused *RefusedError
			if errors.As(a.Err(), &refused) && (a.Live || a.ReplacedBy != "") {
				refuse(w, http.StatusForbidden, "DENIED", refused.Error())
				return
			}
		}
		next.ServeHTTP(w, r)
	})
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
