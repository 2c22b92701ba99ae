package suite

import (
	"archive/tar"
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
)

var fileSystemTests = []Test{
	{
		ID: "filesystem/no-setuid", Family: FileSystem, Run: noSetuid,
		Title:   "No file changes the identity of who runs it",
		Asserts: "no entry has the setuid or setgid bit",
		Why:     "one flaw in such a program gives its owner's rights to every user",
		Refs:    []string{"CWE-250", "CIS Docker 4.8"},
	},
	{
		ID: "filesystem/no-capabilities", Family: FileSystem, Run: noCapabilities,
		Title:   "No file carries capabilities or extended attributes",
		Asserts: "no entry has extended attributes",
		Why:     "a file capability is setuid that ls does not show",
		Refs:    []string{"CWE-250"},
	},
	{
		ID: "filesystem/no-world-writable", Family: FileSystem, Run: noWorldWritable,
		Title:   "Nothing can be changed by everyone",
		Asserts: "no file is writable by others, and no directory but one with the sticky bit",
		Why:     "whatever gets a foothold can replace what others run",
		Refs:    []string{"CWE-732"},
	},
	{
		ID: "filesystem/root-owned", Family: FileSystem, Run: rootOwned,
		Title:   "Everything is owned by root",
		Asserts: "each entry has user and group 0, and no names",
		Why:     "a file that the running user owns is one it can change",
		Refs:    []string{"CWE-282"},
	},
	{
		ID: "filesystem/links-stay-inside", Family: FileSystem, Run: linksStayInside,
		Title:   "Symbolic links are relative and stay inside",
		Asserts: "no link has an absolute target or one above the root",
		Why:     "unpacked on a host, such a link writes to the host",
		Refs:    []string{"CWE-61"},
	},
	{
		ID: "filesystem/links-resolve", Family: FileSystem, Run: linksResolve,
		Title:   "Symbolic links lead somewhere",
		Asserts: "the target of each link is in the image",
		Why:     "a dangling link waits for someone to create its target",
	},
	{
		ID: "filesystem/plain-types", Family: FileSystem, Run: plainTypes,
		Title:   "Only files, directories and symbolic links",
		Asserts: "no device, socket, pipe or hard link is in a layer",
		Why:     "a device node is the device, whatever the directory says",
	},
	{
		ID: "filesystem/clean-names", Family: FileSystem, Run: cleanNames,
		Title:   "Names are clean and differ by more than case",
		Asserts: "no path is absolute, has dot segments, control characters or a backslash, or equals another when case is ignored",
		Why:     "tools disagree on what such names mean, and attackers use the disagreement",
		Refs:    []string{"CWE-22", "CWE-178"},
	},
	{
		ID: "filesystem/no-overlap", Family: FileSystem, Run: noOverlap,
		Title:   "No layer hides another's files",
		Asserts: "no path but a directory is in two layers, and no layer holds a whiteout",
		Why:     "what one layer hides is still shipped, and still found by whoever looks",
		Refs:    []string{"CWE-212"},
	},
	{
		ID: "filesystem/fixed-times", Family: FileSystem, Run: fixedTimes, Record: true,
		Title:   "All times are the build's epoch",
		Asserts: "each entry has its component's epoch as its modification time",
		Why:     "a time of the machine makes two builds differ, so that nobody can check one by repeating it",
	},
	{
		ID: "filesystem/no-package-manager", Family: FileSystem, Run: noPackageManager,
		Title:   "No package manager and no database of one",
		Asserts: "no program or database of dpkg, apt, rpm, dnf, apk, pacman, pip, npm or the like",
		Why:     "a package manager is the most convenient tool of an intruder, and its database tells of an inherited base",
		Refs:    []string{"CIS Docker 4.3", "NIST SP 800-190 4.1.1"},
	},
	{
		ID: "filesystem/no-shell", Family: FileSystem, Run: noShell,
		Title:   "No shell and no script",
		Asserts: "no file is named like a shell or starts with #!",
		Why:     "command injection needs a shell to inject into",
		Refs:    []string{"CWE-78", "CIS Docker 4.3", "NIST SP 800-190 4.1.1"},
	},
	{
		ID: "filesystem/no-secrets", Family: FileSystem, Run: noSecrets,
		Title:   "No credential is shipped",
		Asserts: "no file holds a private key or is named like a credential store",
		Why:     "whoever can pull the image has the key",
		Refs:    []string{"CWE-798", "CIS Docker 4.10", "NIST SP 800-190 4.1.4"},
	},
	{
		ID: "filesystem/no-leftovers", Family: FileSystem, Run: noLeftovers,
		Title:   "Nothing that only a build needs",
		Asserts: "no headers, static libraries, objects, pkg-config or libtool files, no caches, logs or temporary files",
		Why:     "it adds size and surface and nothing to what runs",
		Refs:    []string{"CIS Docker 4.3", "NIST SP 800-190 4.1.1"},
	},
}

