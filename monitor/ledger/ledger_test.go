package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func fill(t testing.TB, name string, n int) {
	t.Helper()
	l, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range n {
		if _, err := l.Append(t.Context(), at.Add(time.Duration(i)*time.Second), Event{"tick", map[string]any{"n": i, "text": "a<b>&\u2028"}}); err != nil {
			t.Fatal(err)
		}
	}
}

func seqs(t testing.TB, l Ledger, after uint64) []uint64 {
	t.Helper()
	var got []uint64
	for e, err := range l.Entries(t.Context(), after) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Seq)
	}
	return got
}

func TestReopenContinues(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	fill(t, name, 3)
	fill(t, name, 2)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, err := Verify(bytes.NewReader(b), Head{})
	if err != nil || head.Seq != 5 {
		t.Fatalf("Verify = %v, %v, want 5 entries", head, err)
	}
	if _, err := Verify(bytes.NewReader(b), head); err != nil {
		t.Errorf("Verify with its own head = %v", err)
	}
	l, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := seqs(t, l, 3); len(got) != 2 || got[0] != 4 {
		t.Errorf("Entries after 3 = %v, want 4 and 5", got)
	}
	for range l.Entries(t.Context(), 0) {
		break // stopping early is no error
	}
}

func TestEntriesEndsWithContext(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	fill(t, name, 3)
	l, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range l.Entries(ctx, 0) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("Entries of an ended context = %v", last)
	}
	if _, err := l.Append(ctx, at, Event{"x", 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Append with an ended context = %v", err)
	}
}

func TestTamperIsSeen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	fill(t, name, 4)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, err := Verify(bytes.NewReader(good), Head{})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(good), "\n"), "\n")
	lines[3] += "\n"
	for name, c := range map[string]struct {
		bytes string
		line  int
	}{
		"changed":        {strings.Replace(string(good), `"n":1`, `"n":7`, 1), 2},
		"removed":        {lines[0] + lines[2] + lines[3], 2},
		"swapped":        {lines[0] + lines[2] + lines[1] + lines[3], 2},
		"repeated":       {lines[0] + lines[0] + lines[1], 2},
		"first removed":  {lines[1] + lines[2] + lines[3], 1},
		"empty line":     {lines[0] + "\n" + lines[1], 2},
		"half line":      {string(good[:len(good)-10]), 4},
		"cut at the end": {lines[0] + lines[1] + lines[2], 4},
	} {
		_, err := Verify(strings.NewReader(c.bytes), head)
		var te *TamperError
		if !errors.As(err, &te) || te.Line != c.line {
			t.Errorf("%s: Verify = %v, want an error about line %d", name, err, c.line)
		}
	}
	// Every single flipped bit of one line is seen.
	for i := len(lines[0]); i < len(lines[0])+len(lines[1]); i++ {
		b := bytes.Clone(good)
		b[i] ^= 1
		if _, err := Verify(bytes.NewReader(b), Head{}); err == nil {
			t.Errorf("byte %d: a flipped bit was not seen", i)
		}
	}
}

func TestOpenRefusesTampered(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	fill(t, name, 2)
	b, _ := os.ReadFile(name)
	b[10] ^= 1
	os.WriteFile(name, b, 0o644)
	if _, err := Open(name); err == nil {
		t.Fatal("a changed ledger was opened")
	}
	if now, _ := os.ReadFile(name); !bytes.Equal(now, b) {
		t.Error("Open changed a ledger that it refused")
	}
}

// Every length that a crash can leave must open, and lose only what was not
// acknowledged.
func TestTornTailIsRepaired(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	fill(t, name, 2)
	two, _ := os.ReadFile(name)
	fill(t, name, 1)
	three, _ := os.ReadFile(name)
	for cut := len(two); cut < len(three); cut++ {
		os.WriteFile(name, three[:cut], 0o644)
		l, err := Open(name)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if l.Head().Seq != 2 {
			t.Errorf("cut at %d: head %d, want 2", cut, l.Head().Seq)
		}
		if _, err := l.Append(t.Context(), at, Event{"again", nil}); err != nil {
			t.Error(err)
		}
		l.Close()
		b, _ := os.ReadFile(name)
		if h, err := Verify(bytes.NewReader(b), Head{}); err != nil || h.Seq != 3 {
			t.Errorf("cut at %d: after repair Verify = %v, %v", cut, h, err)
		}
	}
}

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	l, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open = %v, want ErrLocked", err)
	}
	l.Close()
	if _, err := l.Append(t.Context(), at, Event{"x", 1}); err == nil {
		t.Error("a closed ledger took an entry")
	}
	l, err = Open(name)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestAppendRefuses(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append(t.Context(), at, Event{"", 1}); err == nil {
		t.Error("an event without kind was taken")
	}
	if _, err := l.Append(t.Context(), at, Event{"x", func() {}}); err == nil {
		t.Error("an event that is no JSON was taken")
	}
	if _, err := l.Append(t.Context(), at, Event{"x", 1}, Event{"y", strings.Repeat("x", maxLine)}); err == nil {
		t.Error("an event over the bound was taken")
	}
	if l.Head().Seq != 0 {
		t.Errorf("a refused Append left %d entries", l.Head().Seq)
	}
}

func FuzzVerify(f *testing.F) {
	name := filepath.Join(f.TempDir(), "ledger")
	fill(f, name, 3)
	b, _ := os.ReadFile(name)
	f.Add(b)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, err := Verify(bytes.NewReader(b), Head{})
		if err == nil && head.Seq != uint64(bytes.Count(b, []byte("\n"))) {
			t.Errorf("Verify accepts %d lines as %d entries", bytes.Count(b, []byte("\n")), head.Seq)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "ledger"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		if _, err := l.Append(b.Context(), at, Event{"tick", "data"}); err != nil {
			b.Fatal(err)
		}
	}
}
