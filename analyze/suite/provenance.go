package suite

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleanstart/cleanstart/compile"
)

var provenanceTests = []Test{
	{
		ID: "provenance/files-explained", Family: Provenance, Run: filesExplained, Record: true,
		Title:   "Every file is a component's output",
		Asserts: "each file and link of each layer is in the record of that layer and in the runtime part of that component, with the same mode and digest, and nothing that the record names is missing",
		Why:     "a file that no build made was inherited from somewhere",
		Refs:    []string{"CWE-829", "CIS Docker 4.2", "NIST SP 800-190 4.1.5"},
	},
	{
		ID: "provenance/rootfs-is-the-layers", Family: Provenance, Run: rootfsIsTheLayers,
		Title:   "The unpacked root file system is the image's",
		Asserts: "the directory in which processes are tested holds exactly the files of the layers",
		Why:     "tests of another file system than the image's prove nothing about the image",
	},
	{
		ID: "provenance/layers-recorded", Family: Provenance, Run: layersRecorded, Record: true,
		Title:   "Every layer is one component's",
		Asserts: "the image's layers are those of the record in the same order, each of another component, and none beneath them",
		Why:     "a base layer is inheritance",
		Refs:    []string{"CWE-829", "CIS Docker 4.2", "NIST SP 800-190 4.1.5"},
	},
	{
		ID: "provenance/manifest-recorded", Family: Provenance, Run: manifestRecorded, Record: true,
		Title:   "The record is this image's",
		Asserts: "manifest and configuration have the digests that the record names",
		Why:     "evidence about another image is no evidence",
		Refs:    []string{"CWE-345", "CIS Docker 4.12", "NIST SP 800-190 4.1.5"},
	},
	{
		ID: "provenance/inputs-traced", Family: Provenance, Run: inputsTraced, Record: true,
		Title:   "Every linked object is traced to source",
		Asserts: "each object that the linker loaded comes from the toolchain's runtime or from a translation unit of the component itself or of one that it needs",
		Why:     "an untraced object is a prebuilt binary inside a file that claims to be compiled from source",
		Refs:    []string{"CWE-829"},
	},
	{
		ID: "provenance/toolchain-runtime-only", Family: Provenance, Run: toolchainRuntimeOnly, Record: true,
		Title:   "The toolchain gives start files and its runtime, no libraries",
		Asserts: "objects that come from the toolchain are crt files and libgcc, and its C library only where no component provides one",
		Why:     "a library taken from the toolchain has escaped verification, advisories and the bill of materials",
		Refs:    []string{"CWE-829", "CWE-1395"},
	},
	{
		ID: "provenance/elf-linked", Family: Provenance, Run: elfLinked, Record: true,
		Title:   "Every ELF file has a link record",
		Asserts: "for each ELF file of the image the component that ships it recorded the link that made it, with at least one input",
		Why:     "an ELF file that was installed without being linked came prebuilt",
		Refs:    []string{"CWE-829"},
	},
	{
		ID: "provenance/proofs-meet-policy", Family: Provenance, Run: proofsMeetPolicy, Record: true,
		Title:   "Every source has the proof its policy asks for",
		Asserts: "each component has a proof of at least the policy's grade over the archive that was built, by a pinned key where it is a signature, with no exception past its date",
		Why:     "source that nobody vouched for may be anyone's",
		Refs:    []string{"CWE-347", "CWE-494", "CIS Docker 4.11"},
	},
	{
		ID: "provenance/inputs-chained", Family: Provenance, Run: inputsChained, Record: true,
		Title:   "Every build used what the record says was built",
		Asserts: "each action names the verified tree, the recorded toolchain and the recorded outputs of exactly the components it needs",
		Why:     "a build against something else than what is recorded makes every other statement false",
		Refs:    []string{"CWE-345"},
	},
	{
		ID: "provenance/commands-complete", Family: Provenance, Run: commandsComplete, Record: true,
		Title:   "Every build ran its commands to the end",
		Asserts: "the executions of each component are the commands of its action, all of them, in order, and each succeeded",
		Why:     "a skipped step, such as a patch or a test, is not seen in the output",
	},
	{
		ID: "provenance/hermetic", Family: Provenance, Run: hermetic, Record: true,
		Title:   "Every build ran without network and without privilege",
		Asserts: "the measured isolation of each build shows loopback at most, no way out, its own namespaces and a system-call filter",
		Why:     "a build that can fetch can build something else than its verified source",
		Refs:    []string{"CWE-494"},
	},
	{
		ID: "provenance/licences-kept", Family: Provenance, Run: licencesKept, Record: true,
		Title:   "Every component keeps its licence",
		Asserts: "each component declares an SPDX expression, and its output holds at least one licence text",
		Why:     "almost every licence forbids distribution without its text",
	},
}

