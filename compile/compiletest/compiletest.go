// Package compiletest is the conformance suite of [compile.Executor]: what
// every executor must do for an output to be worth signing.
package compiletest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/compile"
)

// Subject is what the suite examines.
type Subject struct {
	Executor  compile.Executor
	Toolchain string // root directory with at least sh, coreutils, perl and gcc
}

// TestExecutor runs every check as a subtest.
func TestExecutor(t *testing.T, s Subject) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(t.Context(), s, t.TempDir()); err != nil {
				t.Errorf("%s: %+v", c.Why, err)
			}
		})
	}
}

// Check is one requirement.
type Check struct {
	Name string
	Why  string // what is lost without it
	// Run examines the subject; dir is an empty directory of its own.
	Run func(ctx context.Context, s Subject, dir string) error
}

// epoch is the SOURCE_DATE_EPOCH of the suite's actions.
const epoch = 1_600_000_000

// action has everything but commands. Its environment is what env-exact
// expects to see.
func action(commands ...compile.Command) compile.Action {
	return compile.Action{
		Component: "subject", Version: "1.2", Platform: "linux/amd64", Epoch: epoch, Schema: 1, Commands: commands,
		Env: map[string]string{"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": "/build", "SOURCE_DATE_EPOCH": fmt.Sprint(epoch), "ODD": "a b'c\"=d"},
		Flags: compile.Flags{
			Compile: []string{"-O2", "-g1"},
			Link:    []string{"-Wl,-z,relro", "-Wl,-z,now"},
		},
	}
}

func sh(script string) compile.Command {
	return compile.Command{Args: []string{"/bin/sh", "-e", "-c", script}, Dir: compile.SourceDir}
}

// attempt is one execution with its log.
type attempt struct {
	result *compile.Result
	out    string
	log    []compile.LogLine
}

// stdout is what the commands printed there.
func (a *attempt) stdout() string {
	var b strings.Builder
	for _, l := range a.log {
		if l.Stream == "stdout" {
			b.WriteString(l.Text + "\n")
		}
	}
	return b.String()
}

// execute runs an action over files. The attempt is never nil, so that a
// failed run can be looked at.
func execute(ctx context.Context, s Subject, dir string, a compile.Action, files map[string]string, needs map[string]string) (*attempt, error) {
	if _, ok := files["COPYING"]; !ok {
		files = withFile(files, "COPYING", "do as you like\n")
	}
	work, err := os.MkdirTemp(dir, "run")
	if err != nil {
		return &attempt{}, err
	}
	source, out := filepath.Join(work, "source"), filepath.Join(work, "out")
	if err := write(source, files); err != nil {
		return &attempt{}, err
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return &attempt{}, err
	}
	for n := range needs {
		a.Needs = append(a.Needs, compile.Need{Name: n, Output: "sha256:" + strings.Repeat("0", 64)})
	}
	var log bytes.Buffer
	got := &attempt{out: out}
	got.result, err = s.Executor.Execute(ctx, &compile.Job{
		Action: a, Source: os.DirFS(source), SourceDir: source, Toolchain: s.Toolchain, Needs: needs, Out: out, Log: &log, Jobs: 2,
	})
	dec := json.NewDecoder(&log)
	for dec.More() {
		var l compile.LogLine
		if derr := dec.Decode(&l); derr != nil {
			return got, errors.Join(err, fmt.Errorf("the log is not JSON Lines: %w", derr))
		}
		got.log = append(got.log, l)
	}
	return got, err
}

func withFile(files map[string]string, name, text string) map[string]string {
	m := map[string]string{}
	maps.Copy(m, files)
	m[name] = text
	return m
}

// write makes a tree as package source does: read-only files, and the times
// of an archive.
func write(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, []byte(text), 0o444); err != nil {
			return err
		}
	}
	return nil
}
