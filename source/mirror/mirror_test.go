package mirror_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/mirror"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

func ref(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTransport(t *testing.T) {
	content := []byte("an archive")
	hex := fmt.Sprintf("%x", sha256.Sum256(content))
	bad := strings.Repeat("0", 64)
	m := mirror.Transport{Files: fstest.MapFS{
		"sha256/" + hex:                     {Data: content},
		"sha256/" + bad:                     {Data: content},
		"sha256/" + strings.Repeat("1", 64): {Mode: fs.ModeDir},
	}}
	missing := ref(t, "mirror:sha256:"+strings.Repeat("a", 64))
	sourcetest.TestTransport(t, m, sourcetest.Place{Ref: ref(t, "mirror:sha256:"+hex), Content: content, Missing: missing})

	if _, err := m.Open(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(missing) = %v, want fs.ErrNotExist", err)
	}
	r, err := m.Open(t.Context(), ref(t, "mirror:sha256:"+bad))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var d *source.DigestError
	if _, err := io.ReadAll(r); !errors.As(err, &d) {
		t.Errorf("reading damaged content: %v, want a DigestError", err)
	}
	for _, s := range []string{"mirror:sha256:../x", "mirror:sha512:" + hex, "mirror:" + hex, "mirror://sha256/" + hex,
		"mirror:sha256:" + strings.ToUpper(hex), "mirror:sha256:" + strings.Repeat("1", 64)} {
		if _, err := m.Open(t.Context(), ref(t, s)); err == nil {
			t.Errorf("Open(%s) opened", s)
		}
	}
	if _, err := (mirror.Transport{}).Open(t.Context(), missing); err == nil {
		t.Error("a mirror without a directory opened")
	}
}
