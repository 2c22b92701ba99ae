package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	if name, err := Find("sh", ""); err != nil || !filepath.IsAbs(name) {
		t.Errorf("Find(sh) = %q, %v", name, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"plain", "none"} {
		var missing *MissingError
		if _, err := Find(tool, dir+":relative::."); !errors.As(err, &missing) || missing.Tool != tool {
			t.Errorf("Find(%s): %v", tool, err)
		}
	}
	for _, tool := range []string{"", "/bin/sh", "../sh", "."} {
		if name, err := Find(tool, "/bin/x:/bin"); err == nil {
			t.Errorf("Find(%q) = %q", tool, name)
		}
	}
}

func TestRun(t *testing.T) {
	t.Setenv("AMBIENT", "seen")
	var out bytes.Buffer
	c := Command{Tool: "sh", Args: []string{"-c", `cat; pwd; echo "$GIVEN $AMBIENT"`}, Env: []string{"GIVEN=given"}, Dir: "/usr",
		Stdin: strings.NewReader("in\n"), Stdout: &out}
	if err := c.Run(t.Context()); err != nil || out.String() != "in\n/usr\ngiven \n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	var exit *ExitError
	c = Command{Tool: "sh", Args: []string{"-c", "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 3"}}
	if err := c.Run(t.Context()); !errors.As(err, &exit) || exit.Code != 3 || len(exit.Stderr) > maxTail+8 || !strings.HasSuffix(exit.Stderr, "line 4999\n") {
		t.Errorf("%v", err)
	}
	if s := fmt.Sprintf("%v", exit); strings.Contains(s, "\n") || !strings.Contains(s, "line 4999") {
		t.Errorf("%%v is %q", s)
	}
	if s := fmt.Sprintf("%+v", exit); !strings.Contains(s, "line 4998\nline 4999") {
		t.Errorf("%%+v is %q", s)
	}
}

func TestStart(t *testing.T) {
	p, err := Command{Tool: "cat"}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		io.WriteString(p.In, "ping\n")
		b := make([]byte, 5)
		if _, err := io.ReadFull(p.Out, b); err != nil || string(b) != "ping\n" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// TestCancelKillsTheGroup cancels a tool whose child would write a file later.
func TestCancelKillsTheGroup(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	c := Command{Tool: "sh", Args: []string{"-c", `(sleep 2; : > "$0") & echo ready; wait`, mark}, Env: []string{"PATH=" + DefaultPath}}
	p, err := c.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(p.Out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	cancel(why)
	if err := p.Wait(); !errors.Is(err, why) {
		t.Errorf("%v, want the cause", err)
	}
	if d := time.Since(start); d > 1500*time.Millisecond {
		t.Errorf("the wait took %s: the child held the pipes", d)
	}
	time.Sleep(2500 * time.Millisecond)
	if _, err := os.Stat(mark); err == nil {
		t.Error("the child lived on")
	}
	if err := c.Run(ctx); !errors.Is(err, why) {
		t.Errorf("started after the end: %v", err)
	}
}
