package compile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// DefaultUser is the user of an image that names none.
const DefaultUser = "65532:65532"

// maxRecord bounds what ReadRecord takes: OpenSSL's record is about 4 MiB.
const maxRecord = 256 << 20

// WriteRecord writes the record's canonical JSON: fields in the order of the
// types, sorted maps, no white space, one line feed at the end.
func WriteRecord(w io.Writer, r *Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// ReadRecord reads what WriteRecord wrote. An unknown field, trailing bytes
// and a specification that does not have the recorded digest are errors.
func ReadRecord(r io.Reader) (*Record, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	if len(b) > maxRecord {
		return nil, fmt.Errorf("read record: larger than %d bytes", maxRecord)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var rec Record
	if err := d.Decode(&rec); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read record: bytes after the record")
	}
	if got := rec.Spec.Digest(); got != rec.SpecDigest {
		return nil, fmt.Errorf("read record: the specification has digest %s, the record says %s", got, rec.SpecDigest)
	}
	return &rec, nil
}

func unix(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
