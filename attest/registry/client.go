package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/attest"
)

// Client moves an image with all of its evidence. The zero value is useful,
// and a client may be used by several goroutines.
type Client struct {
	Remote []remote.Option // credentials, transport; none when empty
	Jobs   int             // blobs at a time; 4 when zero
	Trace  Trace
}

// Trace is told of progress. Every function may be nil; those that are not are
// called one at a time.
type Trace struct {
	Blob     func(digest v1.Hash, size int64) // a referrer's blob is at its destination
	Manifest func(digest v1.Hash)             // image or referrer is at its destination
	Again    func(digest v1.Hash)             // a referrer that the registry lost is listed once more
}

// attempts is how often a list is mended that lost referrers: a fallback tag is read, changed and written, so whoever
// writes it at the same time may have taken entries away.
const attempts = 5

// set is an image and its referrers, wherever they are.
type set struct {
	image     v1.Hash
	referrers []v1.Hash
	open      func(h v1.Hash) (v1.Image, error)
}

// Push copies the image of an output directory to ref, and then every referrer
// of its layout. It gives the digest under which the image now is. What is
// there already is not sent again, so a push that was cut off goes on, and a
// second one changes nothing.
func (c *Client) Push(ctx context.Context, dir string, ref name.Reference) (name.Digest, error) {
	s, err := layoutSet(filepath.Join(dir, "oci"))
	if err != nil {
		return name.Digest{}, fmt.Errorf("push %s: %w", ref, err)
	}
	d, err := c.write(ctx, s, ref)
	if err != nil {
		return name.Digest{}, fmt.Errorf("push %s: %w", ref, err)
	}
	return d, nil
}

// Copy copies an image with every referrer from one registry to another, or to
// another repository.
func (c *Client) Copy(ctx context.Context, from, to name.Reference) (name.Digest, error) {
	s, err := c.remoteSet(ctx, from)
	if err != nil {
		return name.Digest{}, fmt.Errorf("copy %s: %w", from, err)
	}
	d, err := c.write(ctx, s, to)
	if err != nil {
		return name.Digest{}, fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return d, nil
}

// Pull makes an output directory of an image and its referrers, as
// [attest.Write] wrote it: dir must be new or empty. Nothing is verified;
// [attest.Verify] the directory.
func (c *Client) Pull(ctx context.Context, ref name.Reference, dir string) (name.Digest, error) {
	var none name.Digest
	s, err := c.remoteSet(ctx, ref)
	if err != nil {
		return none, fmt.Errorf("pull %s: %w", ref, err)
	}
	p, err := newLayout(dir)
	if err != nil {
		return none, fmt.Errorf("pull %s: %w", ref, err)
	}
	var digests []string
	for _, h := range append([]v1.Hash{s.image}, s.referrers...) {
		img, err := s.open(h)
		if err != nil {
			return none, fmt.Errorf("pull %s: %s: %w", ref, h, err)
		}
		if err := p.WriteImage(img); err != nil {
			return none, fmt.Errorf("pull %s: %s: %w", ref, h, err)
		}
		if c.Trace.Manifest != nil {
			c.Trace.Manifest(h)
		}
		digests = append(digests, h.String())
	}
	if err := attest.Restore(dir, digests[0], digests[1:]); err != nil {
		return none, fmt.Errorf("pull %s: %w", ref, err)
	}
	return ref.Context().Digest(s.image.String()), nil
}

func (c *Client) options(ctx context.Context) []remote.Option {
	return append(c.Remote[:len(c.Remote):len(c.Remote)], remote.WithContext(ctx), remote.WithJobs(c.jobs()))
}

func (c *Client) jobs() int {
	if c.Jobs > 0 {
		return c.Jobs
	}
	return 4
}

// write sends blobs side by side, and manifests one after the other: image,
// then referrers, so that nothing is ever attached to what is not there.
func (c *Client) write(ctx context.Context, s *set, to name.Reference) (name.Digest, error) {
	var none name.Digest
	opts := c.options(ctx)
	img, err := s.open(s.image)
	if err != nil {
		return none, err
	}
	if err := remote.Write(to, img, opts...); err != nil {
		return none, err
	}
	c.manifest(s.image)
	referrers := make([]v1.Image, len(s.referrers))
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.jobs())
	blobOpts := c.options(gctx)
	for i, h := range s.referrers {
		g.Go(func() error {
			r, err := s.open(h)
			if err != nil {
				return fmt.Errorf("referrer %s: %w", h, err)
			}
			layers, err := r.Layers()
			if err != nil {
				return fmt.Errorf("referrer %s: %w", h, err)
			}
			for _, l := range layers {
				if err := remote.WriteLayer(to.Context(), l, blobOpts...); err != nil {
					return fmt.Errorf("referrer %s: %w", h, err)
				}
				if c.Trace.Blob != nil {
					d, err1 := l.Digest()
					size, err2 := l.Size()
					if err := errors.Join(err1, err2); err != nil {
						return fmt.Errorf("referrer %s: %w", h, err)
					}
					mu.Lock()
					c.Trace.Blob(d, size)
					mu.Unlock()
				}
			}
			referrers[i] = r
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return none, err
	}
	for i, r := range referrers {
		h := s.referrers[i]
		if err := remote.Write(to.Context().Digest(h.String()), r, opts...); err != nil {
			return none, fmt.Errorf("referrer %s: %w", h, err)
		}
		c.manifest(h)
	}
	d := to.Context().Digest(s.image.String())
	for n := 0; ; n++ {
		listed, err := c.list(ctx, d)
		if err != nil {
			return none, err
		}
		lost := slices.DeleteFunc(slices.Clone(referrers), func(r v1.Image) bool {
			h, err := r.Digest()
			return err == nil && slices.ContainsFunc(listed, func(x ocispec.Descriptor) bool { return string(x.Digest) == h.String() })
		})
		if len(lost) == 0 {
			return d, nil
		}
		if n == attempts {
			return none, fmt.Errorf("%d of %d referrers are not listed after %d attempts", len(lost), len(referrers), n)
		}
		if err := c.mend(ctx, d, listed, lost); err != nil {
			return none, err
		}
	}
}

// mend writes the fallback tag with those that it lost.
func (c *Client) mend(ctx context.Context, d name.Digest, listed []ocispec.Descriptor, lost []v1.Image) error {
	for _, r := range lost {
		raw, err := r.RawManifest()
		if err != nil {
			return err
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return err
		}
		desc := descriptor(&m, raw)
		listed = append(listed, desc)
		if c.Trace.Again != nil {
			c.Trace.Again(v1.Hash{Algorithm: "sha256", Hex: desc.Digest.Encoded()})
		}
	}
	raw, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: listed})
	if err != nil {
		return err
	}
	tag := d.Context().Tag(strings.Replace(d.DigestStr(), ":", "-", 1))
	if err := remote.Put(tag, rawIndex(raw), c.options(ctx)...); err != nil {
		return fmt.Errorf("fallback tag %s: %w", tag, err)
	}
	return nil
}

