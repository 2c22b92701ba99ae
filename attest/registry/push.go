package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxIndex    = 16 << 20
	annotation  = "kind"
	imageMarker = "dev.cosignproject.cosign/image"
)

// Push is [Client.Push] of a client with these options.
func Push(ctx context.Context, dir string, ref name.Reference, opts ...remote.Option) (name.Digest, error) {
	return (&Client{Remote: opts}).Push(ctx, dir, ref)
}

// newLayout makes an empty layout in dir/oci. Dir must be empty or absent.
func newLayout(dir string) (layout.Path, error) {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty", dir)
	}
	oci := filepath.Join(dir, "oci")
	if err := os.MkdirAll(oci, 0o755); err != nil {
		return "", err
	}
	return layout.Write(oci, empty.Index)
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
