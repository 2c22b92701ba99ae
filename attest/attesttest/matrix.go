package attesttest

import (
	"bytes"
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cleanstart/cleanstart/attest"
)

// Donor is one more output of the same signer. Its artifacts are whole and
// validly signed; put into another output they are what State says: stale for
// an earlier run of the same name, foreign for another image.
type Donor struct {
	Name  string
	Dir   string
	State attest.State
}

// finding is what a verifier must say of one damage.
type finding struct {
	artifact string
	state    attest.State
}

// damage is one row of the matrix. Do says whether it applies at all.
type damage struct {
	name string
	do   func(b *box) bool
	want []finding
}

func always(do func(b *box)) func(b *box) bool {
	return func(b *box) bool { do(b); return true }
}

// matrix is every damage that is done to every artifact.
func matrix(donors []Donor) []damage {
	var rows []damage
	for _, k := range attest.Kinds() {
		rows = append(rows, fileRows(k.Name, "evidence/"+k.File)...)
		rows = append(rows, referrerRows(k.Name)...)
		rows = append(rows, swapRow(k))
		if k.Name == attest.Bundle {
			rows = append(rows, lineRows()...)
		} else {
			rows = append(rows, bundleRows(k.Name)...)
		}
		for _, d := range donors {
			rows = append(rows, donorRows(k.Name, "evidence/"+k.File, d)...)
		}
	}
	rows = append(rows, fileRows("manifest", "evidence/manifest.json")...)
	rows = append(rows, fileRows("checksums", "evidence/SHA256SUMS")...)
	rows = append(rows, fileRows("checksums", "evidence/SHA256SUMS.sigstore.json")...)
	for _, role := range []string{"manifest", "vsa"} {
		rows = append(rows, referrerRows(role)...)
		rows = append(rows, bundleRows(role)...)
		for _, d := range donors {
			rows = append(rows, donorRows(role, "", d)...)
		}
	}
	rows = append(rows, referrerRows("checksums")...)
	return append(rows, wholeRows()...)
}

// fileRows damage the unwrapped file and leave every referrer.
func fileRows(role, file string) []damage {
	missing, forged := []finding{{role, attest.Missing}}, []finding{{role, attest.Forged}}
	edit := func(f func(data []byte) []byte) func(b *box) bool {
		return always(func(b *box) { b.write(file, f(slices.Clone(b.read(file)))) })
	}
	base := path.Base(file)
	return []damage{
		{base + ": deleted, its referrer kept", always(func(b *box) { b.remove(file) }), missing},
		{base + ": byte flipped", edit(func(d []byte) []byte { d[len(d)/2] ^= 0x20; return d }), forged},
		{base + ": cut short", edit(func(d []byte) []byte { return d[:len(d)-1] }), forged},
		{base + ": longer", edit(func(d []byte) []byte { return append(d, '\n') }), forged},
		{base + ": emptied", edit(func([]byte) []byte { return nil }), forged},
		{base + ": a link to the same bytes", always(func(b *box) {
			data := b.read(file)
			b.remove(file)
			other := b.dir + "-elsewhere"
			if err := os.WriteFile(other, data, 0o600); err != nil {
				b.t.Fatal(err)
			}
			if err := os.Symlink(other, b.path(file)); err != nil {
				b.t.Fatal(err)
			}
		}), []finding{{role, attest.Foreign}}},
	}
}

// referrerRows damage what attaches an artifact, of whatever form.
func referrerRows(role string) []damage {
	missing, forged := []finding{{role, attest.Missing}}, []finding{{role, attest.Forged}}
	remove := func(referrer, blob bool) func(b *box) bool {
		return always(func(b *box) {
			for _, d := range b.referrers(role) {
				m := b.referrerManifest(d)
				if blob {
					b.remove(blobFile(string(m.Layers[0].Digest)))
				}
				if referrer {
					b.remove(blobFile(string(d.Digest)))
				}
			}
		})
	}
	return []damage{
		{role + ": referrers stripped, the file kept", always(func(b *box) { b.strip(role) }), missing},
		{role + ": referrer manifests deleted", remove(true, false), missing},
		{role + ": blobs deleted", remove(false, true), missing},
		{role + ": all of it deleted", always(func(b *box) {
			remove(true, true)(b)
			b.strip(role)
			for _, k := range attest.Kinds() {
				if k.Name == role {
					b.remove("evidence/" + k.File)
				}
			}
		}), missing},
		{role + ": referrer manifest flipped", always(func(b *box) {
			name := blobFile(string(b.referrers(role)[0].Digest))
			data := slices.Clone(b.read(name))
			data[len(data)/2] ^= 0x20
			b.write(name, data)
		}), forged},
		{role + ": listed twice", always(func(b *box) {
			idx := b.index()
			idx.Manifests = append(idx.Manifests, b.referrers(role)[0])
			b.putIndex(idx)
		}), []finding{{role, attest.Foreign}}},
		{role + ": described otherwise in the index", always(func(b *box) {
			idx := b.index()
			first := b.referrers(role)[0]
			for i, d := range idx.Manifests {
				if d.Digest == first.Digest {
					idx.Manifests[i].Annotations["org.opencontainers.image.created"] = "2001-01-01T00:00:00Z"
				}
			}
			b.putIndex(idx)
		}), forged},
		{role + ": moved to the end of the index", func(b *box) bool {
			idx := b.index()
			first := b.referrers(role)[0]
			at := slices.IndexFunc(idx.Manifests, func(d ocispec.Descriptor) bool { return d.Digest == first.Digest })
			if at == len(idx.Manifests)-1 {
				at--
			}
			idx.Manifests = append(slices.Delete(slices.Clone(idx.Manifests), at, at+1), idx.Manifests[at])
			b.putIndex(idx)
			return true
		}, []finding{{"layout", attest.Forged}}},
	}
}

