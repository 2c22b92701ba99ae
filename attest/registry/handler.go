package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const maxManifest = 4 << 20

var (
	manifestPath  = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)
	referrersPath = regexp.MustCompile(`^/v2/(.+)/referrers/([^/]+)$`)
)

// Handler is a registry in memory with the referrers API of OCI distribution
// 1.1: it lists the artifact type and annotations of each manifest, filters by
// artifactType and says so, and pages by n and last. The registry underneath has neither. The zero
// value is not usable; see [NewHandler].
type Handler struct {
	inner http.Handler
	mu    sync.Mutex
	refs  map[string][]ocispec.Descriptor // repository "@" subject
}

// NewHandler makes an empty registry.
func NewHandler() *Handler {
	quiet := log.New(io.Discard, "", 0)
	return &Handler{
		inner: registry.New(registry.Logger(quiet), registry.WithReferrersSupport(true)),
		refs:  map[string][]ocispec.Descriptor{},
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m := referrersPath.FindStringSubmatch(r.URL.Path); m != nil && r.Method == http.MethodGet {
		h.referrers(w, r, m[1], m[2])
		return
	}
	m := manifestPath.FindStringSubmatch(r.URL.Path)
	if m != nil && r.Method == http.MethodDelete {
		s := &status{ResponseWriter: w}
		if h.inner.ServeHTTP(s, r); s.code < 300 {
			h.forget(m[1], m[2])
		}
		return
	}
	if m == nil || r.Method != http.MethodPut {
		h.inner.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil || len(body) > maxManifest {
		http.Error(w, "manifest cannot be read or is too large", http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var man ocispec.Manifest
	if json.Unmarshal(body, &man) != nil || man.Subject == nil {
		h.inner.ServeHTTP(w, r)
		return
	}
	w.Header().Set("OCI-Subject", string(man.Subject.Digest))
	s := &status{ResponseWriter: w}
	h.inner.ServeHTTP(s, r)
	if s.code < 300 {
		h.remember(m[1], &man, body)
	}
}

// status notes the status code of a response.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// descriptor is how a list of referrers names a manifest.
func descriptor(m *ocispec.Manifest, raw []byte) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: cmp.Or(m.MediaType, ocispec.MediaTypeImageManifest), Digest: digest.FromBytes(raw), Size: int64(len(raw)),
		ArtifactType: cmp.Or(m.ArtifactType, m.Config.MediaType), Annotations: m.Annotations,
	}
}

func (h *Handler) remember(repo string, m *ocispec.Manifest, body []byte) {
	d := descriptor(m, body)
	key := repo + "@" + string(m.Subject.Digest)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.ContainsFunc(h.refs[key], func(o ocispec.Descriptor) bool { return o.Digest == d.Digest }) {
		h.refs[key] = append(h.refs[key], d)
	}
}

func (h *Handler) referrers(w http.ResponseWriter, r *http.Request, repo, subject string) {
	if digest.Digest(subject).Validate() != nil {
		http.Error(w, "not a digest", http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	list := slices.Clone(h.refs[repo+"@"+subject])
	h.mu.Unlock()
	want := r.URL.Query().Get("artifactType")
	if want != "" {
		list = slices.DeleteFunc(list, func(d ocispec.Descriptor) bool { return d.ArtifactType != want })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	n := maxReferrers
	if v := r.URL.Query().Get("n"); v != "" {
		asked, err := strconv.Atoi(v)
		if err != nil || asked < 1 {
			http.Error(w, "n is not a positive number", http.StatusBadRequest)
			return
		}
		n = min(n, asked)
	}
	if last := r.URL.Query().Get("last"); last != "" {
		at := slices.IndexFunc(list, func(d ocispec.Descriptor) bool { return string(d.Digest) == last })
		list = list[at+1:] // one that is gone: from the start
	}
	if len(list) > n {
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {string(list[n-1].Digest)}}
		if want != "" {
			next.Set("artifactType", want)
		}
		w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", r.URL.EscapedPath(), next.Encode()))
		list = list[:n]
	}
	if list == nil {
		list = []ocispec.Descriptor{}
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	json.NewEncoder(w).Encode(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: list,
	})
}

// maxReferrers bounds one answer; clients follow the Link header. The common
// Go client does not, so that it is far above what one image has.
const maxReferrers = 10_000

// forget takes a deleted manifest out of every list of the repository.
func (h *Handler) forget(repo, digest string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, list := range h.refs {
		if strings.HasPrefix(key, repo+"@") {
			h.refs[key] = slices.DeleteFunc(list, func(d ocispec.Descriptor) bool { return string(d.Digest) == digest })
		}
	}
}
