package suite

import (
	"archive/tar"
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/compile"
)

var configTests = []Test{
	{
		ID: "config/non-root", Family: Config, Run: nonRoot,
		Title:   "The user is a number and not root",
		Asserts: "user and group are numeric, explicit and neither is 0",
		Why:     "a name needs /etc/passwd, and a cluster's runAsNonRoot refuses what it cannot tell from root",
		Refs:    []string{"CWE-250", "CIS Docker 4.1", "NIST SP 800-190 4.1.2"},
	},
	{
		ID: "config/entrypoint", Family: Config, Run: entrypoint,
		Title:   "The entrypoint is an executable of the image",
		Asserts: "the first argument is an absolute path to a file of the image that everyone may execute",
		Why:     "anything else fails at start, or finds another program through PATH",
		Refs:    []string{"CWE-426"},
	},
	{
		ID: "config/as-specified", Family: Config, Run: asSpecified, Record: true,
		Title:   "The configuration is the specification's",
		Asserts: "entrypoint, arguments, environment, directory and labels are those of the specification",
		Why:     "a setting that nobody wrote down was inherited or injected",
		Refs:    []string{"NIST SP 800-190 4.1.2"},
	},
	{
		ID: "config/evidence-label", Family: Config, Run: evidenceLabel,
		Title:   "The image names its evidence policy",
		Asserts: fmt.Sprintf("the label %s is %s", compile.EvidenceLabel, compile.EvidencePolicy),
		Why:     "without it an image whose attestations were removed looks like one that never had any",
	},
	{
		ID: "config/no-secrets", Family: Config, Run: noSecretsInConfig,
		Title:   "No credential in environment, arguments or labels",
		Asserts: "no variable or label is named like a credential, and no value looks like one",
		Why:     "the configuration is readable by everyone who can pull, and is printed by every tool",
		Refs:    []string{"CWE-526", "CIS Docker 4.10", "NIST SP 800-190 4.1.4"},
	},
	{
		ID: "config/safe-environment", Family: Config, Run: safeEnvironment,
		Title:   "The environment loads no code",
		Asserts: "no LD_* or similar variable is set, and PATH holds absolute directories that only root can write",
		Why:     "these variables decide what code a program runs",
		Refs:    []string{"CWE-426", "CWE-427"},
	},
	{
		ID: "config/created", Family: Config, Run: created, Record: true,
		Title:   "The creation time is the build's epoch",
		Asserts: "created is the record's epoch",
		Why:     "a clock in the configuration makes two builds differ",
	},
	{
		ID: "config/platform", Family: Config, Run: platform, Record: true,
		Title:   "The platform is the specification's",
		Asserts: "operating system and architecture are those of the specification",
		Why:     "a runtime that believes another platform picks the wrong image",
	},
	{
		ID: "config/layers-accounted", Family: Config, Run: layersAccounted,
		Title:   "Layers and history agree",
		Asserts: "the configuration lists each layer's diffID in order, and its history, where there is one, has one entry for each",
		Why:     "history that does not fit tells of a layer that was squashed, removed or inherited",
	},
	{
		ID: "config/minimal", Family: Config, Run: minimal,
		Title:   "Nothing beside what runs",
		Asserts: "no volume, no health-check shell, no ONBUILD, no shell, no privileged port and no system path as working directory",
		Why:     "each of them is a way to write, to listen or to run that the specification did not ask for",
		Refs:    []string{"CIS Docker 5.8", "NIST SP 800-190 4.1.2"},
	},
}

func nonRoot(_ context.Context, s *Subject) Outcome {
	user := s.Config.Config.User
	var wrong []string
	uid, gid, both := strings.Cut(user, ":")
	if !both {
		wrong = append(wrong, fmt.Sprintf("user %q has no explicit group", user))
		gid = "1"
	}
	for _, id := range []string{uid, gid} {
		switch n, err := strconv.ParseUint(id, 10, 31); {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%q in user %q is not a number", id, user))
		case n == 0:
			wrong = append(wrong, fmt.Sprintf("user %q is root or of its group", user))
		}
	}
	return verdict(wrong, "user %s", user)
}

