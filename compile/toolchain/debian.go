package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/internal/filelock"
	"github.com/cleanstart/cleanstart/source/debian"
)

// recipe is raised when the same packages would give another tree.
const recipe = 1

// Options refine [Debian]. The zero value resolves once and then uses what
// the cache recorded.
type Options struct {
	// Lock, when set, is the exact set of packages; anything else is refused.
	Lock []compile.Package
	// Refresh resolves again although an earlier answer is recorded.
	Refresh bool
	// Rehash reads every file of a cached root again. Without it a cached
	// root is checked by names, modes, sizes, times and link targets.
	Rehash bool
}

// resolution is the record that leads from a request to a tree.
type resolution struct {
	Packages []compile.Package `json:"packages"`
	Digest   string            `json:"digest"` // hexadecimal
}

// Debian gives the root made of the named packages and all that they depend
// on; no names mean [Default]. It lies in cache/toolchains/sha256/DIGEST and
// is read-only. Several processes may share the cache: one unpacks, the
// others wait.
//
// The first call resolves against the archive and records the answer; later
// calls with the same names and configuration find the root again without
// the network until Options.Refresh. A damaged root is unpacked anew.
func Debian(ctx context.Context, archive *debian.Archive, cache string, packages []string, opts Options) (*compile.Toolchain, error) {
	if len(packages) == 0 {
		packages = Default()
	}
	t, err := debianRoot(ctx, archive, filepath.Join(cache, "toolchains"), packages, opts)
	if err != nil {
		return nil, fmt.Errorf("toolchain of Debian packages: %w", err)
	}
	return t, nil
}

func debianRoot(ctx context.Context, archive *debian.Archive, dir string, packages []string, opts Options) (*compile.Toolchain, error) {
	if err := os.MkdirAll(filepath.Join(dir, "sha256"), 0o755); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "resolutions", requestID(archive, packages, opts.Lock)+".json")
	if !opts.Refresh {
		if t := fromRecord(name, dir, opts); t != nil {
			return t, nil
		}
	}
	unlock, err := filelock.Lock(ctx, filepath.Join(dir, "lock"), false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !opts.Refresh {
		if t := fromRecord(name, dir, opts); t != nil { // made while we waited
			return t, nil
		}
	}
	if err := removeStale(dir); err != nil {
		return nil, err
	}
	var list []debian.Package
	if len(opts.Lock) > 0 {
		list, err = archive.Exact(ctx, exact(opts.Lock))
	} else {
		list, err = archive.Resolve(ctx, packages)
	}
	if err != nil {
		return nil, err
	}
	res := resolution{Packages: make([]compile.Package, len(list))}
	for i, p := range list {
		res.Packages[i] = compile.Package{Name: p.Name, Version: p.Version, SHA256: p.SHA256}
	}
	if res.Digest, err = build(ctx, archive, dir, list, opts); err != nil {
		return nil, err
	}
	if err := writeJSON(name, res); err != nil {
		return nil, err
	}
	return res.toolchain(dir), nil
}

func (r *resolution) toolchain(dir string) *compile.Toolchain {
	return &compile.Toolchain{
		Kind: "debian", Digest: "sha256:" + r.Digest, Packages: r.Packages,
		Dir: filepath.Join(dir, "sha256", r.Digest, "root"),
	}
}

// requestID names what a recorded resolution answers.
func requestID(a *debian.Archive, packages []string, lock []compile.Package) string {
	names := append([]string(nil), packages...)
	sort.Strings(names)
	b, err := json.Marshal([]any{recipe, a.ID(), names, lock})
	if err != nil {
		panic("toolchain: " + err.Error()) // strings always marshal
	}
	return digest(b)
}

func exact(lock []compile.Package) []debian.Package {
	out := make([]debian.Package, len(lock))
	for i, p := range lock {
		out[i] = debian.Package{Name: p.Name, Version: p.Version, SHA256: p.SHA256}
	}
	return out
}

// fromRecord is the root that an earlier call recorded, if it is still whole.
func fromRecord(name, dir string, opts Options) *compile.Toolchain {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	var r resolution
	if json.Unmarshal(b, &r) != nil || len(r.Digest) != 2*sha256.Size {
		return nil
	}
	if verify(filepath.Join(dir, "sha256", r.Digest), r.Digest, opts.Rehash) != nil {
		return nil
	}
	return r.toolchain(dir)
}

// verify checks a root against its manifest, and the manifest against the
// digest that names it.
func verify(dir, want string, rehash bool) error {
	b, err := os.ReadFile(filepath.Join(dir, "manifest"))
	if err != nil {
		return err
	}
	if got := digest(b); got != want {
		return fmt.Errorf("manifest has digest %s, its directory is named %s", got, want)
	}
	m, err := decode(b)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join(dir, "root"))
	if err != nil {
		return err
	}
	defer root.Close()
	return m.check(root, rehash)
}

// build fetches and unpacks the packages, and puts the root in its place.
func build(ctx context.Context, archive *debian.Archive, dir string, list []debian.Package, opts Options) (_ string, err error) {
	tmp, err := os.MkdirTemp(dir, "tmp-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, atomicfile.RemoveTree(tmp))
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Join(tmp, "root"), 0o755); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(filepath.Join(tmp, "root"))
	if err != nil {
		return "", err
	}
	defer root.Close()
	u := &unpacker{root: root, tree: manifest{}}
	if err := u.begin(); err != nil {
		return "", err
	}
	if err := fetchAndUnpack(ctx, archive, u, list); err != nil {
		return "", err
	}
	if err := u.finish(); err != nil {
		return "", err
	}
	if err := u.tree.whole(); err != nil {
		return "", err
	}
	if err := u.tree.seal(root); err != nil {
		return "", err
	}
	encoded := u.tree.encode()
	hex := digest(encoded)
	if err := atomicfile.WriteBytes(filepath.Join(tmp, "manifest"), 0o444, encoded); err != nil {
		return "", err
	}
	if err := atomicfile.SyncTree(tmp); err != nil {
		return "", err
	}
	final := filepath.Join(dir, "sha256", hex)
	if verify(final, hex, opts.Rehash) == nil { // the same tree from another request
		return hex, atomicfile.RemoveTree(tmp)
	}
	if err := atomicfile.RemoveTree(final); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, final); err != nil {
		return "", err
	}
	return hex, atomicfile.SyncDir(filepath.Dir(final))
}

// fetchAndUnpack unpacks each package as soon as it is there, the largest
// first, one for each processor at a time.
func fetchAndUnpack(ctx context.Context, archive *debian.Archive, u *unpacker, list []debian.Package) error {
	order := append([]debian.Package(nil), list...)
	sort.SliceStable(order, func(i, j int) bool { return order[i].Size > order[j].Size })
	g, ctx := errgroup.WithContext(ctx)
	ready := make(chan *debian.Package, len(order))
	g.Go(func() error {
		defer close(ready)
		fetch, ctx := errgroup.WithContext(ctx)
		fetch.SetLimit(4)
		for i := range order {
			fetch.Go(func() error {
				if err := archive.FetchOne(ctx, &order[i]); err != nil {
					return err
				}
				ready <- &order[i]
				return nil
			})
		}
		return fetch.Wait()
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for p := range ready {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := u.unpack(p.Name, archive.Path(p)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// removeStale removes what an interrupted call left; the lock is held.
func removeStale(dir string) error {
	list, err := filepath.Glob(filepath.Join(dir, "tmp-*"))
	if err != nil {
		return err
	}
	for _, d := range list {
		if err := atomicfile.RemoveTree(d); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteBytes(name, 0o644, b)
}
