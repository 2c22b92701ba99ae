package attest

import (
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"golang.org/x/sync/errgroup"
)

// linkImage compares the hash statement with the image itself: every layer and
// every file, read anew.
func (c *checker) linkImage() {
	p := c.main(Hash)
	if p == nil || c.damaged(roleImage) {
		return
	}
	img, err := c.openImage()
	if err != nil {
		c.problem(roleImage, Forged, "", "%v", err)
		return
	}
	left := map[string]map[string]string{}
	for _, s := range p.st.Subject[1:] {
		if left[s.Name] != nil {
			c.problem(Hash, Forged, "", "names %s twice", s.Name)
		}
		left[s.Name] = s.Digest
	}
	expect := func(name, sha256, sha512 string) {
		d, ok := left[name]
		delete(left, name)
		switch {
		case !ok:
			c.problem(Hash, Missing, "", "does not name %s", name)
		case d["sha256"] != sha256 || sha512 != "" && d["sha512"] != sha512:
			c.problem(Hash, Forged, "", "%s has digest sha256:%s in the image, the statement says sha256:%s", name, sha256, d["sha256"])
		}
	}
	if raw, err := img.RawConfigFile(); err == nil {
		expect("config", hexOf(digestOf(raw)), sha512Of(raw))
	}
	layers, err := img.Layers()
	if err != nil {
		c.problem(roleImage, Forged, "", "%v", err)
		return
	}
	inLayer := make([][]shipped, len(layers))
	stored := make([]string, len(layers))
	errs := make([]error, len(layers))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range layers {
		g.Go(func() error {
			if errs[i] = c.ctx.Err(); errs[i] == nil {
				inLayer[i], errs[i] = layerFiles(l, false)
			}
			if errs[i] == nil {
				stored[i], errs[i] = compressedSHA512(l)
			}
			return nil
		})
	}
	g.Wait()
	digests := map[string]int{} // layers are named by component, which the image does not know
	for i, l := range layers {
		if d, err := l.Digest(); err == nil {
			digests["layer:"+d.Hex+stored[i]]++
		}
		if d, err := l.DiffID(); err == nil {
			digests["diffid:"+d.Hex]++
		}
		if errs[i] != nil {
			c.problem(roleImage, Forged, "", "%v", errs[i])
			return
		}
		for _, f := range inLayer[i] {
			expect("/"+f.path, f.sha256, f.sha512)
		}
	}
	for name, d := range left {
		kind, _, _ := strings.Cut(name, ":")
		key := kind + ":" + d["sha256"] + d["sha512"]
		if digests[key] > 0 {
			digests[key]--
			delete(left, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		c.problem(Hash, Foreign, "", "names %s, which is not in the image", name)
	}
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		if digests[name] > 0 {
			c.problem(Hash, Missing, "", "does not name %s", name)
		}
	}
}

// damaged says whether a role has a problem already.
func (c *checker) damaged(role string) bool {
	return slices.ContainsFunc(c.v.Problems, func(p Problem) bool { return p.Artifact == role })
}

func (c *checker) openImage() (v1.Image, error) {
	h, err := v1.NewHash(c.v.Image)
	if err != nil {
		return nil, err
	}
	return layout.Path(filepath.Join(c.root.Name(), "oci")).Image(h)
}
