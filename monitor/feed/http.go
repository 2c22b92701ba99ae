package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// errUnchanged is a server's word that what is held is what it has.
var errUnchanged = errors.New("not modified")

// StatusError is an answer of another kind than asked for.
type StatusError struct {
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.URL, e.Code, http.StatusText(e.Code))
}

func (m *ecoMirror) request(ctx context.Context, name string, header map[string]string) (*http.Response, error) {
	u := strings.TrimSuffix(m.URL, "/") + "/" + url.PathEscape(m.eco) + "/" + url.PathEscape(name)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // an ETag is of the bytes as they are stored
	for k, v := range header {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	resp, err := m.Client.Do(req)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return resp, nil
	case http.StatusNotModified:
		resp.Body.Close()
		return nil, errUnchanged
	}
	resp.Body.Close()
	return nil, &StatusError{u, resp.StatusCode}
}

// get reads a small file whole.
func (m *ecoMirror) get(ctx context.Context, name, etag string, limit int64) ([]byte, string, error) {
	resp, err := m.request(ctx, name, map[string]string{"If-None-Match": etag})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", &StatusError{resp.Request.URL.String(), resp.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return b, resp.Header.Get("ETag"), err
}

// download writes a large file to part, and goes on with what an earlier
// download of the same ETag left there.
func (m *ecoMirror) download(ctx context.Context, name, etag, part string, limit int64) (string, error) {
	header := map[string]string{"If-None-Match": etag}
	had, begun := begunPart(part)
	if had > 0 {
		header["Range"], header["If-Range"] = fmt.Sprintf("bytes=%d-", had), begun
	}
	resp, err := m.request(ctx, name, header)
	var status *StatusError
	if errors.As(err, &status) && status.Code == http.StatusRequestedRangeNotSatisfiable {
		if err := os.Remove(part); err != nil {
			return "", err
		}
		had = 0
		resp, err = m.request(ctx, name, map[string]string{"If-None-Match": etag})
	}
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	got := resp.Header.Get("ETag")
	flags := os.O_WRONLY | os.O_CREATE
	if resp.StatusCode == http.StatusPartialContent && had > 0 {
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", had)) {
			return "", fmt.Errorf("%s: the server sent another part than asked for", name)
		}
		flags |= os.O_APPEND
	} else {
		flags |= os.O_TRUNC
		had = 0
		// What the part is of is known before the first byte of it.
		if err := os.WriteFile(part+".etag", []byte(got), 0o644); err != nil {
			return "", err
		}
	}
	f, err := os.OpenFile(part, flags, 0o644)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, io.LimitReader(resp.Body, limit-had+1))
	if err == nil && had+n > limit {
		err = fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return got, os.Remove(part + ".etag")
}

// begunPart is how much of a file is there, and its ETag; nothing where that is
// not known or a weak one.
func begunPart(part string) (int64, string) {
	etag, err := os.ReadFile(part + ".etag")
	info, statErr := os.Stat(part)
	if err != nil || statErr != nil || !strings.HasPrefix(string(etag), `"`) {
		return 0, ""
	}
	return info.Size(), string(etag)
}
