package attest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// pickManifest finds the one evidence manifest about this image: the newest
// that the key it names signed. Without one nothing is known to be whole.
func (c *checker) pickManifest() *Manifest {
	var found, beside []*attached
	parsed := map[*attached]*Manifest{}
	for _, a := range c.attached {
		if a.role != roleManifest {
			continue
		}
		if a.err != nil || a.statement == nil || a.statement.PredicateType != manifestPredicate || !a.statement.about(c.v.Image) {
			beside = append(beside, a)
			continue
		}
		m := new(Manifest)
		if err := strictJSON(a.statement.Predicate, m); err != nil {
			c.problem(roleManifest, Forged, blobPath(a.blob), "%v", err)
			c.forgive(a)
			continue
		}
		if m.Signer == a.signer { // else it may be a co-signature
			found, parsed[a] = append(found, a), m
		}
	}
	slices.SortStableFunc(found, func(a, b *attached) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(a.blob, b.blob)) })
	if len(found) > 0 {
		a := found[0]
		c.manifest, c.v.Manifest, c.v.ManifestDigest = a, parsed[a], digestOf(a.payload)
	}
	for _, a := range append(beside, found[min(1, len(found)):]...) {
		c.extra(a)
	}
	if c.manifest == nil {
		c.problem(roleManifest, Missing, "", "no evidence manifest about the image by a trusted key")
		return nil
	}
	m := c.v.Manifest
	c.v.Key, c.v.TimeSource, c.v.Counts, c.v.SignedAt = c.manifest.signer, m.TimeSource, m.Counts, &c.manifest.at
	c.checkManifest(c.manifest, m)
	return m
}

