package debian

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// ErrSignature says that no key of the keyring signed a release validly.
var ErrSignature = errors.New("no valid signature by a trusted key")

// ErrExpired says that a release is past its Valid-Until, or from the future.
var ErrExpired = errors.New("release is not valid at this time")

// skew is how far a release's clock may run ahead of ours.
const skew = 24 * time.Hour

// release is a verified InRelease.
type release struct {
	date     time.Time
	byHash   bool
	allInAll bool                 // packages of architecture all have their own index
	files    map[string]fileEntry // indexes by name
	signer   string               // primary fingerprint
}

// parseKeyring reads certificates, binary or armored. Certificates of unknown
// kind are left out, as every OpenPGP program does.
func parseKeyring(files [][]byte, signers []string) (openpgp.EntityList, error) {
	var all openpgp.EntityList
	for _, b := range files {
		for len(bytes.TrimSpace(b)) > 0 {
			if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----")) {
				l, err := openpgp.ReadKeyRing(bytes.NewReader(b))
				if err != nil {
					return nil, fmt.Errorf("keyring: %w", err)
				}
				all = append(all, l...)
				break
			}
			r := bytes.NewReader(b)
			block, err := armor.Decode(r)
			if err != nil {
				return nil, fmt.Errorf("keyring: %w", err)
			}
			l, err := openpgp.ReadKeyRing(block.Body)
			if err != nil {
				return nil, fmt.Errorf("keyring: %w", err)
			}
			all = append(all, l...)
			const end = "-----END PGP PUBLIC KEY BLOCK-----"
			i := bytes.Index(b, []byte(end))
			if i < 0 {
				break
			}
			b = b[i+len(end):]
		}
	}
	if len(signers) > 0 {
		var some openpgp.EntityList
		for _, e := range all {
			if contains(signers, fingerprint(e)) {
				some = append(some, e)
			}
		}
		all = some
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: the keyring is empty", ErrSignature)
	}
	return all, nil
}

func fingerprint(e *openpgp.Entity) string {
	return strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint))
}

// verifyRelease checks a clear-signed InRelease: at least one signature must
// be by a key of the keyring that was valid when it was made, and the dates
// must fit now unless the configuration says otherwise. Only the signed text
// is read.
func verifyRelease(b []byte, e *Entry, c *Config, now time.Time) (*release, error) {
	keyring, err := parseKeyring(e.Keyrings, e.Signers)
	if err != nil {
		return nil, err
	}
	block, rest := clearsign.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%w: not a clear-signed message", ErrSignature)
	}
	if i := bytes.Index(b, []byte("-----BEGIN PGP SIGNED MESSAGE-----")); len(bytes.TrimSpace(b[:i])) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: text outside the signed message", ErrSignature)
	}
	// The zero time leaves the signature's own dates to us; that of the key is
	// judged at the moment of signing in any case.
	config := &packet.Config{Time: func() time.Time { return time.Time{} }}
	md, err := openpgp.VerifyDetachedSignatureReader(keyring, bytes.NewReader(block.Bytes), block.ArmoredSignature.Body, config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if _, err := io.Copy(io.Discard, md.UnverifiedBody); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if md.SignatureError != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, md.SignatureError)
	}
	if !md.IsVerified || md.SignedBy == nil || md.Signature == nil {
		return nil, ErrSignature
	}
	r, err := parseRelease(block.Plaintext, e, c, now)
	if err != nil {
		return nil, err
	}
	made := md.Signature.CreationTime
	if !c.IgnoreDate && made.After(now.Add(skew)) {
		return nil, fmt.Errorf("%w: signed in the future, %s", ErrExpired, made.UTC().Format(time.RFC3339))
	}
	if now.After(made) && md.Signature.SigExpired(now) {
		return nil, fmt.Errorf("%w: its signature of %s has expired", ErrExpired, made.UTC().Format(time.RFC3339))
	}
	r.signer = fingerprint(md.SignedBy.Entity)
	return r, nil
}

func parseRelease(text []byte, e *Entry, c *Config, now time.Time) (*release, error) {
	r := &release{files: map[string]fileEntry{}}
	fields := []string{"Suite", "Codename", "Date", "Valid-Until", "Acquire-By-Hash", "SHA256", "Architectures", "No-Support-for-Architecture-all"}
	n := 0
	err := eachParagraph(bytes.NewReader(text), fields, func(v []string) (err error) {
		if n++; n > 1 {
			return errors.New("release has more than one paragraph")
		}
		// Without this a mirror could serve one suite's release for another's
		// and so hide, say, every security update.
		if suite, codename := v[0], v[1]; (suite != "" || codename != "") && e.Suite != suite && e.Suite != codename &&
			!strings.HasPrefix(e.Suite, suite+"/") && !strings.HasPrefix(e.Suite, codename+"/") {
			return fmt.Errorf("release is of suite %q (%q), not of %q", suite, codename, e.Suite)
		}
		if r.date, err = parseDate(v[2]); err != nil {
			return fmt.Errorf("release's Date: %w", err)
		}
		if !c.IgnoreDate && r.date.After(now.Add(skew)) {
			return fmt.Errorf("%w: dated in the future, %s", ErrExpired, r.date.Format(time.RFC3339))
		}
		if v[3] != "" && !c.IgnoreValidUntil {
			until, err := parseDate(v[3])
			if err != nil {
				return fmt.Errorf("release's Valid-Until: %w", err)
			}
			if now.After(until) {
				return fmt.Errorf("%w: it was valid until %s", ErrExpired, until.Format(time.RFC3339))
			}
		}
		r.byHash = v[4] == "yes"
		list, err := parseChecksums(v[5])
		if err != nil {
			return fmt.Errorf("release: %w", err)
		}
		for _, f := range list {
			r.files[f.Name] = f
		}
		r.allInAll = contains(strings.Fields(v[6]), "all") && !contains(strings.Fields(v[7]), "Packages")
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(r.files) == 0 {
		return nil, errors.New("release lists no file by SHA-256")
	}
	return r, nil
}

func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC1123, time.RFC1123Z, "Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("malformed date %.60q", s)
}
