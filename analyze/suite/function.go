package suite

import (
	"context"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

var functionTests = []Test{
	{
		ID: "function/checks-declared", Family: Function, Run: checksDeclared,
		Title:   "The specification says what the image does",
		Asserts: "at least one check is declared, one of them starts the entrypoint, and each looks at an exit status other than 0 or at output",
		Why:     "an image that nobody tried is not known to work",
	},
	{
		ID: "function/checks-pass", Family: Function, Run: checksPass,
		Title:   "Every check passes",
		Asserts: "each declared check ends with its exit status and prints what it should, as the image's user on a read-only root",
		Why:     "this is what the image is for",
	},
	{
		ID: "function/workload-runs", Family: Function, Run: workloadRuns,
		Title:   "The workload runs",
		Asserts: "each declared run of the workload ends as it should",
		Why:     "what layer 3 observed of a workload that failed at once says nothing",
	},
	{
		ID: "function/deterministic", Family: Function, Run: deterministic,
		Title:   "Every check can be repeated",
		Asserts: "two runs of each check print the same and end the same",
		Why:     "a check that passes by chance checks nothing",
	},
	{
		ID: "function/clean-start", Family: Function, Run: cleanStart,
		Title:   "Programs start without complaints of their run-time",
		Asserts: "no message of the dynamic loader, of stack protection or of a missing locale on standard error",
		Why:     "such a message is a defect of the image even where the program goes on",
	},
	{
		ID: "function/entrypoint-starts", Family: Function, Run: entrypointStarts,
		Title:   "The image starts as configured",
		Asserts: "entrypoint and command, as they are in the configuration, can be executed and are not killed by a signal",
		Why:     "it is what a runtime does first",
	},
	{
		ID: "function/stops-on-term", Family: Function, Run: stopsOnTerm,
		Title:   "It stops when it is asked to",
		Asserts: "the image as configured, sent SIGTERM once it has settled, has a handler for it and ends within Bounds.Grace by status 0 or by that signal; an image that ends by itself before ends with the status that its check declares, or 0",
		Why:     "as process 1 a program without a handler never sees the signal, and is killed in the middle of its work when the grace period is over",
		Refs:    []string{"CWE-404"},
	},
	{
		ID: "function/missing-environment", Family: Function, Run: missingEnvironment,
		Title:   "It does not crash without an environment",
		Asserts: "each check, started without PATH, HOME, LANG or any other variable, can be executed and is not ended by a signal",
		Why:     "what an environment lacks is a message for whoever set it up, not a crash",
		Refs:    []string{"CWE-754"},
	},
	{
		ID: "function/unknown-argument", Family: Function, Run: unknownArgument,
		Title:   "It does not crash on an argument that nobody knows",
		Asserts: "the entrypoint with an unknown option goes on, or ends by itself and not by a signal",
		Why:     "the first thing that users get wrong, and that others try, are arguments",
		Refs:    []string{"CWE-20"},
	},
	{
		ID: "function/closed-streams", Family: Function, Run: closedStreams,
		Title:   "It does not crash without standard streams",
		Asserts: "each check, started with standard input, output and error closed, ends in time and not by a signal",
		Why:     "supervisors start programs so, and the next file that is opened takes the place of the stream",
		Refs:    []string{"CWE-754"},
	},
	{
		ID: "function/leaves-nothing-running", Family: Function, Run: leavesNothingRunning,
		Title:   "Nothing runs on after it",
		Asserts: "when a check ends, every process that it started has ended",
		Why:     "what is left keeps files, ports and memory, and nobody waits for it or sees it fail",
		Refs:    []string{"CWE-772"},
	},
	{
		ID: "function/concurrent-starts", Family: Function, Run: concurrentStarts,
		Title:   "Two at once do not disturb each other",
		Asserts: "two runs of all checks, side by side with one /tmp for both, pass",
		Why:     "a file of a fixed name, or a lock that is never given back, shows when the second replica starts",
		Refs:    []string{"CWE-362", "CWE-377"},
	},
}

func checksDeclared(_ context.Context, s *Subject) Outcome {
	checks := s.Spec.Checks
	switch {
	case len(checks) == 0 && s.Record == nil:
		return notApplicable("no build record, and no check is declared")
	case len(checks) == 0:
		return verdict([]string{"no check is declared"}, "")
	}
	var wrong []string
	started := false
	for _, c := range checks {
		if len(c.Args) == 0 || !path.IsAbs(c.Args[0]) {
			wrong = append(wrong, c.Name+": names no program by absolute path")
			continue
		}
		if ep := s.Config.Config.Entrypoint; len(ep) > 0 && c.Args[0] == ep[0] {
			started = true
		}
		if c.Exit == 0 && c.Stdout == "" {
			wrong = append(wrong, c.Name+": looks neither at an exit status nor at output")
		}
	}
	if !started {
		wrong = append(wrong, "no check starts the entrypoint")
	}
	return verdict(wrong, "%d checks", len(checks))
}

func checksPass(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{}, nil)
}

