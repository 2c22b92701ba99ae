package suite

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"

	"github.com/cleanstart/cleanstart/compile"
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
}

func checksDeclared(_ context.Context, s *Subject) Outcome {
	checks := s.Record.Spec.Image.Checks
	if len(checks) == 0 {
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
	return eachRun(ctx, s, s.Record.Spec.Image.Workload, "workload", variant{}, nil)
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
