package suite

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// programSource misbehaves as its first argument says.
const programSource = `
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void stop(int s) { _exit(0); }
static void ignore(int s) { }

static int fetch(const char *url) { /* http://127.0.0.1:PORT/path */
	int port = 0;
	char path[256] = "", buf[4096];
	if (sscanf(url, "http://127.0.0.1:%d%255s", &port, path) < 1) return 3;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(s, (struct sockaddr *)&a, sizeof a)) return 4;
	dprintf(s, "GET %s HTTP/1.0\r\n\r\n", path);
	for (ssize_t n; (n = read(s, buf, sizeof buf)) > 0;) fwrite(buf, 1, n, stdout);
	return 0;
}

int main(int argc, char **argv) {
	const char *how = argc > 1 ? argv[1] : "";
	puts("app 1");
	if (!strncmp(how, "http:", 5)) return fetch(how);
	if (!strcmp(how, "--write")) { FILE *f = fopen("/state", "w"); if (f) { fputs("x", f); fclose(f); } }
	if (!strcmp(how, "--temp")) { FILE *f = fopen("/tmp/x", "w"); return f ? 0 : 1; }
	if (!strcmp(how, "--user")) return getuid() == 65532 ? 0 : 1;
	if (!strcmp(how, "--random")) { FILE *f = fopen("/dev/urandom", "r"); printf("%d %d\n", getc(f) * 256 + getc(f), getc(f)); }
	if (!strcmp(how, "--crash")) raise(SIGSEGV);
	if (!strcmp(how, "--complain")) fputs("app: error while loading shared libraries: libx.so\n", stderr);
	if (!strcmp(how, "--big")) { volatile char *p = malloc(64 << 20); for (int i = 0; i < 64 << 20; i += 4096) p[i] = 1; }
	if (!strcmp(how, "--wait")) { fflush(stdout); pause(); }
	if (!strcmp(how, "--serve")) { signal(SIGTERM, stop); fflush(stdout); for (;;) pause(); }
	if (!strcmp(how, "--deaf")) { signal(SIGTERM, ignore); fflush(stdout); for (;;) pause(); }
	if (!strcmp(how, "--lock")) return open("/tmp/lock", O_CREAT | O_EXCL | O_WRONLY, 0600) < 0;
	if (!strcmp(how, "--daemon")) { if (!fork()) { setsid(); sleep(60); } }
	if (!strcmp(how, "--home")) return strlen(getenv("PATH")) == 0;
	if (!strcmp(how, "--streams")) { struct stat s; if (fstat(1, &s)) abort(); }
	if (!strcmp(how, "--keys")) syscall(SYS_keyctl, 0, -3, 0);
	if (!strcmp(how, "--jit")) return mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
	if (!strncmp(argv[argc - 1], "--no-such", 9) && argc > 2) raise(SIGSEGV);
	return 0;
}
`

// compileProgram compiles the program on this machine.
func compileProgram(t testing.TB) []byte {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		need.Skip(t, "gcc", err.Error())
	}
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "app.c"), []byte(programSource), 0o644))
	cmd := exec.Command(gcc, "-O1", "-static", "-s", "-o", "app", "app.c")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		need.Skip(t, "gcc", "it cannot link statically: "+string(out))
	}
	b, err := os.ReadFile(filepath.Join(dir, "app"))
	check(t, err)
	return b
}