func entrypoint(_ context.Context, s *Subject) Outcome {
	ep := s.Config.Config.Entrypoint
	if len(ep) == 0 {
		return verdict([]string{"there is no entrypoint"}, "")
	}
	var wrong []string
	e, ok := s.resolve(ep[0])
	switch {
	case !path.IsAbs(ep[0]):
		wrong = append(wrong, fmt.Sprintf("%q is not an absolute path", ep[0]))
	case !ok:
		wrong = append(wrong, ep[0]+" is not in the image")
	case e.Type != tar.TypeReg || e.Mode&0o005 != 0o005:
		wrong = append(wrong, fmt.Sprintf("%s is not executable by everyone (type %q, mode %#o)", ep[0], e.Type, e.Mode))
	}
	return verdict(wrong, "%s", ep[0])
}

func asSpecified(_ context.Context, s *Subject) Outcome {
	spec, got := s.Record.Spec.Image, s.Config.Config
	var wrong []string
	same := func(what string, a, b []string) {
		if !slices.Equal(a, b) {
			wrong = append(wrong, fmt.Sprintf("%s is %q, specified %q", what, a, b))
		}
	}
	same("entrypoint", got.Entrypoint, spec.Entrypoint)
	same("command", got.Cmd, spec.Cmd)
	env := []string{}
	for _, k := range slices.Sorted(maps.Keys(spec.Env)) {
		env = append(env, k+"="+spec.Env[k])
	}
	same("environment", slices.Sorted(slices.Values(got.Env)), slices.Sorted(slices.Values(env)))
	if spec.WorkDir != got.WorkingDir && (spec.WorkDir != "" || got.WorkingDir != "/") {
		wrong = append(wrong, fmt.Sprintf("working directory is %q, specified %q", got.WorkingDir, spec.WorkDir))
	}
	if want := spec.User; got.User != want && (want != "" || got.User != "65532:65532") {
		wrong = append(wrong, fmt.Sprintf("user is %q, specified %q", got.User, want))
	}
	for k, v := range spec.Labels {
		if got.Labels[k] != v {
			wrong = append(wrong, fmt.Sprintf("label %s is %q, specified %q", k, got.Labels[k], v))
		}
	}
	for k := range got.Labels {
		if _, ok := spec.Labels[k]; !ok && !strings.HasPrefix(k, "org.cleanstart.") && !strings.HasPrefix(k, "org.opencontainers.image.") {
			wrong = append(wrong, fmt.Sprintf("label %s is not in the specification", k))
		}
	}
	return verdict(wrong, "as specified")
}

func evidenceLabel(_ context.Context, s *Subject) Outcome {
	if got := s.Config.Config.Labels[compile.EvidenceLabel]; got != compile.EvidencePolicy {
		return verdict([]string{fmt.Sprintf("label %s is %q", compile.EvidenceLabel, got)}, "")
	}
	return verdict(nil, "%s", compile.EvidencePolicy)
}

var (
	secretKey   = regexp.MustCompile(`(?i)(passw(or)?d|passphrase|secret|token|api_?key|access_?key|private_?key|credential)`)
	secretValue = regexp.MustCompile(`AKIA[0-9A-Z]{16}|gh[pousr]_[0-9A-Za-z]{36}|glpat-[0-9A-Za-z_-]{20}|xox[abprs]-[0-9A-Za-z-]{10}|-----BEGIN [A-Z ]*PRIVATE KEY|eyJ[0-9A-Za-z_-]{10,}\.eyJ|[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@`)
)

func noSecretsInConfig(_ context.Context, s *Subject) Outcome {
	c := s.Config.Config
	var wrong []string
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		if secretKey.MatchString(k) && v != "" {
			wrong = append(wrong, "variable "+k+" is named like a credential")
		}
		if secretValue.MatchString(v) {
			wrong = append(wrong, "variable "+k+" has a value like a credential")
		}
	}
	for k, v := range c.Labels {
		if secretKey.MatchString(k) || secretValue.MatchString(v) {
			wrong = append(wrong, "label "+k+" looks like a credential")
		}
	}
	for _, a := range slices.Concat(c.Entrypoint, c.Cmd) {
		if secretValue.MatchString(a) {
			wrong = append(wrong, "an argument looks like a credential")
		}
	}
	return verdict(wrong, "%d variables, %d labels", len(c.Env), len(c.Labels))
}

var loaderVariable = regexp.MustCompile(`^(LD_.*|DYLD_.*|GCONV_PATH|MALLOC_.*|GLIBC_TUNABLES|PYTHON(PATH|STARTUP|HOME)|PERL5?(LIB|OPT)|RUBY(LIB|OPT)|NODE_OPTIONS|JAVA_TOOL_OPTIONS|BASH_ENV|ENV|IFS|OPENSSL_(CONF|MODULES|ENGINES))$`)