func filesExplained(_ context.Context, s *Subject) Outcome {
	var wrong []string
	n := 0
	for i, l := range s.Layers {
		if i >= len(s.Record.Image.Layers) {
			wrong = append(wrong, fmt.Sprintf("layer %d is not in the record", i))
			continue
		}
		lr := s.Record.Image.Layers[i]
		recorded := byPath(lr.Files)
		built := map[string]compile.File{}
		if c := s.component(lr.Component); c != nil {
			built = byPath(c.Result.Output.Parts[compile.PartRuntime].Files)
		} else {
			wrong = append(wrong, fmt.Sprintf("layer %d is of component %q, which is not in the record", i, lr.Component))
		}
		for _, e := range l.Entries {
			if e.Type == tar.TypeDir {
				continue
			}
			name := clean(e.Path)
			n++
			if f, ok := recorded[name]; !ok {
				wrong = append(wrong, fmt.Sprintf("%s is in layer %d and not in the record", name, i))
			} else if why := differs(e, f); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s: %s than in the record of layer %d", name, why, i))
			}
			if f, ok := built[name]; !ok {
				wrong = append(wrong, fmt.Sprintf("%s is not an output of %s", name, lr.Component))
			} else if why := differs(e, f); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s: %s than in the output of %s", name, why, lr.Component))
			}
			delete(recorded, name)
		}
		for name := range recorded {
			wrong = append(wrong, fmt.Sprintf("%s is in the record and not in layer %d", name, i))
		}
	}
	if n == 0 && len(wrong) == 0 {
		return notApplicable("the image holds no file")
	}
	return verdict(wrong, "%d files explained", n)
}

// differs says in what an entry of the image is another than a recorded file.
func differs(e Entry, f compile.File) string {
	switch {
	case e.Type == tar.TypeSymlink:
		if f.Link != e.Link || f.Link == "" {
			return "another link target"
		}
	case e.Type != tar.TypeReg:
		return "another type"
	case f.Link != "" || f.Digest != e.Digest || f.Size != e.Size:
		return "another content"
	case e.Mode != int64(f.Mode):
		return fmt.Sprintf("another mode (%#o, not %#o)", e.Mode, f.Mode)
	}
	return ""
}

func byPath(files []compile.File) map[string]compile.File {
	m := make(map[string]compile.File, len(files))
	for _, f := range files {
		m[clean(f.Path)] = f
	}
	return m
}

func (s *Subject) component(name string) *compile.ComponentRecord {
	for i := range s.Record.Components {
		if s.Record.Components[i].Component.Name == name {
			return &s.Record.Components[i]
		}
	}
	return nil
}

func rootfsIsTheLayers(ctx context.Context, s *Subject) Outcome {
	if s.Rootfs == "" {
		return notApplicable("the image was not unpacked")
	}
	root, err := os.OpenRoot(s.Rootfs)
	if err != nil {
		return verdict([]string{err.Error()}, "")
	}
	defer root.Close()
	var wrong []string
	left := map[string]Entry{}
	for name, e := range s.Files {
		if e.Type != tar.TypeDir {
			left[name] = e
		}
	}
	n := len(left)
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return ctx.Err()
		}
		e, ok := left[name]
		if !ok {
			wrong = append(wrong, name+" is not in the image")
			return nil
		}
		delete(left, name)
		if why := sameOnDisk(root, name, d, e); why != "" {
			wrong = append(wrong, name+": "+why)
		}
		return nil
	})
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	for name := range left {
		wrong = append(wrong, name+" is not in "+filepath.Base(s.Rootfs))
	}
	return verdict(wrong, "%d files are the same", n)
}

func sameOnDisk(root *os.Root, name string, d fs.DirEntry, e Entry) string {
	if d.Type() == fs.ModeSymlink {
		to, err := root.Readlink(name)
		if err != nil || e.Type != tar.TypeSymlink || to != e.Link {
			return "another link"
		}
		return ""
	}
	if !d.Type().IsRegular() || e.Type != tar.TypeReg && e.Type != tar.TypeLink {
		return "another type"
	}
	f, err := root.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, e.Size+1)); err != nil {
		return err.Error()
	}
	if "sha256:"+hex.EncodeToString(h.Sum(nil)) != e.Digest {
		return "another content"
	}
	return ""
}

func layersRecorded(_ context.Context, s *Subject) Outcome {
	var wrong []string
	if got, want := len(s.Layers), len(s.Record.Image.Layers); got != want {
		wrong = append(wrong, fmt.Sprintf("the image has %d layers, its record %d", got, want))
	}
	seen := map[string]bool{}
	for i := range min(len(s.Layers), len(s.Record.Image.Layers)) {
		l, r := s.Layers[i], s.Record.Image.Layers[i]
		if l.Digest != r.Digest || l.DiffID != r.DiffID || l.Size != r.Size {
			wrong = append(wrong, fmt.Sprintf("layer %d is %s, its record says %s", i, l.Digest, r.Digest))
		}
		if seen[r.Component] {
			wrong = append(wrong, fmt.Sprintf("layer %d is a second layer of %s", i, r.Component))
		}
		seen[r.Component] = true
		if s.component(r.Component) == nil {
			wrong = append(wrong, fmt.Sprintf("layer %d is of %q, which is no component", i, r.Component))
		}
	}
	if len(s.Layers) == 0 && len(wrong) == 0 {
		return notApplicable("the image has no layer")
	}
	return verdict(wrong, "%d layers, one for each component with files", len(s.Layers))
}

func manifestRecorded(_ context.Context, s *Subject) Outcome {
	var wrong []string
	check := func(what, want string, got fmt.Stringer, err error) {
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %v", what, err))
		case got.String() != want:
			wrong = append(wrong, fmt.Sprintf("%s is %s, the record says %q", what, got, want))
		}
	}
	d, err := s.Image.Digest()
	check("manifest", s.Record.Image.Manifest, d, err)
	c, err := s.Image.ConfigName()
	check("configuration", s.Record.Image.Config, c, err)
	return verdict(wrong, "manifest %s", d)
}
