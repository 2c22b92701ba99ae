package vex

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	govex "github.com/openvex/go-vex/pkg/vex"
)

// TestConsumersSuppressExactly filters as grype and trivy do, with the library
// that both use: the document is read back from its bytes, statements are
// looked up by vulnerability, product and the package URL of the bill, the
// last one counts, and not_affected and fixed take the match away. Whatever
// the product is called, exactly what was decided so is suppressed, and
// nothing of another component, version or image.
func TestConsumersSuppressExactly(t *testing.T) {
	r := report()
	ds, err := DecideAll(r)
	if err != nil {
		t.Fatal(err)
	}
	written, err := Document(r, ds, product, "author", when)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := written.ToJSON(&b); err != nil {
		t.Fatal(err)
	}
	doc, err := govex.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	suppressed := func(id, image string, purl string) bool {
		list := doc.Matches(id, image, []string{purl})
		if len(list) == 0 {
			return false
		}
		s := list[len(list)-1].Status
		return s == govex.StatusNotAffected || s == govex.StatusFixed
	}
	hash := strings.Repeat("ab", 32)
	images := []string{
		"pkg:oci/img@sha256:" + hash, "pkg:oci/img@sha256%3A" + hash,
		"pkg:oci/img@sha256:" + hash + "?repository_url=registry.example/team/img",
		"pkg:oci/img@sha256%3A" + hash + "?arch=amd64&repository_url=registry.example%2Fteam%2Fimg",
		"registry.example/team/img@sha256:" + hash, "sha256:" + hash, hash,
	}
	purls := []string{"pkg:generic/c@1.0", "pkg:generic/b@1.0"}
	away := 0
	for _, d := range ds {
		want := d.Status == govex.StatusNotAffected || d.Status == govex.StatusFixed
		for _, image := range images {
			for _, id := range append([]string{d.ID}, d.Aliases...) {
				if got := suppressed(id, image, d.PURL); got != want {
					t.Errorf("%s of %s in %s, decided %s: suppressed %v", id, d.PURL, image, d.Status, got)
				}
			}
			for _, p := range purls {
				if decided := slices.ContainsFunc(ds, func(o Decision) bool { return o.ID == d.ID && o.PURL == p }); !decided && suppressed(d.ID, image, p) {
					t.Errorf("%s is suppressed in %s, of which nothing was decided", d.ID, p)
				}
			}
		}
		for _, foreign := range []string{"pkg:oci/img@sha256:" + strings.Repeat("cd", 32), "pkg:oci/other@sha256:" + strings.Repeat("cd", 32), "registry.example/team/img:latest", strings.Repeat("cd", 32), ""} {
			if suppressed(d.ID, foreign, d.PURL) {
				t.Errorf("%s is suppressed in %q, which is another image", d.ID, foreign)
			}
		}
		for _, other := range []string{"pkg:generic/c@1.1", "pkg:generic/cc@1.0", "pkg:deb/debian/c@1.0"} {
			if suppressed(d.ID, images[0], other) {
				t.Errorf("%s is suppressed in %s", d.ID, other)
			}
		}
		if suppressed(d.ID+"0", images[0], d.PURL) {
			t.Errorf("%s0 is suppressed", d.ID)
		}
		if want {
			away++
		}
	}
	if away < 5 || away == len(ds) {
		t.Errorf("%d of %d are suppressed, which shows little", away, len(ds))
	}
}