func safeEnvironment(_ context.Context, s *Subject) Outcome {
	var wrong []string
	seen := map[string]bool{}
	for _, kv := range s.Config.Config.Env {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" || seen[k] {
			wrong = append(wrong, fmt.Sprintf("entry %q has no name or value, or is a second one", kv))
		}
		seen[k] = true
		if loaderVariable.MatchString(k) {
			wrong = append(wrong, k+" decides what code is loaded")
		}
		if k != "PATH" {
			continue
		}
		for dir := range strings.SplitSeq(v, ":") {
			e, found := s.resolve(dir)
			if !path.IsAbs(dir) || found && (e.Mode&0o022 != 0 || e.UID != 0) {
				wrong = append(wrong, fmt.Sprintf("PATH holds %q, which is relative or writable", dir))
			}
		}
	}
	return verdict(wrong, "%d variables", len(seen))
}

func created(_ context.Context, s *Subject) Outcome {
	if !s.Config.Created.Time.Equal(s.Record.Epoch) || s.Record.Epoch.IsZero() {
		return verdict([]string{fmt.Sprintf("created %s, the epoch is %s", s.Config.Created.UTC(), s.Record.Epoch.UTC())}, "")
	}
	return verdict(nil, "created %s", s.Record.Epoch.UTC())
}

func platform(_ context.Context, s *Subject) Outcome {
	if got := s.Config.OS + "/" + s.Config.Architecture; got != s.Record.Spec.Platform {
		return verdict([]string{fmt.Sprintf("platform is %s, specified %s", got, s.Record.Spec.Platform)}, "")
	}
	return verdict(nil, "%s", s.Record.Spec.Platform)
}

func layersAccounted(_ context.Context, s *Subject) Outcome {
	var wrong []string
	ids := s.Config.RootFS.DiffIDs
	if len(ids) != len(s.Layers) {
		wrong = append(wrong, fmt.Sprintf("%d diffIDs for %d layers", len(ids), len(s.Layers)))
	}
	for i := range min(len(ids), len(s.Layers)) {
		if ids[i].String() != s.Layers[i].DiffID {
			wrong = append(wrong, fmt.Sprintf("diffID %d is %s, the layer's is %s", i, ids[i], s.Layers[i].DiffID))
		}
	}
	if h := s.Config.History; len(h) > 0 {
		n := 0
		for _, e := range h {
			if e.EmptyLayer {
				wrong = append(wrong, "history tells of a step without a layer: "+e.CreatedBy)
			} else {
				n++
			}
			if s.Record != nil && !e.Created.IsZero() && !e.Created.Time.Equal(s.Record.Epoch) {
				wrong = append(wrong, fmt.Sprintf("history holds the time %s", e.Created.UTC()))
			}
		}
		if n != len(s.Layers) {
			wrong = append(wrong, fmt.Sprintf("history tells of %d layers, there are %d", n, len(s.Layers)))
		}
	}
	if len(s.Layers) == 0 && len(wrong) == 0 {
		return notApplicable("the image has no layer")
	}
	return verdict(wrong, "%d layers", len(s.Layers))
}

func minimal(_ context.Context, s *Subject) Outcome {
	c := s.Config.Config
	var wrong []string
	if len(c.Volumes) > 0 {
		wrong = append(wrong, fmt.Sprintf("volumes %v", slices.Sorted(maps.Keys(c.Volumes))))
	}
	if c.Healthcheck != nil && len(c.Healthcheck.Test) > 0 && c.Healthcheck.Test[0] == "CMD-SHELL" {
		wrong = append(wrong, "the health check wants a shell")
	}
	if len(c.OnBuild) > 0 {
		wrong = append(wrong, "ONBUILD is set")
	}
	if len(c.Shell) > 0 {
		wrong = append(wrong, "a shell is set")
	}
	for p := range c.ExposedPorts {
		number, _, _ := strings.Cut(p, "/")
		if n, err := strconv.Atoi(number); err != nil || n < 1024 {
			wrong = append(wrong, fmt.Sprintf("exposes %s, which only a privileged process may open", p))
		}
	}
	if d := c.WorkingDir; d != "" && (!path.IsAbs(d) || path.Clean(d) != d || strings.HasPrefix(d+"/", "/proc/") || strings.HasPrefix(d+"/", "/sys/") || strings.HasPrefix(d+"/", "/dev/")) {
		wrong = append(wrong, fmt.Sprintf("working directory %q", d))
	}
	return verdict(wrong, "nothing beside what runs")
}
