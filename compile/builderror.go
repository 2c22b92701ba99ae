package compile

import (
	"fmt"
	"strings"
)

// Error is one line: the component, the command and where the whole log is.
func (e *BuildError) Error() string {
	s := fmt.Sprintf("%s: command %q exited with status %d", e.Component, strings.Join(e.Command.Args, " "), e.Exit)
	if n := len(e.Tail); n > 0 {
		s += ": " + strings.TrimSpace(e.Tail[n-1])
	}
	if e.Log != "" {
		s += " (log: " + e.Log + ")"
	}
	return s
}

// Format writes the tail of the log too under %+v.
func (e *BuildError) Format(f fmt.State, verb rune) {
	fmt.Fprint(f, e.Error())
	if verb == 'v' && f.Flag('+') {
		for _, l := range e.Tail {
			fmt.Fprint(f, "\n\t", l)
		}
	}
}