func workloadRuns(ctx context.Context, s *Subject) Outcome {
	return eachRun(ctx, s, s.Spec.Workload, "workload", variant{}, nil)
}

func deterministic(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{}, func(r compile.Run, first *ran) string {
		second, err := s.start(ctx, r, variant{})
		switch {
		case err != nil:
			return err.Error()
		case second.TimedOut || second.Exit != first.Exit || second.Stdout != first.Stdout:
			return "the second run printed something else"
		}
		return ""
	})
}

var complaint = regexp.MustCompile(`(?m)error while loading shared libraries|^Error (loading shared library|relocating)|symbol lookup error|\*\*\* stack smashing|\*\*\* buffer overflow|version .* not found \(required by|cannot set locale|cannot change locale|ERROR: ld\.so`)

func cleanStart(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{}, func(_ compile.Run, got *ran) string {
		if line := complaint.FindString(got.Stderr); line != "" {
			return fmt.Sprintf("complains %q", line)
		}
		return ""
	})
}

func entrypointStarts(ctx context.Context, s *Subject) Outcome {
	args := slices.Concat(s.Config.Config.Entrypoint, s.Config.Config.Cmd)
	if len(args) == 0 {
		return verdict([]string{"there is nothing to start"}, "")
	}
	got, err := s.start(ctx, compile.Run{Name: "entrypoint", Args: args}, variant{})
	switch {
	case err != nil:
		return verdict([]string{fmt.Sprintf("%s: %v", args[0], err)}, "")
	case got.TimedOut:
		return verdict(nil, "%s was running when it was ended after %s", args[0], s.Bounds.Check)
	case got.Exit == 126 || got.Exit == 127 || got.Exit >= 128:
		return verdict([]string{fmt.Sprintf("%s: exit %d%s", args[0], got.Exit, lastLine(got.Stderr))}, "")
	}
	return verdict(nil, "%s ended with %d", args[0], got.Exit)
}

