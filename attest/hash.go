package attest

import (
	"bytes"
	"fmt"

	release "github.com/in-toto/attestation/go/predicates/release/v02"
)

// buildHash is artifact 10: one subject for the manifest, the configuration,
// each layer, each diffID and each file, and the same as SHA256SUMS; all but
// manifest and diffIDs with SHA-512, too, which some consumers ask for. The names
// in SHA256SUMS are paths below the output directory (oci/blobs/...) and below
// an unpacked root file system (rootfs/...), so that sha256sum -c
// --ignore-missing checks whatever is there.
func buildHash(_ *Input, f *facts, ev *Evidence) (*product, error) {
	var sums bytes.Buffer
	var subjects []Subject
	add := func(name, sumName, sha256, sha512 string) {
		s := Subject{Name: name, Digest: map[string]string{"sha256": sha256}}
		if sha512 != "" {
			s.Digest["sha512"] = sha512
		}
		subjects = append(subjects, s)
		if sumName != "" {
			fmt.Fprintf(&sums, "%s  %s\n", sha256, sumName)
		}
	}
	blob := func(digest string) string { return "oci/blobs/sha256/" + hexOf(digest) }
	fmt.Fprintf(&sums, "%s  %s\n", hexOf(f.manifest), blob(f.manifest)) // the manifest is the statement's first subject
	add("config", blob(f.config), hexOf(f.config), f.configSHA512)
	for i, l := range f.layers {
		add("layer:"+l.Component, blob(l.Digest), hexOf(l.Digest), f.layerSHA512[i])
		add("diffid:"+l.Component, "", hexOf(l.DiffID), "")
	}
	for _, c := range f.components {
		for _, s := range c.files {
			add("/"+s.path, "rootfs/"+s.path, s.sha256, s.sha512)
		}
	}
	r := &release.Release{Purl: f.purl}
	b, err := marshalProto(r)
	if err != nil {
		return nil, err
	}
	ev.Sums = sums.Bytes()
	return &product{predicate: b, subjects: subjects}, nil
}
