package sshsig

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // the digests of parse
	_ "crypto/sha512"
	"encoding/base64"
	"fmt"

	"golang.org/x/crypto/ssh"
)

const (
	begin        = "-----BEGIN SSH SIGNATURE-----"
	end          = "-----END SSH SIGNATURE-----"
	magic        = "SSHSIG"
	maxSignature = 64 << 10
)

// signature is what an armored signature holds.
type signature struct {
	key       ssh.PublicKey
	namespace string
	hashName  string // as it is signed
	hash      crypto.Hash
	sig       *ssh.Signature
}

// isSignature says whether a file is of this kind, well formed or not.
func isSignature(b []byte) bool { return bytes.Contains(b, []byte(begin)) }

// parse reads one armored signature. Nothing but blanks may be around it.
func parse(b []byte) (*signature, error) {
	malformed := func(format string, a ...any) (*signature, error) {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
	}
	if len(b) > maxSignature {
		return malformed("it is longer than %d bytes", maxSignature)
	}
	b, begins := bytes.CutPrefix(bytes.Trim(b, " \t\r\n"), []byte(begin))
	b, ends := bytes.CutSuffix(b, []byte(end))
	if !begins || !ends {
		return malformed("its armor is not whole, or not alone")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(b)) // which passes over line ends
	if err != nil {
		return malformed("%v", err)
	}
	raw, ok := bytes.CutPrefix(raw, []byte(magic))
	if !ok {
		return malformed("it does not begin with %s", magic)
	}
	var w struct {
		Version   uint32
		Key       string
		Namespace string
		Reserved  string
		Hash      string
		Signature string
	}
	if err := ssh.Unmarshal(raw, &w); err != nil {
		return malformed("%v", err)
	}
	out := &signature{namespace: w.Namespace, hashName: w.Hash, sig: new(ssh.Signature)}
	switch {
	case w.Version != 1:
		return malformed("version %d", w.Version)
	case w.Reserved != "":
		return malformed("the reserved field is in use")
	case w.Hash == "sha256":
		out.hash = crypto.SHA256
	case w.Hash == "sha512":
		out.hash = crypto.SHA512
	default:
		return nil, fmt.Errorf("%w: digest %q; accepted are sha256 and sha512", ErrWeak, w.Hash)
	}
	if out.key, err = ssh.ParsePublicKey([]byte(w.Key)); err != nil {
		return malformed("public key: %v", err)
	}
	if err := ssh.Unmarshal([]byte(w.Signature), out.sig); err != nil {
		return malformed("signature: %v", err)
	}
	return out, nil
}

// signedData is what the key signs instead of the message.
func (s *signature) signedData(digest []byte) []byte {
	return append([]byte(magic), ssh.Marshal(struct {
		Namespace string
		Reserved  string
		Hash      string
		Digest    []byte
	}{s.namespace, "", s.hashName, digest})...)
}