// swapRow puts the next kind's file in its place.
func swapRow(k attest.Kind) damage {
	kinds := attest.Kinds()
	next := kinds[k.Number%len(kinds)]
	return damage{k.Name + ": file exchanged with " + next.Name, always(func(b *box) {
		x, y := b.read("evidence/"+k.File), b.read("evidence/"+next.File)
		b.write("evidence/"+k.File, y)
		b.write("evidence/"+next.File, x)
	}), []finding{{k.Name, attest.Forged}, {next.Name, attest.Forged}}}
}

// bundleRows damage the signed statement of an artifact: where it lies, and as
// carefully as an attacker would, with every digest around it made anew.
func bundleRows(role string) []damage {
	forged := []finding{{role, attest.Forged}}
	var rows []damage
	for _, part := range []struct {
		name string
		edit func(t testing.TB, bundle []byte) []byte
	}{
		{"payload flipped", flip("payload")},
		{"signature flipped", flip("signature")},
		{"timestamp flipped", flip("timestamp")},
		{"timestamp removed", dropTimestamps},
		{"signed by a stranger", resign},
		{"forged under the signer's name", forge},
	} {
		rows = append(rows,
			damage{role + ": " + part.name + " in place", always(func(b *box) {
				name := blobFile(string(b.referrerManifest(b.bundle(role)).Layers[0].Digest))
				b.write(name, part.edit(b.t, b.read(name)))
			}), forged},
			damage{role + ": " + part.name + ", digests anew", always(func(b *box) {
				d := b.bundle(role)
				b.attach(d, part.edit(b.t, b.blobOf(d)))
				b.unlist(d)
			}), forged},
			damage{role + ": " + part.name + ", added beside", always(func(b *box) {
				d := b.bundle(role)
				b.attach(d, part.edit(b.t, b.blobOf(d)))
			}), forged},
		)
	}
	return append(rows,
		damage{role + ": the same bundle once more, written otherwise", always(func(b *box) {
			d := b.bundle(role)
			b.attach(d, append(b.blobOf(d), '\n'))
		}), []finding{{role, attest.Foreign}}},
		damage{role + ": referrer written anew around the same bundle", always(func(b *box) {
			d := b.bundle(role)
			b.reattach(d, func(m *ocispec.Manifest) { m.Annotations["org.example.note"] = "mine" })
			b.unlist(d)
		}), forged},
		damage{role + ": attached to another image", always(func(b *box) {
			d := b.bundle(role)
			b.reattach(d, func(m *ocispec.Manifest) { m.Subject.Digest = ocispecDigest([]byte("another image")) })
			b.unlist(d)
		}), forged},
	)
}

