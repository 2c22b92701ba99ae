package compile

import (
	"fmt"
	"strings"
)

// Error is one line: which command of which component failed, and how.
func (e *BuildError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Exit)
	const lastSignal = 64
	if e.Exit > 128 && e.Exit <= 128+lastSignal {
		how = fmt.Sprintf("killed by signal %d", e.Exit-128)
	}
	s := fmt.Sprintf("%s: %s: %s", e.Component, brief(e.Command.Args), how)
	if e.Log != "" {
		s += " (log: " + e.Log + ")"
	}
	return s
}

// Format adds the last lines of the command's output under %+v.
func (e *BuildError) Format(f fmt.State, verb rune) {
	fmt.Fprint(f, e.Error())
	if verb == 'v' && f.Flag('+') {
		for _, l := range e.Tail {
			fmt.Fprint(f, "\n\t", l)
		}
	}
}

// brief is a command line for one line of text.
func brief(args []string) string {
	const most = 80
	s := strings.Join(strings.Fields(strings.Join(args, " ")), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
