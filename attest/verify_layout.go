package attest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/compile"
)

const (
	maxIndex    = 16 << 20
	maxManifest = 4 << 20
	maxBundle   = 128 << 20
	maxEntries  = 100_000 // files of a directory
)

// layoutIndex is oci/index.json.
type layoutIndex struct {
	raw       []byte
	image     ocispec.Descriptor
	name      string
	referrers []ocispec.Descriptor
}

// scan lists the directory. Anything that is neither a directory nor a regular
// file is a problem and is never read.
func (c *checker) scan() bool {
	c.sizes = map[string]int64{}
	err := fs.WalkDir(c.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if len(c.sizes) > maxEntries {
			return fmt.Errorf("more than %d files", maxEntries)
		}
		switch {
		case d.IsDir():
		case d.Type().IsRegular():
			fi, err := d.Info()
			if err != nil {
				return err
			}
			c.sizes[name] = fi.Size()
		default:
			c.problem(roleOfPath(name), Foreign, name, "is not a regular file")
		}
		return nil
	})
	if err != nil {
		c.problem(roleLayout, Missing, "", "%v", err)
	}
	return err == nil
}

// read gives a file of the directory, at most limit bytes.
func (c *checker) read(name string, limit int64) ([]byte, error) {
	size, ok := c.sizes[name]
	if !ok {
		return nil, errMissing
	}
	if size > limit {
		return nil, fmt.Errorf("has %d bytes, at most %d are read", size, limit)
	}
	f, err := c.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("has more than %d bytes", limit)
	}
	return b, nil
}

// blob gives the bytes with a digest.
func (c *checker) blob(digest string, limit int64) ([]byte, error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("%q is not a sha256 digest", digest)
	}
	b, err := c.read(blobPath(digest), limit)
	if err != nil {
		return nil, err
	}
	if got := digestOf(b); got != digest {
		return nil, fmt.Errorf("the bytes have digest %s", got)
	}
	return b, nil
}

// isDigest says whether a string is "sha256:" and 64 hexadecimal digits, and
// so safe as a file name.
func isDigest(s string) bool {
	h, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(h) == 64 && strings.Trim(h, "0123456789abcdef") == ""
}

// sum hashes a file of any size.
func (c *checker) sum(name string) (digest string, size int64, err error) {
	f, err := c.root.Open(filepath.FromSlash(name))
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), n, err
}

// readIndex reads oci/index.json and finds the image.
func (c *checker) readIndex() bool {
	const name = "oci/index.json"
	raw, err := c.read(name, maxIndex)
	if err != nil {
		c.problem(roleLayout, Missing, name, "%v", err)
		return false
	}
	var idx ocispec.Index
	if err := strictJSON(raw, &idx); err != nil {
		c.problem(roleLayout, Forged, name, "%v", err)
		return false
	}
	li := &layoutIndex{raw: raw}
	images := 0
	for _, d := range idx.Manifests {
		if d.Annotations[annotationKind] == cosignImage {
			images++
			li.name = d.Annotations[ocispec.AnnotationRefName]
			d.Annotations = nil
			li.image = d
		} else {
			li.referrers = append(li.referrers, d)
		}
	}
	if images != 1 {
		c.problem(roleImage, Missing, name, "names %d images, want one", images)
		return false
	}
	c.v.Image, c.v.Name, c.index = string(li.image.Digest), li.name, li
	if c.opts.Image != "" && c.opts.Image != c.v.Image {
		c.problem(roleImage, Foreign, name, "holds image %s, asked for %s", c.v.Image, c.opts.Image)
	}
	return true
}

// policy reads the label in the image's configuration: it is bound by the
// image's digest, so it stays when every referrer is stripped.
func (c *checker) policy() {
	raw, err := c.blob(c.v.Image, maxManifest)
	if err != nil {
		c.problem(roleImage, stateOf(err), blobPath(c.v.Image), "manifest: %v", err)
		return
	}
	var m ocispec.Manifest
	if err := strictJSON(raw, &m); err != nil {
		c.problem(roleImage, Forged, blobPath(c.v.Image), "manifest: %v", err)
		return
	}
	config, err := c.blob(string(m.Config.Digest), maxManifest)
	if err != nil {
		c.problem(roleImage, stateOf(err), blobPath(string(m.Config.Digest)), "configuration: %v", err)
		return
	}
	img, err := parseConfig(config)
	if err != nil {
		c.problem(roleImage, Forged, blobPath(string(m.Config.Digest)), "configuration: %v", err)
		return
	}
	c.v.Policy = img.Config.Labels[compile.EvidenceLabel]
	switch c.v.Policy {
	case policy:
	case "":
		c.problem(roleImage, Missing, blobPath(string(m.Config.Digest)), "label %s is not there: the image does not promise any evidence", compile.EvidenceLabel)
	default:
		c.problem(roleImage, Foreign, blobPath(string(m.Config.Digest)), "label %s is %q, want %q: the image does not promise this evidence", compile.EvidenceLabel, c.v.Policy, policy)
	}
}

