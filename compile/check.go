package compile

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/package-url/packageurl-go"

	"github.com/cleanstart/cleanstart/compile/harden"
	"github.com/cleanstart/cleanstart/source"
)

const onlyPlatform = "linux/amd64"

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{0,63}$`)
	versionForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}$`)
	packageForm = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	envForm     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	userForm    = regexp.MustCompile(`^([0-9]{1,10}):([0-9]{1,10})$`)
	exceptions  = []string{source.AllowSHA1, source.AllowDSA, source.AllowRSA1024, source.AllowSignerTime}
	schemes     = []string{"https", "http", "file", "mirror", "debian", "gomod", "git+https", "git+http", "git+ssh", "git+file"}
)

// check looks at what a specification means, after its form is right.
func (d *decoder) check(s *Spec) {
	d.required("name", s.Name)
	d.form("name", s.Name, nameForm, "lower-case letters, digits, + . and -")
	if s.Platform != "" && s.Platform != onlyPlatform {
		d.at("platform", "write "+onlyPlatform, "platform %q is not supported", s.Platform)
	}
	if _, err := harden.Lookup(s.profile()); err != nil {
		var names []string
		for _, p := range harden.Profiles() {
			names = append(names, p.Name)
		}
		d.at("profile", didYouMean(s.Profile, names), "unknown hardening profile %q", s.Profile)
	}
	for i, p := range s.Toolchain {
		d.form(fmt.Sprintf("toolchain[%d]", i), p, packageForm, "the name of a Debian binary package")
	}
	if len(s.Components) == 0 {
		d.at("components", "list at least one", "no components")
	}
	d.graph(s)
	for i := range s.Components {
		d.component(s, i)
	}
	d.image(&s.Image)
}

func (d *decoder) required(path, value string) bool {
	if strings.TrimSpace(value) != "" {
		return true
	}
	d.at(path, "add it", "%s is required", path)
	return false
}

func (d *decoder) form(path, value string, re *regexp.Regexp, want string) {
	if value != "" && !re.MatchString(value) {
		d.at(path, "want "+want, "%s is %q", path, value)
	}
}

func (d *decoder) date(path, value string) {
	if !d.required(path, value) {
		return
	}
	if _, err := time.Parse(time.DateOnly, value); err != nil {
		d.at(path, "want a date such as 2027-06-30", "%s is %q", path, value)
	}
}

// graph checks the names of components and the edges between them.
func (d *decoder) graph(s *Spec) {
	at := map[string]int{}
	libc := ""
	var names []string
	for i := range s.Components {
		c := &s.Components[i]
		p := fmt.Sprintf("components[%d]", i)
		if !d.required(p+".name", c.Name) {
			continue
		}
		if first, ok := at[c.Name]; ok {
			d.at(p+".name", "remove or rename one", "component %q appears twice, first in %s", c.Name, d.place(fmt.Sprintf("components[%d].name", first)))
			continue
		}
		at[c.Name] = i
		names = append(names, c.Name)
		switch {
		case c.Provides == "":
		case c.Provides != "libc":
			d.at(p+".provides", "the only value is libc", "component %q provides %q", c.Name, c.Provides)
		case libc != "":
			d.at(p+".provides", "keep one", "two components provide libc: %q and %q", libc, c.Name)
		case len(c.Needs) > 0:
			d.at(p+".needs", "remove needs", "component %q provides libc, which every other component needs", c.Name)
		default:
			libc = c.Name
		}
	}
	whole := len(names) == len(s.Components)
	for i := range s.Components {
		c := &s.Components[i]
		seen := map[string]bool{}
		for j, n := range c.Needs {
			p := fmt.Sprintf("components[%d].needs[%d]", i, j)
			_, known := at[n]
			switch {
			case !known:
				d.at(p, didYouMean(n, names), "component %q needs %q, which is no component", c.Name, n)
				whole = false
			case seen[n]:
				d.at(p, "remove one", "component %q names the need %q twice", c.Name, n)
			}
			seen[n] = true
		}
	}
	if !whole {
		return
	}
	if loop := cycle(s.Components, s.needs); loop != nil {
		d.at(fmt.Sprintf("components[%d].needs", at[loop[0]]), "remove one of these needs", "components need each other in a cycle: %s", strings.Join(loop, " → "))
	}
}