// eachEntry applies check to every entry of every layer.
func eachEntry(s *Subject, check func(e Entry) string) Outcome {
	var wrong []string
	n := 0
	for _, l := range s.Layers {
		for _, e := range l.Entries {
			n++
			if why := check(e); why != "" {
				wrong = append(wrong, e.Path+": "+why)
			}
		}
	}
	if n == 0 {
		return notApplicable("the image holds no file")
	}
	return verdict(wrong, "%d entries", n)
}

func noSetuid(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		if e.Mode&0o6000 != 0 {
			return fmt.Sprintf("mode %#o", e.Mode)
		}
		return ""
	})
}

func noCapabilities(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		for k := range e.PAX {
			if strings.HasPrefix(k, "SCHILY.xattr.") || strings.HasPrefix(k, "LIBARCHIVE.xattr.") {
				return "extended attribute " + k
			}
		}
		return ""
	})
}

func noWorldWritable(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		if e.Type == tar.TypeSymlink || e.Mode&0o002 == 0 || e.Type == tar.TypeDir && e.Mode&0o1000 != 0 {
			return ""
		}
		return fmt.Sprintf("mode %#o", e.Mode)
	})
}

func rootOwned(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		if e.UID != 0 || e.GID != 0 || e.Owner != "" && e.Owner != "root:root" {
			return strings.TrimSpace(fmt.Sprintf("owner %d:%d %s", e.UID, e.GID, e.Owner))
		}
		return ""
	})
}

func linksStayInside(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		if e.Type != tar.TypeSymlink {
			return ""
		}
		if e.Link == "" || path.IsAbs(e.Link) {
			return fmt.Sprintf("leads to %q", e.Link)
		}
		depth := strings.Count(clean(e.Path), "/")
		for seg := range strings.SplitSeq(e.Link, "/") {
			switch seg {
			case "..":
				depth--
			case ".", "":
			default:
				depth++
			}
			if depth < 0 {
				return fmt.Sprintf("leads out of the image to %q", e.Link)
			}
		}
		return ""
	})
}

func linksResolve(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		if e.Type != tar.TypeSymlink {
			return ""
		}
		if _, ok := s.resolve(e.Path); !ok {
			return fmt.Sprintf("nothing is at %q", e.Link)
		}
		return ""
	})
}

// resolve follows links inside the image to the entry that name means. A
// directory that no layer lists but files lie in is one.
func (s *Subject) resolve(name string) (Entry, bool) {
	done, todo := "", strings.Split(clean(name), "/")
	for hops := 0; len(todo) > 0; {
		seg := todo[0]
		todo = todo[1:]
		switch seg {
		case "", ".":
			continue
		case "..":
			done = clean(path.Dir("/" + done))
			continue
		}
		next := clean(path.Join(done, seg))
		e, ok := s.Files[next]
		if ok && e.Type == tar.TypeSymlink {
			if hops++; hops > 40 {
				return Entry{}, false
			}
			if path.IsAbs(e.Link) {
				done = ""
			}
			todo = append(strings.Split(e.Link, "/"), todo...)
			continue
		}
		done = next
	}
	if e, ok := s.Files[done]; ok {
		return e, true
	}
	if done == "" {
		return Entry{Type: tar.TypeDir}, true
	}
	for other := range s.Files {
		if strings.HasPrefix(other, done+"/") {
			return Entry{Path: done, Type: tar.TypeDir, Mode: 0o755}, true
		}
	}
	return Entry{}, false
}

func plainTypes(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		switch e.Type {
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
			return ""
		case tar.TypeLink:
			return "is a hard link"
		}
		return fmt.Sprintf("is of type %q", e.Type)
	})
}

func cleanNames(_ context.Context, s *Subject) Outcome {
	folded := map[string]string{}
	return eachEntry(s, func(e Entry) string {
		for _, r := range e.Path {
			if r < 0x20 || r == 0x7f || r == '\\' || r == '\uFFFD' {
				return fmt.Sprintf("holds the character %q", r)
			}
		}
		if p := strings.TrimPrefix(e.Path, "./"); p != clean(e.Path) && p != "." && p != "" {
			return "is not a clean relative path"
		}
		name := clean(e.Path)
		key := strings.ToLower(name)
		if first, ok := folded[key]; ok && first != name {
			return "differs from " + first + " in case only"
		}
		folded[key] = name
		return ""
	})
}