// errMissing is a file that is not in the directory.
var errMissing = errors.New("is missing")

// stateOf tells a blob that is not there from one that differs, and a
// signature that came too early or too late from one that is not the signer's.
func stateOf(err error) State {
	switch {
	case errors.Is(err, errMissing):
		return Missing
	case errors.Is(err, errExpired):
		return Stale
	}
	return Forged
}

// files compares the directory with the manifest's list. Every file is hashed
// once, as many at a time as there are processors.
func (c *checker) files(m *Manifest) {
	c.roles = map[string]string{}
	found := make([]string, len(m.Files))
	errs := make([]error, len(m.Files))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range m.Files {
		c.roles[f.Path] = f.Role
		if size, ok := c.sizes[f.Path]; !ok || size != f.Size {
			continue
		}
		g.Go(func() error {
			if errs[i] = c.ctx.Err(); errs[i] == nil {
				found[i], _, errs[i] = c.sum(f.Path)
			}
			return nil
		})
	}
	g.Wait()
	for i, f := range m.Files {
		size, ok := c.sizes[f.Path]
		switch {
		case !ok:
			c.problem(f.Role, Missing, f.Path, "file is missing")
		case size != f.Size:
			c.problem(f.Role, Forged, f.Path, "file has %d bytes, the evidence manifest says %d", size, f.Size)
		case errs[i] != nil:
			c.problem(f.Role, Missing, f.Path, "%v", errs[i])
		case found[i] != f.Digest:
			c.problem(f.Role, Forged, f.Path, "file has digest %s, the evidence manifest says %s", found[i], f.Digest)
		}
	}
}

// unlisted reports files and referrers that the manifest does not name.
func (c *checker) unlisted() {
	own := map[string]bool{"evidence/manifest.json": true, "oci/index.json": true}
	for _, b := range c.attached {
		if b == c.manifest || slices.Contains(c.cosigned, b) {
			own[blobPath(b.blob)], own[blobPath(string(b.desc.Digest))] = true, true
		}
	}
	names := make([]string, 0, len(c.sizes))
	for n := range c.sizes {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if _, listed := c.roles[n]; !listed && !own[n] && !c.forgiven[n] {
			c.problem(roleOfPath(n), Foreign, n, "file is not in the evidence manifest")
		}
	}
}

// exactIndex makes oci/index.json anew, out of the manifests that it names: it
// has no free byte.
func (c *checker) exactIndex(m *Manifest) {
	const name = "oci/index.json"
	image := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: c.index.image.Digest, Size: c.sizes[blobPath(c.v.Image)]}
	var referrers []ocispec.Descriptor
	for _, a := range c.attached {
		d := a.desc
		if a.manifest != nil { // else told already
			if d = referrerDescriptor(a.raw, a.manifest); !reflect.DeepEqual(d, a.desc) {
				c.problem(cmp.Or(a.role, roleLayout), Forged, name, "describes %s otherwise than its manifest", d.Digest)
			}
		}
		referrers = append(referrers, d)
	}
	want, err := renderIndex(image, m.Name, referrers)
	if err != nil {
		c.problem(roleLayout, Forged, name, "%v", err)
	} else if !bytes.Equal(want, c.index.raw) {
		c.problem(roleLayout, Forged, name, "is not the index of the image and its referrers")
	}
}

// roleOfPath guesses what an unlisted path belongs to, for its name only.
func roleOfPath(name string) string {
	switch name {
	case "cosign.pub":
		return roleKey
	case "trusted_root.json", "tsa.pem":
		return roleTrust
	case "evidence/manifest.json":
		return roleManifest
	case "evidence/" + sumsFile, "evidence/" + sumsSig:
		return roleSums
	}
	if base, ok := strings.CutPrefix(name, "evidence/"); ok {
		for _, k := range Kinds() {
			if k.File == base {
				return k.Name
			}
		}
	}
	if strings.HasPrefix(name, "oci/") {
		return roleLayout
	}
	return roleExtra
}
