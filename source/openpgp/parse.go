package openpgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/cleanstart/cleanstart/source"
)

const (
	maxKeyFile = 4 << 20
	maxPackets = 16
)

// pinned is a certificate whose primary key is the one that a policy pins.
type pinned struct {
	fingerprint string
	entity      *pgp.Entity
}

// name is a user ID of the key, for people; nothing is decided by it.
func (p pinned) name() string {
	var ids []string
	for id := range p.entity.Identities {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return p.fingerprint
	}
	return slices.Min(ids)
}

func readKeys(files fs.FS, keys []source.Key) ([]pinned, error) {
	if files == nil {
		return nil, fmt.Errorf("%w: there are no key files", ErrKeyFile)
	}
	var out []pinned
	for _, k := range keys {
		want, err := source.NormalFingerprint(k.Fingerprint)
		if err != nil {
			return nil, err
		}
		e, err := readKey(files, k.File, want)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, k.File, err)
		}
		out = append(out, pinned{want, e})
	}
	return out, nil
}

func readKey(files fs.FS, name, want string) (*pgp.Entity, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxKeyFile {
		return nil, fmt.Errorf("%w of %d bytes", source.ErrTooLarge, maxKeyFile)
	}
	list, err := parseKeys(b)
	if err != nil {
		return nil, err
	}
	var held []string
	for _, e := range list {
		f := fingerprint(e.PrimaryKey)
		if f == want {
			return e, nil
		}
		held = append(held, f)
	}
	return nil, fmt.Errorf("it holds %s, pinned is %s", strings.Join(held, ", "), want)
}

func parseKeys(b []byte) (pgp.EntityList, error) {
	if !isArmored(b) {
		return pgp.ReadKeyRing(bytes.NewReader(b))
	}
	// A file may be several armored blocks, one after the other. The armor
	// reader buffers past the block it reads, so each is cut out first.
	var out pgp.EntityList
	for _, text := range bytes.SplitAfter(b, []byte("-----END PGP PUBLIC KEY BLOCK-----")) {
		block, err := armor.Decode(bytes.NewReader(text))
		if err == io.EOF && len(out) > 0 {
			break // only text is left
		}
		if err != nil {
			return nil, err
		}
		if block.Type != pgp.PublicKeyType {
			return nil, fmt.Errorf("armored block is a %s", block.Type)
		}
		list, err := pgp.ReadKeyRing(block.Body)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

func isArmored(b []byte) bool {
	return len(b) > 0 && b[0]&0x80 == 0
}

// parseSignatures reads a detached signature file, armored or binary: some
// signature packets and nothing else but markers and padding.
func parseSignatures(b []byte) ([]*packet.Signature, error) {
	var r io.Reader = bytes.NewReader(b)
	if isArmored(b) {
		block, err := armor.Decode(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if block.Type != pgp.SignatureType {
			return nil, fmt.Errorf("%w: armored block is a %s", ErrMalformed, block.Type)
		}
		r = block.Body
	}
	packets := packet.NewOpaqueReader(r)
	var out []*packet.Signature
	var unreadable []error
	for {
		op, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		switch op.Tag {
		case 10, 21: // marker, padding
			continue
		case 2:
		default:
			return nil, fmt.Errorf("%w: it holds a packet of type %d", ErrMalformed, op.Tag)
		}
		if len(out)+len(unreadable) >= maxPackets {
			return nil, fmt.Errorf("%w: more than %d signatures", ErrMalformed, maxPackets)
		}
		p, err := op.Parse()
		sig, ok := p.(*packet.Signature)
		if err != nil || !ok || sig.CreationTime.IsZero() {
			unreadable = append(unreadable, fmt.Errorf("%w: unreadable signature packet: %v", ErrMalformed, err))
			continue
		}
		out = append(out, sig)
	}
	if len(out) == 0 {
		return nil, errors.Join(append(unreadable, fmt.Errorf("%w: it holds no signature", ErrMalformed))...)
	}
	return out, nil
}

// find gives the pinned key that the signature says made it.
func find(keys []pinned, sig *packet.Signature) (*pinned, *packet.PublicKey) {
	for i := range keys {
		e := keys[i].entity
		if made(sig, e.PrimaryKey) {
			return &keys[i], e.PrimaryKey
		}
		for _, sub := range e.Subkeys {
			if made(sig, sub.PublicKey) {
				return &keys[i], sub.PublicKey
			}
		}
	}
	return nil, nil
}

func made(sig *packet.Signature, k *packet.PublicKey) bool {
	if len(sig.IssuerFingerprint) > 0 {
		return bytes.Equal(sig.IssuerFingerprint, k.Fingerprint)
	}
	return sig.IssuerKeyId != nil && *sig.IssuerKeyId == k.KeyId
}

// issuer is what the signature states about its maker.
func issuer(sig *packet.Signature) string {
	switch {
	case len(sig.IssuerFingerprint) > 0:
		return fmt.Sprintf("%X", sig.IssuerFingerprint)
	case sig.IssuerKeyId != nil:
		return fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	return "(not stated)"
}

func fingerprint(k *packet.PublicKey) string { return fmt.Sprintf("%X", k.Fingerprint) }
