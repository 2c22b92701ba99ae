package openpgp

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/cleanstart/cleanstart/source"
)

// signed is a statement and the OpenPGP signatures over it.
type signed struct {
	statement  source.Statement
	signatures []*packet.Signature
	text       bool   // signatures over text, with line ends made one kind, may be in it
	clear      []byte // the text of a clear-signed message; nil otherwise
}

// open reads a statement's signatures. It gives nil where the signature is of
// another kind.
func open(ctx context.Context, s source.Subject, st source.Statement) (*signed, error) {
	if st.Signature == nil {
		return clearSigned(ctx, s, st)
	}
	if !isOpenPGP(st.Signature) {
		return nil, nil
	}
	sigs, err := parseSignatures(st.Signature)
	if err != nil {
		return nil, err
	}
	return &signed{statement: st, signatures: sigs}, nil
}

// isOpenPGP says whether a signature file is of this kind, well formed or not.
func isOpenPGP(b []byte) bool {
	return len(b) > 0 && b[0]&0x80 != 0 || bytes.Contains(b, []byte("-----BEGIN PGP "))
}

// clearSigned takes a message apart that bears its signature (RFC 9580,
// section 7). What is before and after it counts for nothing, and only one may
// be there, lest two readers mean two texts.
func clearSigned(ctx context.Context, s source.Subject, st source.Statement) (*signed, error) {
	b, err := s.Text(ctx, st)
	if err != nil {
		return nil, err
	}
	const begin = "-----BEGIN PGP SIGNED MESSAGE-----"
	switch bytes.Count(b, []byte(begin)) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, fmt.Errorf("%w: two clear-signed messages", ErrMalformed)
	}
	block, _ := clearsign.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%w: not a clear-signed message", ErrMalformed)
	}
	sig, err := io.ReadAll(io.LimitReader(block.ArmoredSignature.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	sigs, err := parseSignatures(sig)
	if err != nil {
		return nil, err
	}
	// Bytes is the text with line ends as signed; Plaintext is what a reader
	// sees. The first is what is confirmed.
	clear := block.Bytes
	if clear == nil {
		clear = []byte{}
	}
	return &signed{statement: st, signatures: sigs, text: true, clear: clear}, nil
}

// check does the arithmetic, and then sees that what was signed vouches for
// the archive.
func (m *signed) check(ctx context.Context, s source.Subject, key *packet.PublicKey, sig *packet.Signature) error {
	h, err := sig.PrepareVerify()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	text := m.clear
	switch {
	case text != nil:
		h.Write(text)
	case m.statement.Over == source.OverArchive || m.statement.Over == source.OverDecompressed:
		if err := m.stream(ctx, h); err != nil {
			return err
		}
	default:
		if text, err = s.Text(ctx, m.statement); err != nil {
			return err
		}
		h.Write(text)
	}
	if err := key.VerifySignature(h, sig); err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	return s.Confirm(ctx, m.statement, text)
}

func (m *signed) stream(ctx context.Context, h hash.Hash) error {
	r, err := m.statement.Message(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{h}, r, make([]byte, 256<<10))
	return err
}
