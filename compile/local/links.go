package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

const (
	maxInput = 1 << 30 // one object or archive
	maxMap   = 1 << 30
)

// toolchainOrigin is Input.Origin of what the compiler root brought.
const toolchainOrigin = "toolchain"

// tracer follows installed files back to units.
type tracer struct {
	*work
	units   map[string][]record // digest → compilations that made it
	links   map[string]*record  // build-id → link
	inputs  map[string]*input   // path in the sandbox, or on the host for split objects
	reached map[string]bool     // digests of objects that something installed holds
}

// trace completes units and links, writes the stripped runtime ELF files, and
// fails for what it cannot explain.
func (w *work) trace(ctx context.Context, root *os.Root, files []*installed, result *compile.Result) error {
	records, err := w.readRecords()
	if err != nil {
		return err
	}
	t := &tracer{work: w, units: map[string][]record{}, links: map[string]*record{}, inputs: map[string]*input{}, reached: map[string]bool{}}
	for i := range records {
		if err := t.index(&records[i]); err != nil {
			return err
		}
	}
	made := make([]*record, len(files))
	for i, f := range files {
		if made[i] = t.links[f.elf.buildID]; f.elf.buildID == "" || made[i] == nil {
			return fmt.Errorf("%s was not linked by the recorded compiler: nothing explains its bytes", f.path)
		}
	}
	loads := make([][]loaded, len(files))
	for i, r := range made {
		if loads[i], err = readMap(r); err != nil {
			return fmt.Errorf("%s: %w", files[i].path, err)
		}
	}
	if err := t.gather(ctx, made, loads); err != nil {
		return err
	}
	for i, f := range files {
		l, err := t.link(f, made[i], loads[i])
		if err != nil {
			return err
		}
		result.Links = append(result.Links, *l)
	}
	if result.Excised, err = w.excisions(records, result.Links); err != nil {
		return err
	}
	if err := t.strip(ctx, root, files, made); err != nil {
		return err
	}
	if err := t.installedObjects(); err != nil {
		return err
	}
	result.Units, err = t.reachedUnits()
	return err
}

func (t *tracer) index(r *record) error {
	if r.kind == "unit" {
		t.units[r.digest] = append(t.units[r.digest], *r)
		return nil
	}
	f, err := os.Open(r.host + ".elf")
	if err != nil {
		return fmt.Errorf("the linked file %s was not kept: %w", r.file, err)
	}
	defer f.Close()
	e, err := readELF(f)
	if err != nil || e == nil || e.buildID == "" {
		return nil // not an ELF file with a build-id: cannot be what is installed
	}
	// two links may give the same bytes; any is right, one is chosen by name
	if old := t.links[e.buildID]; old == nil || r.file < old.file || r.file == old.file && r.host < old.host {
		t.links[e.buildID] = r
	}
	return nil
}

func readMap(r *record) ([]loaded, error) {
	b, err := readBounded(r.host+".map", maxMap)
	if err != nil {
		return nil, err
	}
	return parseMap(bytes.NewReader(b))
}

