package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	ita "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	statementType = "https://in-toto.io/Statement/v1"
	// maxStatement is the largest payload that is signed or read: clients cap
	// attestations at 128 MiB, base64 and envelope included.
	maxStatement = 90 << 20
)

// Subject is one subject of an in-toto statement.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// statement is an in-toto Statement v1. The predicate keeps its bytes.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// newStatement is the payload for a predicate, checked by the in-toto library.
// The predicate's bytes appear in it unchanged.
func newStatement(subjects []Subject, predicateType string, predicate []byte) ([]byte, error) {
	predicate = bytes.TrimSpace(predicate)
	if !json.Valid(predicate) || predicate[0] != '{' {
		return nil, fmt.Errorf("statement %s: the predicate is not a JSON object", predicateType)
	}
	subj, err := json.Marshal(subjects)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(len(subj) + len(predicate) + 256)
	fmt.Fprintf(&b, `{"_type":%q,"subject":%s,"predicateType":%q,"predicate":`, statementType, subj, predicateType)
	head := b.Len()
	b.Write(predicate)
	b.WriteByte('}')
	if b.Len() > maxStatement {
		return nil, fmt.Errorf("statement %s: %d bytes, clients read at most %d", predicateType, b.Len(), maxStatement)
	}
	// The library looks at everything but into the predicate.
	var s ita.Statement
	if err := protojson.Unmarshal(append(slices.Clone(b.Bytes()[:head]), "{}}"...), &s); err != nil {
		return nil, fmt.Errorf("statement %s: %w", predicateType, err)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("statement %s: %w", predicateType, err)
	}
	return b.Bytes(), nil
}

// parseStatement reads a payload, strictly.
func parseStatement(payload []byte) (*statement, error) {
	if len(payload) > maxStatement {
		return nil, fmt.Errorf("statement of %d bytes, at most %d are read", len(payload), maxStatement)
	}
	var s statement
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	if d.More() {
		return nil, fmt.Errorf("statement: bytes after the JSON value")
	}
	if s.Type != statementType {
		return nil, fmt.Errorf("statement: type %q, want %q", s.Type, statementType)
	}
	if len(s.Subject) == 0 {
		return nil, fmt.Errorf("statement: no subject")
	}
	return &s, nil
}

// about says whether digest ("sha256:HEX") is the statement's first subject.
func (s *statement) about(digest string) bool {
	return len(s.Subject) > 0 && s.Subject[0].Digest["sha256"] == strings.TrimPrefix(digest, "sha256:")
}

// digestOf is "sha256:HEX" of b.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// hexOf is the hexadecimal part of "sha256:HEX".
func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// marshal is indented JSON without HTML escapes: documents are read by people.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// marshalProto is indented protobuf JSON. protojson varies its white space on
// purpose; indenting anew makes it deterministic.
func marshalProto(m proto.Message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var compact, b bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, err
	}
	if err := json.Indent(&b, compact.Bytes(), "", " "); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// toStruct turns a JSON-able value into a protobuf struct.
func toStruct(v any) (*structpb.Struct, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	s := new(structpb.Struct)
	if err := protojson.Unmarshal(b, s); err != nil {
		return nil, err
	}
	return s, nil
}
