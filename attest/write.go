package attest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cleanstart/cleanstart/attest/timestamp"
)

// File is one more file of the output directory, such as report.html. The
// evidence manifest covers it.
type File struct {
	Path string // slash-separated, relative
	Data []byte
}

// Write signs the evidence and writes the output directory:
//
//	oci/                   OCI layout: the image with all artifacts as referrers
//	evidence/<kind>.json   the eleven, unwrapped; build-log.jsonl, bundle.jsonl
//	evidence/SHA256SUMS    with its signature in SHA256SUMS.sigstore.json
//	evidence/manifest.json the evidence manifest
//	cosign.pub  trusted_root.json  tsa.pem
//
// The directory appears whole or not at all: it is written under another name
// and renamed. An earlier output of ours in its place is replaced; anything
// else is left alone and is an error.
func Write(ctx context.Context, dir string, ev *Evidence, s Signer, extra ...File) (*Manifest, error) {
	set, err := sign(ctx, ev, &s, extra)
	if err != nil {
		return nil, err
	}
	var m *Manifest
	err = replaceDir(dir, func(tmp string) error {
		w := &writer{dir: tmp}
		m, err = w.output(ctx, ev, &s, set)
		if err != nil {
			return err
		}
		return w.sync()
	})
	if err != nil {
		return nil, fmt.Errorf("write evidence: %w", err)
	}
	return m, nil
}

// signed is the evidence with its signatures.
type signed struct {
	id        *identity
	image     ocispec.Descriptor
	referrers []*referrer
	digests   map[string]string // of the documents that are referrers as they are
	lines     []byte            // bundle.jsonl
	sumsSig   []byte            // message signature of SHA256SUMS
	files     []looseFile
}

// sign makes the referrers of everything but the evidence manifest.
func sign(ctx context.Context, ev *Evidence, s *Signer, extra []File) (*signed, error) {
	id, err := s.identity()
	if err != nil {
		return nil, err
	}
	set := &signed{id: id, digests: map[string]string{}}
	if set.image, err = imageDescriptor(ev.image); err != nil {
		return nil, err
	}
	if string(set.image.Digest) != ev.Image {
		return nil, fmt.Errorf("sign: the image is %s, the evidence about %s", set.image.Digest, ev.Image)
	}
	var lines bytes.Buffer
	attestation := func(role, name, predicate string, payload []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := s.envelope(ctx, id, payload)
		if err != nil {
			return fmt.Errorf("%s %s: %w", role, name, err)
		}
		lines.Write(b)
		lines.WriteByte('\n')
		return set.attach(ev, Entry{Role: role, Name: name, PredicateType: predicate, ArtifactType: bundleMediaType, Statement: digestOf(payload)},
			title(role, name)+".sigstore.json", b)
	}
	for _, st := range ev.Statements {
		if err := attestation(st.Kind, st.Name, st.PredicateType, st.Payload); err != nil {
			return nil, err
		}
	}
	var entries []Entry
	for _, r := range set.referrers {
		entries = append(entries, r.entry)
	}
	payload, err := summary(ev, entries)
	if err != nil {
		return nil, fmt.Errorf("verification summary: %w", err)
	}
	if err := attestation(roleVSA, "", vsaPredicate, payload); err != nil {
		return nil, err
	}
	set.lines = lines.Bytes()

	if set.sumsSig, err = s.message(ctx, id, ev.Sums); err != nil {
		return nil, err
	}
	if err := set.attach(ev, Entry{Role: roleSums, Name: sumsFile, ArtifactType: "text/plain"}, sumsFile, ev.Sums); err != nil {
		return nil, err
	}
	for _, k := range Kinds() {
		if k.Statement {
			continue
		}
		doc := ev.Documents[k.Name]
		if k.Name == Bundle {
			doc = set.lines
		}
		if err := set.attach(ev, Entry{Role: k.Name, Name: documentName, ArtifactType: k.MediaType}, k.File, doc); err != nil {
			return nil, err
		}
		set.digests[k.Name] = set.referrers[len(set.referrers)-1].entry.Blob
	}
	if err := set.loose(ev, s, extra); err != nil {
		return nil, err
	}
	for _, f := range set.files {
		if err := set.attach(ev, Entry{Role: f.role, Name: f.path, ArtifactType: fileType}, path.Base(f.path), f.data); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// fileType is the artifact type of files that have no other: attached, so that
// a registry holds all that an output directory does, see [Restore].
const fileType = "application/vnd.cleanstart.evidence.file"

// looseFile is a file of the directory that is no artifact.
type looseFile struct {
	path, role string
	data       []byte
}

// loose collects key, trusted root and whatever else belongs to the directory.
func (set *signed) loose(ev *Evidence, s *Signer, extra []File) error {
	root, err := trustedRoot(s.chains())
	if err != nil {
		return err
	}
	set.files = []looseFile{
		{"cosign.pub", roleKey, publicKeyPEM(set.id)},
		{"trusted_root.json", roleTrust, root},
		{"tsa.pem", roleTrust, timestamp.PEM(slices.Concat(s.chains()...))},
		{"evidence/" + sumsSig, roleSums, set.sumsSig},
	}
	for _, f := range extra {
		if !fs.ValidPath(f.Path) || f.Path == "." || reserved(f.Path) {
			return fmt.Errorf("extra file %q: want a relative path outside oci/ and evidence/", f.Path)
		}
		set.files = append(set.files, looseFile{f.Path, roleExtra, f.Data})
	}
	return nil
}

// documentName is the name of the entry of a document as it is.
const documentName = "document"

const (
	sumsFile = "SHA256SUMS"
	sumsSig  = "SHA256SUMS.sigstore.json"
)

func title(role, name string) string {
	if name == "" {
		return role
	}
	return role + "-" + strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '-'
		}
		return r
	}, name)
}