func stopsOnTerm(ctx context.Context, s *Subject) Outcome {
	args := slices.Concat(s.Config.Config.Entrypoint, s.Config.Config.Cmd)
	if len(args) == 0 {
		return verdict([]string{"there is nothing to start"}, "")
	}
	got, err := s.start(ctx, compile.Run{Name: "entrypoint", Args: args}, variant{signal: syscall.SIGTERM})
	switch {
	case err != nil:
		return verdict([]string{fmt.Sprintf("%s: %v", args[0], err)}, "")
	case got.TimedOut:
		return verdict([]string{fmt.Sprintf("%s: still running %s after SIGTERM", args[0], s.Bounds.Grace)}, "")
	case got.Stop == nil:
		if want := s.declaredExit(args); got.Exit != want {
			return verdict([]string{fmt.Sprintf("%s: ended by itself with %d, declared is %d%s", args[0], got.Exit, want, lastLine(got.Stderr))}, "")
		}
		return verdict(nil, "%s ended by itself with %d, as declared, before it was asked to", args[0], got.Exit)
	case !got.Stop.Handled:
		return verdict([]string{args[0] + ": has no handler for SIGTERM, so that it would not get it as process 1"}, "")
	}
	took := time.Duration(got.Stop.Took)
	if got.Exit != 0 && got.Exit != 128+int(syscall.SIGTERM) {
		return verdict([]string{fmt.Sprintf("%s: exit %d after SIGTERM%s", args[0], got.Exit, lastLine(got.Stderr))}, "")
	}
	if took > s.Bounds.Grace {
		return verdict([]string{fmt.Sprintf("%s: took %s to stop, at most %s are allowed", args[0], took, s.Bounds.Grace)}, "")
	}
	return verdict(nil, "%s stopped %s after SIGTERM with %d", args[0], took.Round(time.Millisecond), got.Exit)
}

// declaredExit is the status with which a check or a run of the workload says
// that these arguments end, or 0.
func (s *Subject) declaredExit(args []string) int {
	for _, r := range slices.Concat(s.Spec.Checks, s.Spec.Workload) {
		if slices.Equal(r.Args, args) {
			return r.Exit
		}
	}
	return 0
}

func missingEnvironment(ctx context.Context, s *Subject) Outcome {
	return eachSurvives(ctx, s, variant{bare: true})
}

// unknown is no option of anything.
const unknown = "--no-such-option-of-any-program"

func unknownArgument(ctx context.Context, s *Subject) Outcome {
	args := s.Config.Config.Entrypoint
	if len(args) == 0 {
		args = s.Config.Config.Cmd
	}
	if len(args) == 0 {
		return verdict([]string{"there is nothing to start"}, "")
	}
	args = append(slices.Clone(args), unknown)
	got, err := s.start(ctx, compile.Run{Name: "unknown argument", Args: args}, variant{signal: syscall.SIGKILL})
	switch {
	case err != nil:
		return verdict([]string{fmt.Sprintf("%s: %v", args[0], err)}, "")
	case got.Stop != nil || got.TimedOut:
		return verdict(nil, "%s was running when it was ended", args[0])
	}
	if why := crashed(got); why != "" {
		return verdict([]string{fmt.Sprintf("%s %s: %s", args[0], unknown, why)}, "")
	}
	return verdict(nil, "%s ended with %d", args[0], got.Exit)
}

func closedStreams(ctx context.Context, s *Subject) Outcome {
	return eachSurvives(ctx, s, variant{closed: true})
}

func leavesNothingRunning(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{}, func(_ compile.Run, got *ran) string {
		if got.Left > 0 {
			return fmt.Sprintf("left %d processes running", got.Left)
		}
		return ""
	})
}

func concurrentStarts(ctx context.Context, s *Subject) Outcome {
	tmp, err := os.MkdirTemp(s.Work, "shared-")
	if err != nil {
		return verdict([]string{err.Error()}, "")
	}
	defer sandbox.RemoveAll(tmp)
	if len(s.Spec.Checks) == 0 {
		return notApplicable("the specification declares no check")
	}
	both := make([][]string, 2)
	g, ctx := errgroup.WithContext(ctx)
	for i := range both {
		g.Go(func() error {
			for _, r := range s.Spec.Checks {
				got, err := s.start(ctx, r, variant{tmp: tmp})
				if err != nil {
					both[i] = append(both[i], fmt.Sprintf("%s: %v", r.Name, err))
				} else if why := wrongWith(r, got); why != "" {
					both[i] = append(both[i], fmt.Sprintf("beside another, %s", why))
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return verdict([]string{err.Error()}, "")
	}
	wrong := slices.Concat(both...)
	slices.Sort(wrong)
	return verdict(slices.Compact(wrong), "%d checks, two at a time", len(s.Spec.Checks))
}
