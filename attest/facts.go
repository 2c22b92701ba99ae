package attest

import (
	"archive/tar"
	"context"
	"crypto/sha1" // SPDX 2.3 requires it for files; nothing is decided by it
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	packageurl "github.com/package-url/packageurl-go"
	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/compile"
)

// facts is the image as the artifacts see it. All of it is read from the image
// and the record; where both say something, they must agree.
type facts struct {
	name       string
	purl       string
	manifest   string // digests
	config     string
	record     *compile.Record
	layers     []compile.LayerRecord
	components []component

	configSHA512 string
	layerSHA512  []string // of the compressed layers
}

// component is one line of the bills of materials.
type component struct {
	name, version, purl string
	record              *compile.ComponentRecord // nil for the toolchain's runtime
	files               []shipped                // regular files in the image
	objects             []object                 // the toolchain's runtime: what was linked in
	needs               []string                 // purls
	license             licence
	sources             *sourceLicences // nil without a tree
}

// shipped is one regular file of the image.
type shipped struct {
	path                 string // relative to the root
	size                 int64
	sha1, sha256, sha512 string // hexadecimal
}

// object is one object of the toolchain that was linked into a shipped file.
type object struct {
	name   string
	digest string
	size   int64
}

// runtimeName is the component that stands for the objects that a toolchain
// itself links in: start files, libgcc, and its C library where none of ours
// is used.
const runtimeName = "toolchain-runtime"

func (f *facts) subject() Subject {
	return Subject{Name: f.name, Digest: map[string]string{"sha256": hexOf(f.manifest)}}
}

func (f *facts) purls() []string {
	var p []string
	for _, c := range f.components {
		p = append(p, c.purl)
	}
	return p
}

// componentSet is the digest of a set of package URLs, whatever its order.
func componentSet(purls []string) string {
	p := slices.Clone(purls)
	slices.Sort(p)
	return digestOf([]byte(strings.Join(slices.Compact(p), "\n") + "\n"))
}