func (d *decoder) component(s *Spec, i int) {
	c := &s.Components[i]
	p := fmt.Sprintf("components[%d]", i)
	d.form(p+".name", c.Name, nameForm, "lower-case letters, digits, + . and -")
	if d.required(p+".version", c.Version) {
		d.form(p+".version", c.Version, versionForm, "upstream's version, such as 1.2.13")
	}
	d.purl(p+".purl", c)
	if d.required(p+".license", c.License) {
		if ok, bad := spdxexp.ValidateLicenses([]string{c.License}); !ok {
			d.at(p+".license", "see the identifiers of the SPDX licence list", "%q is no SPDX licence expression", strings.Join(bad, ", "))
		}
	}
	before := len(d.errs)
	d.places(p, c)
	d.policy(p+".policy", &c.Policy)
	if c.Origin != nil {
		d.policy(p+".origin.policy", &c.Origin.Policy)
	}
	if c.Name != "" && c.Version != "" && len(d.errs) == before {
		// What is rarer than a slip of the pen, in package source's words.
		if err := c.Component.Validate(); err != nil {
			d.at(p, "", "%v", err)
		}
	}
	d.recipe(p+".recipe", c)
	for j, r := range c.Runtime {
		_, err := path.Match(r, "")
		if err != nil || !fs.ValidPath(r) {
			d.at(fmt.Sprintf("%s.runtime[%d]", p, j), "want a path below the root without a leading slash, such as usr/bin/curl; * matches within one name", "%q is no file pattern", r)
		}
	}
	for j, l := range c.Licenses {
		if !fs.ValidPath(l) {
			d.at(fmt.Sprintf("%s.licenses[%d]", p, j), "want a path in the source tree, such as COPYING", "%q is no relative path", l)
		}
	}
}

func (d *decoder) purl(p string, c *Component) {
	if !d.required(p, c.PURL) {
		return
	}
	u, err := packageurl.FromString(c.PURL)
	switch {
	case err != nil:
		d.at(p, "want one such as pkg:generic/zlib@1.2.13", "%q is no package URL (%v)", c.PURL, err)
	case u.Version != c.Version:
		d.at(p, fmt.Sprintf("end it in @%s", c.Version), "package URL %q is of version %q, the component of %q", c.PURL, u.Version, c.Version)
	}
}

func (d *decoder) places(p string, c *Component) {
	if len(c.Places) == 0 {
		d.at(p+".places", "list where the release archive may be fetched from", "component %q has no source", c.Name)
	}
	for j, pl := range c.Places {
		q := fmt.Sprintf("%s.places[%d]", p, j)
		if d.required(q+".archive", pl.Archive) {
			d.location(q+".archive", pl.Archive)
		}
		switch {
		case pl.Signature != "":
			d.location(q+".signature", pl.Signature)
		case pl.Checksums != "":
			d.location(q+".checksums", pl.Checksums)
		case strings.HasPrefix(pl.Archive, "git+"): // tags and commits bear theirs
		case c.Policy.Least == source.Signed:
			d.at(q, "add signature", "the policy of %q asks for signed, and this place has no signature", c.Name)
		}
	}
}

func (d *decoder) location(p, ref string) {
	u, err := url.Parse(ref)
	if err != nil || !slices.Contains(schemes, u.Scheme) {
		d.at(p, fmt.Sprintf("want a URL of one of the schemes %q", schemes), "%q is no location", ref)
	}
}

func (d *decoder) policy(p string, pol *source.Policy) {
	switch pol.Least {
	case source.Ungraded:
		d.at(p, "add grade: signed, or grade: pinned where upstream signs nothing", "the policy names no grade")
	case source.Pinned:
		if pol.Digest == "" && pol.Commit == "" {
			d.at(p, "add digest: sha256:…", "grade pinned without a digest pins nothing")
		}
	case source.Signed:
		if len(pol.Keys) == 0 {
			d.at(p, "add keys with upstream's primary fingerprint", "grade signed without keys accepts nobody")
		}
	}
	if pol.Digest != "" {
		h, ok := strings.CutPrefix(pol.Digest, "sha256:")
		if b, err := hex.DecodeString(h); !ok || err != nil || len(b) != 32 {
			d.at(p+".digest", "want sha256: and 64 hexadecimal digits", "%q is no digest", pol.Digest)
		}
	}
	for i, k := range pol.Keys {
		if k.Kind != "" && k.Kind != source.OpenPGP {
			continue
		}
		q := fmt.Sprintf("%s.keys[%d]", p, i)
		b, err := hex.DecodeString(k.Fingerprint)
		if err != nil || len(b) != 20 && len(b) != 32 {
			d.at(q+".fingerprint", "want the 40 (or 64) hexadecimal digits of the primary key", "%q is no fingerprint", k.Fingerprint)
		}
		if d.required(q+".file", k.File) && !fs.ValidPath(k.File) {
			d.at(q+".file", "want a relative path, such as keys/curl.asc", "%q is no relative path", k.File)
		}
	}
	for i, e := range pol.Exceptions {
		q := fmt.Sprintf("%s.exceptions[%d]", p, i)
		if !slices.Contains(exceptions, e.Allow) {
			d.at(q+".allow", fmt.Sprintf("the exceptions are %q", exceptions), "unknown exception %q", e.Allow)
		}
		d.required(q+".reason", e.Reason)
		d.date(q+".until", e.Until)
	}
}

// recipeFields says which lists a system reads.
var recipeFields = map[string][]string{
	"configure": {"script", "configure", "make", "install"},
	"cmake":     {"configure", "make", "install"},
	"make":      {"make", "install"},
	"shell":     {"steps"},
	"go":        {},
}

