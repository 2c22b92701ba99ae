// Package progress shows long work: bars on a terminal, lines in a log.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Board shows tasks. It is safe for concurrent use.
type Board struct {
	mu    sync.Mutex
	w     io.Writer
	bars  *mpb.Progress // nil in a log
	start time.Time
}

// New draws on f: bars when it is a terminal, lines otherwise.
func New(f *os.File) *Board {
	b := &Board{w: f, start: time.Now()}
	if term.IsTerminal(int(f.Fd())) {
		b.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(40), mpb.WithAutoRefresh())
	}
	return b
}

// Printf writes one line between the bars.
func (b *Board) Printf(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := fmt.Sprintf(format, args...) + "\n"
	if b.bars != nil {
		b.bars.Write([]byte(line))
		return
	}
	fmt.Fprintf(b.w, "%6.1fs  %s", time.Since(b.start).Seconds(), line)
}

// Close waits until the last bar is drawn.
func (b *Board) Close() {
	if b.bars != nil {
		b.bars.Wait()
	}
}

// Task is one piece of work on the board.
type Task struct {
	board *Board
	name  string
	bar   *mpb.Bar
	mu    sync.Mutex
	note  string
	begin time.Time
	done  bool
}

// Start shows a task that runs until Done or Fail.
func (b *Board) Start(name string) *Task {
	t := &Task{board: b, name: name, begin: time.Now()}
	if b.bars == nil {
		b.Printf("%s ...", name)
		return t
	}
	t.bar = b.bars.New(1, mpb.SpinnerStyle(),
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.OnComplete(decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace), "done"),
			decor.Any(func(decor.Statistics) string { return "  " + t.text() })))
	return t
}

func (t *Task) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.note
}

// Note replaces the text beside the task; a log does not show it.
func (t *Task) Note(format string, args ...any) {
	t.mu.Lock()
	t.note = fmt.Sprintf(format, args...)
	t.mu.Unlock()
}

// Done ends the task well, with one line about the outcome.
func (t *Task) Done(format string, args ...any) { t.end("", fmt.Sprintf(format, args...)) }

// Fail ends the task badly. The error itself is the caller's to report.
func (t *Task) Fail() { t.end("failed", "") }

func (t *Task) end(state, note string) {
	t.mu.Lock()
	if t.done {
		t.mu.Unlock()
		return
	}
	t.done, t.note = true, note
	if state != "" {
		t.note = state
	}
	note = t.note
	t.mu.Unlock()
	if t.bar != nil {
		t.bar.SetTotal(1, true)
		return
	}
	t.board.Printf("%s: %s (%.1fs)", t.name, note, time.Since(t.begin).Seconds())
}
