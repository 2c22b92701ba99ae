package attesttest

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cleanstart/cleanstart/attest"
)

// Verifier checks an output directory. The names of artifacts in what it
// returns are those of [attest.Problem].
type Verifier func(t testing.TB, dir string) *attest.Verification

// TestVerifier damages a copy of dir, which must verify, and requires that
// verify refuses every damage and names the artifact that was hit:
//
//   - each of the eleven artifacts deleted: its file, its referrers, its blobs;
//   - one byte flipped in every file, and for files other than blobs also at
//     both ends, one byte appended, and nothing left;
//   - a forged referrer added for each kind, and a real one replaced by it;
//   - every referrer stripped, with and without their blobs;
//   - files exchanged, added, and replaced by symbolic links.
func TestVerifier(t *testing.T, dir string, verify Verifier) {
	b := newBox(t, dir)
	v := verify(t, b.dir)
	if !v.OK {
		t.Fatalf("the undamaged directory does not verify: %v", v.Problems)
	}
	owner := map[string]string{}
	for _, f := range v.Manifest.Files {
		owner[f.Path] = f.Role
	}
	refuse := func(t *testing.T, what string, artifacts ...string) {
		t.Helper()
		defer b.heal()
		v := verify(t, b.dir)
		if v.OK {
			t.Errorf("%s: it verifies", what)
			return
		}
		for _, a := range artifacts {
			if !slices.ContainsFunc(v.Problems, func(p attest.Problem) bool { return p.Artifact == a }) {
				t.Errorf("%s: %s is not named in %v", what, a, v.Problems)
			}
		}
	}
	t.Run("Deleted", func(t *testing.T) { testDeleted(t, b, refuse) })
	t.Run("Flipped", func(t *testing.T) { testFlipped(t, b, owner, refuse) })
	t.Run("Forged", func(t *testing.T) { testForged(t, b, refuse) })
	t.Run("Stripped", func(t *testing.T) { testStripped(t, b, refuse) })
	t.Run("Moved", func(t *testing.T) { testMoved(t, b, refuse) })
	if v := verify(t, b.dir); !v.OK {
		t.Errorf("after all damage is undone it does not verify: %v", v.Problems)
	}
}

type refusal func(t *testing.T, what string, artifacts ...string)

func testDeleted(t *testing.T, b *box, refuse refusal) {
	for _, k := range attest.Kinds() {
		b.remove("evidence/" + k.File)
		refuse(t, k.Name+": file deleted", k.Name)

		b.strip(k.Name)
		refuse(t, k.Name+": referrers taken out of the index", k.Name)

		for _, d := range b.referrers(k.Name) {
			m := b.referrerManifest(d)
			b.remove(blobFile(string(m.Layers[0].Digest)))
			refuse(t, k.Name+": blob deleted", k.Name)
			b.remove(blobFile(string(d.Digest)))
			refuse(t, k.Name+": referrer deleted", k.Name)
		}

		gone := b.referrers(k.Name)
		b.strip(k.Name)
		for _, d := range gone {
			m := b.referrerManifest(d)
			b.remove(blobFile(string(m.Layers[0].Digest)))
			b.remove(blobFile(string(d.Digest)))
		}
		b.remove("evidence/" + k.File)
		refuse(t, k.Name+": everything of it deleted", k.Name)
	}
	for _, name := range b.files() {
		b.remove(name)
		refuse(t, name+" deleted")
	}
}