// link is the public record of one link.
func (t *tracer) link(f *installed, r *record, loads []loaded) (*compile.Link, error) {
	l := &compile.Link{
		Output:     f.path,
		Unstripped: path.Join("elf", f.path),
		Map:        path.Join("maps", f.path+".map"),
		Args:       r.args,
		Dir:        r.dir,
	}
	debug := filepath.Join(t.parts, compile.PartDebug)
	if err := copyFile(r.host+".elf", filepath.Join(debug, l.Unstripped), 0o644); err != nil {
		return nil, err
	}
	text, err := readBounded(r.host+".map", maxMap)
	if err != nil {
		return nil, err
	}
	text = processName.ReplaceAll(text, []byte("${1}@."))
	mapFile := filepath.Join(debug, l.Map)
	if err := os.MkdirAll(filepath.Dir(mapFile), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(mapFile, text, 0o644); err != nil {
		return nil, err
	}
	for _, ld := range loads {
		in := t.inputs[r.key(ld)]
		if in.members != nil && ld.Member == "" {
			continue // an archive that gave nothing
		}
		p := absolute(r.dir, ld.Path)
		item := compile.Input{
			Path: anonymous(p), Member: ld.Member,
			Object: in.copy, Digest: "sha256:" + in.digest, Size: in.size, Origin: t.origin(p),
		}
		same := []member{{in.digest, in.size}}
		if ld.Member != "" {
			// a name may occur twice, and the map does not say which was taken
			if same = in.members[ld.Member]; len(same) == 0 {
				return nil, fmt.Errorf("%s: the archive %s has no member %s", f.path, ld.Path, ld.Member)
			}
		}
		for _, m := range same {
			item.Digest, item.Size, item.Source = "sha256:"+m.digest, m.size, ""
			if item.Origin == t.job.Action.Component && (in.rel || ld.Member != "") {
				if item.Source, err = t.source(m.digest); err != nil {
					return nil, fmt.Errorf("%s: %s(%s): %w", f.path, p, ld.Member, err)
				}
			}
			if !slices.Contains(l.Inputs, item) {
				l.Inputs = append(l.Inputs, item)
			}
		}
	}
	return l, nil
}

var errUnexplained = errors.New("this object was not made by the recorded compiler: nothing explains its bytes")

// source names the translation unit behind an object of this component and
// marks it as reached.
func (t *tracer) source(digest string) (string, error) {
	made := t.units[digest]
	if len(made) == 0 {
		return "", errUnexplained
	}
	t.reached[digest] = true
	best := made[0].unit().Source
	for _, r := range made[1:] {
		best = min(best, r.unit().Source)
	}
	return best, nil
}

// origin says which component a linked file belongs to.
func (t *tracer) origin(p string) string {
	if rest, ok := strings.CutPrefix(p, compile.NeedsDir+"/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	if strings.HasPrefix(p, path.Dir(compile.SourceDir)+"/") || strings.HasPrefix(p, "/tmp/") {
		return t.job.Action.Component
	}
	return toolchainOrigin
}

// strip writes the runtime ELF files: the recorded link, stripped. What was
// installed must be the same once stripped; a difference means that somebody
// changed the file after the link.
func (t *tracer) strip(ctx context.Context, root *os.Root, files []*installed, made []*record) error {
	if len(files) == 0 {
		return nil
	}
	dir := filepath.Join(t.dir, "strip")
	const in = "/build/strip"
	args := []string{"strip", "--strip-all", "--enable-deterministic-archives"}
	for i, f := range files {
		n := strconv.Itoa(i)
		if err := copyFile(made[i].host+".elf", filepath.Join(dir, n+".linked"), 0o755); err != nil {
			return err
		}
		r, err := root.Open(f.path)
		if err != nil {
			return err
		}
		err = writeNew(filepath.Join(dir, n+".installed"), r, 0o755)
		r.Close()
		if err != nil {
			return err
		}
		args = append(args, n+".linked", n+".installed")
	}
	if err := t.tool(ctx, io.Discard, in, args, sandbox.Mount{Kind: sandbox.Bind, Target: in, Source: dir}); err != nil {
		return err
	}
	for i, f := range files {
		n := strconv.Itoa(i)
		linked, err := readBounded(filepath.Join(dir, n+".linked"), maxInstalledFile)
		if err != nil {
			return err
		}
		was, err := readBounded(filepath.Join(dir, n+".installed"), maxInstalledFile)
		if err != nil {
			return err
		}
		if !bytes.Equal(linked, was) {
			return fmt.Errorf("%s was changed after it was linked: nothing explains the difference", f.path)
		}
		to := filepath.Join(t.parts, compile.PartRuntime, filepath.FromSlash(f.path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		perm := os.FileMode(0o644)
		if f.mode&0o111 != 0 {
			perm = 0o755
		}
		if err := writeNew(to, bytes.NewReader(linked), perm); err != nil {
			return err
		}
	}
	return nil
}

// installedObjects marks the units of what dependents will link: objects and
// archive members of the dev part.
func (t *tracer) installedObjects() error {
	dev := filepath.Join(t.parts, compile.PartDev)
	part, err := compile.ScanPart(dev)
	if err != nil {
		return err
	}
	for _, f := range part.Files {
		if ext := path.Ext(f.Path); f.Link != "" || ext != ".a" && ext != ".o" {
			continue
		}
		b, err := readBounded(filepath.Join(dev, f.Path), maxInput)
		if err != nil {
			return err
		}
		objects := []arMember{{Name: "", Data: b}}
		if bytes.HasPrefix(b, []byte(arMagic)) {
			if objects, err = parseArchive(b); err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
		}
		for _, o := range objects {
			if e, err := readELF(bytes.NewReader(o.Data)); err != nil || e == nil {
				continue // a linker script, or data that no linker takes
			}
			sum := sha256.Sum256(o.Data)
			if _, err := t.source(hex.EncodeToString(sum[:])); err != nil {
				return fmt.Errorf("%s(%s): %w", f.Path, o.Name, err)
			}
		}
	}
	return nil
}

// reachedUnits are the units that something installed holds, sorted, with
// their preprocessed text copied to the debug part.
func (t *tracer) reachedUnits() ([]compile.Unit, error) {
	var units []compile.Unit
	for digest := range t.reached {
		seen := map[string]bool{}
		made := t.units[digest]
		slices.SortFunc(made, func(a, b record) int {
			return strings.Compare(relative(a.file)+"\x00"+a.host, relative(b.file)+"\x00"+b.host)
		})
		for i := range made {
			u := made[i].unit()
			if seen[u.Source] { // compiled twice to the same bytes
				continue
			}
			seen[u.Source] = true
			if err := t.keepPreprocessed(&made[i], &u); err != nil {
				return nil, err
			}
			units = append(units, u)
		}
	}
	slices.SortFunc(units, func(a, b compile.Unit) int {
		return strings.Compare(a.Source+"\x00"+a.Object+"\x00"+a.Digest, b.Source+"\x00"+b.Object+"\x00"+b.Digest)
	})
	return units, nil
}

func (t *tracer) keepPreprocessed(r *record, u *compile.Unit) error {
	from := r.host + ".i.gz"
	if _, err := os.Lstat(from); u.Language != "c" || err != nil {
		return nil
	}
	sum := sha256.Sum256([]byte(u.Source + "\x00" + u.Digest))
	u.Preprocessed = path.Join("preprocessed", hex.EncodeToString(sum[:16])+".i.gz")
	return copyFile(from, filepath.Join(t.parts, compile.PartDebug, u.Preprocessed), 0o644)
}
