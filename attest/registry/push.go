package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxIndex    = 16 << 20
	annotation  = "kind"
	imageMarker = "dev.cosignproject.cosign/image"
)

// Push copies the image of an output directory to ref, and then every referrer
// of its layout. It gives the digest under which the image now is; pushing
// again changes nothing.
func Push(ctx context.Context, dir string, ref name.Reference, opts ...remote.Option) (name.Digest, error) {
	var none name.Digest
	oci := filepath.Join(dir, "oci")
	idx, err := readIndex(filepath.Join(oci, "index.json"))
	if err != nil {
		return none, fmt.Errorf("push %s: %w", ref, err)
	}
	opts = append(opts[:len(opts):len(opts)], remote.WithContext(ctx))
	var image *v1.Hash
	var referrers []v1.Hash
	for _, d := range idx.Manifests {
		h, err := v1.NewHash(string(d.Digest))
		if err != nil {
			return none, fmt.Errorf("push %s: index: %w", ref, err)
		}
		if d.Annotations[annotation] == imageMarker {
			image = &h
		} else {
			referrers = append(referrers, h)
		}
	}
	if image == nil {
		return none, fmt.Errorf("push %s: %s names no image", ref, filepath.Join(oci, "index.json"))
	}
	img, err := layout.Path(oci).Image(*image)
	if err != nil {
		return none, fmt.Errorf("push %s: %w", ref, err)
	}
	if err := remote.Write(ref, img, opts...); err != nil {
		return none, fmt.Errorf("push %s: %w", ref, err)
	}
	for _, h := range referrers {
		r, err := layout.Path(oci).Image(h)
		if err != nil {
			return none, fmt.Errorf("push referrer %s: %w", h, err)
		}
		if err := remote.Write(ref.Context().Digest(h.String()), r, opts...); err != nil {
			return none, fmt.Errorf("push referrer %s: %w", h, err)
		}
	}
	return ref.Context().Digest(image.String()), nil
}

func readIndex(path string) (*ocispec.Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxIndex {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxIndex)
	}
	idx := new(ocispec.Index)
	if err := json.Unmarshal(b, idx); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return idx, nil
}
