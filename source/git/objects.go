package git

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cleanstart/cleanstart/internal/gitsnap"
	"github.com/cleanstart/cleanstart/internal/run"
)

// objects asks one git cat-file for one object after the other.
type objects struct {
	fetch *fetch
	git   *run.Process
	stop  context.CancelCauseFunc
	out   *bufio.Reader
	left  int64 // bytes of the last object that were not read, and the line end
}

var _ gitsnap.Objects = (*objects)(nil)

// Object gives an object by its id, or by what git calls an extended name.
func (o *objects) Object(ctx context.Context, id string) (string, int64, io.Reader, error) {
	kind, size, err := o.ask(ctx, id)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return "", 0, nil, err
	}
	o.left = size + 1
	return kind, size, &content{o, size}, nil
}

func (o *objects) ask(ctx context.Context, id string) (string, int64, error) {
	if o.git == nil {
		ctx, o.stop = context.WithCancelCause(ctx)
		var err error
		if o.git, err = o.fetch.command("", "cat-file", "--batch").Start(ctx); err != nil {
			return "", 0, err
		}
		o.out = bufio.NewReaderSize(o.git.Out, 64<<10)
	}
	if _, err := io.CopyN(io.Discard, o.out, o.left); err != nil {
		return "", 0, fmt.Errorf("git cat-file: %w", err)
	}
	o.left = 0
	if _, err := io.WriteString(o.git.In, id+"\n"); err != nil {
		return "", 0, fmt.Errorf("git cat-file: %w", err)
	}
	line, err := o.out.ReadSlice('\n')
	if err != nil {
		return "", 0, fmt.Errorf("git cat-file: %w", noEOF(err))
	}
	words := strings.Fields(string(line))
	if len(words) == 2 && words[1] == "missing" {
		return "", 0, fmt.Errorf("object %s: %w", id, fs.ErrNotExist)
	}
	if len(words) != 3 {
		return "", 0, fmt.Errorf("git cat-file says %q of %s", line, id)
	}
	size, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil || size < 0 {
		return "", 0, fmt.Errorf("git cat-file says %q of %s", line, id)
	}
	return words[1], size, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// content reads what is left of the last object.
type content struct {
	o *objects
	n int64
}

func (c *content) Read(p []byte) (int, error) {
	if c.n == 0 {
		return 0, io.EOF
	}
	n, err := c.o.out.Read(p[:min(int64(len(p)), c.n)])
	c.n -= int64(n)
	c.o.left -= int64(n)
	return n, noEOF(err)
}

// close ends git, which may be in the middle of an object that nobody wants.
func (o *objects) close() {
	if o.git != nil {
		o.stop(errClosed)
		o.git.Wait() // what it could not give was said when it was asked
	}
}
