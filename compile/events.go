package compile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// serial calls one event function at a time.
type serial struct {
	mu sync.Mutex
	e  Events
}

func (s *serial) component(f func(component, version, key string), c *Component, key string) {
	if f == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f(c.Name, c.Version, key)
}

func (s *serial) start(c *Component, key string) { s.component(s.e.Start, c, key) }
func (s *serial) hit(c *Component, key string)   { s.component(s.e.Hit, c, key) }
func (s *serial) done(c *Component, key string)  { s.component(s.e.Done, c, key) }

func (s *serial) command(component string, index int, c Command) {
	if s.e.Command == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.Command(component, index, c)
}

func (s *serial) line(l LogLine) {
	if s.e.Line == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.Line(l)
}

// maxLine bounds what is held of one log line. Longer lines go to the file
// whole, and to the events not at all.
const maxLine = 1 << 20

// buildLog is the log of one build: a file that also feeds the events.
type buildLog struct {
	mu      sync.Mutex
	f       *os.File
	name    string
	rest    []byte // of a line that is not complete
	command int    // last one reported
	action  *Action
	events  *serial
}

func newBuildLog(work, component, key string, action *Action, events *serial) (*buildLog, error) {
	dir := filepath.Join(work, "logs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	short := strings.TrimPrefix(key, "sha256:")
	name := filepath.Join(dir, fmt.Sprintf("%s-%.12s.jsonl", component, short))
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return &buildLog{f: f, name: name, command: -1, action: action, events: events}, nil
}

// Write takes any part of the log.
func (l *buildLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.f.Write(p)
	if err != nil {
		return n, err
	}
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			break
		}
		l.tell(line)
		l.rest = rest
	}
	if len(l.rest) > maxLine {
		l.rest = l.rest[:0:0]
	}
	return n, nil
}

func (l *buildLog) tell(line []byte) {
	var ll LogLine
	if json.Unmarshal(line, &ll) != nil {
		return // not a whole line, after one that was too long
	}
	if ll.Command > l.command && ll.Command < len(l.action.Commands) {
		l.command = ll.Command
		l.events.command(l.action.Component, ll.Command, l.action.Commands[ll.Command])
	}
	l.events.line(ll)
}

// explain names the log in the error of a build.
func (l *buildLog) explain(err error) error {
	var be *BuildError
	if errors.As(err, &be) {
		if be.Log == "" {
			be.Log = l.name
		}
		return be // it names the component and the command itself
	}
	return fmt.Errorf("%w (log: %s)", err, l.name)
}

// moveTo puts the log of a build that went well where it stays.
func (l *buildLog) moveTo(name string) error {
	if err := l.f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(l.name, name); err != nil {
		return err
	}
	return nil
}

func (l *buildLog) close() { l.f.Close() }

// digestLog is "sha256:HEX" of an item's build log.
func digestLog(item *Item) (string, error) {
	f, err := item.OpenLog()
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