// rawIndex is an index as its bytes.
type rawIndex []byte

func (r rawIndex) RawManifest() ([]byte, error)        { return r, nil }
func (r rawIndex) MediaType() (types.MediaType, error) { return types.OCIImageIndex, nil }

func (c *Client) manifest(h v1.Hash) {
	if c.Trace.Manifest != nil {
		c.Trace.Manifest(h)
	}
}

// list is what a registry says is attached, by its API or by its fallback tag.
func (c *Client) list(ctx context.Context, d name.Digest) ([]ocispec.Descriptor, error) {
	idx, err := remote.Referrers(d, c.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", d, err)
	}
	raw, err := idx.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", d, err)
	}
	var m ocispec.Index
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", d, err)
	}
	return m.Manifests, nil
}

func layoutSet(oci string) (*set, error) {
	idx, err := readIndex(filepath.Join(oci, "index.json"))
	if err != nil {
		return nil, err
	}
	s := &set{open: func(h v1.Hash) (v1.Image, error) { return layout.Path(oci).Image(h) }}
	images := 0
	for _, d := range idx.Manifests {
		h, err := v1.NewHash(string(d.Digest))
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		if d.Annotations[annotation] == imageMarker {
			s.image = h
			images++
		} else {
			s.referrers = append(s.referrers, h)
		}
	}
	if images != 1 {
		return nil, fmt.Errorf("%s names %d images, want one", filepath.Join(oci, "index.json"), images)
	}
	return s, nil
}

func (c *Client) remoteSet(ctx context.Context, ref name.Reference) (*set, error) {
	opts := c.options(ctx)
	desc, err := remote.Get(ref, opts...)
	if err != nil {
		return nil, err
	}
	s := &set{image: desc.Digest, open: func(h v1.Hash) (v1.Image, error) {
		return remote.Image(ref.Context().Digest(h.String()), opts...)
	}}
	listed, err := c.list(ctx, ref.Context().Digest(desc.Digest.String()))
	if err != nil {
		return nil, err
	}
	for _, d := range listed {
		h, err := v1.NewHash(string(d.Digest))
		if err != nil {
			return nil, fmt.Errorf("referrers of %s: %w", ref, err)
		}
		if !slices.Contains(s.referrers, h) {
			s.referrers = append(s.referrers, h)
		}
	}
	return s, nil
}
