package compile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cleanstart/cleanstart/source"
)

// EvidenceLabel is the label of the image's configuration that names the
// evidence policy, so that an image stripped of its attestations is seen.
const (
	EvidenceLabel  = "org.cleanstart.evidence.policy"
	EvidencePolicy = "eleven/v1"
)

// Toolchain is a compiler root and where it came from.
type Toolchain struct {
	Kind     string    `json:"kind"`   // debian
	Digest   string    `json:"digest"` // of its file tree
	Packages []Package `json:"packages"`
	Dir      string    `json:"-"`
}

// Package is one binary package of a toolchain.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"` // hexadecimal, of the package file
}

// Record is how an image came to be: all that the evidence needs. It is the
// same whether a component was built now or taken from the store.
type Record struct {
	Spec       Spec              `json:"spec"`
	SpecDigest string            `json:"specDigest"` // of the specification's canonical JSON
	Toolchain  Toolchain         `json:"toolchain"`
	Epoch      time.Time         `json:"epoch"` // the newest of the trees
	Components []ComponentRecord `json:"components"`
	Image      ImageRecord       `json:"image"`
}

// ComponentRecord is one component's way from tree to output.
type ComponentRecord struct {
	Component Component      `json:"component"`
	Tree      string         `json:"tree"`
	Archive   string         `json:"archive"`
	Place     source.Place   `json:"place"`
	Proofs    []source.Proof `json:"proofs"`
	Action    Action         `json:"action"`
	Key       string         `json:"key"`
	Result    Result         `json:"result"`
	Log       string         `json:"log"` // digest of the build log
}

// ImageRecord is the image by digests.
type ImageRecord struct {
	Manifest string        `json:"manifest"`
	Config   string        `json:"config"`
	Layers   []LayerRecord `json:"layers"`
}

// LayerRecord is one layer: the runtime part of one component.
type LayerRecord struct {
	Component string `json:"component"`
	Digest    string `json:"digest"`
	DiffID    string `json:"diffID"`
	Size      int64  `json:"size"`
	Files     []File `json:"files"`
}

// Image is a finished image with its record and the means to read what it
// was made of.
type Image struct {
	v1.Image
	Record *Record
	trees  map[string]*source.Tree
	items  map[string]*Item
}

// NewImage puts an image together with its record, and with the trees and
// stored items of its components by name.
func NewImage(img v1.Image, record *Record, trees map[string]*source.Tree, items map[string]*Item) *Image {
	return &Image{Image: img, Record: record, trees: trees, items: items}
}

// Tree is the verified source of a component, nil when it is not part of the
// image.
func (i *Image) Tree(component string) *source.Tree { return i.trees[component] }

// Part reads one part of a component's output.
func (i *Image) Part(component, part string) (fs.FS, error) {
	it := i.items[component]
	if it == nil {
		return nil, fmt.Errorf("image: no component %q", component)
	}
	return it.Part(part)
}

// Log is the build log of a component, JSON Lines of [LogLine].
func (i *Image) Log(component string) (fs.File, error) {
	it := i.items[component]
	if it == nil {
		return nil, fmt.Errorf("image: no component %q", component)
	}
	return it.OpenLog()
}

// ErrNotStored is returned by [Store.Get] for a key that it does not hold.
var ErrNotStored = errors.New("not in the store")

// Item is one stored result: what Store.Get and Store.Put give.
type Item struct {
	Key    string
	Action Action
	Result Result
	Dir    string // holds the parts as sub-directories, and LogName
}

// LogName is the name of the build log beside the parts.
const LogName = "build-log.jsonl"

// Part reads one part.
func (it *Item) Part(name string) (fs.FS, error) {
	switch name {
	case PartRuntime, PartDev, PartDebug, PartLicenses:
		return os.DirFS(filepath.Join(it.Dir, name)), nil
	}
	return nil, fmt.Errorf("output of %s: no part named %q", it.Action.Component, name)
}

// OpenLog opens the build log.
func (it *Item) OpenLog() (fs.File, error) { return os.Open(filepath.Join(it.Dir, LogName)) }

// Store keeps results by action key. Put takes the directory that an
// executor filled (parts and log), verifies it against the result and makes
// it durable before it returns.
type Store interface {
	Get(ctx context.Context, key string) (*Item, error)
	Put(ctx context.Context, key string, action Action, result *Result, dir string) (*Item, error)
}
