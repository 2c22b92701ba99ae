package attest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	reference "github.com/in-toto/attestation/go/predicates/reference/v0"
	ita "github.com/in-toto/attestation/go/v1"

	"github.com/cleanstart/cleanstart/compile"
)

const (
	maxLog     = 256 << 20 // bytes of all logs together
	maxLogLine = 1 << 20
)

// buildLog is artifact 4: the logs of all components as one JSON Lines file,
// in the order of the record, and a statement that refers to it. Secrets are
// removed before it is hashed: a log that is signed cannot be cleaned later.
func buildLog(in *Input, f *facts, ev *Evidence) (*product, error) {
	var log bytes.Buffer
	for i := range f.record.Components {
		name := f.record.Components[i].Component.Name
		n, err := appendLog(&log, in.Image, name)
		if err != nil {
			return nil, fmt.Errorf("log of %s: %w", name, err)
		}
		ev.Redactions += n
	}
	doc := log.Bytes()
	if doc == nil {
		doc = []byte{}
	}
	notes, err := toStruct(map[string]any{"components": len(f.record.Components), "redactions": ev.Redactions, "bytes": len(doc)})
	if err != nil {
		return nil, err
	}
	p := &reference.Reference{
		Attester: &reference.Reference_Attester{Id: in.Builder.ID},
		References: []*ita.ResourceDescriptor{{
			Name:             "build-log.jsonl",
			Digest:           map[string]string{"sha256": hexOf(digestOf(doc))},
			DownloadLocation: "oci:blobs/sha256/" + hexOf(digestOf(doc)),
			MediaType:        "application/jsonl",
			Annotations:      notes,
		}},
	}
	b, err := marshalProto(p)
	if err != nil {
		return nil, err
	}
	return &product{predicate: b, document: doc}, nil
}

// appendLog copies one component's log, line by line, and says how many
// secrets it removed.
func appendLog(w *bytes.Buffer, img *compile.Image, component string) (redacted int, err error) {
	f, err := img.Log(component)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := bufio.NewScanner(io.LimitReader(f, maxLog))
	s.Buffer(nil, maxLogLine)
	for n := 1; s.Scan(); n++ {
		var l compile.LogLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return redacted, fmt.Errorf("line %d: %w", n, err)
		}
		var hits int
		l.Text, hits = redact(l.Text)
		redacted += hits
		b, err := json.Marshal(l)
		if err != nil {
			return redacted, err
		}
		if w.Len()+len(b)+1 > maxLog {
			return redacted, fmt.Errorf("the logs together are larger than %d bytes", maxLog)
		}
		w.Write(b)
		w.WriteByte('\n')
	}
	return redacted, s.Err()
}
