package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// schema is raised when the meaning of an entry changes; another is as if
// not stored.
const schema = 1

// maxEntry bounds the record of one action.
const maxEntry = 1 << 30

// storedEntry is the record of one key.
type storedEntry struct {
	Schema  int            `json:"schema"`
	Key     string         `json:"key"`
	Content string         `json:"content"` // hexadecimal name below contents
	Log     string         `json:"log"`     // "sha256:HEX" of the build log
	LogSize int64          `json:"logSize"`
	Action  compile.Action `json:"action"`
	Result  compile.Result `json:"result"`
}

// damageError says how what is stored differs from its record.
type damageError struct{ what string }

func (e *damageError) Error() string { return e.what }

// item is what the entry means to callers.
func (e *storedEntry) item(dir string) *compile.Item {
	it := &compile.Item{Key: e.Key, Action: e.Action, Result: e.Result, Dir: dir}
	it.Result.Output.Dir = dir
	return it
}

// contentID names a content: the digests of the parts and of the log.
func contentID(o *compile.Output, log string) string {
	h := sha256.New()
	for _, name := range parts {
		fmt.Fprintf(h, "%s %s\n", name, o.Parts[name].Digest)
	}
	fmt.Fprintf(h, "log %s\n", log)
	return hex.EncodeToString(h.Sum(nil))
}

// parts are all parts of an output, in the order of contentID.
var parts = [...]string{compile.PartRuntime, compile.PartDev, compile.PartDebug, compile.PartLicenses}

// An entry's file is the SHA-256 of its JSON, a newline, and the JSON.
func writeEntry(name string, e *storedEntry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	return atomicfile.Write(name, 0o444, func(w io.Writer) error {
		if _, err := io.WriteString(w, hex.EncodeToString(sum[:])+"\n"); err != nil {
			return err
		}
		_, err := w.Write(b)
		return err
	})
}

func readEntry(name, key string) (*storedEntry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxEntry+1))
	if err != nil {
		return nil, err
	}
	return decodeEntry(b, key)
}

func decodeEntry(b []byte, key string) (*storedEntry, error) {
	head, body, ok := bytes.Cut(b, []byte("\n"))
	sum := sha256.Sum256(body)
	if !ok || len(b) > maxEntry || string(head) != hex.EncodeToString(sum[:]) {
		return nil, &damageError{"entry fails its checksum"}
	}
	var e storedEntry
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, &damageError{"entry: " + err.Error()}
	}
	if e.Schema != schema {
		return nil, &damageError{fmt.Sprintf("entry has schema %d, this is %d", e.Schema, schema)}
	}
	if e.Key != key || e.Content != contentID(&e.Result.Output, e.Log) {
		return nil, &damageError{"entry is of another key or content"}
	}
	return &e, nil
}
