package local

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/cleanstart/cleanstart/compile"
)

const (
	tailLines  = 40
	maxLogLine = 64 << 10 // longer lines are cut into pieces
)

// buildLog writes JSON Lines and remembers the last of them.
type buildLog struct {
	component string

	mu     sync.Mutex
	enc    *json.Encoder
	seq    int
	tail   []string
	broken error
}

func newLog(w io.Writer, component string) *buildLog {
	if w == nil {
		w = io.Discard
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &buildLog{component: component, enc: enc}
}

func (l *buildLog) add(command int, stream, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text = strings.ToValidUTF8(text, "\uFFFD")
	err := l.enc.Encode(compile.LogLine{Seq: l.seq, Component: l.component, Command: command, Stream: stream, Text: text})
	if err != nil && l.broken == nil {
		l.broken = err
	}
	l.seq++
	l.tail = append(l.tail, text)
	if len(l.tail) > 2*tailLines {
		l.tail = slices.Clone(l.tail[len(l.tail)-tailLines:])
	}
}

// lines are the last lines, oldest first.
func (l *buildLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tail[max(0, len(l.tail)-tailLines):])
}

// err is the first failure to write, which must not kill the build but must
// not be lost either.
func (l *buildLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// lineWriter cuts one stream of one command into lines.
type lineWriter struct {
	log     *buildLog
	command int
	name    string
	rest    []byte
}

func (l *buildLog) stream(command int, name string) *lineWriter {
	return &lineWriter{log: l, command: command, name: name}
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		line, after, ok := bytes.Cut(p, []byte("\n"))
		w.rest = append(w.rest, line...)
		for len(w.rest) > maxLogLine {
			w.log.add(w.command, w.name, string(w.rest[:maxLogLine]))
			w.rest = w.rest[maxLogLine:]
		}
		if !ok {
			break
		}
		w.log.add(w.command, w.name, string(w.rest))
		w.rest = w.rest[:0]
		p = after
	}
	return n, nil
}

// flush writes a last line that had no end.
func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.log.add(w.command, w.name, string(w.rest))
		w.rest = nil
	}
}
