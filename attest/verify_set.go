package attest

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// pickManifest finds the one evidence manifest about this image. Without one
// nothing is known to be whole.
func (c *checker) pickManifest() *Manifest {
	var found []*attached
	var signer []string
	for _, a := range c.attached {
		if a.role != roleManifest {
			continue
		}
		switch {
		case a.err != nil:
			c.extra(a)
		case a.statement == nil || a.statement.PredicateType != manifestPredicate:
			c.extra(a)
		case !a.statement.about(c.v.Image):
			c.problem(roleManifest, Stale, blobPath(a.blob), "evidence manifest is about image sha256:%s", a.statement.Subject[0].Digest["sha256"])
			c.forgive(a)
		default:
			found = append(found, a)
			signer = append(signer, a.blob)
		}
	}
	if len(found) == 0 {
		c.problem(roleManifest, Missing, "", "no evidence manifest about the image that key %s signed", orNone(c.v.Key))
		return nil
	}
	slices.SortStableFunc(found, func(a, b *attached) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(a.blob, b.blob)) })
	for _, a := range found[1:] {
		c.problem(roleManifest, Stale, blobPath(a.blob), "a second evidence manifest, signed %s; there are %d", a.at.Format("2006-01-02T15:04:05Z"), len(signer))
		c.forgive(a)
	}
	a := found[0]
	m := new(Manifest)
	if err := strictJSON(a.statement.Predicate, m); err != nil {
		c.problem(roleManifest, Forged, blobPath(a.blob), "%v", err)
		return nil
	}
	c.manifest, c.v.Manifest, c.v.ManifestDigest = a, m, digestOf(a.payload)
	c.v.TimeSource, c.v.Counts = m.TimeSource, m.Counts
	c.checkManifest(a, m)
	return m
}

func (c *checker) checkManifest(a *attached, m *Manifest) {
	at := blobPath(a.blob)
	if m.Image != c.v.Image || m.Policy != policy || m.Signer != c.id.hint {
		c.problem(roleManifest, Forged, at, "image %s, policy %q, signer %s: want %s, %q, %s", m.Image, m.Policy, m.Signer, c.v.Image, policy, c.id.hint)
	}
	if m.Name != c.index.name {
		c.problem(roleLayout, Forged, "oci/index.json", "names the image %q, the evidence manifest %q", c.index.name, m.Name)
	}
	if !c.opts.NotBefore.IsZero() && a.at.Before(c.opts.NotBefore) {
		c.problem(roleManifest, Stale, at, "signed %s, wanted not before %s", a.at.Format("2006-01-02T15:04:05Z"), c.opts.NotBefore.UTC().Format("2006-01-02T15:04:05Z"))
	}
	if c.opts.ManifestSum != "" && c.opts.ManifestSum != c.v.ManifestDigest {
		c.problem(roleManifest, Stale, at, "statement has digest %s, asked for %s", c.v.ManifestDigest, c.opts.ManifestSum)
	}
	// Its referrer is the one manifest that no list can hold: make it anew.
	bundle, err := c.blob(a.blob, maxBundle)
	if err == nil {
		image := c.index.image
		want, err := newReferrer(image, Entry{Role: roleManifest, PredicateType: manifestPredicate, ArtifactType: bundleMediaType}, "manifest.sigstore.json", m.Created, bundle)
		if err != nil || want.entry.Referrer != string(a.desc.Digest) {
			c.problem(roleManifest, Forged, blobPath(string(a.desc.Digest)), "the referrer of the evidence manifest is not as it was written")
		}
	}
	const name = "evidence/manifest.json"
	if b, err := c.read(name, maxStatement); err != nil {
		c.problem(roleManifest, stateOf(err), name, "%v", err)
	} else if !bytes.Equal(b, a.payload) {
		c.problem(roleManifest, Forged, name, "differs from the statement that was signed")
	}
}

// forgive marks the files of a referrer as told.
func (c *checker) forgive(a *attached) {
	c.forgiven[blobPath(string(a.desc.Digest))] = true
	if a.blob != "" {
		c.forgiven[blobPath(a.blob)] = true
	}
}

// extra reports a referrer that does not belong to the set.
func (c *checker) extra(a *attached) {
	role := cmp.Or(a.role, roleLayout)
	at := blobPath(string(a.desc.Digest))
	c.forgive(a)
	switch {
	case a.err != nil:
		c.problem(role, Forged, at, "referrer beside the set: %v", a.err)
	case a.statement != nil && !a.statement.about(c.v.Image):
		c.problem(role, Stale, at, "referrer beside the set: signed, but about image sha256:%s", a.statement.Subject[0].Digest["sha256"])
	default:
		c.problem(role, Foreign, at, "referrer is not in the evidence manifest")
	}
}

