package attest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// CoSign adds one more signer to an output directory: a second person, or a
// release service with a key that no build can reach. The directory must
// verify under opts, whose thresholds count for nothing here. What is signed is
// the evidence manifest, which stands for everything, and the signature of the
// image, which is what clients of images ask for; each becomes one more
// referrer, and nothing else changes.
//
// The co-signer's key is not written anywhere: a verifier counts it where
// [Options.Keys] holds it, and refuses it as forged where not.
func CoSign(ctx context.Context, dir string, s Signer, opts Options) error {
	opts.Threshold, opts.TimeThreshold = 0, 0
	c, err := check(ctx, dir, opts)
	if err != nil {
		return fmt.Errorf("co-sign: %w", err)
	}
	if err := c.v.Err(); err != nil {
		return fmt.Errorf("co-sign: %w", err)
	}
	id, err := s.identity()
	if err != nil {
		return fmt.Errorf("co-sign: %w", err)
	}
	if slices.Contains(append(c.v.CoSigners, c.v.Key), id.hint) {
		return fmt.Errorf("co-sign: key %s has signed it already", id.hint)
	}
	c.keys = append(c.keys, trusted{identity: id})
	var added []*referrer
	for _, e := range []Entry{{Role: roleManifest, PredicateType: manifestPredicate}, c.main(Signature).entry} {
		payload := c.manifest.payload
		if e.Role == Signature {
			payload = c.main(Signature).raw
		}
		b, err := s.envelope(ctx, id, payload)
		if err != nil {
			return fmt.Errorf("co-sign: %w", err)
		}
		if _, _, err := c.openBundle(b); err != nil { // by an authority that nobody here knows
			return fmt.Errorf("co-sign: %w", err)
		}
		r, err := newCoSignature(c.index.image, e.Role, e.PredicateType, id.hint, c.v.Manifest, b)
		if err != nil {
			return fmt.Errorf("co-sign: %w", err)
		}
		added = append(added, r)
	}
	return c.addReferrers(dir, added)
}

// newCoSignature is the referrer of a co-signature: a function of the bundle
// and of what it signs.
func newCoSignature(image ocispec.Descriptor, role, predicate, hint string, m *Manifest, bundle []byte) (*referrer, error) {
	e := Entry{Role: role, Name: "co-signed by " + hint, PredicateType: predicate, ArtifactType: bundleMediaType}
	return newReferrer(image, e, role+"-cosigned.sigstore.json", m.Created, bundle)
}

// addReferrers writes blobs and then the index that names them, so that the
// directory is whole at every moment.
func (c *checker) addReferrers(dir string, added []*referrer) error {
	list := slices.Clone(c.index.referrers)
	for _, r := range added {
		for digest, data := range map[string][]byte{r.entry.Blob: r.blob, r.entry.Referrer: r.manifest} {
			if err := atomicfile.WriteBytes(filepath.Join(dir, filepath.FromSlash(blobPath(digest))), 0o644, data); err != nil {
				return err
			}
		}
		list = append(list, r.desc)
	}
	index, err := renderIndex(c.index.image, c.v.Name, list)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, "oci", "index.json"), 0o644, index)
}

// cosignatures finds what further trusted keys signed: the same statements as
// the signer's, byte by byte, one bundle a key. It counts those of the
// evidence manifest against the threshold.
func (c *checker) cosignatures(m *Manifest) {
	statement := map[string]string{c.v.ManifestDigest: roleManifest}
	listed := map[string]bool{}
	for _, e := range m.Entries {
		listed[e.Referrer] = true
		if e.Role == Signature && e.Name == "" {
			statement[e.Statement] = Signature
		}
	}
	seen := map[string]bool{}
	for _, a := range c.attached {
		if a == c.manifest || a.err != nil || a.statement == nil || a.signer == m.Signer ||
			listed[string(a.desc.Digest)] || c.forgiven[blobPath(string(a.desc.Digest))] {
			continue
		}
		role := statement[digestOf(a.payload)]
		if role == "" || seen[role+a.signer] {
			continue // extras tells
		}
		if err := c.asCoSigned(a, role, m); err != nil {
			c.problem(role, Forged, blobPath(string(a.desc.Digest)), "co-signature by key %s: %v", a.signer, err)
			c.forgive(a)
			continue
		}
		seen[role+a.signer] = true
		c.cosigned = append(c.cosigned, a)
		if role == roleManifest {
			c.v.CoSigners = append(c.v.CoSigners, a.signer)
		}
	}
	slices.Sort(c.v.CoSigners)
	if n := 1 + len(c.v.CoSigners); n < c.threshold {
		c.problem(roleManifest, Missing, "", "signed by %d trusted keys, want %d", n, c.threshold)
	}
}

// asCoSigned makes a co-signature's referrer anew: no list can hold it.
func (c *checker) asCoSigned(a *attached, role string, m *Manifest) error {
	bundle, err := c.blob(a.blob, maxBundle)
	if err != nil {
		return err
	}
	want, err := newCoSignature(c.index.image, role, a.statement.PredicateType, a.signer, m, bundle)
	if err != nil {
		return err
	}
	if want.entry.Referrer != string(a.desc.Digest) {
		return errors.New("its referrer is not as it was written")
	}
	return nil
}