// lineRows damage the bundle of every attestation: it is signed line by line.
func lineRows() []damage {
	const file = "evidence/bundle.jsonl"
	forged := []finding{{attest.Bundle, attest.Forged}}
	var rows []damage
	for _, e := range []struct {
		name string
		edit func(t testing.TB, lines [][]byte) [][]byte
		want attest.State // of the referrer
	}{
		{"a payload flipped", func(t testing.TB, l [][]byte) [][]byte { l[1] = flip("payload")(t, l[1]); return l }, attest.Forged},
		{"a signature flipped", func(t testing.TB, l [][]byte) [][]byte { l[1] = flip("signature")(t, l[1]); return l }, attest.Forged},
		{"a timestamp flipped", func(t testing.TB, l [][]byte) [][]byte { l[1] = flip("timestamp")(t, l[1]); return l }, attest.Forged},
		{"a line signed by a stranger", func(t testing.TB, l [][]byte) [][]byte { l[1] = resign(t, l[1]); return l }, attest.Forged},
		{"a line removed", func(_ testing.TB, l [][]byte) [][]byte { return l[1:] }, attest.Forged},
		{"a line doubled", func(_ testing.TB, l [][]byte) [][]byte { return append(l, l[0]) }, attest.Forged},
		{"a forged line added", func(t testing.TB, l [][]byte) [][]byte { return append(l, forge(t, l[0])) }, attest.Forged},
		{"lines reordered", func(_ testing.TB, l [][]byte) [][]byte { slices.Reverse(l); return l }, attest.Forged},
	} {
		edit := func(b *box, data []byte) []byte {
			lines := bytes.Split(bytes.TrimSuffix(slices.Clone(data), []byte("\n")), []byte("\n"))
			return append(bytes.Join(e.edit(b.t, lines), []byte("\n")), '\n')
		}
		rows = append(rows,
			damage{"bundle: " + e.name + " in the file", always(func(b *box) { b.write(file, edit(b, b.read(file))) }), forged},
			damage{"bundle: " + e.name + ", digests anew", always(func(b *box) {
				d := b.referrers(attest.Bundle)[0]
				data := edit(b, b.blobOf(d))
				b.attach(d, data)
				b.unlist(d)
				b.write(file, data)
			}), []finding{{attest.Bundle, e.want}}},
			damage{"bundle: " + e.name + ", added beside", always(func(b *box) {
				d := b.referrers(attest.Bundle)[0]
				b.attach(d, edit(b, b.blobOf(d)))
			}), []finding{{attest.Bundle, e.want}}},
		)
	}
	return rows
}

// donorRows put a valid artifact where it does not belong.
func donorRows(role, file string, d Donor) []damage {
	want := []finding{{role, d.State}}
	rows := []damage{
		{role + ": replaced by that of " + d.Name, always(func(b *box) {
			b.strip(role)
			b.graft(d.Dir, role)
		}), want},
		{role + ": that of " + d.Name + " beside", always(func(b *box) { b.graft(d.Dir, role) }), want},
		{role + ": replaced by that of " + d.Name + ", the old blobs gone", always(func(b *box) {
			for _, r := range b.referrers(role) {
				b.remove(blobFile(string(b.referrerManifest(r).Layers[0].Digest)))
				b.remove(blobFile(string(r.Digest)))
			}
			b.strip(role)
			b.graft(d.Dir, role)
		}), want},
	}
	if file != "" {
		rows = append(rows, damage{role + ": file replaced by that of " + d.Name, func(b *box) bool {
			data, err := os.ReadFile((&box{dir: d.Dir}).path(file))
			if err != nil {
				b.t.Fatal(err)
			}
			if bytes.Equal(data, b.read(file)) {
				return false
			}
			b.write(file, data)
			return true
		}, []finding{{role, attest.Forged}}})
	}
	return rows
}

