package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // the digests of digestOf
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/cleanstart/cleanstart/source"
)

const (
	maxBundle = 4 << 20
	maxRoot   = 4 << 20
)

// predicates are the types of statements that say a thing was built or
// released.
var predicates = []string{
	"https://slsa.dev/provenance/v0.2",
	"https://slsa.dev/provenance/v1",
	"https://in-toto.io/attestation/release/v0.1",
	"https://docs.pypi.org/attestations/publish/v1",
}

// isBundle says whether a signature file is of this kind, well formed or not.
func isBundle(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) && bytes.Contains(b, []byte("vnd.dev.sigstore.bundle"))
}

func parse(b []byte) (*bundle.Bundle, error) {
	if len(b) > maxBundle {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrMalformed, maxBundle)
	}
	out := new(bundle.Bundle)
	if err := out.UnmarshalJSON(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return out, nil
}

// certificate is the one in the bundle, not yet believed.
func certificate(b *bundle.Bundle) (*x509.Certificate, error) {
	c, err := b.VerificationContent()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if c.Certificate() == nil {
		return nil, fmt.Errorf("%w: it is signed by a key without a certificate", ErrMalformed)
	}
	return c.Certificate(), nil
}

// hashOf is the digest by which the bundle is tied to what it signs: the one
// that a message signature is over or, for a statement, the one that is looked
// for among its subjects.
func hashOf(b *bundle.Bundle) (crypto.Hash, error) {
	m := b.GetMessageSignature()
	if m == nil {
		return crypto.SHA256, nil
	}
	switch a := m.GetMessageDigest().GetAlgorithm(); a {
	case protocommon.HashAlgorithm_SHA2_256:
		return crypto.SHA256, nil
	case protocommon.HashAlgorithm_SHA2_384:
		return crypto.SHA384, nil
	case protocommon.HashAlgorithm_SHA2_512:
		return crypto.SHA512, nil
	default:
		return 0, fmt.Errorf("%w: message digest %v; accepted is SHA-2 from 256 bits", ErrWeak, a)
	}
}

// strength names the certificate's algorithm if it is one of those accepted.
func strength(cert *x509.Certificate) (string, error) {
	name := ""
	switch k := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		name = "ECDSA-" + k.Curve.Params().Name
		if slices.Contains([]string{"ECDSA-P-256", "ECDSA-P-384", "ECDSA-P-521"}, name) {
			return strings.Replace(name, "-P-", "-P", 1), nil
		}
	case ed25519.PublicKey:
		return "Ed25519", nil
	case *rsa.PublicKey:
		name = fmt.Sprintf("RSA-%d", k.N.BitLen())
		if k.N.BitLen() >= 2048 {
			return name, nil
		}
	default:
		name = fmt.Sprintf("a %T", k)
	}
	return "", fmt.Errorf("%w: the key is %s; accepted are ECDSA on NIST curves, Ed25519 and RSA from 2048 bits", ErrWeak, name)
}

func readRoot(files fs.FS, name string) (*root.TrustedRoot, error) {
	if files == nil {
		return nil, fmt.Errorf("%w: there are no key files", ErrKeyFile)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRoot+1))
	if err == nil && len(b) > maxRoot {
		err = fmt.Errorf("%w of %d bytes", source.ErrTooLarge, maxRoot)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, name, err)
	}
	r, err := root.NewTrustedRootFromJSON(b)
	if err == nil && len(r.FulcioCertificateAuthorities()) == 0 {
		err = errors.New("it lists no certificate authority")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, name, err)
	}
	return r, nil
}

// check holds a bundle against a root and an identity, and its content against
// a digest of what it must be over.
func check(b *bundle.Bundle, trusted *root.TrustedRoot, k source.Key, h crypto.Hash, digest []byte) (*verify.VerificationResult, error) {
	identity, err := verify.NewShortCertificateIdentity(k.Issuer, "", k.Identity, "")
	if err != nil {
		return nil, err
	}
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if len(trusted.RekorLogs()) > 0 {
		options = append(options, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	} else {
		options = append(options, verify.WithSignedTimestamps(1))
	}
	if len(trusted.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(trusted, options...)
	if err != nil {
		return nil, err
	}
	name := map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}[h]
	result, err := v.Verify(b, verify.NewPolicy(verify.WithArtifactDigest(name, digest), verify.WithCertificateIdentity(identity)))
	var other *verify.ErrNoMatchingCertificateIdentity
	switch {
	case errors.As(err, &other):
		return nil, other
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	case len(result.VerifiedTimestamps) == 0 || result.VerifiedIdentity == nil:
		return nil, fmt.Errorf("%w: nothing witnesses it", ErrBad)
	}
	if b.GetMessageSignature() == nil && !slices.Contains(predicates, result.Statement.GetPredicateType()) {
		return nil, fmt.Errorf("%w: %q; accepted are %s", ErrStatement, result.Statement.GetPredicateType(), strings.Join(predicates, ", "))
	}
	return result, nil
}

// log is the transparency log that holds a verified bundle, by its address or
// its ID. With several entries it is the one that gave a time, since only that
// one is known to have been verified.
func log(b *bundle.Bundle, trusted *root.TrustedRoot, result *verify.VerificationResult) string {
	for _, t := range result.VerifiedTimestamps {
		if t.Type == "Tlog" && t.URI != "" {
			return t.URI
		}
	}
	entries := b.GetVerificationMaterial().GetTlogEntries()
	if len(entries) != 1 {
		return ""
	}
	id := hex.EncodeToString(entries[0].GetLogId().GetKeyId())
	l := trusted.RekorLogs()[id]
	switch {
	case l == nil:
		return ""
	case l.BaseURL == "":
		return id
	}
	return l.BaseURL
}
