package local

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/compiletest"
	"github.com/cleanstart/cleanstart/compile/toolchain"
	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/internal/sandbox"
	"github.com/cleanstart/cleanstart/source/debian"
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

// toolchainDir is a compiler root for tests that compile: the one that the
// environment names, or the default one from the user's cache, made where it
// is not there yet.
func toolchainDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("CLEANSTART_TOOLCHAIN"); dir != "" {
		return dir
	}
	if testing.Short() {
		t.Skip("short: may unpack a toolchain")
	}
	dir, err := defaultToolchain()
	if err != nil {
		need.Skip(t, "toolchain", err.Error())
	}
	return dir
}

var defaultToolchain = sync.OnceValues(func() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache := filepath.Join(user, "cleanstart")
	cfg, err := debian.ReadConfig(os.DirFS("/"))
	if err != nil {
		return "", err
	}
	archive, err := debian.New(cfg, cache, debian.Options{Now: time.Now()})
	if err != nil {
		return "", err
	}
	tc, err := toolchain.Debian(context.Background(), archive, cache, nil, toolchain.Options{})
	if err != nil {
		return "", err
	}
	return tc.Dir, nil
})

// testAction has everything but commands.
func testAction(name string) compile.Action {
	return compile.Action{
		Component: name, Version: "1.0", Platform: "linux/amd64", Epoch: 1700000000, Schema: 1,
		Env: map[string]string{"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": "/build", "SOURCE_DATE_EPOCH": "1700000000"},
		Flags: compile.Flags{
			Before:  []string{"-fPIE"},
			Compile: []string{"-O2", "-g1", "-ffunction-sections", "-fdata-sections", "-fno-ipa-icf", "-fno-lto", "-fstack-clash-protection"},
			Link:    []string{"-Wl,--gc-sections", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"},
		},
	}
}

// sh makes a command of a script.
func sh(script string) compile.Command {
	return compile.Command{Args: []string{"/bin/sh", "-e", "-c", script}, Dir: compile.SourceDir}
}

func execute(t testing.TB, e *Executor, a compile.Action, source string, needs map[string]string) (*compile.Result, string, error) {
	t.Helper()
	out := t.TempDir()
	for n := range needs {
		a.Needs = append(a.Needs, compile.Need{Name: n, Output: "sha256:0"})
	}
	var log bytes.Buffer
	r, err := e.Execute(t.Context(), &compile.Job{
		Action: a, Source: os.DirFS(source), SourceDir: source, Toolchain: toolchainDir(t), Needs: needs, Out: out, Log: &log,
	})
	if errors.Is(err, sandbox.ErrNoUserNamespaces) {
		need.Skip(t, "user namespaces", err.Error())
	}
	if err != nil {
		t.Logf("log:\n%s", log.String())
	}
	return r, out, err
}

func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestConformance(t *testing.T) {
	a := testAction("probe")
	a.Commands = []compile.Command{sh(":")}
	if _, _, err := execute(t, New(), a, tree(t, map[string]string{"x": ""}), nil); err != nil { // skips where there are no namespaces
		t.Fatal(err)
	}
	compiletest.TestExecutor(t, compiletest.Subject{Executor: New(), Toolchain: toolchainDir(t)})
}
