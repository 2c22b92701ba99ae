package image

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// Config is what an image says about itself.
type Config struct {
	Platform   string // GOOS/GOARCH
	Entrypoint []string
	Cmd        []string
	Env        map[string]string
	User       string // numeric uid:gid
	WorkDir    string // "/" when empty
	Labels     map[string]string
	Created    time.Time
}

// Entry is one layer with its line in the image's history.
type Entry struct {
	Layer     v1.Layer
	CreatedBy string
}

// Assemble makes an image of exactly these layers, bottom first. It is
// validated before it is returned.
func Assemble(cfg Config, layers []Entry) (v1.Image, error) {
	goos, goarch, ok := strings.Cut(cfg.Platform, "/")
	if !ok || len(cfg.Entrypoint) == 0 || cfg.User == "" {
		return nil, fmt.Errorf("image: platform as os/arch, entrypoint and user are required (have %q, %q, %q)", cfg.Platform, cfg.Entrypoint, cfg.User)
	}
	created := v1.Time{Time: cfg.Created.UTC().Truncate(time.Second)}
	file := &v1.ConfigFile{
		Created:      created,
		OS:           goos,
		Architecture: goarch,
		RootFS:       v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
		Config: v1.Config{
			Entrypoint: cfg.Entrypoint,
			Cmd:        cfg.Cmd,
			Env:        environment(cfg.Env),
			User:       cfg.User,
			WorkingDir: cfg.WorkDir,
			Labels:     cfg.Labels,
		},
	}
	if cfg.WorkDir == "" {
		file.Config.WorkingDir = "/"
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(base, file)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	var adds []mutate.Addendum
	for _, l := range layers {
		adds = append(adds, mutate.Addendum{
			Layer:     l.Layer,
			MediaType: types.OCILayer,
			History:   v1.History{Created: created, CreatedBy: l.CreatedBy},
		})
	}
	if img, err = mutate.Append(img, adds...); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if err := validate.Image(img); err != nil {
		return nil, fmt.Errorf("image: assembled image is not valid: %w", err)
	}
	return img, nil
}

// environment is NAME=VALUE, sorted.
func environment(env map[string]string) []string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}
