package usage

import (
	"fmt"
	"slices"
	"strings"
)

// options reads a link's command line, as the compiler driver got it, for
// what changes the graph. What would change how symbols resolve in a way that
// the graph does not follow is an error.
func options(args []string) (Options, error) {
	o := Options{Entry: "_start"}
	var flat []string // with -Wl and -Xlinker taken apart
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case strings.HasPrefix(a, "-Wl,"):
			flat = append(flat, strings.Split(a[4:], ",")...)
		case a == "-Xlinker" && i+1 < len(args):
			i++
			flat = append(flat, args[i])
		case a == "-shared":
			o.Entry = ""
		default:
			flat = append(flat, a)
		}
	}
	for i := 0; i < len(flat); i++ {
		a := flat[i]
		value := func(names ...string) (string, bool) {
			for _, n := range names {
				if a == n && i+1 < len(flat) {
					i++
					return flat[i], true
				}
				if v, ok := strings.CutPrefix(a, n+"="); ok && strings.HasPrefix(n, "--") {
					return v, true
				}
				if v, ok := strings.CutPrefix(a, n); ok && v != "" && len(n) == 2 && !strings.HasPrefix(a, "--") {
					return v, true
				}
			}
			return "", false
		}
		switch {
		case a == "-export-dynamic" || strings.HasPrefix(a, "-exclude"): // not -e
		case slices.Contains([]string{"-r", "--relocatable", "-T", "--script", "--wrap", "--defsym", "-R", "--just-symbols", "-flto", "--plugin"}, cut(a)) || cut(a) == "-fuse-ld" && a != "-fuse-ld=bfd":
			return o, fmt.Errorf("the link used %s, which the reference graph does not follow", a)
		case strings.HasPrefix(a, "-Ttext") || strings.HasPrefix(a, "-T") && len(a) > 2 || strings.HasPrefix(a, "-flto="):
			return o, fmt.Errorf("the link used %s, which the reference graph does not follow", a)
		default:
			if v, ok := value("-e", "--entry"); ok {
				o.Entry = v
			} else if v, ok := value("-u", "--undefined", "--require-defined", "-undefined"); ok {
				o.Undefined = append(o.Undefined, v)
			} else if v, ok := value("-init", "--init", "-fini", "--fini"); ok {
				o.Undefined = append(o.Undefined, v)
			}
		}
	}
	o.Undefined = append(o.Undefined, "_init", "_fini")
	return o, nil
}

// cut is an option without its value.
func cut(a string) string {
	name, _, _ := strings.Cut(a, "=")
	return name
}

// collects reports whether the link discards unreferenced sections.
func collects(args []string) bool {
	on := false
	for _, a := range args {
		for _, w := range strings.Split(a, ",") {
			switch w {
			case "--gc-sections", "-gc-sections":
				on = true
			case "--no-gc-sections", "-no-gc-sections":
				on = false
			}
		}
	}
	return on
}