// TestRealProcesses runs the tests that start processes in a real sandbox: all
// of them on a program that behaves, and on one that does not those that must
// see it, beside one that must not.
func TestRealProcesses(t *testing.T) {
	app := compileProgram(t)
	for _, c := range []struct {
		how    string
		failed []string
		change func(*fixture)
		also   string // a test that must pass
	}{
		{how: "--version"},
		{how: "--temp", failed: []string{"confinement/no-scratch"}, also: "confinement/writes-nothing"},
		{how: "--keys", failed: []string{"confinement/no-forbidden-call"}, also: "confinement/unprivileged"},
		{how: "--jit", failed: []string{"confinement/no-run-time-code"}, also: "confinement/no-forbidden-call"},
		{how: "--lock", failed: []string{"function/concurrent-starts"}, also: "function/deterministic"},
		{how: "--daemon", failed: []string{"function/leaves-nothing-running"}, also: "function/checks-pass"},
		{how: "--home", failed: []string{"function/missing-environment"}, also: "function/checks-pass"},
		{how: "--streams", failed: []string{"function/closed-streams"}, also: "function/checks-pass"},
		{how: "--version", failed: []string{"function/unknown-argument"}, also: "function/entrypoint-starts", change: func(f *fixture) {
			f.spec.Entrypoint = []string{"/usr/bin/app", "--version"}
		}},
		{how: "--version", also: "function/stops-on-term", failed: []string{"function/deterministic"}, change: func(f *fixture) {
			f.spec.Cmd, f.spec.Checks[0].Args[1] = []string{"--serve"}, "--random"
		}},
		{how: "--version", failed: []string{"function/stops-on-term"}, change: func(f *fixture) { f.spec.Cmd = []string{"--wait"} }}, // no handler
		{how: "--version", failed: []string{"function/stops-on-term"}, change: func(f *fixture) {
			f.spec.Cmd, f.bounds.Grace = []string{"--deaf"}, time.Millisecond
		}},
		{how: "--write", failed: []string{"confinement/writes-nothing"}},
		{how: "--user", failed: []string{"confinement/any-user"}},
		{how: "--random", failed: []string{"function/deterministic"}},
		{how: "--complain", failed: []string{"function/clean-start"}},
		{how: "--big", failed: []string{"confinement/limits", "performance/memory"}, change: func(f *fixture) { f.bounds.Memory = 32 << 20 }},
		{how: "--version", failed: []string{"function/entrypoint-starts"}, change: func(f *fixture) { f.spec.Cmd = []string{"--crash"} }},
		{how: "--version", failed: []string{"function/workload-runs"}, change: func(f *fixture) {
			f.spec.Workload[0].Stdout = "404 not expected"
		}},
		{how: "--version", failed: []string{"function/workload-runs"}, also: "function/entrypoint-starts", change: func(f *fixture) {
			f.spec.Cmd, f.bounds.Check = []string{"--wait"}, 3*time.Second // a service is still running when time is up
			f.spec.Workload[0].Args = []string{"/usr/bin/app", "--wait"}   // what must end is not
		}},
	} {
		var tests []Test
		for _, x := range All() {
			starts := x.Family == Function || x.Family == Confinement || x.ID == "performance/start-up" || x.ID == "performance/memory"
			if starts && c.failed == nil || slices.Contains(c.failed, x.ID) || x.ID == "provenance/rootfs-is-the-layers" || x.ID == c.also {
				tests = append(tests, x)
			}
		}
		f := good()
		f.elf["usr/bin/app"] = app
		f.spec.Checks = []compile.Run{{Name: c.how, Args: []string{"/usr/bin/app", c.how}, Stdout: "app 1"}}
		f.spec.Workload = []compile.Run{{Name: "fetch", Args: []string{"/usr/bin/app", "{server}/hello"}, Stdout: "hello from"}}
		if c.change != nil {
			c.change(f)
		}
		s, opts := f.build(t)
		opts.run = nil
		results, err := Run(t.Context(), tests, s, opts)
		check(t, err)
		var got []string
		for _, r := range results {
			if slices.ContainsFunc(r.Detail, func(d string) bool { return strings.Contains(d, sandbox.ErrNoUserNamespaces.Error()) }) {
				need.Skip(t, "userns", r.Detail[0])
			}
			if r.Status != analyze.Passed {
				got = append(got, r.ID)
				t.Logf("%s: %s: %q", c.how, r.ID, r.Detail)
			}
		}
		if !slices.Equal(got, c.failed) {
			t.Errorf("%s: failed %q, want %q", c.how, got, c.failed)
		}
	}
}