func (set *signed) attach(ev *Evidence, e Entry, title string, blob []byte) error {
	r, err := newReferrer(set.image, e, title, ev.time, blob)
	if err != nil {
		return fmt.Errorf("attach %s: %w", e.Role, err)
	}
	set.referrers = append(set.referrers, r)
	return nil
}

// output fills the directory and gives the manifest.
func (w *writer) output(ctx context.Context, ev *Evidence, s *Signer, set *signed) (*Manifest, error) {
	for _, f := range append(set.files,
		looseFile{"oci/oci-layout", roleLayout, layoutFile},
		looseFile{blobPath(digestOf(emptyConfig)), roleLayout, emptyConfig},
		looseFile{"evidence/" + sumsFile, roleSums, ev.Sums},
	) {
		if err := w.add(f.path, f.role, f.data); err != nil {
			return nil, err
		}
	}
	for _, k := range Kinds() {
		doc := ev.Documents[k.Name]
		if k.Name == Bundle {
			doc = set.lines
		}
		if err := w.put("evidence/"+k.File, k.Name, doc, set.digests[k.Name]); err != nil {
			return nil, err
		}
	}
	if err := w.image(ctx, ev.image.Image); err != nil {
		return nil, err
	}
	m := &Manifest{
		Policy: policy, Image: ev.Image, Name: ev.image.Record.Spec.Name, Created: ev.time, TimeSource: s.source(), Signer: set.id.hint,
		Supersedes: ev.supersedes, Counts: ev.Counts, ComponentSet: ev.ComponentSet,
	}
	var descs []ocispec.Descriptor
	for _, r := range set.referrers {
		if err := w.referrer(r); err != nil {
			return nil, err
		}
		m.Entries = append(m.Entries, r.entry)
		descs = append(descs, r.desc)
	}
	m.Files = slices.SortedFunc(slices.Values(w.files), func(a, b Listed) int { return strings.Compare(a.Path, b.Path) })

	payload, err := manifestPayload(m)
	if err != nil {
		return nil, err
	}
	b, err := s.envelope(ctx, set.id, payload)
	if err != nil {
		return nil, err
	}
	r, err := newReferrer(set.image, Entry{Role: roleManifest, PredicateType: manifestPredicate, ArtifactType: bundleMediaType, Statement: digestOf(payload)},
		"manifest.sigstore.json", ev.time, b)
	if err != nil {
		return nil, err
	}
	if err := w.referrer(r); err != nil {
		return nil, err
	}
	index, err := renderIndex(set.image, m.Name, append(descs, r.desc))
	if err != nil {
		return nil, err
	}
	if err := w.add("oci/index.json", roleLayout, index); err != nil {
		return nil, err
	}
	return m, w.add("evidence/manifest.json", roleManifest, payload)
}

// reserved says whether a path is one of those that Write itself makes.
func reserved(p string) bool {
	top, _, _ := strings.Cut(path.Clean(p), "/")
	return slices.Contains([]string{"oci", "evidence", "cosign.pub", "trusted_root.json", "tsa.pem"}, top)
}

func (w *writer) referrer(r *referrer) error {
	role := r.entry.Role
	if err := w.put(blobPath(r.entry.Blob), role, r.blob, r.entry.Blob); err != nil {
		return err
	}
	return w.add(blobPath(r.entry.Referrer), role, r.manifest)
}

// image writes manifest, configuration and layers.
func (w *writer) image(ctx context.Context, img v1.Image) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	for _, b := range [][]byte{manifest, config} {
		if err := w.add(blobPath(digestOf(b)), roleImage, b); err != nil {
			return err
		}
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, err := l.Digest()
		if err != nil {
			return err
		}
		err = w.stream(blobPath(d.String()), roleImage, func() (io.ReadCloser, error) { return l.Compressed() })
		if err != nil {
			return err
		}
	}
	return nil
}
