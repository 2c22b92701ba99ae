package compile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cleanstart/cleanstart/compile/image"
	"github.com/cleanstart/cleanstart/source"
)

// finish assembles the image of a record that has everything but the image,
// fills that in, and checks that every byte is explained.
func finish(r *Record, items map[string]*Item) (*Image, error) {
	img, rec, err := assemble(r, items)
	if err != nil {
		return nil, err
	}
	r.Image = rec
	if err := VerifyOrigins(r); err != nil {
		return nil, err
	}
	return NewImage(img, r, nil, items), nil
}

// assemble makes one layer of each component that ships files.
func assemble(r *Record, items map[string]*Item) (v1.Image, ImageRecord, error) {
	var rec ImageRecord
	var entries []image.Entry
	all := map[string]File{}
	for i := range r.Components {
		c := &r.Components[i]
		name := c.Component.Name
		files := c.Result.Output.Parts[PartRuntime].Files
		if len(files) == 0 {
			continue
		}
		item := items[name]
		if item == nil {
			return nil, rec, fmt.Errorf("image: no output of component %s", name)
		}
		fsys, err := item.Part(PartRuntime)
		if err != nil {
			return nil, rec, err
		}
		if err := checkLinked(fsys, c); err != nil {
			return nil, rec, err
		}
		for _, f := range files {
			if _, ok := all[f.Path]; ok {
				return nil, rec, fmt.Errorf("image: %s is a file of %s and of a component before it: narrow one component's runtime patterns", f.Path, name)
			}
			all[f.Path] = f
		}
		layer, lr, err := layerOf(c, fsys)
		if err != nil {
			return nil, rec, fmt.Errorf("image: component %s: %w", name, err)
		}
		rec.Layers = append(rec.Layers, lr)
		entries = append(entries, image.Entry{Layer: layer, CreatedBy: name + " " + c.Component.Version})
	}
	if err := checkPrograms(&r.Spec.Image, all); err != nil {
		return nil, rec, err
	}
	img, err := image.Assemble(configOf(r), entries)
	if err != nil {
		return nil, rec, err
	}
	manifest, err := img.Digest()
	if err != nil {
		return nil, rec, err
	}
	config, err := img.ConfigName()
	if err != nil {
		return nil, rec, err
	}
	rec.Manifest, rec.Config = manifest.String(), config.String()
	return img, rec, nil
}

// layerOf dates a layer with its own component's epoch, so that it stays the
// same when another component changes.
func layerOf(c *ComponentRecord, fsys fs.FS) (*image.Layer, LayerRecord, error) {
	files := c.Result.Output.Parts[PartRuntime].Files
	var list []image.File
	for _, f := range files {
		list = append(list, image.File(f))
	}
	l, err := image.NewLayer(fsys, list, unix(c.Action.Epoch))
	if err != nil {
		return nil, LayerRecord{}, err
	}
	digest, _ := l.Digest()
	diffID, _ := l.DiffID()
	size, _ := l.Size()
	return l, LayerRecord{
		Component: c.Component.Name, Digest: digest.String(), DiffID: diffID.String(), Size: size, Files: files,
	}, nil
}

func configOf(r *Record) image.Config {
	s := &r.Spec.Image
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[EvidenceLabel] = EvidencePolicy
	user := s.User
	if user == "" {
		user = DefaultUser
	}
	return image.Config{
		Platform: r.Spec.Platform, Entrypoint: s.Entrypoint, Cmd: s.Cmd, Env: s.Env,
		User: user, WorkDir: s.WorkDir, Labels: labels, Created: r.Epoch,
	}
}

// checkPrograms makes sure that what the image starts is there.
func checkPrograms(s *ImageSpec, files map[string]File) error {
	programs := map[string]string{}
	if len(s.Entrypoint) > 0 {
		programs["entrypoint"] = s.Entrypoint[0]
	}
	for _, r := range append(append([]Run(nil), s.Workload...), s.Checks...) {
		if len(r.Args) > 0 {
			programs["run "+r.Name] = r.Args[0]
		}
	}
	for what, p := range programs {
		f, ok := files[strings.TrimPrefix(path.Clean(p), "/")]
		if !ok {
			return fmt.Errorf("image: %s %s is in no layer: name it in a component's runtime list", what, p)
		}
		if f.Link == "" && f.Mode&0o111 == 0 {
			return fmt.Errorf("image: %s %s is not executable", what, p)
		}
	}
	return nil
}

// checkLinked makes sure that every ELF file of a runtime part is the output
// of a recorded link.
func checkLinked(fsys fs.FS, c *ComponentRecord) error {
	linked := map[string]bool{}
	for _, l := range c.Result.Links {
		linked[l.Output] = true
	}
	var errs []error
	for _, f := range c.Result.Output.Parts[PartRuntime].Files {
		if f.Link != "" || linked[f.Path] {
			continue
		}
		elf, err := isELF(fsys, f.Path)
		if err != nil {
			return fmt.Errorf("image: %w", err)
		}
		if elf {
			errs = append(errs, &UnexplainedError{c.Component.Name, f.Path, "", "an ELF file that no recorded link made"})
		}
	}
	return errors.Join(errs...)
}

func isELF(fsys fs.FS, name string) (bool, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [4]byte
	n, err := io.ReadFull(f, magic[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return n == 4 && string(magic[:]) == "\x7fELF", nil
}

// Open gives the image of a record again from the store, without building.
// Trees may be nil; a tree that is given must be the recorded one. The image
// is assembled anew and must have the recorded manifest digest.
func Open(ctx context.Context, r *Record, store Store, trees map[string]*source.Tree) (*Image, error) {
	items := map[string]*Item{}
	for i := range r.Components {
		c := &r.Components[i]
		name := c.Component.Name
		if t := trees[name]; t != nil && t.Digest() != c.Tree {
			return nil, fmt.Errorf("open image: the tree of %s is %s, the record says %s", name, t.Digest(), c.Tree)
		}
		item, err := store.Get(ctx, c.Key)
		if err != nil {
			return nil, fmt.Errorf("open image: component %s: %w", name, err)
		}
		if item.Result.Output.Digest != c.Result.Output.Digest {
			return nil, fmt.Errorf("open image: the store's output of %s is %s, the record says %s", name, item.Result.Output.Digest, c.Result.Output.Digest)
		}
		items[name] = item
	}
	copied := *r
	want := r.Image.Manifest
	img, err := finish(&copied, items)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	if copied.Image.Manifest != want {
		return nil, fmt.Errorf("open image: assembled as %s, the record says %s", copied.Image.Manifest, want)
	}
	img.trees = trees
	return img, nil
}

// Unpack writes the image's root file system into dir, an empty directory
// that exists, for a runner to mount. See [image.Unpack].
func (i *Image) Unpack(dir string) error { return image.Unpack(i.Image, dir) }