func gather(ctx context.Context, in *Input) (*facts, error) {
	r := in.Image.Record
	f := &facts{name: r.Spec.Name, record: r, layers: r.Image.Layers}
	m, err := in.Image.Digest()
	if err != nil {
		return nil, err
	}
	c, err := in.Image.ConfigName()
	if err != nil {
		return nil, err
	}
	f.manifest, f.config = m.String(), c.String()
	if f.manifest != r.Image.Manifest {
		return nil, fmt.Errorf("the image is %s, its record says %s", f.manifest, r.Image.Manifest)
	}
	if f.config != r.Image.Config {
		return nil, fmt.Errorf("the configuration is %s, its record says %s", f.config, r.Image.Config)
	}
	f.purl = imagePURL(f.name, f.manifest)

	layers, err := in.Image.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != len(r.Image.Layers) {
		return nil, fmt.Errorf("the image has %d layers, its record %d", len(layers), len(r.Image.Layers))
	}
	raw, err := in.Image.RawConfigFile()
	if err != nil {
		return nil, err
	}
	f.configSHA512 = sha512Of(raw)
	f.layerSHA512 = make([]string, len(layers))
	inLayer := make([][]shipped, len(layers))
	licences := make([]licence, len(r.Components))
	sources := make([]*sourceLicences, len(r.Components))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range layers {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			rec := r.Image.Layers[i]
			if f.layerSHA512[i], err = compressedSHA512(l); err != nil {
				return fmt.Errorf("layer %s: %w", rec.Digest, err)
			}
			if inLayer[i], err = layerFiles(l, true); err != nil {
				return fmt.Errorf("layer %s: %w", rec.Digest, err)
			}
			if err := explained(inLayer[i], rec.Files); err != nil {
				return fmt.Errorf("layer %s of %s: %w", rec.Digest, rec.Component, err)
			}
			return nil
		})
	}
	for i := range r.Components {
		g.Go(func() (err error) {
			if licences[i], err = concludeLicence(in.Image, &r.Components[i]); err != nil {
				return fmt.Errorf("licences of %s: %w", r.Components[i].Component.Name, err)
			}
			tree := in.Image.Tree(r.Components[i].Component.Name)
			if tree == nil {
				return nil
			}
			if sources[i], err = scanTree(tree.FS()); err != nil {
				return fmt.Errorf("source of %s: %w", r.Components[i].Component.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	files := map[string][]shipped{}
	for i := range layers {
		name := r.Image.Layers[i].Component
		files[name] = append(files[name], inLayer[i]...)
	}

	purls := map[string]string{}
	for i := range r.Components {
		purls[r.Components[i].Component.Name] = r.Components[i].Component.PURL
	}
	for i := range r.Components {
		rec := &r.Components[i]
		c := component{name: rec.Component.Name, version: rec.Component.Version, purl: rec.Component.PURL, record: rec, files: files[rec.Component.Name]}
		if c.purl == "" {
			return nil, fmt.Errorf("component %s has no package URL", c.name)
		}
		delete(files, c.name)
		for _, n := range rec.Component.Needs {
			p, ok := purls[n]
			if !ok {
				return nil, fmt.Errorf("component %s needs %s, which the record does not hold", c.name, n)
			}
			c.needs = append(c.needs, p)
		}
		c.license, c.sources = licences[i], sources[i]
		f.components = append(f.components, c)
	}
	for name := range files {
		return nil, fmt.Errorf("a layer belongs to component %q, which the record does not hold", name)
	}
	if rt := toolchainRuntime(r); rt != nil {
		for i := range f.components {
			if linksToolchain(f.components[i].record) {
				f.components[i].needs = append(f.components[i].needs, rt.purl)
			}
		}
		f.components = append(f.components, *rt)
	}
	seen := map[string]string{}
	for _, c := range f.components {
		if other, dup := seen[c.purl]; dup {
			return nil, fmt.Errorf("components %s and %s share the package URL %s", other, c.name, c.purl)
		}
		seen[c.purl] = c.name
	}
	return f, nil
}

// imagePURL names the image as scanners match it.
func imagePURL(name, digest string) string {
	return packageurl.NewPackageURL(packageurl.TypeOCI, "", strings.ToLower(path.Base(name)), digest, nil, "").ToString()
}

func linksToolchain(rec *compile.ComponentRecord) bool {
	for _, l := range rec.Result.Links {
		for _, in := range l.Inputs {
			if in.Origin == "toolchain" {
				return true
			}
		}
	}
	return false
}

// toolchainRuntime is nil when no object of the toolchain was linked in.
func toolchainRuntime(r *compile.Record) *component {
	objects := map[object]bool{}
	for i := range r.Components {
		for _, l := range r.Components[i].Result.Links {
			for _, in := range l.Inputs {
				if in.Origin != "toolchain" {
					continue
				}
				name := path.Clean(in.Path)
				if in.Member != "" {
					name += "(" + in.Member + ")"
				}
				objects[object{name, hexOf(in.Digest), in.Size}] = true
			}
		}
	}
	if len(objects) == 0 {
		return nil
	}
	c := &component{name: runtimeName, version: hexOf(r.Toolchain.Digest), license: licence{Declared: noAssertion, Concluded: noAssertion,
		Reason: "objects of the toolchain's packages, whose licence texts are not part of the build"}}
	if len(c.version) > 12 {
		c.version = c.version[:12]
	}
	c.purl = "pkg:generic/" + runtimeName + "@" + c.version
	for o := range objects {
		c.objects = append(c.objects, o)
	}
	slices.SortFunc(c.objects, func(a, b object) int {
		return strings.Compare(a.name+a.digest, b.name+b.digest)
	})
	return c
}

// maxLayer bounds what is unpacked of one layer.
const maxLayer = 8 << 30

// layerFiles hashes the regular files of a layer, in archive order, and with
// SHA-1 only for whom a format asks for it.
func layerFiles(l v1.Layer, withSHA1 bool) (files []shipped, err error) {
	rc, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	return tarFiles(io.LimitReader(rc, maxLayer), withSHA1)
}

func sha512Of(b []byte) string {
	sum := sha512.Sum512(b)
	return hex.EncodeToString(sum[:])
}

// compressedSHA512 hashes a layer as it is stored.
func compressedSHA512(l v1.Layer) (sum string, err error) {
	rc, err := l.Compressed()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	h := sha512.New()
	if _, err := io.Copy(h, io.LimitReader(rc, maxLayer)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func tarFiles(r io.Reader, withSHA1 bool) ([]shipped, error) {
	var files []shipped
	tr := tar.NewReader(r)
	buf := make([]byte, 64<<10)
	s1, s2, s5 := sha1.New(), sha256.New(), sha512.New()
	sums := io.MultiWriter(s2, s5)
	if withSHA1 {
		sums = io.MultiWriter(s1, s2, s5)
	}
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		s1.Reset()
		s2.Reset()
		s5.Reset()
		n, err := io.CopyBuffer(sums, struct{ io.Reader }{tr}, buf)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		f := shipped{path: cleanPath(h.Name), size: n, sha256: hex.EncodeToString(s2.Sum(nil)), sha512: hex.EncodeToString(s5.Sum(nil))}
		if withSHA1 {
			f.sha1 = hex.EncodeToString(s1.Sum(nil))
		}
		files = append(files, f)
	}
}

func cleanPath(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// explained compares the files of a layer with the record's: every file of
// either must be in the other, with the same bytes.
func explained(got []shipped, want []compile.File) error {
	left := map[string]compile.File{}
	for _, f := range want {
		if f.Link == "" {
			left[cleanPath(f.Path)] = f
		}
	}
	var errs []error
	for _, g := range got {
		w, ok := left[g.path]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s is in the layer and not in the record", g.path))
		case hexOf(w.Digest) != g.sha256:
			errs = append(errs, fmt.Errorf("%s has digest sha256:%s, the record says %s", g.path, g.sha256, w.Digest))
		}
		delete(left, g.path)
	}
	names := make([]string, 0, len(left))
	for n := range left {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		errs = append(errs, fmt.Errorf("%s is in the record and not in the layer", n))
	}
	return errors.Join(errs...)
}