// extras reports every referrer that the manifest does not list.
func (c *checker) extras(m *Manifest) {
	listed := map[string]bool{}
	for _, e := range m.Entries {
		listed[e.Referrer] = true
	}
	for _, a := range c.attached {
		if a != c.manifest && !listed[string(a.desc.Digest)] && !c.forgiven[blobPath(string(a.desc.Digest))] {
			c.extra(a)
		}
	}
}

// withoutManifest reports what is there without anything that vouches for it.
func (c *checker) withoutManifest() {
	for _, a := range c.attached {
		if a.err != nil && !c.forgiven[blobPath(string(a.desc.Digest))] {
			c.extra(a)
		}
	}
}

// entries checks each referrer of the manifest's list, and that the list holds
// every kind.
func (c *checker) entries(m *Manifest) {
	c.payloads = map[string][]payload{}
	byDigest := map[string]*attached{}
	for _, a := range c.attached {
		if byDigest[string(a.desc.Digest)] != nil {
			c.problem(roleLayout, Foreign, "oci/index.json", "lists %s twice", a.desc.Digest)
		}
		byDigest[string(a.desc.Digest)] = a
	}
	docs := map[string]bool{}
	for _, e := range m.Entries {
		a := byDigest[e.Referrer]
		if a == nil {
			c.problem(e.Role, Missing, blobPath(e.Referrer), "referrer is not in oci/index.json")
			continue
		}
		c.entry(e, a, docs)
	}
	for _, k := range Kinds() {
		want := 1 // the statement of the whole
		if k.PredicateType == "" {
			want = 0
		}
		have := 0
		for _, p := range c.payloads[k.Name] {
			if p.entry.Name == "" {
				have++
			}
		}
		if have != want {
			c.problem(k.Name, Missing, "", "%d statements of predicate type %s verified, want %d", have, k.PredicateType, want)
		}
		if !k.Statement && !docs[k.Name] {
			c.problem(k.Name, Missing, "", "no referrer holds the document")
		}
		if c.roles["evidence/"+k.File] != k.Name {
			c.problem(k.Name, Missing, "evidence/"+k.File, "file is not in the evidence manifest")
		}
	}
	if len(c.payloads[roleVSA]) != 1 {
		c.problem(roleVSA, Missing, "", "%d verification summaries verified, want one", len(c.payloads[roleVSA]))
	}
}

func (c *checker) entry(e Entry, a *attached, docs map[string]bool) {
	at := blobPath(e.Referrer)
	if a.err != nil {
		c.problem(e.Role, stateOf(a.err), at, "%v", a.err)
		return
	}
	if a.blob != e.Blob || a.manifest.ArtifactType != e.ArtifactType {
		c.problem(e.Role, Forged, at, "holds %s of type %s, the evidence manifest says %s of type %s", a.blob, a.manifest.ArtifactType, e.Blob, e.ArtifactType)
		return
	}
	if s := a.manifest.Subject; s == nil || s.Digest != c.index.image.Digest || s.Size != c.index.image.Size || s.MediaType != c.index.image.MediaType {
		c.problem(e.Role, Stale, at, "is attached to %s", orNone(a.subject))
		return
	}
	if e.PredicateType == "" {
		docs[e.Role] = true
		return
	}
	k, isKind := kindOf(e.Role)
	switch {
	case !a.bundle || a.statement == nil:
		c.problem(e.Role, Forged, at, "is not a signed statement")
	case a.statement.PredicateType != e.PredicateType || isKind && k.PredicateType != e.PredicateType || !isKind && nameOfPredicate(e.PredicateType) != e.Role:
		c.problem(e.Role, Forged, at, "predicate type %s", a.statement.PredicateType)
	case digestOf(a.payload) != e.Statement:
		c.problem(e.Role, Forged, at, "statement has digest %s, the evidence manifest says %s", digestOf(a.payload), e.Statement)
	case !a.statement.about(c.v.Image):
		c.problem(e.Role, Stale, at, "is about image sha256:%s", a.statement.Subject[0].Digest["sha256"])
	case a.at.After(c.manifest.at):
		c.problem(e.Role, Forged, at, "signed after the evidence manifest")
	default:
		c.payloads[e.Role] = append(c.payloads[e.Role], payload{e, a.payload, a.statement, a.at})
	}
}
