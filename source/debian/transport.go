package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"pault.ag/go/debian/version"

	"github.com/cleanstart/cleanstart/source"
)

// ErrNotFound says that no suite carries what was asked for.
var ErrNotFound = errors.New("not in any configured suite")

var _ source.Transport = (*Archive)(nil)

// origin is where the upstream files of one package version were found.
type origin struct {
	Source    string     `json:"source"`  // package
	Version   string     `json:"version"` // Debian's, of the revision whose files these are
	Tar       fileEntry  `json:"tar"`
	Signature *fileEntry `json:"signature,omitempty"`
}

// Open gives the upstream tarball or its detached signature of a source
// package: debian:PACKAGE@UPSTREAM-VERSION/orig.tar or …/orig.tar.asc.
//
// Both come from the newest revision of that upstream version, in any suite,
// whose files the archive really has; epochs do not count. The content is in
// the cache before Open returns, and what was found is recorded, so that the
// same reference does not need the network again. The error wraps
// [ErrNotFound] where no suite lists the version or its signature, and
// [ErrMissing], with the files' names, where the archive has lost them.
func (a *Archive) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
	pkg, ver, signature, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	o, err := a.origin(ctx, pkg, ver)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	f := &o.Tar
	if signature {
		if f = o.Signature; f == nil {
			return nil, fmt.Errorf("%s: %w: revision %s carries no upstream signature", ref, ErrNotFound, o.Version)
		}
	}
	return os.Open(a.blob("files", f.SHA256))
}

func parseRef(ref *url.URL) (pkg, ver string, signature bool, err error) {
	bad := fmt.Errorf("%s: want debian:PACKAGE@UPSTREAM-VERSION/orig.tar or …/orig.tar.asc", ref)
	if ref.Scheme != "debian" {
		return "", "", false, bad
	}
	opaque, uerr := url.PathUnescape(ref.Opaque)
	if uerr != nil {
		return "", "", false, bad
	}
	pv, file, ok := strings.Cut(opaque, "/")
	pkg, ver, ok2 := strings.Cut(pv, "@")
	if !ok || !ok2 || !safeName(pkg) || ver == "" || strings.ContainsAny(ver, " \t\n/") || file != "orig.tar" && file != "orig.tar.asc" {
		return "", "", false, bad
	}
	return pkg, ver, file == "orig.tar.asc", nil
}

// origin finds and fetches the upstream files of one version.
func (a *Archive) origin(ctx context.Context, pkg, ver string) (*origin, error) {
	sum := sha256.Sum256([]byte(a.ID() + "\n" + pkg + "\n" + ver))
	name := filepath.Join(a.dir, "origins", hex.EncodeToString(sum[:])+".json")
	var o origin
	if recorded(name, &o) && o.Source == pkg && isSHA256(o.Tar.SHA256) && (o.Signature == nil || isSHA256(o.Signature.SHA256)) {
		ok, err := a.haveBlob("files", o.Tar)
		if ok && o.Signature != nil {
			ok, err = a.haveBlob("files", *o.Signature)
		}
		if ok || err != nil {
			return &o, err
		}
	}
	list, err := a.revisions(ctx, pkg, ver)
	if err != nil {
		return nil, err
	}
	var missing []error
	for _, r := range list {
		err := a.fetchBlob(ctx, "files", r.urls(r.origin.Tar.Name), r.origin.Tar)
		if err == nil && r.origin.Signature != nil {
			err = a.fetchBlob(ctx, "files", r.urls(r.origin.Signature.Name), *r.origin.Signature)
		}
		if err == nil {
			return &r.origin, record(name, r.origin)
		}
		if !errors.Is(err, ErrMissing) {
			return nil, err
		}
		missing = append(missing, fmt.Errorf("revision %s of %s: %w", r.origin.Version, r.entry.Suite, err))
	}
	return nil, errors.Join(missing...)
}

// revision is one source package version of one suite.
type revision struct {
	entry   *Entry
	dir     string
	version version.Version
	origin  origin
}

func (r *revision) urls(name string) []string {
	return r.entry.urls(r.dir + "/" + name)
}

// revisions lists what the suites carry of an upstream version, newest first.
func (a *Archive) revisions(ctx context.Context, pkg, ver string) ([]revision, error) {
	suites, err := a.withSources(ctx)
	if err != nil {
		return nil, err
	}
	var out []revision
	var others []string
	for _, s := range suites {
		for _, body := range s.sources {
			lookup(body, pkg, func(f []string) {
				v, verr := version.Parse(f[1])
				if verr != nil {
					err = fmt.Errorf("suite %s: version of %s: %w", s.entry.Suite, pkg, verr)
					return
				}
				if v.Version != ver {
					others = append(others, v.Version)
					return
				}
				r := revision{entry: s.entry, dir: f[2], version: v, origin: origin{Source: pkg, Version: f[1]}}
				if r.files(pkg, ver, f[3:]) {
					out = append(out, r)
				}
			})
		}
	}
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		if len(others) == 0 {
			return nil, fmt.Errorf("source package %s: %w", pkg, ErrNotFound)
		}
		sort.Strings(others)
		return nil, fmt.Errorf("source package %s at upstream version %s: %w; carried: %s", pkg, ver, ErrNotFound, strings.Join(others, ", "))
	}
	sort.SliceStable(out, func(i, j int) bool { return version.Compare(out[i].version, out[j].version) > 0 })
	return out, nil
}

// files picks the upstream tarball and its signature; a native package has
// none.
func (r *revision) files(pkg, ver string, list []string) bool {
	stem := pkg + "_" + ver + ".orig.tar."
	for _, item := range list {
		f := strings.Split(item, ",")
		ext, ok := strings.CutPrefix(f[0], stem)
		if !ok || len(f) != 3 || !isSHA256(f[2]) {
			continue
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		e := fileEntry{f[0], size, f[2]}
		switch {
		case strings.HasSuffix(ext, ".asc"):
			r.origin.Signature = &e
		case !strings.Contains(ext, "."):
			r.origin.Tar = e
		}
	}
	return r.origin.Tar.Name != ""
}
