package ledger

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// Checkpoint is a signed head.
type Checkpoint struct {
	Head
	Time time.Time `json:"time"` // when it was signed
}

// PayloadType is that of a checkpoint in its DSSE envelope.
const PayloadType = "application/vnd.cleanstart.ledger-head.v1+json"

// headsName is where the signed heads of a ledger stand: JSON Lines of DSSE
// envelopes.
func headsName(ledger string) string { return ledger + ".heads" }

// SignHead signs the last entry with the time at and adds it to the ledger's
// signed heads, durably, in the file NAME.heads. A head that is the last one
// signed already is left alone; an empty ledger has none.
func (l *File) SignHead(signer signature.Signer, at time.Time) (Checkpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := l.signHead(signer, at)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("sign the head of ledger %s: %w", l.name, err)
	}
	return c, nil
}

func (l *File) signHead(signer signature.Signer, at time.Time) (Checkpoint, error) {
	if l.broken != nil {
		return Checkpoint{}, l.broken
	}
	if l.head.Seq == 0 {
		return Checkpoint{}, errors.New("it is empty")
	}
	c := Checkpoint{Head: l.head, Time: at.UTC().Round(0)}
	if c.Time.Before(l.last) { // the clock went back
		c.Time = l.last
	}
	f, err := os.OpenFile(headsName(l.name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return Checkpoint{}, err
	}
	defer f.Close()
	var before Checkpoint
	end, err := envelopes(f, func(_ int, e *dsse.Envelope) error {
		before, err = decodeHead(e)
		return err
	})
	switch {
	case err != nil:
		return Checkpoint{}, err
	case before.Head == c.Head:
		return before, nil
	case before.Seq >= c.Seq:
		return Checkpoint{}, fmt.Errorf("entry %d was signed, and the last one is %d", before.Seq, c.Seq)
	}
	line, err := encodeHead(signer, c)
	if err != nil {
		return Checkpoint{}, err
	}
	// What stands behind end was half-written.
	if err := f.Truncate(end); err != nil {
		return Checkpoint{}, err
	}
	if _, err := f.WriteAt(line, end); err != nil {
		return Checkpoint{}, err
	}
	return c, errors.Join(f.Sync(), atomicfile.SyncDir(filepath.Dir(l.name)))
}

func encodeHead(signer signature.Signer, c Checkpoint) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	sig, err := signer.SignMessage(bytes.NewReader(dsse.PAE(PayloadType, body)))
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(dsse.Envelope{
		PayloadType: PayloadType, Payload: base64.StdEncoding.EncodeToString(body),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	})
	return append(line, '\n'), err
}

func decodeHead(e *dsse.Envelope) (Checkpoint, error) {
	var c Checkpoint
	if e.PayloadType != PayloadType {
		return c, fmt.Errorf("a payload of type %.100q", e.PayloadType)
	}
	body, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil {
		return c, err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, err
	}
	if c.Seq == 0 || c.Hash == "" || c.Time.IsZero() {
		return c, errors.New("a head without number, hash or time")
	}
	return c, nil
}

// envelopes calls each whole line and returns the offset behind the last one.
func envelopes(r io.Reader, each func(line int, e *dsse.Envelope) error) (int64, error) {
	var end int64
	br := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := readLine(br)
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		if err != nil {
			return end, err
		}
		var e dsse.Envelope
		if err := json.Unmarshal(line, &e); err != nil {
			return end, fmt.Errorf("signed head %d: %w", n, err)
		}
		if err := each(n, &e); err != nil {
			return end, fmt.Errorf("signed head %d: %w", n, err)
		}
		end += int64(len(line))
	}
}

// VerifySigned checks a whole ledger and its signed heads: each is signed by
// the verifier's key, of an entry that is in the chain, and not of an earlier
// one or an earlier time than the head before it. It returns the last entry
// and the last signed head; the entries between them are chained and not yet
// signed. A ledger without a signed head is an error.
//
// Who may have cut the ends of both files keeps the last checkpoint elsewhere
// and compares.
func VerifySigned(ledger, heads io.Reader, verifier signature.Verifier) (Head, Checkpoint, error) {
	var signed []Checkpoint
	_, err := envelopes(heads, func(n int, e *dsse.Envelope) error {
		c, err := verifyHead(e, verifier)
		if err != nil {
			return err
		}
		if len(signed) > 0 {
			if before := signed[len(signed)-1]; c.Seq <= before.Seq || c.Time.Before(before.Time) {
				return fmt.Errorf("entry %d of %s was signed after entry %d of %s", c.Seq, c.Time, before.Seq, before.Time)
			}
		}
		signed = append(signed, c)
		return nil
	})
	if err != nil {
		return Head{}, Checkpoint{}, err
	}
	if len(signed) == 0 {
		return Head{}, Checkpoint{}, errors.New("the ledger has no signed head")
	}
	left := signed
	c := &counter{r: ledger}
	var bad *TamperError
	head, end, err := scan(c, func(e Entry) bool {
		if len(left) > 0 && e.Seq == left[0].Seq {
			if e.Hash != left[0].Hash {
				bad = &TamperError{Line: int(e.Seq), Reason: "is not the entry that was signed"}
				return false
			}
			left = left[1:]
		}
		return true
	})
	switch {
	case bad != nil:
		return Head{}, Checkpoint{}, bad
	case err != nil:
		return Head{}, Checkpoint{}, err
	case end != c.n:
		return Head{}, Checkpoint{}, &TamperError{Line: int(head.Seq) + 1, Reason: "is not whole"}
	case len(left) > 0:
		return Head{}, Checkpoint{}, &TamperError{Line: int(head.Seq) + 1, Reason: fmt.Sprintf("is missing: entry %d was signed", left[0].Seq)}
	}
	return head, signed[len(signed)-1], nil
}

func verifyHead(e *dsse.Envelope, verifier signature.Verifier) (Checkpoint, error) {
	c, err := decodeHead(e)
	if err != nil {
		return c, err
	}
	body, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil {
		return c, err
	}
	if len(e.Signatures) != 1 {
		return c, fmt.Errorf("%d signatures", len(e.Signatures))
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(e.Signatures[0].Sig)
	if err != nil {
		return c, err
	}
	return c, verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(dsse.PAE(e.PayloadType, body)))
}
