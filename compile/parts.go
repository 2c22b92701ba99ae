package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
)

// ScanPart lists and digests the file tree in dir. Directories are not
// entries: an empty directory is no part of an output. It refuses everything
// but regular files and symbolic links, and a link that leads out of the tree
// is the business of whoever follows it, not of the scan. A part that does
// not exist is the error of os.OpenRoot.
func ScanPart(dir string) (Part, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Part{}, fmt.Errorf("scan part: %w", err)
	}
	defer root.Close()
	var p Part
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		f, err := scanFile(root, name, d)
		if err != nil {
			return err
		}
		p.Files = append(p.Files, f)
		return nil
	})
	if err != nil {
		return Part{}, fmt.Errorf("scan part %s: %w", dir, err)
	}
	p.seal()
	return p, nil
}

func scanFile(root *os.Root, name string, d fs.DirEntry) (File, error) {
	info, err := d.Info()
	if err != nil {
		return File{}, err
	}
	f := File{Path: path.Clean(name)}
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		f.Mode = 0o777
		f.Link, err = root.Readlink(name)
		return f, err
	case 0:
		f.Mode = uint32(info.Mode().Perm())
	default:
		return File{}, fmt.Errorf("%s is neither a file nor a symbolic link (%s)", name, info.Mode().Type())
	}
	r, err := root.Open(name)
	if err != nil {
		return File{}, err
	}
	defer r.Close()
	h := sha256.New()
	if f.Size, err = io.Copy(h, r); err != nil {
		return File{}, err
	}
	f.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return f, nil
}

// seal sorts the files and sets the digest: SHA-256 of the canonical JSON of
// the sorted list.
func (p *Part) seal() {
	sort.Slice(p.Files, func(i, j int) bool { return p.Files[i].Path < p.Files[j].Path })
	p.Digest = digestJSON(p.Files)
}

// outputParts are the parts that an output's digest covers, in this order.
var outputParts = [...]string{PartRuntime, PartDev, PartLicenses}

// ScanOutput scans every part below dir. A missing directory is an empty
// part.
func ScanOutput(dir string) (Output, error) {
	o := Output{Dir: dir, Parts: map[string]Part{}}
	for _, name := range []string{PartRuntime, PartDev, PartDebug, PartLicenses} {
		p, err := ScanPart(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			p = Part{Digest: digestJSON([]File(nil))}
		} else if err != nil {
			return Output{}, err
		}
		o.Parts[name] = p
	}
	o.Digest = o.digest()
	return o, nil
}

// digest covers what others can see of an output: the digests of the
// runtime, dev and licenses parts.
func (o *Output) digest() string {
	type named struct {
		Part   string `json:"part"`
		Digest string `json:"digest"`
	}
	var list []named
	for _, n := range outputParts {
		list = append(list, named{n, o.Parts[n].Digest})
	}
	return digestJSON(list)
}

// VerifyOutput scans dir again and compares every part, debug included, with
// what o says. The error names the first difference.
func (o *Output) VerifyOutput(dir string) error {
	got, err := ScanOutput(dir)
	if err != nil {
		return err
	}
	for _, name := range []string{PartRuntime, PartDev, PartDebug, PartLicenses} {
		want, have := o.Parts[name], got.Parts[name]
		if want.Digest == have.Digest {
			continue
		}
		return fmt.Errorf("output part %s of %s differs from its record: %s", name, dir, firstDifference(want.Files, have.Files))
	}
	if o.Digest != got.Digest {
		return fmt.Errorf("output %s has digest %s, its record says %s", dir, got.Digest, o.Digest)
	}
	return nil
}

// firstDifference compares two sorted lists.
func firstDifference(want, have []File) string {
	for i := 0; i < len(want) || i < len(have); i++ {
		switch {
		case i >= len(have) || i < len(want) && want[i].Path < have[i].Path:
			return want[i].Path + " is missing"
		case i >= len(want) || want[i].Path > have[i].Path:
			return have[i].Path + " is not in the record"
		case want[i] != have[i]:
			return have[i].Path + " was changed"
		}
	}
	return "the record's own digest does not fit its list"
}

// digestJSON is SHA-256 over canonical JSON: struct order, no HTML escaping
// of consequence, "null" for an empty list.
func digestJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("compile: " + err.Error()) // only types of this file get here
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