func testFlipped(t *testing.T, b *box, owner map[string]string, refuse refusal) {
	for _, name := range b.files() {
		data := b.read(name)
		role := owner[name]
		var hit []string
		switch {
		case role != "":
			hit = []string{role}
		case name != indexFile:
			hit = []string{"manifest"} // the evidence manifest's own files
		}
		// Every file by one byte in its middle. Those with a name of their own
		// also at both ends and by length; blobs are all read the same way.
		offsets := []int{len(data) / 2}
		blob := strings.HasPrefix(name, "oci/blobs/")
		if !blob {
			offsets = append(offsets, 0, len(data)-1)
		}
		for _, at := range offsets {
			if at < 0 || at >= len(data) {
				continue
			}
			bad := slices.Clone(data)
			bad[at] ^= 0x20 // the other case of a letter: the kindest flip
			b.write(name, bad)
			refuse(t, name+": byte flipped", hit...)
		}
		if blob {
			continue
		}
		b.write(name, append(slices.Clone(data), '\n'))
		refuse(t, name+": newline appended", hit...)
		b.write(name, nil)
		refuse(t, name+": emptied", hit...)
	}
}

func testForged(t *testing.T, b *box, refuse refusal) {
	for _, d := range b.referrers("") {
		if d.ArtifactType != bundleType {
			continue
		}
		role := d.Annotations[roleAnnotation]
		m := b.referrerManifest(d)
		forged := forge(t, b.read(blobFile(string(m.Layers[0].Digest))))
		b.attach(d, forged)
		refuse(t, role+": forged referrer added", role)

		b.attach(d, forged)
		idx := b.index()
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(x ocispec.Descriptor) bool { return x.Digest == d.Digest })
		b.putIndex(idx)
		refuse(t, role+": replaced by a forged referrer", role)
	}
}

func testStripped(t *testing.T, b *box, refuse refusal) {
	var all []string
	for _, k := range attest.Kinds() {
		all = append(all, k.Name)
	}
	b.strip("")
	refuse(t, "every referrer taken out of the index", append(all, "manifest")...)

	gone := b.referrers("")
	b.strip("")
	for _, d := range gone {
		m := b.referrerManifest(d)
		b.remove(blobFile(string(m.Layers[0].Digest)))
		b.remove(blobFile(string(d.Digest)))
	}
	for _, k := range attest.Kinds() {
		b.remove("evidence/" + k.File)
	}
	refuse(t, "nothing but the image left", append(all, "manifest")...)

	b.strip("manifest")
	refuse(t, "evidence manifest taken out of the index", "manifest")
}

func testMoved(t *testing.T, b *box, refuse refusal) {
	x, y := b.read("evidence/sbom-cyclonedx.json"), b.read("evidence/sbom-spdx.json")
	b.write("evidence/sbom-cyclonedx.json", y)
	b.write("evidence/sbom-spdx.json", x)
	refuse(t, "two bills of materials exchanged", attest.SBOMCycloneDX, attest.SBOMSPDX)

	for name, hit := range map[string]string{"evidence/more.json": "", "oci/blobs/sha256/" + strings.Repeat("0", 64): "layout", "notes.txt": "extra"} {
		b.write(name, []byte("{}"))
		if hit == "" {
			refuse(t, name+" added")
		} else {
			refuse(t, name+" added", hit)
		}
	}

	b.remember("evidence/vex.json")
	target := b.path("evidence/vex.json")
	if err := os.Rename(target, b.dir+"-vex"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(b.dir+"-vex", target); err != nil {
		t.Fatal(err)
	}
	refuse(t, "file replaced by a symbolic link to the same bytes", attest.VEX)

	// The image moves under the evidence: another configuration, rightly hashed.
	idx := b.index()
	for i, d := range idx.Manifests {
		if d.Annotations[roleAnnotation] != "" {
			continue
		}
		m := b.referrerManifest(d)
		config := append(b.read(blobFile(string(m.Config.Digest))), ' ')
		m.Config.Digest, m.Config.Size = ocispecDigest(config), int64(len(config))
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		b.write(blobFile(string(m.Config.Digest)), config)
		b.write(blobFile(string(ocispecDigest(raw))), raw)
		idx.Manifests[i].Digest, idx.Manifests[i].Size = ocispecDigest(raw), int64(len(raw))
	}
	b.putIndex(idx)
	refuse(t, "evidence of another image", "manifest")
}