func noOverlap(_ context.Context, s *Subject) Outcome {
	first := map[string]int{}
	var wrong []string
	for i, l := range s.Layers {
		for _, e := range l.Entries {
			name := clean(e.Path)
			if strings.HasPrefix(path.Base(name), ".wh.") {
				wrong = append(wrong, fmt.Sprintf("%s: a whiteout in layer %d", name, i))
			}
			if e.Type == tar.TypeDir {
				continue
			}
			if j, ok := first[name]; ok {
				wrong = append(wrong, fmt.Sprintf("%s: in layer %d and in layer %d", name, j, i))
			}
			first[name] = i
		}
	}
	if len(first) == 0 && len(wrong) == 0 {
		return notApplicable("the image holds no file")
	}
	return verdict(wrong, "%d files in %d layers", len(first), len(s.Layers))
}

// fixedTimes holds each layer to the epoch of its component, which a rebuild
// of another component leaves alone, and any other layer to the image's.
func fixedTimes(_ context.Context, s *Subject) Outcome {
	epochs := map[string]time.Time{} // by layer
	actions := map[string]int64{}
	for _, c := range s.Record.Components {
		actions[c.Component.Name] = c.Action.Epoch
	}
	for _, l := range s.Record.Image.Layers {
		if e := actions[l.Component]; e != 0 {
			epochs[l.Digest] = time.Unix(e, 0)
		}
	}
	var wrong []string
	n := 0
	for _, l := range s.Layers {
		epoch, ok := epochs[l.Digest]
		if !ok {
			epoch = s.Record.Epoch
		}
		for _, e := range l.Entries {
			n++
			if !e.ModTime.Equal(epoch) {
				wrong = append(wrong, fmt.Sprintf("%s: modified %s, the epoch is %s", e.Path, e.ModTime.UTC().Format(time.RFC3339), epoch.UTC().Format(time.RFC3339)))
			}
		}
	}
	if n == 0 {
		return notApplicable("the image holds no file")
	}
	return verdict(wrong, "%d entries", n)
}

var (
	managerPath = regexp.MustCompile(`^(var/lib/(dpkg|apt|rpm|pacman|apk|opkg)|usr/lib/sysimage/rpm|lib/apk|usr/lib/apk|etc/(apt|apk|yum\.repos\.d|dnf|pacman\.d)|var/db/(pkg|xbps))(/|$)|(^|/)(site-packages|dist-packages)/pip/|(^|/)node_modules/npm/`)
	managerName = regexp.MustCompile(`^(dpkg(-.*)?|apt(-.*)?|aptitude|rpm|rpmdb|dnf[0-9]?|microdnf|yum|tdnf|zypper|apk|pacman|opkg|xbps-.*|emerge|pip[0-9.]*|npm|npx|yarn|gem|brew|snap|flatpak|nix|nix-env|guix)$`)
	shellName   = regexp.MustCompile(`^(sh|ash|bash|dash|ksh|ksh93|mksh|zsh|fish|csh|tcsh|busybox|toybox|rbash|pwsh|yash|oksh|posh)$`)
	binDir      = regexp.MustCompile(`(^|/)s?bin/[^/]+$`)
	secretName  = regexp.MustCompile(`(^|/)(id_(rsa|dsa|ecdsa|ed25519)|\.netrc|\.pgpass|\.git-credentials|\.npmrc|\.pypirc|shadow-?|gshadow-?|\.dockercfg|\.docker/config\.json|\.aws/credentials|\.kube/config|\.env|secring\.gpg|.*\.(p12|pfx|jks|keystore|kdbx))$`)
	leftover    = regexp.MustCompile(`\.(a|o|la|pc|h|hpp|gch|cmake|m4|pyc|dwo|gcno|gcda|orig|rej|swp|bak)$|~$|(^|/)(usr/include|include|share/(man|doc|info|gtk-doc))/|^(var/(cache|log|tmp)|tmp|var/lib/apt/lists|root|usr/src|usr/lib/debug)/.`)
)

func noPackageManager(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		name := clean(e.Path)
		if managerPath.MatchString(name) {
			return "belongs to a package manager"
		}
		if e.Type != tar.TypeDir && binDir.MatchString("/"+name) && managerName.MatchString(path.Base(name)) {
			return "is a package manager"
		}
		return ""
	})
}

func noShell(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		if e.Type == tar.TypeDir {
			return ""
		}
		if shellName.MatchString(path.Base(e.Path)) && (binDir.MatchString("/"+clean(e.Path)) || e.Mode&0o111 != 0) {
			return "is a shell"
		}
		if e.Script != "" {
			return "is a script for " + e.Script
		}
		return ""
	})
}

func noSecrets(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		if e.Secret != "" {
			return "holds an " + e.Secret
		}
		if e.Type != tar.TypeDir && secretName.MatchString(clean(e.Path)) {
			return "is named like a credential store"
		}
		return ""
	})
}

func noLeftovers(_ context.Context, s *Subject) Outcome {
	return eachEntry(s, func(e Entry) string {
		if e.Type != tar.TypeDir && leftover.MatchString(clean(e.Path)) {
			return "is of use to a build only"
		}
		return ""
	})
}