func (d *decoder) recipe(p string, c *Component) {
	r := &c.Recipe
	for i, f := range r.Excise {
		if !envForm.MatchString(f) || f == "main" {
			d.at(fmt.Sprintf("%s.excise[%d]", p, i), "want the name of a C function other than main", "%q cannot be excised", f)
		}
	}
	if !d.required(p+".system", r.System) {
		return
	}
	allowed, ok := recipeFields[r.System]
	if !ok {
		d.at(p+".system", didYouMean(r.System, systems), "unknown build system %q", r.System)
		return
	}
	lists := []struct {
		field  string
		values []string
	}{
		{"configure", r.Configure}, {"make", r.Make}, {"install", r.Install}, {"steps", r.Steps},
	}
	if r.Script != "" {
		lists = append(lists, struct {
			field  string
			values []string
		}{"script", []string{r.Script}})
		if !fs.ValidPath(path.Clean(r.Script)) {
			d.at(p+".script", "want a path in the source tree", "%q is no relative path", r.Script)
		}
	}
	for _, l := range lists {
		if len(l.values) > 0 && !slices.Contains(allowed, l.field) {
			d.at(p+"."+l.field, "remove it, or use shell", "a recipe of system %s does not read %s", r.System, l.field)
		}
		for j, v := range l.values {
			d.expands(fmt.Sprintf("%s.%s[%d]", p, l.field, j), v, c.Needs)
		}
	}
	if r.System == "shell" && len(r.Steps) == 0 {
		d.at(p, "add steps", "a shell recipe without steps builds nothing")
	}
	fixed := fixedEnv(0)
	for _, k := range slices.Sorted(maps.Keys(r.Env)) {
		d.environment(p+".env", k)
		if _, ok := fixed[k]; ok {
			d.at(p+".env."+k, "remove it", "%s is the same in every build", k)
		}
		d.expands(p+".env."+k, r.Env[k], c.Needs)
	}
}

func (d *decoder) expands(p, value string, needs []string) {
	if _, err := expandNeeds(value, needs); err != nil {
		d.at(p, "", "%v", err)
	}
}

func (d *decoder) environment(p, name string) {
	if !envForm.MatchString(name) {
		d.at(p+"."+name, "want letters, digits and _", "%q is no name of an environment variable", name)
	}
}

func (d *decoder) image(s *ImageSpec) {
	if len(s.Entrypoint) == 0 {
		d.at("image.entrypoint", "name the program as a list, absolute path first", "the image has no entrypoint")
	} else {
		d.absolute("image.entrypoint[0]", s.Entrypoint[0])
	}
	if s.User != "" {
		m := userForm.FindStringSubmatch(s.User)
		if m == nil {
			d.at("image.user", "want numeric uid:gid, such as "+DefaultUser, "user %q is not numeric", s.User)
		} else {
			uid, uerr := strconv.ParseUint(m[1], 10, 32)
			gid, gerr := strconv.ParseUint(m[2], 10, 32)
			if uerr != nil || gerr != nil || uid == 0 || gid == 0 {
				d.at("image.user", "want a user other than root, such as "+DefaultUser, "user %q is root or out of range", s.User)
			}
		}
	}
	if s.WorkDir != "" {
		d.absolute("image.workdir", s.WorkDir)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		d.environment("image.env", k)
	}
	if _, ok := s.Labels[EvidenceLabel]; ok {
		d.at("image.labels."+EvidenceLabel, "remove it", "this label is set by the build")
	}
	d.runs("image.workload", s.Workload)
	d.runs("image.checks", s.Checks)
	waived := map[string]bool{}
	for i, w := range s.Waivers {
		p := fmt.Sprintf("image.waivers[%d]", i)
		d.required(p+".test", w.Test)
		d.required(p+".reason", w.Reason)
		d.date(p+".until", w.Until)
		if waived[w.Test] {
			d.at(p+".test", "remove one", "test %q is waived twice", w.Test)
		}
		waived[w.Test] = true
	}
}

func (d *decoder) runs(p string, runs []Run) {
	seen := map[string]bool{}
	for i, r := range runs {
		q := fmt.Sprintf("%s[%d]", p, i)
		d.required(q+".name", r.Name)
		if seen[r.Name] {
			d.at(q+".name", "rename one", "two entries of %s are named %q", p, r.Name)
		}
		seen[r.Name] = true
		if len(r.Args) == 0 {
			d.at(q, "add args, absolute path of the program first", "%s has no args", q)
		} else {
			d.absolute(q+".args[0]", r.Args[0])
		}
		if r.Exit < 0 || r.Exit > 255 {
			d.at(q+".exit", "want 0 to 255", "exit status %d", r.Exit)
		}
	}
}

func (d *decoder) absolute(p, value string) {
	if !path.IsAbs(value) || path.Clean(value) != value {
		d.at(p, "want a clean absolute path, such as /usr/bin/curl", "%q is not absolute", value)
	}
}
