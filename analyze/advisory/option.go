package advisory

import (
	"regexp"
	"strings"
)

// Setting is what one argument of a configuration says: the value of a
// subject. Arguments with the same subject override each other, the last one
// wins.
type Setting struct {
	Subject string // enable:ldap, with:ssl, define:ENABLE_LDAP, feature:cms
	Value   string // "yes", "no" or what was given
}

var (
	autoconf = regexp.MustCompile(`^--(enable|disable|with|without)-([A-Za-z0-9][A-Za-z0-9._+-]*)(=.*)?$`)
	cmake    = regexp.MustCompile(`^-D([A-Za-z_][A-Za-z0-9_.-]*)(:[A-Z]+)?=(.*)$`)
	feature  = regexp.MustCompile(`^(enable|no)-([a-z0-9][a-z0-9_-]*)$`)
)

// ParseOption reads an argument of autoconf's configure (--enable-X,
// --without-X=V), of cmake and meson (-DX=V) or of OpenSSL's Configure
// (enable-X, no-X). Any other argument is not ok.
func ParseOption(arg string) (s Setting, ok bool) {
	if m := autoconf.FindStringSubmatch(arg); m != nil {
		value, given := strings.CutPrefix(m[3], "=")
		if !given {
			value = "yes"
		}
		switch m[1] {
		case "disable", "without":
			if given {
				return Setting{}, false // configure ignores or refuses it
			}
			value = "no"
		}
		subject := "enable:"
		if strings.HasPrefix(m[1], "with") {
			subject = "with:"
		}
		return Setting{subject + m[2], truth(value)}, true
	}
	if m := cmake.FindStringSubmatch(arg); m != nil {
		return Setting{"define:" + m[1], truth(m[3])}, true
	}
	if m := feature.FindStringSubmatch(arg); m != nil {
		return Setting{"feature:" + m[2], map[string]string{"enable": "yes", "no": "no"}[m[1]]}, true
	}
	return Setting{}, false
}

// truth folds the spellings of yes and no; other values stay as they are.
func truth(v string) string {
	switch strings.ToLower(v) {
	case "yes", "on", "true", "1", "y", "enabled":
		return "yes"
	case "no", "off", "false", "0", "n", "disabled", "":
		return "no"
	}
	return v
}

// Configured says what the arguments settle about an option: the last one
// about its subject has its value, has another one, or there is none. That an
// option was not given settles nothing, because what configure then does is
// not written anywhere.
func Configured(args []string, option string) (same, settled bool) {
	want, ok := ParseOption(option)
	if !ok {
		return false, false
	}
	for _, a := range args {
		if have, ok := ParseOption(a); ok && have.Subject == want.Subject {
			same, settled = agrees(want.Value, have.Value), true
		}
	}
	return same, settled
}

// agrees reports whether a value is the one asked for; a path or a list given
// to an option that may also be plain "yes" means yes.
func agrees(want, have string) bool {
	return want == have || want == "yes" && have != "no"
}