// wholeRows damage what belongs to no single artifact.
func wholeRows() []damage {
	var all []finding
	for _, k := range attest.Kinds() {
		all = append(all, finding{k.Name, attest.Missing})
	}
	all = append(all, finding{"manifest", attest.Missing})
	rows := []damage{
		{"every referrer stripped", always(func(b *box) { b.strip("") }), all},
		{"nothing but the image left", always(func(b *box) {
			for _, d := range b.referrers("") {
				m := b.referrerManifest(d)
				b.remove(blobFile(string(m.Layers[0].Digest)))
				b.remove(blobFile(string(d.Digest)))
			}
			b.strip("")
			for _, name := range b.files() {
				if strings.HasPrefix(name, "evidence/") {
					b.remove(name)
				}
			}
		}), all},
		{"the evidence manifest stripped", always(func(b *box) { b.strip("manifest") }), all},
		{"the label removed from the configuration", always(func(b *box) {
			b.configure(func(labels map[string]any) { delete(labels, evidenceLabel) })
		}), []finding{{"image", attest.Missing}, {"manifest", attest.Missing}}},
		{"the label changed", always(func(b *box) {
			b.configure(func(labels map[string]any) { labels[evidenceLabel] = "none/v1" })
		}), []finding{{"image", attest.Foreign}}},
		{"another image under the evidence", always(func(b *box) {
			b.configure(func(labels map[string]any) { labels["org.example"] = "mine" })
		}), []finding{{"manifest", attest.Missing}, {"manifest", attest.Stale}, {attest.Provenance, attest.Stale}}},
		{"an attestation of a stranger, of another kind, beside", always(func(b *box) {
			d := b.bundle(attest.Provenance)
			foreign := bytes.Replace(payloadOf(b.t, b.blobOf(d)), []byte("https://slsa.dev/provenance/v1"), []byte("https://example.org/review/v1"), 1)
			b.attachAs(d, resignPayload(b.t, b.blobOf(d), foreign), "https://example.org/review/v1")
		}), []finding{{"layout", attest.Foreign}}},
		{"index.json deleted", always(func(b *box) { b.remove(indexFile) }), []finding{{"layout", attest.Missing}}},
		{"index.json with a field more", always(func(b *box) {
			b.write(indexFile, bytes.Replace(b.read(indexFile), []byte("{"), []byte(`{"more":1,`), 1))
		}), []finding{{"layout", attest.Forged}}},
		{"index.json reordered", always(func(b *box) {
			idx := b.index()
			slices.Reverse(idx.Manifests)
			b.putIndex(idx)
		}), []finding{{"layout", attest.Forged}}},
		{"the image not named", always(func(b *box) {
			idx := b.index()
			idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool { return d.Annotations[roleAnnotation] == "" })
			b.putIndex(idx)
		}), []finding{{"image", attest.Missing}}},
		{"oci-layout deleted", always(func(b *box) { b.remove("oci/oci-layout") }), []finding{{"layout", attest.Missing}}},
		{"a file added", always(func(b *box) { b.write("notes.txt", []byte("x")) }), []finding{{"extra", attest.Foreign}}},
		{"a file added below evidence", always(func(b *box) { b.write("evidence/more.json", []byte("{}")) }), []finding{{"extra", attest.Foreign}}},
		{"a blob added", always(func(b *box) { b.write("oci/blobs/sha256/"+strings.Repeat("0", 64), []byte("{}")) }), []finding{{"layout", attest.Foreign}}},
	}
	for _, p := range []struct{ file, role string }{{"cosign.pub", "key"}, {"trusted_root.json", "trust"}, {"tsa.pem", "trust"}} {
		rows = append(rows,
			damage{p.file + " deleted", always(func(b *box) { b.remove(p.file) }), []finding{{p.role, attest.Missing}}},
			damage{p.file + " with a newline more", always(func(b *box) { b.write(p.file, append(slices.Clone(b.read(p.file)), '\n')) }), []finding{{p.role, attest.Forged}}},
			damage{p.file + " is something else", always(func(b *box) { b.write(p.file, []byte("{}")) }), []finding{{p.role, attest.Forged}}},
		)
	}
	for _, part := range []string{"manifest", "config", "layer"} {
		rows = append(rows,
			damage{"image " + part + " deleted", always(func(b *box) { b.remove(b.imageFile(part)) }), []finding{{"image", attest.Missing}}},
			damage{"image " + part + " flipped", always(func(b *box) {
				data := slices.Clone(b.read(b.imageFile(part)))
				data[len(data)/2] ^= 1
				b.write(b.imageFile(part), data)
			}), []finding{{"image", attest.Forged}}},
		)
	}
	return rows
}

const evidenceLabel = "org.cleanstart.evidence.policy"

// configure writes the image's configuration anew, with every digest that
// depends on it.
func (b *box) configure(edit func(labels map[string]any)) {
	idx := b.index()
	for i, d := range idx.Manifests {
		if d.Annotations[roleAnnotation] != "" {
			continue
		}
		m := b.referrerManifest(d)
		var cfg map[string]any
		if err := json.Unmarshal(b.blobAt(string(m.Config.Digest)), &cfg); err != nil {
			b.t.Fatal(err)
		}
		edit(cfg["config"].(map[string]any)["Labels"].(map[string]any))
		config, err := json.Marshal(cfg)
		if err != nil {
			b.t.Fatal(err)
		}
		m.Config.Digest, m.Config.Size = b.put(config), int64(len(config))
		raw, err := json.Marshal(m)
		if err != nil {
			b.t.Fatal(err)
		}
		idx.Manifests[i].Digest, idx.Manifests[i].Size = b.put(raw), int64(len(raw))
	}
	b.putIndex(idx)
}

// imageFile is the path of one part of the image.
func (b *box) imageFile(part string) string {
	for _, d := range b.index().Manifests {
		if d.Annotations[roleAnnotation] != "" {
			continue
		}
		m := b.referrerManifest(d)
		switch part {
		case "config":
			return blobFile(string(m.Config.Digest))
		case "layer":
			return blobFile(string(m.Layers[len(m.Layers)-1].Digest))
		}
		return blobFile(string(d.Digest))
	}
	b.t.Fatal("the index names no image")
	return ""
}
