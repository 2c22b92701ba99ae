package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// reader is one transfer, over as many connections as it takes.
type reader struct {
	ctx     context.Context // of Open: the transfer ends with it
	t       *Transport
	url     string
	size    int64 // -1 where the server does not say
	offset  int64 // delivered so far
	tag     string
	retries int
	wait    time.Duration
	stall   time.Duration

	body   io.ReadCloser
	cancel context.CancelCauseFunc
	alarm  *time.Timer
	conn   context.Context
}

var errStalled = errors.New("the server went silent")

// Size is the number of bytes of the whole, or -1.
func (r *reader) Size() int64 { return r.size }

// connect opens a connection at offset, retrying what may pass.
func (r *reader) connect() error {
	for {
		err := r.dial()
		if err == nil {
			return nil
		}
		if err := r.pause(err); err != nil {
			return err
		}
	}
}

// pause waits before the next attempt, or gives the error to end with.
func (r *reader) pause(err error) error {
	if cause := context.Cause(r.ctx); cause != nil {
		return cause
	}
	var status *StatusError
	if errors.As(err, &status) && !status.passing() || errors.Is(err, ErrRedirect) || errors.Is(err, errChanged) {
		return err
	}
	if r.retries <= 0 {
		return err
	}
	r.retries--
	timer := time.NewTimer(r.wait)
	defer timer.Stop()
	r.wait *= 2
	select {
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-timer.C:
		return nil
	}
}

func (r *reader) dial() error {
	r.hangUp()
	r.conn, r.cancel = context.WithCancelCause(r.ctx)
	cancel := r.cancel
	r.alarm = time.AfterFunc(r.stall, func() { cancel(errStalled) })
	resp, err := r.request(r.conn)
	if err != nil {
		return r.explain(err)
	}
	r.body = resp.Body
	return r.accept(resp)
}

var errChanged = errors.New("the file changed during the transfer")

// accept checks that the answer continues what was delivered.
func (r *reader) accept(resp *http.Response) error {
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return fmt.Errorf("%s: sent in encoding %q though none was asked for", r.url, enc)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		if r.offset > 0 {
			if r.size >= 0 && resp.ContentLength >= 0 && resp.ContentLength != r.size {
				return errChanged
			}
			// No ranges here: skip what was delivered.
			if _, err := io.CopyN(io.Discard, watched{r}, r.offset); err != nil {
				return err
			}
			return nil
		}
		r.size = resp.ContentLength
		r.tag = resp.Header.Get("ETag")
		if strings.HasPrefix(r.tag, "W/") {
			r.tag = ""
		}
		if r.tag == "" {
			r.tag = resp.Header.Get("Last-Modified")
		}
		return nil
	case resp.StatusCode == http.StatusPartialContent && r.offset > 0:
		var first int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &first); err != nil || first != r.offset {
			return errChanged
		}
		return nil
	}
	return &StatusError{r.url, resp.StatusCode}
}

// watched reads the body and winds the alarm.
type watched struct{ r *reader }

func (w watched) Read(p []byte) (int, error) {
	n, err := w.r.body.Read(p)
	w.r.alarm.Reset(w.r.stall)
	return n, w.r.explain(err)
}

// explain names the stall where that is what ended the connection.
func (r *reader) explain(err error) error {
	if err != nil && err != io.EOF && errors.Is(context.Cause(r.conn), errStalled) {
		return fmt.Errorf("%s: %w for %s", r.url, errStalled, r.stall)
	}
	return err
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		n, err := watched{r}.Read(p)
		r.offset += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		if err == io.EOF && (r.size < 0 || r.offset == r.size) {
			return 0, io.EOF
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err := r.pause(err); err != nil {
			return 0, err
		}
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
}

func (r *reader) hangUp() {
	if r.alarm != nil {
		r.alarm.Stop()
	}
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
	if r.cancel != nil {
		r.cancel(nil)
	}
}

// Close ends the transfer.
func (r *reader) Close() error {
	r.hangUp()
	return nil
}