func (c *checker) checkManifest(a *attached, m *Manifest) {
	at := blobPath(a.blob)
	if m.Image != c.v.Image || m.Policy != policy {
		c.problem(roleManifest, Forged, at, "image %s, policy %q: want %s, %q", m.Image, m.Policy, c.v.Image, policy)
	}
	if m.Name != c.index.name {
		c.problem(roleLayout, Forged, "oci/index.json", "names the image %q, the evidence manifest %q", c.index.name, m.Name)
	}
	if !c.opts.NotBefore.IsZero() && a.at.Before(c.opts.NotBefore) {
		c.problem(roleManifest, Stale, at, "signed %s, wanted not before %s", a.at.Format(time.RFC3339), c.opts.NotBefore.UTC().Format(time.RFC3339))
	}
	if c.opts.ManifestSum != "" && c.opts.ManifestSum != c.v.ManifestDigest {
		c.problem(roleManifest, Stale, at, "statement has digest %s, asked for %s", c.v.ManifestDigest, c.opts.ManifestSum)
	}
	if c.opts.Last != "" && c.opts.Last != c.v.ManifestDigest && !slices.Contains(m.Supersedes, c.opts.Last) {
		c.problem(roleManifest, Stale, at, "neither is nor supersedes %s, the last that was accepted", c.opts.Last)
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

// extra reports a referrer that does not belong to the set: forged where it
// only pretends to, stale where the signer made it before the set was closed,
// and else foreign.
func (c *checker) extra(a *attached) {
	role := cmp.Or(a.role, roleLayout)
	at := blobPath(string(a.desc.Digest))
	c.forgive(a)
	switch {
	case errors.Is(a.err, errUntrusted) && a.role == "":
		c.problem(role, Foreign, at, "referrer beside the set, of a kind that is not ours: %v", a.err)
	case a.err != nil:
		c.problem(role, stateOf(a.err), at, "referrer beside the set: %v", a.err)
	case a.statement == nil && role == Bundle:
		s, why := c.linesState(a)
		c.problem(role, s, at, "referrer beside the set: %s", why)
	case a.statement == nil:
		c.problem(role, Foreign, at, "referrer is not in the evidence manifest")
	case c.listedBlob(a.blob):
		c.problem(role, Forged, at, "holds what is in the set, and is not the referrer that was written for it")
	case a.statement.Subject[0].Name != c.v.Name:
		c.problem(role, Foreign, at, "referrer beside the set: signed, but about %s", a.statement.Subject[0].Name)
	case c.manifest != nil && a.at.After(c.manifest.at):
		c.problem(role, Foreign, at, "referrer beside the set: signed %s, after it was closed", a.at.Format(time.RFC3339))
		if a.signer == c.manifest.signer {
			c.problem(roleManifest, Stale, blobPath(c.manifest.blob), "the signer attached a later %s", role)
		}
	case c.manifest != nil && digestOf(a.payload) == c.v.ManifestDigest:
		c.problem(role, Foreign, at, "the same evidence manifest once more")
	case !a.statement.about(c.v.Image):
		c.problem(role, Stale, at, "referrer beside the set: signed, but about sha256:%s", a.statement.Subject[0].Digest["sha256"])
	case c.manifest != nil && c.repeats(a):
		c.problem(role, Foreign, at, "repeats a statement of the set")
	default:
		c.problem(role, Stale, at, "referrer beside the set: signed %s, and left out when it was closed", a.at.Format(time.RFC3339))
	}
}

// linesState judges a bundle that is not the set's by what it is made of.
func (c *checker) linesState(a *attached) (State, string) {
	b, err := c.blob(a.blob, maxLog)
	if err != nil {
		return stateOf(err), err.Error()
	}
	stale := false
	ours := 0
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	for n, line := range lines {
		payload, by, err := c.openBundle(line)
		var st *statement
		if err == nil {
			st, err = parseStatement(payload)
		}
		switch {
		case err != nil:
			return stateOf(err), fmt.Sprintf("line %d: %v", n+1, err)
		case st.Subject[0].Name != c.v.Name:
			return Foreign, "its lines are about " + st.Subject[0].Name
		case c.manifest != nil && by.at.After(c.manifest.at):
			return Foreign, "its lines were signed after the set was closed"
		case c.listedBlob(digestOf(line)):
			ours++
		default:
			stale = true
		}
	}
	switch {
	case stale:
		return Stale, "the signer's lines of an earlier set"
	case ours == len(lines):
		return Forged, "made of the set's lines, and not the bundle that was written"
	}
	return Foreign, "is empty"
}

// listedBlob says whether the set holds a blob.
func (c *checker) listedBlob(digest string) bool {
	if c.manifest == nil {
		return false
	}
	return digest == c.manifest.blob || slices.ContainsFunc(c.v.Manifest.Entries, func(e Entry) bool { return e.Blob == digest })
}

// repeats says whether the set holds the statement of a referrer, under a
// signature that is not younger.
func (c *checker) repeats(a *attached) bool {
	d := digestOf(a.payload)
	for _, e := range c.v.Manifest.Entries {
		if e.Statement != d {
			continue
		}
		i := slices.IndexFunc(c.attached, func(o *attached) bool { return string(o.desc.Digest) == e.Referrer })
		return i >= 0 && !c.attached[i].at.After(a.at)
	}
	return false
}

// extras reports every referrer that the manifest does not list.
func (c *checker) extras(m *Manifest) {
	listed := map[string]bool{}
	for _, e := range m.Entries {
		listed[e.Referrer] = true
	}
	for _, a := range c.attached {
		if a != c.manifest && !slices.Contains(c.cosigned, a) && !listed[string(a.desc.Digest)] && !c.forgiven[blobPath(string(a.desc.Digest))] {
			c.extra(a)
		}
	}
}

// withoutManifest reports what is there without anything that vouches for it,
// where that is known to be wrong.
func (c *checker) withoutManifest() {
	for _, a := range c.attached {
		known := a.err != nil || a.statement != nil && !a.statement.about(c.v.Image)
		if known && !c.forgiven[blobPath(string(a.desc.Digest))] {
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
			c.problem(cmp.Or(a.role, roleLayout), Foreign, "oci/index.json", "lists %s twice", a.desc.Digest)
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
